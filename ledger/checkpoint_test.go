package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// chainOf reads a book's chain.
func chainOf(t testing.TB, b *ledger.Book) (list []ledger.Entry) {
	t.Helper()
	var bad error
	err := b.Entries(0, 0, func(raw []byte) bool {
		e, _, err := ledger.VerifyEntry(raw)
		list, bad = append(list, e), err
		return err == nil
	})
	if err = errors.Join(err, bad); err != nil {
		t.Fatal(err)
	}
	return list
}

// leases settles n leases of one unit between the two.
func (p *pair) leases(t testing.TB, n int) {
	t.Helper()
	for range n {
		p.open(t, 10)
		p.unit(t, 1)
		earn := ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
		if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *pair) reopen(t testing.TB) {
	t.Helper()
	p.user.Close()
	p.host.Close()
	p.user, p.host = openBook(t, p.userStore, p.userKey), openBook(t, p.hostStore, p.hostKey)
}

// The book writes a checkpoint in every place that is due, in the commit that made it due, and a
// replay from the first entry agrees with each. Reopening in any place changes nothing.
func TestBookWritesCheckpointsThatReplayConfirms(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	every := network.Params.CheckpointEvery
	for range 25 {
		p.leases(t, 1)
		p.reopen(t)
	}
	for _, b := range []*ledger.Book{p.user, p.host} {
		a := ok(ledger.NewAudit(network))(t)
		if err := a.Book(b); err != nil {
			t.Fatal(err)
		}
		list := chainOf(t, b)
		for _, e := range list {
			if due := e.Seq > 0 && e.Seq%every == 0; due != (e.Type == ledger.TypeCheckpoint) {
				t.Errorf("entry %d is a %s", e.Seq, e.Type)
			}
		}
		if len(list) < 3*int(every) {
			t.Fatalf("only %d entries", len(list))
		}
	}
	if p.user.Balance().Locked != 5*ledger.Credit {
		t.Error("the first lock, open all the time, was lost")
	}
}

// A store without what blocks leave, as the first p3 wrote them, gets it when it is opened.
func TestLostNodesAreMadeAgain(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.leases(t, 30)
	want := values(t, p.userStore)
	for k := range want {
		if k[:9] == "ledger/m/" || k[:9] == "ledger/c/" {
			if err := p.userStore.Commit(t.Context(), ledger.Op{Key: []byte(k), Delete: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.reopen(t)
	for k, v := range values(t, p.userStore) {
		if want[k] != v {
			t.Errorf("key %q differs", k)
		}
		delete(want, k)
	}
	if len(want) != 0 {
		t.Errorf("%d keys were not made again", len(want))
	}
	p.leases(t, 10)
	a := ok(ledger.NewAudit(network))(t)
	if err := a.Book(p.user); err != nil {
		t.Error(err)
	}
}

func values(t testing.TB, s *ledgertest.Memory) map[string]string {
	t.Helper()
	out := make(map[string]string)
	if err := s.Scan([]byte("ledger/"), nil, func(k, v []byte) bool { out[string(k)] = string(v); return true }); err != nil {
		t.Fatal(err)
	}
	return out
}

// An entry of the tail that is gone or changed is noticed when the book is opened.
func TestDamagedTailIsNoticedAtOpen(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.leases(t, 2)
	p.user.Close()
	head := p.user.Head()
	key := func(seq uint64) []byte {
		return append([]byte("ledger/e/\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), byte(seq))
	}
	raw := ok(p.userStore.Get(key(head.Seq - 1)))(t)
	raw[200] ^= 1
	for name, op := range map[string]ledger.Op{
		"gone":    {Key: key(head.Seq - 1), Delete: true},
		"changed": {Key: key(head.Seq - 1), Value: raw},
	} {
		s := p.userStore.Clone()
		if err := s.Commit(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.OpenBook(t.Context(), s, p.userKey, network); err == nil {
			t.Errorf("entry before the head %s: opened", name)
		}
	}
	if _, err := ledger.OpenBook(t.Context(), p.userStore, p.userKey, network); err != nil {
		t.Error(err)
	}
}

// Checkpoints come with the commit of the entry before: a failed write leaves neither.
func TestCheckpointSharesTheCommit(t *testing.T) {
	store := ledgertest.NewMemory()
	b := openBook(t, store, newKey(t))
	for n := uint64(1); b.Head().Len < 3*network.Params.CheckpointEvery; n++ {
		ok(b.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
		if h := b.Head(); h.Len%network.Params.CheckpointEvery == 0 {
			t.Fatalf("after lock %d the chain ends with entry %d: its checkpoint is missing", n, h.Seq)
		}
	}
}
