package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// audited replays the books' chains and receipts.
func audited(t *testing.T, books ...*ledger.Book) ledger.Totals {
	t.Helper()
	a := ok(ledger.NewAudit(network))(t)
	for _, b := range books {
		if err := a.Book(b); err != nil {
			t.Fatal(err)
		}
	}
	return ok(a.Check())(t)
}

func lockFor(t testing.TB, payer, payee *ledger.Book, amount ledger.Credits) ledger.SignedEntry {
	t.Helper()
	return ok(payer.Lock(t.Context(), ledger.LockRequest{Payee: payee.Account(), Amount: amount, Expiry: time.Now().Add(time.Hour)}))(t)
}

// A thief has a copy of everything on the owner's machine. The owner recovers with the key that was kept
// elsewhere, and shows it: the rest of the credit is the owner's alone.
func TestAttack31AccountKeyTheft(t *testing.T) {
	recovery := newKey(t)
	p := &pair{userStore: ledgertest.NewMemory(), hostStore: ledgertest.NewMemory(), userKey: newKey(t), hostKey: newKey(t)}
	p.host = openBook(t, p.hostStore, p.hostKey)
	p.user = ok(ledger.BeginBook(t.Context(), p.userStore, nil, p.userKey, network, recovery.Account()))(t)
	p.leases(t, 5)
	p.user.Close()

	thief := openBook(t, p.userStore.Clone(), p.userKey)
	stolen := lockFor(t, thief, p.host, 2*ledger.Credit)
	ok(p.host.AcceptLock(t.Context(), stolen.Raw, time.Now()))(t) // before anybody knows: this much is lost

	owner := ok(ledger.RecoverBook(t.Context(), p.userStore, nil, recovery, network, ledger.Digest{}))(t)
	defer owner.Close()
	shown := ok(owner.Lineage())(t)
	if owner.Account() != recovery.Account() || owner.Balance().Net != -5 || len(shown) != 1 {
		t.Fatalf("account %s has %+v, %d successions", owner.Account(), owner.Balance(), len(shown))
	}
	for range 3 { // shown again, it changes nothing
		if err := p.host.Succeed(t.Context(), shown[0]); err != nil {
			t.Fatal(err)
		}
	}
	other := openBook(t, ledgertest.NewMemory(), newKey(t)) // a provider that never met the account
	if err := other.Succeed(t.Context(), shown[0]); err != nil {
		t.Fatal(err)
	}

	// The rest is frozen for the thief: with the old key, after a rotation to its own, with a recovery of its own.
	for _, host := range []*ledger.Book{p.host, other} {
		if _, err := host.AcceptLock(t.Context(), lockFor(t, thief, host, 1).Raw, time.Now()); !errors.Is(err, ledger.ErrFrozen) {
			t.Errorf("a lock by the stolen key: %v", err)
		}
	}
	forged := newKey(t)
	h := thief.Head()
	genesis := shown[0].First
	bad := ledger.Succession{First: genesis, Second: ok(forged.SignEntry(h.Recover(forged.Account(), ledger.Digest{}, time.Now())))(t)}
	if err := other.Succeed(t.Context(), bad); !errors.Is(err, ledger.ErrChain) {
		t.Errorf("a recovery by another key: %v", err)
	}
	store := ledgertest.NewMemory() // the thief hands the account over before it heard of the recovery
	quick := openBook(t, store, p.userKey)
	quick.Close()
	rotated := ok(ledger.RotateBook(t.Context(), store, nil, p.userKey, forged, network, ledger.Digest{}))(t)
	defer rotated.Close()
	handed := ok(rotated.Lineage())(t)[0]
	if err := other.Succeed(t.Context(), handed); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("a rotation after the recovery: %v", err)
	}
	third := openBook(t, ledgertest.NewMemory(), newKey(t))
	if err := third.Succeed(t.Context(), handed); err != nil {
		t.Fatal(err)
	}
	ok(third.AcceptLock(t.Context(), lockFor(t, rotated, third, 1).Raw, time.Now()))(t) // nobody told this one yet
	if err := third.Succeed(t.Context(), shown[0]); err != nil {
		t.Errorf("a recovery does not win over the thief's rotation: %v", err)
	}
	if _, err := third.AcceptLock(t.Context(), lockFor(t, rotated, third, 1).Raw, time.Now()); !errors.Is(err, ledger.ErrFrozen) {
		t.Errorf("a lock by the account that the thief handed over to: %v", err)
	}

	// The owner goes on under the recovery key, with the window it had earned.
	x, was := ok(p.host.Exposure(owner.Account()))(t), ok(p.host.Exposure(p.userKey.Account()))(t)
	if x.Window != was.Window || x.Window.Allowed() < 4 {
		t.Errorf("window %+v of the new account, %+v of the old", x.Window, was.Window)
	}
	p.user = owner
	p.open(t, ledger.Credit)
	p.unit(t, 7)
	ok(p.host.Earn(t.Context(), ok(owner.Settle(t.Context(), p.lock))(t)))(t)
	if s := audited(t, owner, p.host); s.Net() != 0 || s.InTransit != 0 {
		t.Errorf("%+v", s)
	}
	// Receipts of before say what they said.
	n := 0
	if err := owner.Receipts(0, 0, func(_ uint64, r ledger.Receipt) bool { _, err := r.Verify(); n++; return err == nil }); err != nil || n != 6 {
		t.Errorf("%d of 6 receipts verify (%v)", n, err)
	}
}

// Locks that were open when the key was lost stay locked, and are settled under the new one.
func TestRecoveryKeepsOpenLocks(t *testing.T) {
	recovery := newKey(t)
	p := &pair{userStore: ledgertest.NewMemory(), hostStore: ledgertest.NewMemory(), userKey: newKey(t), hostKey: newKey(t)}
	p.host = openBook(t, p.hostStore, p.hostKey)
	p.user = ok(ledger.BeginBook(t.Context(), p.userStore, nil, p.userKey, network, recovery.Account()))(t)
	p.open(t, ledger.Credit)
	p.unit(t, 100)
	p.user.Close()
	if _, err := ledger.RecoverBook(t.Context(), p.userStore, nil, newKey(t), network, ledger.Digest{}); !errors.Is(err, ledger.ErrChain) {
		t.Fatalf("with another key: %v", err)
	}
	owner := ok(ledger.RecoverBook(t.Context(), p.userStore, nil, recovery, network, ledger.Digest{}))(t)
	defer owner.Close()
	if b := owner.Balance(); b.Locked != ledger.Credit {
		t.Fatalf("%+v", b)
	}
	later := time.Now().Add(2 * time.Hour)
	earn := ok(p.host.EarnVoucher(t.Context(), p.lock, later))(t)
	if err := owner.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
	if b := owner.Balance(); b.Locked != 0 || b.Spent != 100 {
		t.Errorf("%+v", b)
	}
	if m := ok(owner.Pending())(t); len(m) != 0 {
		t.Errorf("pending %+v", m)
	}
	if s := audited(t, owner, p.host); s.Net() != 0 || s.InTransit != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := ledger.OpenBook(t.Context(), p.userStore, p.userKey, network); err == nil {
		t.Error("the old key still opens the ledger")
	}
}

// A payee recovers its account while a lease is open, and takes up the voucher that its old one was given: an audit finds
// that in order.
func TestRecoveredPayeeTakesUpItsVoucher(t *testing.T) {
	recovery := newKey(t)
	p := &pair{userStore: ledgertest.NewMemory(), hostStore: ledgertest.NewMemory(), userKey: newKey(t), hostKey: newKey(t)}
	p.user = openBook(t, p.userStore, p.userKey)
	p.host = ok(ledger.BeginBook(t.Context(), p.hostStore, nil, p.hostKey, network, recovery.Account()))(t)
	p.open(t, ledger.Credit)
	p.unit(t, 100)
	p.host.Close()
	owner := ok(ledger.RecoverBook(t.Context(), p.hostStore, nil, recovery, network, ledger.Digest{}))(t)
	defer owner.Close()
	ok(owner.EarnVoucher(t.Context(), p.lock, time.Now().Add(2*time.Hour)))(t)
	if b := owner.Balance(); b.Earned != 100 {
		t.Fatalf("%+v", b)
	}
	if s := audited(t, owner, p.user); s.Net() != 100 || s.InTransit != -100 {
		t.Errorf("%+v", s)
	}
	ok(p.user.Settle(t.Context(), p.lock))(t)
	if s := audited(t, owner, p.user); s.Net() != 0 || s.InTransit != 0 {
		t.Errorf("settled: %+v", s)
	}
}

// A rotation in every place of a block, checkpoints and all; each time proof, audit and reopening agree.
func TestRotationInEveryPlace(t *testing.T) {
	store, key := ledgertest.NewMemory(), newKey(t)
	b := openBook(t, store, key)
	host := openBook(t, ledgertest.NewMemory(), newKey(t))
	for round := range 2 * int(network.Params.CheckpointEvery) {
		e := lockFor(t, b, host, 3)
		b.Close()
		if _, err := ledger.RotateBook(t.Context(), store, nil, key, newKey(t), network, ledger.Digest{}); !errors.Is(err, ledger.ErrBusy) {
			t.Fatalf("a rotation with an open lease: %v", err)
		}
		b = openBook(t, store, key)
		ok(b.Settle(t.Context(), e.Digest))(t)
		if round%2 == 0 { // every second round is one entry longer: all places come up
			h := b.Head()
			ok(b.Settle(t.Context(), lockFor(t, b, host, 3).Digest))(t)
			if b.Head().Len < h.Len+2 {
				t.Fatal("no entries")
			}
		}
		b.Close()
		next := newKey(t)
		b = ok(ledger.RotateBook(t.Context(), store, nil, key, next, network, ledger.Digest{}))(t)
		key = next
		if b.Account() != next.Account() || b.Head().Epoch != uint32(round)+1 {
			t.Fatalf("round %d: %+v", round, b.Head())
		}
		s := ok(ok(ledger.ParseBalanceProof(encoded(t, b)))(t).Verify())(t)
		if s.Head != b.Head() {
			t.Fatalf("round %d: proof says %+v, book %+v", round, s.Head, b.Head())
		}
		audited(t, b)
		for _, s := range ok(b.Lineage())(t) {
			if _, err := s.Verify(network.Floor); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
	b.Close()
}

// A rotation does not wash an account clean.
func TestFaultFollowsARotation(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, 3*ledger.Credit)
	low := settleAt(t, p.userKey, p.lockRaw, 1)
	if _, err := p.host.Earn(t.Context(), low); err == nil {
		t.Fatal("no proof")
	}
	key, last := newKey(t), ok(ledger.ParseEntry(low))(t)
	half := ledger.HeadAt(last, last.Digest()).HandOver(key.Account(), time.Now())
	after := ledger.HeadAt(half, half.Digest())
	s := ledger.Succession{First: ok(p.userKey.SignEntry(half))(t), Second: ok(key.SignEntry(after.TakeOver(ledger.Digest{}, time.Now())))(t)}
	if err := p.host.Succeed(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	next := ok(ledger.ParseEntry(s.Second))(t)
	lock := ledger.HeadAt(next, next.Digest()).Lock(p.host.Account(), 1, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())
	if _, err := p.host.AcceptLock(t.Context(), ok(key.SignEntry(lock))(t), time.Now()); !errors.Is(err, ledger.ErrFrozen) {
		t.Errorf("the fault did not follow the rotation: %v", err)
	}
}

func TestClosedChainSignsNothing(t *testing.T) {
	for n := range int(network.Params.CheckpointEvery) + 1 { // the end may stand where a checkpoint were due after it
		store, key := ledgertest.NewMemory(), newKey(t)
		b := openBook(t, store, key)
		for range n {
			e := ok(b.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
			if n%2 == 1 {
				ok(b.Settle(t.Context(), e.Digest))(t)
			}
		}
		if n%2 == 0 && n > 0 {
			if err := b.CloseChain(t.Context()); !errors.Is(err, ledger.ErrBusy) {
				t.Fatalf("closed with open locks: %v", err)
			}
			ok(b.Sweep(t.Context(), time.Now().Add(2*time.Hour)))(t)
		}
		if err := b.CloseChain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.CloseChain(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
		b.Close()
		b = openBook(t, store, key)
		if _, err := b.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)}); !errors.Is(err, ledger.ErrChain) {
			t.Errorf("a lock after the end: %v", err)
		}
		audited(t, b)
		if s := ok(ok(b.BalanceProof(t.Context()))(t).Verify())(t); !s.Head.Closed {
			t.Error("the proof does not show the end")
		}
	}
}
