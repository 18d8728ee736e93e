package wasm

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/exec"
)

func BenchmarkLocalNoop(b *testing.B) { benchmarkNoop(b, newLocal(b, LocalOptions{})) }

func BenchmarkWarmNoop(b *testing.B) { benchmarkNoop(b, newPool(b, PoolOptions{})) }

// BenchmarkStartWorker starts, shuts in and ends a worker.
func BenchmarkStartWorker(b *testing.B) {
	s := newSpawner()
	defer s.close()
	for b.Loop() {
		c, err := s.start(context.Background(), selfWorker, setup{Memory: 64 << 20}, nil)
		if err != nil {
			b.Fatal(err)
		}
		c.end()
	}
}

func benchmarkNoop(b *testing.B, e exec.Engine) {
	s := spec(b, "noop.wasm")
	run(b, e, s)
	b.ResetTimer()
	for b.Loop() {
		if res, err := e.Run(context.Background(), s); err != nil || !res.OK() {
			b.Fatal(res, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func TestSpeedIsMeasured(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		speed, err := MeasureSpeed(context.Background(), e)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%.2f Gfuel/s", float64(speed)/1e9)
		if speed < 1_000_000 {
			t.Errorf("%d fuel/s", speed)
		}
	})
}

// TestIdleWorkerIsSmall holds the worker's memory under 25 MB.
func TestIdleWorkerIsSmall(t *testing.T) {
	if !haveSpaces {
		t.Skip("a build with the race detector is larger")
	}
	p := newPool(t, PoolOptions{})
	run(t, p, spec(t, "tasks.wasm", "exit", "0"))
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.idle[0].cmd.Process.Pid))
	if err != nil {
		t.Skip("this system has no /proc")
	}
	for line := range strings.Lines(string(status)) {
		if !strings.HasPrefix(line, "VmRSS:") {
			continue
		}
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d kB", kb)
		if kb > 25_000 {
			t.Errorf("an idle worker takes %d kB", kb)
		}
	}
}
