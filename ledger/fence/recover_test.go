package fence_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// lease opens a lease of f with host and has n units paid.
func (f folder) lease(t testing.TB, host *ledger.Book, n int) ledger.Digest {
	t.Helper()
	lock := ok(f.Lock(t.Context(), ledger.LockRequest{Payee: host.Account(), Amount: ledger.Credit, Expiry: time.Now().Add(time.Hour)}))(t)
	ok(host.AcceptLock(t.Context(), lock.Raw, time.Now()))(t)
	for i := range n {
		claim := ok(host.Claim(t.Context(), lock.Digest, 1, 10, ledger.Digest{}))(t)
		voucher := ok(f.Vouch(t.Context(), lock.Digest, claim, ledger.Credits(10*(i+1))))(t)
		if err := host.Credit(t.Context(), voucher, 0); err != nil {
			t.Fatal(err)
		}
	}
	return lock.Digest
}

func (f folder) settle(t testing.TB, host *ledger.Book, lock ledger.Digest) {
	t.Helper()
	earn := ok(host.Earn(t.Context(), ok(f.Settle(t.Context(), lock))(t)))(t)
	if err := f.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
}

func newBook(t testing.TB) *ledger.Book {
	t.Helper()
	b := ok(ledger.OpenBook(t.Context(), ledgertest.NewMemory(), newKey(t), network))(t)
	t.Cleanup(b.Close)
	return b
}

// held asks a counterparty page by page for what it holds.
func (f folder) held(t testing.TB, host *ledger.Book) (all []ledger.Receipt) {
	t.Helper()
	epoch, from, lost := f.Lost()
	if !lost {
		t.Fatal("the book does not know that it lost something")
	}
	for {
		page, next, err := host.Held(f.Account(), epoch, from, 2)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, page...); next == 0 {
			return all
		}
		from = next
	}
}

func TestCounterpartiesBringBackWhatWasLost(t *testing.T) {
	dir, backup, key, host := t.TempDir(), t.TempDir(), newKey(t), newBook(t)
	f := open(t, dir, key)
	old := f.lease(t, host, 1) // open at the time of the backup
	f.close()
	copyDir(t, filepath.Join(backup, "ledger"), filepath.Join(dir, "ledger"))
	f = open(t, dir, key)
	claim := ok(host.Claim(t.Context(), old, 1, 10, ledger.Digest{}))(t)
	if err := host.Credit(t.Context(), ok(f.Vouch(t.Context(), old, claim, 20))(t), 0); err != nil { // a voucher that will be forgotten
		t.Fatal(err)
	}
	for range 4 {
		f.settle(t, host, f.lease(t, host, 3))
	}
	open5 := f.lease(t, host, 2)
	earned := f.earnFrom(t, host)
	want, balance := f.Head(), f.Balance()
	f.close()
	copyDir(t, filepath.Join(dir, "ledger"), filepath.Join(backup, "ledger"))

	f = open(t, dir, key)
	f.refuses(t, "rolled back")
	r := ok(f.Recover(t.Context(), f.held(t, host), true))(t)
	if !r.Signs || r.Missing != 0 || r.Entries == 0 {
		t.Fatalf("%+v: %v", r, f.ReadOnly())
	}
	if f.Head() != want || f.Balance() != balance {
		t.Errorf("head %+v, balance %+v; want %+v, %+v", f.Head(), f.Balance(), want, balance)
	}
	f.close()
	f = open(t, dir, key) // and it stays so
	defer f.close()
	for _, lock := range []ledger.Digest{old, open5} {
		f.settle(t, host, lock) // below a voucher, it would be convicted
	}
	for _, m := range ok(f.Pending())(t) {
		if err := f.AcknowledgeEarn(t.Context(), ok(host.Earn(t.Context(), m.Entry))(t)); err != nil {
			t.Error(err)
		}
	}
	f.settle(t, host, f.lease(t, host, 1))
	if raw := ok(host.Proof(f.Account()))(t); raw != nil {
		t.Error("an honest account was convicted")
	}
	if rec := ok(f.Receipt(earned))(t); rec.Earn == nil || rec.Settle == nil {
		t.Error("what it earned as a payee is not back")
	}
	a := ok(ledger.NewAudit(network))(t)
	for _, b := range []*ledger.Book{f.Book, host} {
		if err := a.Book(b); err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := a.Check(); err != nil || sum.InTransit != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// earnFrom is a lease in which host pays f.
func (f folder) earnFrom(t testing.TB, host *ledger.Book) ledger.Digest {
	t.Helper()
	payer := folder{Book: host}
	lock := payer.lease(t, f.Book, 2)
	payer.settle(t, f.Book, lock)
	return lock
}

// What takes several commits comes back too, with the checkpoints in it, which nobody else keeps: also with one that is
// the newest entry of all.
func TestManyLeasesComeBack(t *testing.T) {
	for name, c := range map[string]struct{ settled, open int }{"over a checkpoint": {300, 0}, "to a checkpoint": {127, 1}} {
		t.Run(name, func(t *testing.T) {
			dir, backup, key, host := t.TempDir(), t.TempDir(), newKey(t), newBook(t)
			f := open(t, dir, key)
			f.close()
			copyDir(t, filepath.Join(backup, "ledger"), filepath.Join(dir, "ledger"))
			f = open(t, dir, key)
			for range c.settled {
				f.settle(t, host, f.lease(t, host, 1))
			}
			for range c.open {
				f.lease(t, host, 1)
			}
			want, balance := f.Head(), f.Balance()
			f.close()
			copyDir(t, filepath.Join(dir, "ledger"), filepath.Join(backup, "ledger"))
			f = open(t, dir, key)
			r := ok(f.Recover(t.Context(), f.held(t, host), true))(t)
			if !r.Signs || r.Missing != 0 || r.Leases != c.settled+c.open || f.Head() != want || f.Balance() != balance {
				t.Errorf("%+v: head %+v, balance %+v; want %+v, %+v", r, f.Head(), f.Balance(), want, balance)
			}
			f.close()
			f = open(t, dir, key) // a chain that holds together
			defer f.close()
			f.settle(t, host, f.lease(t, host, 1))
		})
	}
}

func TestWhatNobodyHoldsIsNamed(t *testing.T) {
	dir, backup, key, host := t.TempDir(), t.TempDir(), newKey(t), newBook(t)
	f := open(t, dir, key)
	f.close()
	copyDir(t, filepath.Join(backup, "ledger"), filepath.Join(dir, "ledger"))
	f = open(t, dir, key)
	f.lease(t, host, 1)          // entry 1
	f.lease(t, newBook(t), 1)    // entry 2, whose payee is away
	third := f.lease(t, host, 1) // entry 3
	_ = third
	f.close()
	copyDir(t, filepath.Join(dir, "ledger"), filepath.Join(backup, "ledger"))
	f = open(t, dir, key)
	r := ok(f.Recover(t.Context(), f.held(t, host), true))(t)
	if r.Signs || r.Entries != 1 || r.From != 2 || r.Missing != 2 {
		t.Errorf("%+v, want entries 2 and 3 missing", r)
	}
	f.refuses(t, "entries 2 to 3")
	f.close()
	f = open(t, dir, key) // it does not forget that
	defer f.close()
	f.refuses(t, "rolled back")
}

func TestCopyIsTakenOverByWhoIsSure(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	f := open(t, dir, key)
	f.sign(t, 3)
	f.close()
	clone := filepath.Join(t.TempDir(), "clone")
	copyDir(t, clone, dir)
	c := open(t, clone, key)
	if r := ok(c.Recover(t.Context(), nil, false))(t); r.Signs {
		t.Error("a copy signs though nobody is sure")
	}
	if r := ok(c.Recover(t.Context(), nil, true))(t); !r.Signs {
		t.Errorf("%+v: %v", r, c.ReadOnly())
	}
	c.sign(t, 1)
	c.close()
	c = open(t, clone, key)
	c.sign(t, 1)
	c.close()
}

// A failed write is another matter: only a restart helps.
func TestFailedWriteIsNotRecovered(t *testing.T) {
	s := &ledgertest.Failing{Store: ledgertest.NewMemory(), FailAt: 2}
	b := ok(ledger.OpenBook(t.Context(), s, newKey(t), network))(t)
	defer b.Close()
	if _, err := b.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)}); !errors.Is(err, ledger.ErrReadOnly) {
		t.Fatal(err)
	}
	if _, err := b.Recover(t.Context(), nil, true); !errors.Is(err, ledger.ErrReadOnly) {
		t.Error(err)
	}
}
