package job

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// counted counts the units that begin.
type counted struct {
	echo
	begun *atomic.Int64
}

func (c counted) Run(ctx context.Context, s exec.Spec) (exec.Result, error) {
	c.begun.Add(1)
	return c.echo.Run(ctx, s)
}

// only are these inputs, as AddInputs asks for them.
func only(in ...exec.Input) func() (exec.Input, error) {
	return func() (exec.Input, error) {
		if len(in) == 0 {
			return exec.Input{}, io.EOF
		}
		x := in[0]
		in = in[1:]
		return x, nil
	}
}

func TestUnitsBeginWhileTheirInputsAreSaved(t *testing.T) {
	var begun atomic.Int64
	withRequester(t, 1, honest(1, counted{begun: &begun}), func(t *testing.T, d *desk) {
		g := &gated{Store: d.env.Store, held: make(chan struct{}), free: make(chan struct{})}
		d.env.Store = g
		j, err := d.Submit(t.Context(), d.m)
		if err != nil {
			t.Fatal(err)
		}
		added := make(chan uint64)
		go func() {
			n, err := d.AddInputs(t.Context(), j.ID, 0, only(texts("x")...))
			if err != nil {
				t.Error(err)
			}
			added <- n
		}()
		<-g.held
		await(t, time.Minute, "the unit's beginning", func() bool { return begun.Load() == 1 })
		time.Sleep(time.Minute)
		synctest.Wait()
		if j, _ := d.Job(j.ID); j.Units != 0 || j.Done != 0 || j.Spent != 0 {
			t.Errorf("before its input is saved: %d units, %d done, %s spent", j.Units, j.Done, j.Spent)
		}
		close(g.free)
		if n := <-added; n != 1 {
			t.Errorf("%d units", n)
		}
		if _, err := d.CloseInputs(t.Context(), j.ID, 1); err != nil {
			t.Fatal(err)
		}
		if n := d.results(j.ID); n != 1 || begun.Load() != 1 {
			t.Errorf("%d results of %d runs", n, begun.Load())
		}
	})
}

// refusing fails the first commit of inputs.
type refusing struct {
	ledger.Store
	failed atomic.Bool
}

func (r *refusing) Commit(ctx context.Context, ops ...ledger.Op) error {
	if len(ops) > 1 && string(ops[0].Key[:6]) == "job/i/" && r.failed.CompareAndSwap(false, true) {
		return errors.New("no space left on device")
	}
	return r.Store.Commit(ctx, ops...)
}

// A unit that began is the job's, although its input could not be saved at first.
func TestInputThatCouldNotBeSavedIsSavedBeforeItsResult(t *testing.T) {
	withRequester(t, 1, honest(1, echo{}), func(t *testing.T, d *desk) {
		d.env.Store = &refusing{Store: d.env.Store}
		j, err := d.Submit(t.Context(), d.m)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := d.AddInputs(t.Context(), j.ID, 0, only(texts("first")...)); n != 0 || err == nil {
			t.Fatalf("%d units are known, %v", n, err)
		}
		await(t, time.Minute, "the result", func() bool { j, _ := d.Job(j.ID); return j.Done == 1 })
		if n, err := d.AddInputs(t.Context(), j.ID, 0, only(texts("again", "second")...)); n != 2 || err != nil {
			t.Fatalf("%d units are known, %v", n, err)
		}
		if _, err := d.CloseInputs(t.Context(), j.ID, 2); err != nil {
			t.Fatal(err)
		}
		var out []string
		if err := d.Results(t.Context(), j.ID, 0, node.InOrder, func(u node.UnitResult) error {
			out = append(out, string(u.Result.Stdout))
			return nil
		}); err != nil || len(out) != 2 || out[0] != "first" || out[1] != "second" {
			t.Errorf("%q, %v", out, err)
		}
		for unit := range uint64(2) {
			if _, err := d.j.input(j.ID, unit); err != nil {
				t.Errorf("input of unit %d: %v", unit, err)
			}
		}
	})
}
