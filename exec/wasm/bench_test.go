package wasm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

func BenchmarkLocalNoop(b *testing.B) { benchmarkNoop(b, newLocal(b, LocalOptions{})) }

func BenchmarkWarmNoop(b *testing.B) { benchmarkNoop(b, newPool(b, PoolOptions{})) }

// BenchmarkStartWorker starts, shuts in and ends a worker.
func BenchmarkStartWorker(b *testing.B) {
	s := newSpawner()
	defer s.close()
	for b.Loop() {
		c, err := s.start(context.Background(), selfWorker, setup{Memory: 64 << 20})
		if err != nil {
			b.Fatal(err)
		}
		c.end()
	}
}

// BenchmarkWarmStartLarge runs a module of 20 MiB that is in the cache but in no worker: a new worker,
// the program loaded, one run. The node has seen the entry before, as in all but its first run.
func BenchmarkWarmStartLarge(b *testing.B) {
	p := newPool(b, PoolOptions{})
	s := moduleSpec(b, largeModule(20<<20))
	run(b, p, s)
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		p.mu.Lock()
		for _, c := range p.idle {
			c.end()
		}
		p.idle = nil
		p.mu.Unlock()
		b.StartTimer()
		if res, err := p.Run(context.Background(), s); err != nil || !res.OK() {
			b.Fatal(res, err)
		}
	}
}

// BenchmarkCompile makes a cache entry: instrument, compile, authenticate.
func BenchmarkCompile(b *testing.B) {
	for name, s := range map[string]exec.Spec{"noop": spec(b, "noop.wasm"), "tasks": spec(b, "tasks.wasm"), "20MiB": moduleSpec(b, largeModule(20<<20))} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				p := newPool(b, PoolOptions{})
				u, err := newUnit(s)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.prepare(context.Background(), u); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				p.Close()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkLoad makes a program of a cache entry ready: in process, verified before.
func BenchmarkLoad(b *testing.B) {
	for name, s := range map[string]exec.Spec{"noop": spec(b, "noop.wasm"), "tasks": spec(b, "tasks.wasm"), "20MiB": moduleSpec(b, largeModule(20<<20))} {
		b.Run(name, func(b *testing.B) {
			c, entry := filled(b, s)
			defer reportCPU(b)()
			for b.Loop() {
				p, err := loadEntry(context.Background(), filepath.Join(c.modules(), entry))
				if err != nil {
					b.Fatal(err)
				}
				p.close()
			}
		})
	}
}

// BenchmarkVerify checks the MAC of a cache entry: once a process and entry.
func BenchmarkVerify(b *testing.B) {
	c, entry := filled(b, moduleSpec(b, largeModule(20<<20)))
	defer reportCPU(b)()
	for b.Loop() {
		clear(c.verified)
		if !c.valid(filepath.Join(c.modules(), entry), entry) {
			b.Fatal("not ours")
		}
	}
}

// BenchmarkInstantiate makes an instance of a loaded program and runs it to its end.
func BenchmarkInstantiate(b *testing.B) {
	for name, s := range map[string]exec.Spec{"noop": spec(b, "noop.wasm"), "tasks": spec(b, "tasks.wasm", "exit", "0"), "20MiB": moduleSpec(b, largeModule(20<<20))} {
		b.Run(name, func(b *testing.B) {
			c, entry := filled(b, s)
			p, err := loadEntry(context.Background(), filepath.Join(c.modules(), entry))
			if err != nil {
				b.Fatal(err)
			}
			defer p.close()
			defer reportCPU(b)()
			for b.Loop() {
				g, err := newGuest(context.Background(), s, nil, nil, nil)
				if err != nil {
					b.Fatal(err)
				}
				if res, err := p.run(g); err != nil || !res.OK() {
					b.Fatal(res, err)
				}
				g.closeAll()
			}
		})
	}
}

// BenchmarkDeadline tells how long after its deadline of 20 ms a loop has ended in a real worker, as its
// node sees it: wanted are 50 ms.
func BenchmarkDeadline(b *testing.B) {
	p := newPool(b, PoolOptions{})
	s := spec(b, "tasks.wasm", "loop")
	s.Limits.Fuel, s.Limits.WallMs = 1<<60, 20
	over(b, p, s, exec.Deadline, 20*time.Millisecond)
}

// BenchmarkDeadlineOperator is the same for one operator that takes a second: its worker is killed.
func BenchmarkDeadlineOperator(b *testing.B) {
	p := newPool(b, PoolOptions{Memory: 2 << 30})
	s := spec(b, "hostile.wasm", "fill")
	s.Limits.Fuel, s.Limits.WallMs, s.Limits.Memory = 1<<60, 20, 2<<30
	over(b, p, s, exec.Deadline, 20*time.Millisecond)
}

// BenchmarkOutOfFuel ends a loop after one slice of fuel; what it takes is the slice's time.
func BenchmarkOutOfFuel(b *testing.B) {
	p := newPool(b, PoolOptions{})
	s := spec(b, "tasks.wasm", "loop")
	s.Limits.Fuel = slice
	over(b, p, s, exec.OutOfFuel, 0)
}

// reportCPU reports, when what it returns is called, the CPU time of this process for each round:
// on a busy machine it tells more than wall time.
func reportCPU(b *testing.B) func() {
	b.ResetTimer()
	start := cpuTime()
	return func() { b.ReportMetric(float64((cpuTime()-start).Microseconds())/1000/float64(b.N), "cpu-ms/op") }
}

// over runs a spec that ends by its limit and reports median and most of what it took beyond from.
func over(b *testing.B, p *Pool, s exec.Spec, want exec.Status, from time.Duration) {
	warm := s
	warm.Args = []string{"exit", "0"}
	run(b, p, warm)
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		run(b, p, warm) // a worker that has the program
		b.StartTimer()
		start := time.Now()
		if res, err := p.Run(context.Background(), s); err != nil || res.Status != want {
			b.Fatal(res, err)
		}
		took = append(took, time.Since(start)-from)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms-over")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "most-ms-over")
}

func benchmarkNoop(b *testing.B, e exec.Engine) {
	s := spec(b, "noop.wasm")
	run(b, e, s)
	defer reportCPU(b)()
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
