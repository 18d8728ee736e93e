package wasm

import (
	"fmt"
	"math"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkSecondTier runs the kernels as this machine's own programs (clang -O2), on the first
// tier and on the second, in turns, and reports ratios of the shortest CPU times to the
// machine's own: of all processes that take part. One iteration is one round.
func BenchmarkSecondTier(b *testing.B) {
	own := filepath.Join(b.TempDir(), "kernels")
	kernels := []string{"nbody 1000000", "sha256 500000", "matmul 1200", "sieve 80", "mandelbrot 1500", "hash 30000000", "fib 37", "vm 8000000"}
	args := []string{"-O2", "-w", "-o", own, "testdata/kernels.c"}
	for _, k := range kernels {
		name := strings.Fields(k)[0]
		object := filepath.Join(b.TempDir(), name+".o")
		compileWith(b, "clang", "-O2", "-w", "-Drun=run_"+name, "-Dexport_name(x)=used", "-c", "-o", object, "meter/testdata/kernels/"+name+".c")
		args = append(args, object)
	}
	compileWith(b, "clang", append(args, "-lm")...)
	first, second := newPool(b, PoolOptions{}), newNativePool(b, PoolOptions{})
	move(b, second, spec(b, "kernels.wasm"))
	logs := make([][2]float64, len(kernels)) // of the ratios
	for at, k := range kernels {
		b.Run(strings.Fields(k)[0], func(b *testing.B) {
			s := spec(b, "kernels.wasm", strings.Fields(k)...)
			s.Limits.Fuel, s.Limits.WallMs = 1<<60, 600_000
			warm := s
			warm.Args = []string{"fib", "1"}
			run(b, first, warm)
			run(b, second, warm)
			var best [3]time.Duration
			var fuel uint64
			for range max(3, b.N) {
				cmd := osexec.Command(own, strings.Fields(k)...)
				out, err := cmd.Output()
				if err != nil {
					b.Fatal(err)
				}
				took := [3]time.Duration{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
				for i, e := range []*Pool{first, second} {
					before := poolTime(b, e)
					res := run(b, e, s)
					took[i+1] = poolTime(b, e) - before
					if string(res.Stdout) != string(out) {
						b.Fatalf("%s: %q, want %q", res.Status, res.Stdout, out)
					}
					fuel = uint64(res.Fuel)
				}
				for i, d := range took {
					if best[i] == 0 || d < best[i] {
						best[i] = d
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(best[0].Seconds()*1000, "own-ms")
			b.ReportMetric(float64(fuel)/best[2].Seconds()/1e9, "Gfuel/s")
			for i, name := range []string{"wazero-ratio", "second-ratio"} {
				ratio := float64(best[i+1]) / float64(best[0])
				b.ReportMetric(ratio, name)
				logs[at][i] = math.Log(ratio)
			}
		})
	}
	b.Run("geomean", func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		for i, name := range []string{"wazero-ratio", "second-ratio"} {
			sum := 0.0
			for _, l := range logs {
				sum += l[i]
			}
			b.ReportMetric(math.Exp(sum/float64(len(kernels))), name)
		}
	})
}

func compileWith(b *testing.B, compiler string, args ...string) {
	b.Helper()
	if out, err := osexec.Command(compiler, args...).CombinedOutput(); err != nil {
		b.Skipf("%s: %v %s", compiler, err, out)
	}
}

// poolTime is the CPU time of a pool's only worker and its native process so far.
func poolTime(b *testing.B, p *Pool) (total time.Duration) {
	b.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) != 1 {
		b.Fatalf("%d workers", len(p.idle))
	}
	pids := []int{p.idle[0].cmd.Process.Pid}
	if n := p.idle[0].native; n != nil {
		pids = append(pids, n.cmd.Process.Pid)
	}
	for _, pid := range pids {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil {
			b.Fatal(err)
		}
		for _, path := range threads {
			stat, err := os.ReadFile(path)
			var ns int64
			if err == nil {
				_, err = fmt.Sscan(string(stat), &ns)
			}
			if err != nil {
				b.Fatal(err)
			}
			total += time.Duration(ns)
		}
	}
	return total
}
