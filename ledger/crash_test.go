package ledger_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// TestEveryWriteFailingInTurnLosesNothing runs one lease with the n-th commit of one side failing,
// before or after it reached the disk, then opens that side's book again and ends the lease.
func TestEveryWriteFailingInTurnLosesNothing(t *testing.T) {
	for _, hostFails := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			for n, done := 2, false; !done; n++ { // the first commit is the chain's beginning
				done = failAt(t, hostFails, after, n)
				if n > 20 {
					t.Fatal("the lease never ends")
				}
			}
		}
	}
}

// failAt reports whether the lease ran through without reaching the n-th commit.
func failAt(t *testing.T, hostFails, after bool, n int) bool {
	t.Helper()
	stores := [2]*ledgertest.Memory{ledgertest.NewMemory(), ledgertest.NewMemory()}
	keys := [2]ledger.Key{newKey(t), newKey(t)}
	failing := 0
	if hostFails {
		failing = 1
	}
	var books [2]*ledger.Book
	for i := range books {
		var s ledger.Store = stores[i]
		if i == failing {
			s = &ledgertest.Failing{Store: s, FailAt: n, After: after}
		}
		books[i] = openBook(t, s, keys[i])
	}
	err := runLease(t, books[0], books[1], ledger.Digest{})
	if err == nil {
		return true
	}
	if !errors.Is(err, ledger.ErrReadOnly) || !errors.Is(err, ledgertest.ErrInjected) || books[failing].ReadOnly() == nil {
		t.Fatalf("commit %d: %v, want ErrReadOnly with the cause", n, err)
	}
	if _, err := books[failing].Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)}); !errors.Is(err, ledger.ErrReadOnly) {
		t.Fatalf("a book whose store failed still signs: %v", err)
	}
	books[failing].Close()
	books[failing] = openBook(t, stores[failing], keys[failing])
	var lock ledger.Digest
	if open := books[0].OpenLocks(); len(open) > 0 {
		lock = open[0].ID
	} else if m := ok(books[0].Pending())(t); len(m) > 0 {
		lock = m[0].Lock
	}
	if err := runLease(t, books[0], books[1], lock); err != nil {
		t.Fatalf("commit %d failed (host %v, after %v), then: %v", n, hostFails, after, err)
	}
	a := ok(ledger.NewAudit(network))(t)
	for _, b := range books {
		if err := a.Book(b); err != nil {
			t.Fatal(err)
		}
		if m := ok(b.Pending())(t); len(m) != 0 || b.Balance().Locked != 0 {
			t.Errorf("commit %d: %d messages pending, %s locked", n, len(m), b.Balance().Locked)
		}
	}
	if s := ok(a.Check())(t); s.InTransit != 0 || s.Spent == 0 {
		t.Errorf("commit %d: %+v", n, s)
	}
	return false
}

// runLease takes a lease from wherever it stands to its end; a zero lock begins one.
func runLease(t *testing.T, user, host *ledger.Book, lock ledger.Digest) error {
	t.Helper()
	ctx := t.Context()
	if lock.IsZero() {
		e, err := user.Lock(ctx, ledger.LockRequest{Payee: host.Account(), Amount: ledger.Credit, Expiry: time.Now().Add(time.Hour)})
		if err != nil {
			return err
		}
		lock = e.Digest
	}
	r := ok(user.Receipt(lock))(t)
	if _, err := host.AcceptLock(ctx, r.Lock, time.Now()); err != nil && !errors.Is(err, ledger.ErrClosed) {
		return err
	}
	if r.Settle == nil {
		claim, err := host.Claim(ctx, lock, 1, 1000, ledger.Digest{})
		if err != nil {
			return err
		}
		c := ok(ledger.ParseClaim(claim))(t)
		voucher, err := user.Vouch(ctx, lock, claim, c.Amount)
		if err != nil {
			return err
		}
		if err := host.Credit(ctx, voucher, 0); err != nil {
			return err
		}
	}
	settle, err := user.Settle(ctx, lock)
	if err != nil {
		return err
	}
	earn, err := host.Earn(ctx, settle)
	if err != nil {
		return err
	}
	return user.AcknowledgeEarn(ctx, earn)
}

func TestReopenedBookStandsWhereItStood(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, 1*ledger.Credit)
	outstanding := ok(p.host.Claim(t.Context(), p.lock, 1, 2*ledger.Credit, ledger.Digest{9}))(t)
	before := ok(p.host.Exposure(p.user.Account()))(t)
	open := p.host.OpenLocks()
	p.host.Close()
	p.user.Close()
	p.host, p.user = openBook(t, p.hostStore, p.hostKey), openBook(t, p.userStore, p.userKey)
	if after := ok(p.host.Exposure(p.user.Account()))(t); after != before || before.Unpaid != 1 || before.Window.Allowed() != 2 {
		t.Errorf("exposure %+v, was %+v", after, before)
	}
	if again := p.host.OpenLocks(); len(again) != 1 || again[0] != open[0] {
		t.Errorf("leases %+v, were %+v", again, open)
	}
	// The claim that was on its way is answered and credited as if nothing had happened.
	voucher := ok(p.user.Vouch(t.Context(), p.lock, outstanding, 3*ledger.Credit))(t)
	if err := p.host.Credit(t.Context(), voucher, 0); err != nil {
		t.Fatal(err)
	}
	p.unit(t, 1*ledger.Credit)
	if o := p.user.OpenLocks(); o[0].Vouched != 4*ledger.Credit || o[0].Units != 3 {
		t.Errorf("%+v", o)
	}
}

func TestOpenRefusesWhatIsNotItsLedger(t *testing.T) {
	p := newPair(t, ledger.Credit)
	p.user.Close()
	if _, err := ledger.OpenBook(t.Context(), p.userStore, p.hostKey, network); err == nil {
		t.Error("opened with another account's key")
	}
	var other *ledger.NetworkError
	if _, err := ledger.OpenBook(t.Context(), p.userStore, p.userKey, ledger.DefaultGenesis()); !errors.As(err, &other) {
		t.Errorf("opened in another network: %v", err)
	}
	// A head without its lease, as after a damaged log, is noticed.
	damaged := p.userStore.Clone()
	var key []byte
	if err := damaged.Scan([]byte("ledger/o/"), nil, func(k, _ []byte) bool { key = bytes.Clone(k); return false }); err != nil {
		t.Fatal(err)
	}
	if err := damaged.Commit(t.Context(), ledger.Op{Key: key, Delete: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.OpenBook(t.Context(), damaged, p.userKey, network); err == nil {
		t.Error("opened a ledger whose open locks do not add up")
	}
}

func TestCallsAfterCloseFail(t *testing.T) {
	p := newPair(t, ledger.Credit)
	p.host.Close()
	if _, err := p.host.Claim(t.Context(), p.lock, 1, 1, ledger.Digest{}); !errors.Is(err, ledger.ErrBookClosed) {
		t.Errorf("%v, want ErrBookClosed", err)
	}
}

func TestReceiptsPageNewestFirst(t *testing.T) {
	p := newPair(t, 1)
	want := []ledger.Digest{p.lock}
	for range 4 {
		p.open(t, 1)
		want = append([]ledger.Digest{p.lock}, want...)
	}
	var got []ledger.Digest
	for after, more := uint64(0), true; more; {
		more = false
		err := p.host.Receipts(after, 2, func(cursor uint64, r ledger.Receipt) bool {
			e := ok(ledger.ParseEntry(r.Lock))(t)
			got, after, more = append(got, e.Digest()), cursor, true
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d receipts, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("receipt %d is %s, want %s", i, got[i].Short(), want[i].Short())
		}
	}
}

func TestForgedReceiptsAreRefused(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, 2*ledger.Credit)
	ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
	good := ok(p.host.Receipt(p.lock))(t)
	ok(good.Verify())(t)
	q := newPair(t, 5*ledger.Credit)
	q.unit(t, 2*ledger.Credit)
	ok(q.host.Earn(t.Context(), ok(q.user.Settle(t.Context(), q.lock))(t)))(t)
	other := ok(q.host.Receipt(q.lock))(t)
	for name, change := range map[string]func(*ledger.Receipt){
		"another lock":       func(r *ledger.Receipt) { r.Lock = other.Lock },
		"another claim":      func(r *ledger.Receipt) { r.Claim = other.Claim },
		"another voucher":    func(r *ledger.Receipt) { r.Voucher = other.Voucher },
		"no claim":           func(r *ledger.Receipt) { r.Claim = nil },
		"another settle":     func(r *ledger.Receipt) { r.Settle = other.Settle },
		"no settle":          func(r *ledger.Receipt) { r.Settle = nil },
		"another earn":       func(r *ledger.Receipt) { r.Earn = other.Earn },
		"lock is a settle":   func(r *ledger.Receipt) { r.Lock = r.Settle },
		"settle is the earn": func(r *ledger.Receipt) { r.Settle = r.Earn },
	} {
		r := good
		change(&r)
		if s, err := r.Verify(); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
	// Any flipped byte is noticed.
	file := good.Encode()
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 1
		if r, err := ledger.ParseReceipt(bad); err == nil {
			if _, err := r.Verify(); err == nil {
				t.Fatalf("byte %d flipped, and it verifies", i)
			}
		}
	}
}
