package ledger_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// give has the user of a pair, whose lease is settled, give amount to the host, up to the settle.
func give(t *testing.T, p *pair, amount ledger.Credits) (lock ledger.SignedEntry, settle []byte) {
	t.Helper()
	lock = ok(p.user.Give(t.Context(), p.host.Account(), amount, time.Now().Add(time.Hour)))(t)
	if err := p.host.MayReceive(lock.Raw, nil); err != nil {
		t.Fatal(err)
	}
	return lock, ok(p.user.Pay(t.Context(), lock.Digest))(t)
}

func TestTransferMovesCreditOnce(t *testing.T) {
	p := newPair(t, ledger.Credit)
	ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
	lock, settle := give(t, p, 3*ledger.Credit)
	if again := ok(p.user.Pay(t.Context(), lock.Digest))(t); !bytes.Equal(again, settle) {
		t.Error("paid twice")
	}
	if b := p.user.Balance(); b.Net != -3*ledger.Credit || b.Locked != 0 {
		t.Errorf("sender %+v", b)
	}
	m := ok(p.user.Pending())(t)
	if len(m) != 1 || m[0].To != p.host.Account() || !bytes.Equal(m[0].Entry, settle) {
		t.Fatalf("pending %v", m)
	}
	if r := audit(t, p.user, p.host).Report(); len(r.Problems) != 0 || r.InTransit != 3*ledger.Credit {
		t.Errorf("on its way: %+v %v", r.Totals, r.Problems)
	}
	var earn []byte
	for range 3 { // repeated, it moves once and gets the same answer
		again := ok(p.host.Receive(t.Context(), lock.Raw, settle, nil))(t)
		if earn != nil && !bytes.Equal(again, earn) {
			t.Error("another answer")
		}
		earn = again
		if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
			t.Fatal(err)
		}
	}
	if b := p.host.Balance(); b.Net != 3*ledger.Credit {
		t.Errorf("receiver %+v", b)
	}
	if m := ok(p.user.Pending())(t); len(m) != 0 {
		t.Errorf("pending %v", m)
	}
	for _, b := range []*ledger.Book{p.user, p.host} {
		r := ok(b.Receipt(lock.Digest))(t)
		if s := ok(r.Verify())(t); s.State(time.Now()) != ledger.StateComplete || s.Paid != 3*ledger.Credit || s.Units != 0 {
			t.Errorf("%+v", s)
		}
		if _, err := ledger.VerifyWork(r.Work(), b.Network()); err == nil {
			t.Error("a gift passes for work")
		}
		if shown := ok(b.ShowWork(8))(t); len(shown) != 0 {
			t.Error("a gift is shown as work")
		}
	}
	if s := ok(p.user.Standing(p.host.Account()))(t); s.Did != 0 {
		t.Errorf("the receiver of a gift is trusted for it: %+v", s)
	}
	if s := ok(p.host.Standing(p.user.Account()))(t); s.Got != 0 {
		t.Errorf("a gift counts as work done: %+v", s)
	}
	if r := audit(t, p.user, p.host).Report(); len(r.Problems) != 0 || r.InTransit != 0 || r.Net() != 0 {
		t.Errorf("%+v %v", r.Totals, r.Problems)
	}
	// Both books open again on what they wrote.
	p.user.Close()
	if b := openBook(t, p.userStore, p.userKey); b.Balance().Net != -3*ledger.Credit || len(b.OpenLocks()) != 0 {
		t.Errorf("%+v", b.Balance())
	}
}

// Until it is paid a transfer comes back whole, and cannot be paid afterwards.
func TestTransferThatNobodyTakesComesBack(t *testing.T) {
	p := newPair(t, ledger.Credit)
	before := p.user.Balance()
	lock := ok(p.user.Give(t.Context(), p.host.Account(), 2*ledger.Credit, time.Now().Add(time.Minute)))(t)
	if b := p.user.Balance(); b.Free != before.Free-2*ledger.Credit {
		t.Errorf("reserved: %+v", b)
	}
	if info := ok(p.user.Info(lock.Digest))(t); !info.Transfer() {
		t.Errorf("%+v", info)
	}
	p.user.Close() // a crash between lock and settle
	b := openBook(t, p.userStore, p.userKey)
	if n := ok(b.Sweep(t.Context(), time.Now().Add(ledger.MaxLease)))(t); n != 2 {
		t.Errorf("%d closed", n)
	}
	if got := b.Balance(); got.Net != 0 || got.Locked != 0 {
		t.Errorf("came back: %+v", got)
	}
	if _, err := b.Pay(t.Context(), lock.Digest); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("paid after it came back: %v", err)
	}
	if _, err := b.Pay(t.Context(), p.lock); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("a lease was paid without work: %v", err)
	}
}

func TestTransferIsBoundedByWhatIsFree(t *testing.T) {
	p := newPair(t, ledger.Credit)
	var no *ledger.NoCreditError
	before := p.user.Head()
	later := time.Now().Add(time.Hour)
	if _, err := p.user.Give(t.Context(), p.host.Account(), 9*ledger.Credit+1, later); !errors.As(err, &no) {
		t.Errorf("%v", err)
	}
	for _, x := range []struct {
		to     ledger.Account
		amount ledger.Credits
	}{{p.host.Account(), 0}, {p.host.Account(), -1}, {p.user.Account(), 1}, {ledger.Account{}, 1}} {
		if _, err := p.user.Give(t.Context(), x.to, x.amount, later); err == nil {
			t.Errorf("%+v was given", x)
		}
	}
	if p.user.Head() != before {
		t.Error("a refused transfer left an entry")
	}
}

// A payer who was made up to owe all credit there can be gives it away: taken up, the totals of whoever gets it could grow
// no further.
func TestGiftOfAllCreditThereIsIsNotTakenUp(t *testing.T) {
	p := newPair(t, ledger.Credit)
	rich := ok(ledger.NewKey())(t)
	mark := ok(ledger.ParseEntry(ok(p.user.Give(t.Context(), p.host.Account(), 1, time.Now().Add(time.Hour)))(t).Raw))(t).Evidence
	head := ledger.Head{Network: p.user.Network(), Account: rich.Account(), Len: 9, Seq: 8, Digest: ledger.Digest{1}, Earned: ledger.MaxCredits}
	for _, amount := range []ledger.Credits{ledger.MaxCredits - 1, ledger.MaxGift + 1, ledger.MaxGift} {
		lock := ok(rich.SignEntry(head.Lock(p.host.Account(), amount, mark, time.Now().Add(time.Hour), time.Now())))(t)
		err := p.host.MayReceive(lock, nil)
		if fits := amount <= ledger.MaxGift; (err == nil) != fits || !fits && !errors.Is(err, ledger.ErrExceeds) {
			t.Errorf("%s: %v", amount, err)
		}
	}
	if _, err := p.user.Give(t.Context(), p.host.Account(), ledger.MaxGift+1, time.Now().Add(time.Hour)); !errors.Is(err, ledger.ErrExceeds) {
		t.Error(err)
	}
}

// What is not exactly a transfer to this account is refused and changes nothing.
func TestReceiveRefusesOtherRecords(t *testing.T) {
	p := newPair(t, ledger.Credit)
	lock, settle := give(t, p, ledger.Credit)
	s := ok(ledger.ParseEntry(settle))(t)
	sign := func(e ledger.Entry) []byte { return ok(p.userKey.SignEntry(e))(t) }
	more, less, worked, other := s, s, s, s
	more.Amount, more.Spent = more.Amount+1, more.Spent+1
	less.Amount, less.Spent = less.Amount-1, less.Spent-1
	worked.Units = 1
	other.Ref = p.lock
	before := p.host.Balance()
	for name, x := range map[string][2][]byte{
		"more than the lock": {lock.Raw, sign(more)}, "less": {lock.Raw, sign(less)}, "for work": {lock.Raw, sign(worked)},
		"another lock": {lock.Raw, sign(other)}, "the other way round": {settle, lock.Raw}, "the lock of a lease": {p.lockRaw, settle}, "nothing": {nil, nil},
	} {
		if _, err := p.host.Receive(t.Context(), x[0], x[1], nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := p.user.Receive(t.Context(), lock.Raw, settle, nil); err == nil {
		t.Error("the sender took its own")
	}
	if _, err := p.host.AcceptLock(t.Context(), lock.Raw, time.Now()); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("a transfer opened a lease: %v", err)
	}
	if err := p.host.MayReceive(p.lockRaw, nil); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("a lease is no transfer: %v", err)
	}
	if p.host.Balance() != before {
		t.Errorf("%+v", p.host.Balance())
	}
}
