package meter_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// BenchmarkMeterOverhead compares four builds of each kernel: native by clang -O2 (when there is
// a clang), plain on wazero, with fuel and depth counted, and with NaN made canonical as well,
// which is how guests run. It reports the ratios
//
//	engine/native  plain by native
//	fuel/engine    counting by plain
//	meter/engine   all by plain
//	meter/native   all by native
//
// and in "geomean" their geometric means. What stands where in memory changes such loops by
// several percent, so each build is instantiated placements times; all take turns on one
// thread, the shortest CPU time of each instance counts, and the median of a build's instances.
// -benchtime 100x, say, sets the rounds; the default makes do with leastRounds.
func BenchmarkMeterOverhead(b *testing.B) {
	sums := map[string]float64{}
	counts := map[string]float64{}
	for _, k := range kernels {
		b.Run(k.name, func(b *testing.B) {
			b.ReportMetric(0, "ns/op")
			for unit, v := range overhead(b, k.name, k.n, max(b.N, leastRounds)) {
				b.ReportMetric(v, unit)
				if b.N > 1 || counts[k.name+unit] > 0 {
					continue // the first call alone counts
				}
				counts[k.name+unit] = 1
				sums[unit] += math.Log(v)
				counts[unit]++
			}
		})
	}
	b.Run("geomean", func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		for unit, sum := range sums {
			if unit != "Gfuel/s" {
				b.ReportMetric(math.Exp(sum/counts[unit]), unit)
			}
		}
	})
}

const (
	placements  = 9
	leastRounds = 50
)

// A build is one form of a kernel: run returns the CPU time of one execution.
type build struct {
	run  func(n uint64) (time.Duration, int32)
	best time.Duration
}

func overhead(b *testing.B, name string, n uint64, rounds int) map[string]float64 {
	bin := kernel(b, name)
	forms := map[string][]byte{
		"plain": bin,
		"fuel":  mustInstrument(b, bin, meter.Options{AnyNaN: true}),
		"meter": mustInstrument(b, bin, meter.Options{}),
	}
	builds := map[string][]*build{}
	var turns []*build
	var want []int32 // from the first run
	add := func(form string, r func(n uint64) (time.Duration, int32)) {
		_, got := r(n)
		if want = append(want, got); got != want[0] {
			b.Fatalf("%s(%d) %s: %d, others %d", name, n, form, got, want[0])
		}
		x := &build{run: r, best: math.MaxInt64}
		builds[form], turns = append(builds[form], x), append(turns, x)
	}
	var fuel int64
	_, noClang := osexec.LookPath("clang")
	if noClang != nil {
		b.Log("native is left out: ", noClang)
	}
	for range placements {
		for form, bin := range forms {
			add(form, startWASM(b, bin, form != "plain", &fuel))
		}
		if noClang == nil {
			add("native", startNative(b, name))
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range rounds {
		for _, x := range turns {
			d, _ := x.run(n)
			x.best = min(x.best, d)
		}
	}
	median := map[string]float64{}
	for form, list := range builds {
		slices.SortFunc(list, func(a, b *build) int { return int(a.best - b.best) })
		median[form] = list[len(list)/2].best.Seconds()
	}
	out := map[string]float64{
		"fuel/engine":  median["fuel"] / median["plain"],
		"meter/engine": median["meter"] / median["plain"],
		"Gfuel/s":      float64(fuel) / median["meter"] / 1e9,
	}
	if noClang == nil {
		out["engine/native"] = median["plain"] / median["native"]
		out["meter/native"] = median["meter"] / median["native"]
	}
	return out
}

// startWASM instantiates a module. fuel gets what the last run used.
func startWASM(b *testing.B, bin []byte, metered bool, fuel *int64) func(uint64) (time.Duration, int32) {
	h := newHost(b, wazero.NewRuntimeConfigCompiler())
	h.slice = 10_000_000
	m, err := h.instantiate(b, bin)
	if err != nil {
		b.Fatal(err)
	}
	run := m.ExportedFunction("run")
	return func(n uint64) (time.Duration, int32) {
		var before int64
		if metered {
			m.ExportedGlobal(meter.DepthGlobal).(api.MutableGlobal).Set(meter.DefaultDepth)
			before = h.used(m)
		}
		start := cpuTime()
		res, err := run.Call(context.Background(), n)
		d := cpuTime() - start
		if err != nil {
			b.Fatal(err)
		}
		if metered {
			*fuel = h.used(m) - before
		}
		return d, int32(res[0])
	}
}

// startNative builds a kernel with clang -O2 and starts it.
func startNative(b *testing.B, name string) func(uint64) (time.Duration, int32) {
	bin := filepath.Join(b.TempDir(), name)
	cmd := osexec.Command("clang", "-O2", "-w", "-o", bin, filepath.Join("testdata/kernels", name+".c"), "testdata/native/main.c", "-lm")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	p := osexec.Command(bin)
	in, err := p.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	pipe, err := p.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close() // which ends it
		io.Copy(io.Discard, pipe)
		p.Wait()
	})
	out := bufio.NewReader(pipe)
	return func(n uint64) (time.Duration, int32) {
		var ns int64
		var result int32
		if _, err := fmt.Fprintln(in, n); err != nil {
			b.Fatal(err)
		}
		if _, err := fmt.Fscanln(out, &ns, &result); err != nil {
			b.Fatal(err)
		}
		return time.Duration(ns), result
	}
}
