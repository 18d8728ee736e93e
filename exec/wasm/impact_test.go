//go:build linux

package wasm

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkForegroundImpact asks what an owner who works feels of guests that fill every CPU: how much
// longer two threads of work take, and how much later a thread wakes up. One iteration is one short
// round without guests and one with them, as machines drift; the figures are medians over rounds.
// "yielding" are guests as they are, with a cgroup where they can have one, "ungrouped" without; "normal"
// is what guests at normal priority would do, and shows that the probe can see it.
func BenchmarkForegroundImpact(b *testing.B) {
	for _, x := range []struct {
		name       string
		foreground bool
		group      error // why guests have no cgroup
	}{{"yielding", false, nil}, {"ungrouped", false, errors.New("left out")}, {"normal", true, nil}} {
		b.Run(x.name, func(b *testing.B) {
			p, err := NewPool(PoolOptions{Slots: runtime.NumCPU(), Memory: 64 << 20, CacheDir: b.TempDir(), Argv: selfWorker, Bare: !haveSpaces, Foreground: x.foreground})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			p.spawn.groupErr = x.group
			ctx, cancel := context.WithCancel(context.Background())
			var guests sync.WaitGroup
			defer guests.Wait()
			defer cancel()
			run(b, p, spec(b, "noop.wasm"))
			s := spec(b, "tasks.wasm", "loop")
			s.Limits.Fuel, s.Limits.WallMs = 1<<60, 3_600_000
			for range runtime.NumCPU() {
				guests.Go(func() { _, _ = p.Run(ctx, s) }) // ends with the benchmark
			}
			if g := p.spawn.group; g == nil && !x.foreground {
				b.Logf("without a cgroup: %v", p.spawn.groupErr)
			}
			for p.busy() < runtime.NumCPU() {
				time.Sleep(10 * time.Millisecond)
			}
			work := calibrate(50 * time.Millisecond)
			var took, wakes [2][]time.Duration
			for b.Loop() {
				for with := range 2 {
					if err := p.Freeze(with == 0); err != nil {
						b.Skip(err)
					}
					time.Sleep(5 * time.Millisecond) // caches and queues settle
					took[with] = append(took[with], twoThreads(work))
					wakes[with] = append(wakes[with], wakeP99(200))
				}
			}
			b.StopTimer()
			if err := p.Freeze(false); err != nil {
				b.Fatal(err)
			}
			without, with := float64(median(wakes[0]).Microseconds()), float64(median(wakes[1]).Microseconds())
			b.ReportMetric(float64(median(took[1]))/float64(median(took[0])), "work-ratio")
			b.ReportMetric(float64(slices.Min(took[1]))/float64(slices.Min(took[0])), "work-ratio-min")
			b.ReportMetric(without, "wake-p99-idle-µs")
			b.ReportMetric(with, "wake-p99-guests-µs")
			b.ReportMetric(with-without, "wake-added-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// busy is how many units are being run.
func (p *Pool) busy() int { return len(p.slots) }

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

// spinWork is a piece of arithmetic that no compiler leaves out.
func spinWork(n int) (x uint64) {
	x = 88172645463325252
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

var sink64 uint64

// calibrate finds how much work takes about d when nothing disturbs it.
func calibrate(d time.Duration) (n int) {
	best := time.Duration(1 << 62)
	for range 5 {
		start := time.Now()
		sink64 += spinWork(10_000_000)
		best = min(best, time.Since(start))
	}
	return int(10_000_000 * float64(d) / float64(best))
}

// twoThreads is how long two threads take for n steps of work each.
func twoThreads(n int) time.Duration {
	var wg sync.WaitGroup
	var sum [2]uint64
	start := time.Now()
	for i := range sum {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			sum[i] = spinWork(n)
		})
	}
	wg.Wait()
	took := time.Since(start)
	sink64 += sum[0] + sum[1]
	return took
}

// wakeP99 is how late a thread that sleeps for a millisecond is awake, in 99 of 100 cases at most.
func wakeP99(n int) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	late := make([]time.Duration, n)
	nap := unix.NsecToTimespec(int64(time.Millisecond))
	for i := range late {
		start := time.Now()
		_ = unix.Nanosleep(&nap, nil)
		late[i] = time.Since(start) - time.Millisecond
	}
	slices.Sort(late)
	return late[n*99/100]
}
