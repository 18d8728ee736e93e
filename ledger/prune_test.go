package ledger_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// A pruned ledger keeps a fraction of its entries, and opens, proves, works and refuses as before.
func TestPrunedLedgerWorksAsBefore(t *testing.T) {
	p := newPair(t, 5*ledger.Credit) // stays open all the time
	first := p.lock
	p.leases(t, 40)
	old := ok(p.host.Receipt(p.lock))(t)
	before := [2][]byte{encoded(t, p.user), encoded(t, p.host)}
	was := len(chainOf(t, p.user))
	n := ok(p.user.Prune(t.Context()))(t) + ok(p.host.Prune(t.Context()))(t)
	kept := len(chainOf(t, p.user))
	every := int(network.Params.CheckpointEvery)
	if most := was/every + 1 + every; kept > most || n < was/2 {
		t.Errorf("%d entries kept of %d, at most %d expected; %d removed from both", kept, was, most, n)
	}
	if again := ok(p.user.Prune(t.Context()))(t); again != 0 {
		t.Errorf("pruned %d more at once", again)
	}
	for range 2 {
		for i, b := range []*ledger.Book{p.user, p.host} {
			if !bytes.Equal(encoded(t, b), before[i]) {
				t.Fatal("the proof changed")
			}
		}
		p.reopen(t)
	}
	// What was earned is not earned again, and what was open is settled.
	user, host := p.user.Head(), p.host.Head()
	if _, err := p.host.Earn(t.Context(), old.Settle); err != nil {
		t.Error(err)
	}
	if _, err := p.host.AcceptLock(t.Context(), old.Lock, time.Now()); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("a lock of before: %v", err)
	}
	if p.user.Head() != user || p.host.Head() != host {
		t.Error("a replay moved a balance")
	}
	ok(p.user.Settle(t.Context(), first))(t)
	p.leases(t, 20)
	ok(p.user.Prune(t.Context()))(t)
	p.reopen(t)
	p.leases(t, 1)
	for _, b := range []*ledger.Book{p.user, p.host} {
		if s := ok(ok(ledger.ParseBalanceProof(encoded(t, b)))(t).Verify())(t); s.Head != b.Head() {
			t.Errorf("%+v", s)
		}
	}
	// An audit says that entries are missing, and nothing worse.
	a := ok(ledger.NewAudit(network))(t)
	if err := a.Book(p.user); err != nil {
		t.Fatal(err)
	}
	for _, problem := range a.Report().Problems {
		if problem.Kind == ledger.ProblemFork || problem.Kind == ledger.ProblemInvalid || problem.Kind == ledger.ProblemChain {
			t.Errorf("%v", problem)
		}
	}
}

// Pruning over key changes keeps what shows them.
func TestPruningKeepsTheLineage(t *testing.T) {
	store, key, recovery := ledgertest.NewMemory(), newKey(t), newKey(t)
	b := openBook(t, store, key)
	fill := func() {
		for range 12 {
			e := ok(b.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
			ok(b.Settle(t.Context(), e.Digest))(t)
		}
	}
	for range 4 {
		fill()
		b.Close()
		next := newKey(t)
		b = ok(ledger.RotateBook(t.Context(), store, nil, key, next, network, ledger.RecoveryCommitment(recovery.Account())))(t)
		key = next
		fill()
		ok(b.Prune(t.Context()))(t)
	}
	b.Close()
	b = ok(ledger.RecoverBook(t.Context(), store, nil, recovery, network, ledger.Digest{}))(t)
	defer b.Close()
	list := ok(b.Lineage())(t)
	if len(list) != 5 {
		t.Fatalf("%d successions", len(list))
	}
	for _, s := range list {
		ok(s.Verify(network.Floor))(t)
	}
	if s := ok(ok(b.BalanceProof(t.Context()))(t).Verify())(t); s.Head != b.Head() {
		t.Errorf("%+v", s)
	}
}
