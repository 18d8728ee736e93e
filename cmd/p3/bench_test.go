package main

import (
	"bytes"
	"context"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/noop"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// benchNet is a network of four processes with a job of no-op units open on it.
func benchNet(b *testing.B) (*localNet, *node.Client, string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	b.Cleanup(cancel)
	net, err := newLocalNet(b.TempDir(), "you", "maple", "oak", "birch")
	if err != nil {
		b.Fatal(err)
	}
	if dir := os.Getenv("PROFILE_DIR"); dir != "" { // one CPU profile a node
		for _, n := range net.nodes {
			n.args = append(n.args, "--cpuprofile", filepath.Join(dir, n.name+".pprof"))
		}
	}
	b.Cleanup(func() {
		if err := net.stop(); err != nil {
			b.Error(err)
		}
	})
	if err := net.start(ctx); err != nil {
		b.Fatal(err)
	}
	if err := net.offers(ctx); err != nil {
		b.Fatal(err)
	}
	you := net.nodes[0].client
	f, err := you.PutBlob(ctx, bytes.NewReader(noop.Wasm))
	if err != nil {
		b.Fatal(err)
	}
	f.Name = "noop.wasm"
	limits := exec.DefaultLimits
	limits.Fuel = 1_000_000
	j, err := you.SubmitJob(ctx, exec.Manifest{Version: 1, Kind: exec.KindMap, Engine: exec.EngineWASM, Name: "noop", Program: f, Each: exec.EachLines,
		Limits: limits, Verify: 1, Budget: 5 * ledger.Credit, Retries: 3, Costs: wasm.CostTable()})
	if err != nil {
		b.Fatal(err)
	}
	return net, you, j.ID.String()
}

// feedNoop adds n units to the job and waits for their results, over two streams like those of `p3 map`.
// next is called before each input and done after each result.
func feedNoop(b *testing.B, you *node.Client, id string, from, n uint64, next, done func()) {
	b.Helper()
	ctx := context.Background()
	sent := make(chan error, 1)
	go func() {
		i := uint64(0)
		_, err := you.AddInputs(ctx, id, from, func() (exec.Input, error) {
			if i == n {
				return exec.Input{}, io.EOF
			}
			i++
			next()
			return exec.Input{}, nil
		})
		sent <- err
	}()
	got := uint64(0)
	err := you.Results(ctx, id, from, node.InOrder, func(u node.UnitResult) error {
		if !u.Result.OK() {
			b.Fatalf("unit %d: %s", u.Unit, explainUnit(u))
		}
		done()
		if got++; got == n {
			return io.EOF
		}
		return nil
	})
	if err != io.EOF {
		b.Fatal(err)
	}
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
}

// warmNoop is how many units grow the windows of unpaid units before the clock starts.
const warmNoop = 300

func atOnce() {}

// BenchmarkJobNoop is units that do nothing, through the whole path: inputs over the local
// API, three provider processes on loopback, workers, claims and vouchers durable on both
// sides, results in order.
func BenchmarkJobNoop(b *testing.B) {
	_, you, id := benchNet(b)
	feedNoop(b, you, id, 0, warmNoop, atOnce, atOnce)
	b.ResetTimer()
	feedNoop(b, you, id, warmNoop, uint64(b.N), atOnce, atOnce)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "units/s")
}

// BenchmarkJobLatency is one unit at a time through warm leases: input in, result out.
func BenchmarkJobLatency(b *testing.B) {
	_, you, id := benchNet(b)
	feedNoop(b, you, id, 0, warmNoop, atOnce, atOnce)
	var start time.Time
	var took []time.Duration
	idle := make(chan struct{}, 1)
	idle <- struct{}{}
	b.ResetTimer()
	feedNoop(b, you, id, warmNoop, uint64(b.N),
		func() { <-idle; start = time.Now() },
		func() { took = append(took, time.Since(start)); idle <- struct{}{} })
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
}

// BenchmarkStatus is `p3 status` as a process, against a node that idles: the binary that users run, since most
// of the time starts it, and this test binary carries more.
func BenchmarkStatus(b *testing.B) {
	net, _, _ := benchNet(b)
	net.exe = filepath.Join(b.TempDir(), "p3")
	if out, err := osexec.Command("go", "build", "-o", net.exe, ".").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v: %s", err, out)
	}
	for b.Loop() {
		if out, err := net.p3("--json", "status"); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}
