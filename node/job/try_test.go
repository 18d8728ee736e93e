package job

import (
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
)

// A commitment that crossed the cancellation of its unit is not taken for one to the next try of the same host, which
// knows nothing of it any more, could not show it, and would be held to have broken it.
func TestCommitmentThatCrossedACancellationIsNotOfTheNextTry(t *testing.T) {
	r := &run{calls: make(chan func(time.Time) []farm.Action, 8), done: make(chan struct{})}
	l := &lease{run: r, wake: make(chan struct{}, 1), commits: map[uint64]ledger.Digest{}, pending: map[uint64]uint32{}, undecided: map[uint64]bool{}, late: map[uint64]bool{}, asked: map[uint64]ask{}}
	sent := func() (tasks []task) {
		for _, u := range l.tasks {
			tasks = append(tasks, task{Unit: u, Try: l.pending[u]})
		}
		l.tasks = nil
		return tasks
	}
	l.assign(4)
	first := sent()[0]
	l.cancelUnit(4)
	l.assign(4)
	second := sent()[0]
	if first.Try == second.Try {
		t.Fatalf("both tries are %d", first.Try)
	}
	for i, c := range []commit{{4, ledger.Digest{1}, first.Try}, {4, ledger.Digest{2}, second.Try}, {4, ledger.Digest{3}, second.Try}, {4, ledger.Digest{4}, 9}} {
		if err := l.take(t.Context(), frame{Commits: []commit{c}}); err != nil {
			t.Fatal(err)
		}
		if got := len(r.calls); i == 0 && got != 0 || i > 0 && got != 1 || i > 0 && l.commits[4] != (ledger.Digest{2}) {
			t.Errorf("after commitment %d the farm heard of %d, and %v stands", i, got, l.commits[4])
		}
	}
}
