package job

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// rows counts what the journal has of all jobs.
func rows(t *testing.T, s ledger.Store) (n int) {
	t.Helper()
	for _, part := range "miosk" {
		if err := s.Scan([]byte("job/"+string(part)+"/"), nil, func(_, _ []byte) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// copied is a store in memory with what another has of jobs.
func copied(t *testing.T, from ledger.Store) ledger.Store {
	t.Helper()
	to := ledgertest.NewMemory()
	var ops []ledger.Op
	err := from.Scan([]byte("job/"), nil, func(k, v []byte) bool {
		ops = append(ops, ledger.Op{Key: slices.Clone(k), Value: slices.Clone(v)})
		return true
	})
	if err := errors.Join(err, to.Commit(t.Context(), ops...)); err != nil {
		t.Fatal(err)
	}
	return to
}

// A removal that breaks off at any write is completed by the next start, or never began.
func TestRemovedJobLeavesNothingWhereverItBreaksOff(t *testing.T) {
	withRequester(t, 1, func(h *hub) ([]*party, []market.Offer) {
		p := h.party()
		p.provide(lends(2))
		return []*party{p}, []market.Offer{p.offer()}
	}, func(t *testing.T, d *desk) {
		var inputs []exec.Input
		for i := range removeMax + 10 { // more than one commit of each kind
			inputs = append(inputs, exec.Input{Stdin: []byte{byte(i)}})
		}
		j := d.submit(true, inputs...)
		got := 0
		if err := d.Results(t.Context(), j.ID, 0, node.InOrder, func(node.UnitResult) error { got++; return nil }); err != nil || got != len(inputs) {
			t.Fatal(got, err)
		}
		await(t, time.Hour, "all locks are settled", func() bool { return len(d.me.Book.OpenLocks()) == 0 })
		spent := d.me.Book.Balance().Spent
		d.Close()
		original, done := d.me.Store, false
		for at := 1; !done; at++ {
			store := copied(t, original)
			failing := &ledgertest.Failing{Store: store, FailAt: at}
			d.me.Env.Store = failing
			r := NewRequester(d.me.Env, d.me.x, d.me.settler, fair{})
			if err := r.Resume(); err != nil {
				t.Fatal(err)
			}
			_, err := r.Remove(t.Context(), j.ID)
			done = err == nil
			if !done && !errors.Is(err, ledgertest.ErrInjected) {
				t.Fatal(at, err)
			}
			r.Close()
			failing.FailAt = 0
			r = NewRequester(d.me.Env, d.me.x, d.me.settler, fair{})
			if err := r.Resume(); err != nil {
				t.Fatal(err)
			}
			_, err = r.Job(j.ID)
			if left := rows(t, store); (err == nil) != (at == 1) || (left == 0) != (at > 1) {
				t.Errorf("after write %d failed and a restart: %d rows, %v", at, left, err)
			}
			r.Close()
		}
		if d.me.Book.Balance().Spent != spent {
			t.Error("what the job cost is forgotten too")
		}
	})
}

// What a job may spend is raised while it runs, and stays raised over a restart.
func TestRaisedBudgetOutlivesARestart(t *testing.T) {
	withRequester(t, 1, func(*hub) ([]*party, []market.Offer) { return nil, nil }, func(t *testing.T, d *desk) {
		j := d.submit(true, exec.Input{})
		for _, by := range []ledger.Credits{0, -1, ledger.MaxCredits} {
			if _, err := d.Raise(t.Context(), j.ID, by); err == nil {
				t.Errorf("raised by %s", by)
			}
		}
		was := j.Budget
		for i := range ledger.Credits(3) {
			var err error
			if j, err = d.Raise(t.Context(), j.ID, ledger.Credit/2); err != nil || j.Budget != was+(i+1)*ledger.Credit/2 {
				t.Fatalf("%s, %v", j.Budget, err)
			}
		}
		d.Close()
		r := NewRequester(d.me.Env, d.me.x, d.me.settler, fair{})
		defer r.Close()
		if err := r.Resume(); err != nil {
			t.Fatal(err)
		}
		if k, err := r.Job(j.ID); err != nil || k.Budget != j.Budget {
			t.Errorf("%s after the restart, %v", k.Budget, err)
		}
		n, _ := r.run(j.ID)
		if n.m.Budget != j.Budget || n.manifestBudget != was {
			t.Errorf("the run has %s of %s", n.m.Budget, n.manifestBudget)
		}
	})
}
