package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/noop"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

var efficiencies = flag.Bool("efficiency", false, "measure the efficiency of the protocol in simulated time")

// sleeps are lengths of units, and what part of the ideal is wanted.
var sleeps = []struct {
	name  string
	unit  time.Duration
	least float64
}{{"500ms", 500 * time.Millisecond, 0.98}, {"50ms", 50 * time.Millisecond, 0.90}}

// farLink is 20 ms there and back.
var farLink = Link{Latency: 10 * time.Millisecond, Mbps: 1000}

// BenchmarkEfficiency is the ideal time over the actual one of units that take time and no processor, on 32 providers of one
// slot, 20 ms there and back away: whole nodes in this process, in real time, with their ledgers in memory. What 33 machines
// compute beside has to fit into this one, so it says something only where nothing else runs.
func BenchmarkEfficiency(b *testing.B) {
	for _, c := range sleeps {
		b.Run(c.name, func(b *testing.B) {
			f, err := newFarm(b, New(b, *seed, farLink), c.unit)
			if err != nil {
				b.Fatal(err)
			}
			ratio, rounds := 0.0, 0
			for b.Loop() {
				r, err := f.round()
				if err != nil {
					b.Fatal(err)
				}
				ratio, rounds = ratio+r, rounds+1
			}
			b.ReportMetric(ratio/float64(rounds), "ratio")
		})
	}
}

// The same in simulated time, where each machine is as fast as if it were alone: what is lost is lost to the protocol. It
// measures and does not judge: which host takes the last units follows from the order of goroutines.
func TestEfficiencyOfTheProtocol(t *testing.T) {
	if !*efficiencies {
		t.Skip("takes a minute of processor time: -efficiency measures it")
	}
	for _, c := range sleeps {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(2 * time.Second) }) // after the nodes: pubsub still tries to say that they left
				f, err := newFarm(t, New(t, *seed, farLink), c.unit)
				if err != nil {
					t.Fatal(err)
				}
				ratio, err := f.round()
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("ratio %.4f, wanted %.2f", ratio, c.least)
			})
		})
	}
}

// A sleepFarm is a job open on some providers that trust its owner.
type sleepFarm struct {
	you  *Node
	job  string
	unit time.Duration
	done uint64
}

const (
	sleepers  = 32
	warmUnits = 40  // a provider, until it trusts us with several at a time
	measured  = 100 // units a provider in a round: the last ones, of which some wait for others, count little
)

func newFarm(t testing.TB, n *Net, unit time.Duration) (*sleepFarm, error) {
	fuel, err := noopFuel(n.engine, t.TempDir())
	if err != nil {
		return nil, err
	}
	f := &sleepFarm{you: n.Add("you", Options{}), unit: unit}
	for i := range sleepers {
		n.Add(fmt.Sprintf("host%d", i), Options{Donate: true, Speed: uint64(float64(fuel) / unit.Seconds())})
		time.Sleep(time.Second) // 32 greetings at once fill an event bus, which holds a mutex then: no bubble gets past that
	}
	ctx, d := context.Background(), f.you.Daemon
	if err := wait(100*time.Millisecond, func() (bool, error) {
		offers, err := d.Offers(ctx)
		return len(offers) == sleepers, fmt.Errorf("%d offers: %v", len(offers), err)
	}); err != nil {
		return nil, err
	}
	program, err := d.PutBlob(ctx, bytes.NewReader(noop.Wasm))
	if err != nil {
		return nil, err
	}
	program.Name = "noop.wasm"
	j, err := d.SubmitJob(ctx, exec.Manifest{
		Version: 1, Kind: exec.KindMap, Engine: exec.EngineWASM, Name: "noop", Program: program, Each: exec.EachLines, Verify: 1,
		Limits: exec.Limits{Fuel: 2 * fuel, Memory: 16 << 20, WallMs: 60_000, Output: 1 << 20}, Budget: 5 * ledger.Credit, Retries: 5, Costs: wasm.CostTable(),
	})
	if err != nil {
		return nil, err
	}
	f.job = j.ID.String()
	return f, f.feed(sleepers * warmUnits)
}

// round runs units enough to measure, and returns the ideal time over the actual one.
func (f *sleepFarm) round() (float64, error) {
	begun := time.Now()
	err := f.feed(sleepers * measured)
	return measured * f.unit.Seconds() / time.Since(begun).Seconds(), err
}

// feed adds so many units to the job and waits for their results.
func (f *sleepFarm) feed(units uint64) error {
	ctx, d, left := context.Background(), f.you.Daemon, units
	if _, err := d.AddInputs(ctx, f.job, f.done, func() (exec.Input, error) {
		if left == 0 {
			return exec.Input{}, io.EOF
		}
		left--
		return exec.Input{}, nil
	}); err != nil {
		return err
	}
	err := d.Results(ctx, f.job, f.done, node.InOrder, func(u node.UnitResult) error {
		if !u.Result.OK() {
			return fmt.Errorf("unit %d: %+v", u.Unit, u)
		}
		f.done++
		if units--; units == 0 {
			return io.EOF
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// noopFuel is what one run of the program takes.
func noopFuel(engine exec.Engine, dir string) (ledger.Fuel, error) {
	path := filepath.Join(dir, "noop.wasm")
	if err := os.WriteFile(path, noop.Wasm, 0o600); err != nil {
		return 0, err
	}
	r, err := engine.Run(context.Background(), exec.Spec{Program: path, Hash: sha256.Sum256(noop.Wasm), Limits: exec.DefaultLimits})
	if err == nil && !r.OK() {
		err = fmt.Errorf("%+v", r)
	}
	return r.Fuel, err
}
