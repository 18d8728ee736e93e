package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// network is the one most tests run in. Checkpoints are close, so that all tests meet them.
var network = func() ledger.Genesis {
	g := ledger.MutualGenesis("test", 10*ledger.Credit)
	g.Params.CheckpointEvery = 8
	return g
}()

func newKey(t testing.TB) ledger.Key {
	t.Helper()
	k, err := ledger.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func openBook(t testing.TB, store ledger.Store, key ledger.Key) *ledger.Book {
	t.Helper()
	b, err := ledger.OpenBook(t.Context(), store, key, network)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// ok fails the test on an error and returns the value.
func ok[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A pair is a user and a provider with one open lease between them.
type pair struct {
	user, host           *ledger.Book
	userStore, hostStore *ledgertest.Memory
	userKey, hostKey     ledger.Key
	lock                 ledger.Digest
	lockRaw              []byte
}

func newPair(t testing.TB, amount ledger.Credits) *pair {
	t.Helper()
	p := &pair{userStore: ledgertest.NewMemory(), hostStore: ledgertest.NewMemory(), userKey: newKey(t), hostKey: newKey(t)}
	p.user, p.host = openBook(t, p.userStore, p.userKey), openBook(t, p.hostStore, p.hostKey)
	p.open(t, amount)
	return p
}

func (p *pair) open(t testing.TB, amount ledger.Credits) {
	t.Helper()
	e := ok(p.user.Lock(t.Context(), ledger.LockRequest{Payee: p.host.Account(), Amount: amount,
		Evidence: ledger.Digest{7}, Expiry: time.Now().Add(time.Hour)}))(t)
	p.lock, p.lockRaw = e.Digest, e.Raw
	ok(p.host.AcceptLock(t.Context(), e.Raw, time.Now()))(t)
}

// unit runs one unit: claim, voucher, credit.
func (p *pair) unit(t testing.TB, amount ledger.Credits) (claim, voucher []byte) {
	t.Helper()
	claim = ok(p.host.Claim(t.Context(), p.lock, 1000, amount, ledger.Digest{1}))(t)
	c := ok(ledger.ParseClaim(claim))(t)
	voucher = ok(p.user.Vouch(t.Context(), p.lock, claim, c.Amount))(t)
	if err := p.host.Credit(t.Context(), voucher, 0); err != nil {
		t.Fatal(err)
	}
	return claim, voucher
}

func TestLeaseFromLockToCompleteReceipt(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, 1*ledger.Credit)
	p.unit(t, 2*ledger.Credit)
	settle := ok(p.user.Settle(t.Context(), p.lock))(t)
	if m := ok(p.user.Pending())(t); len(m) != 1 || m[0].To != p.host.Account() || m[0].Lock != p.lock {
		t.Fatalf("pending %v, want the settle", m)
	}
	earn := ok(p.host.Earn(t.Context(), settle))(t)
	if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
	if m := ok(p.user.Pending())(t); len(m) != 0 {
		t.Fatalf("pending %v, want none", m)
	}
	if b := p.user.Balance(); b.Net != -3*ledger.Credit || b.Locked != 0 || b.Free != 7*ledger.Credit {
		t.Errorf("user %+v", b)
	}
	if b := p.host.Balance(); b.Net != 3*ledger.Credit || b.Free != 13*ledger.Credit {
		t.Errorf("host %+v", b)
	}
	for _, b := range []*ledger.Book{p.user, p.host} {
		r := ok(b.Receipt(p.lock))(t)
		r = ok(ledger.ParseReceipt(r.Encode()))(t)
		s := ok(r.Verify())(t)
		if s.State(time.Now()) != ledger.StateComplete || s.Paid != 3*ledger.Credit || s.Units != 2 || s.Fuel != 2000 || s.ID != p.lock {
			t.Errorf("receipt %+v", s)
		}
	}
}

func TestUnusedLockReturnsByASettleOfZero(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	settle := ok(p.user.Settle(t.Context(), p.lock))(t)
	if m := ok(p.user.Pending())(t); len(m) != 0 {
		t.Errorf("pending %v, want none", m)
	}
	if earn := ok(p.host.Earn(t.Context(), settle))(t); earn != nil {
		t.Errorf("earn %x of nothing", earn)
	}
	if b := p.user.Balance(); b.Net != 0 || b.Locked != 0 {
		t.Errorf("user %+v", b)
	}
	if n := len(p.host.OpenLocks()); n != 0 {
		t.Errorf("host keeps %d leases open", n)
	}
	if x := ok(p.host.Exposure(p.user.Account()))(t); x.Window.Defaults() != 0 {
		t.Error("an unused lease counts as a default")
	}
}

func TestTooSmallBalanceSaysNeedAndHave(t *testing.T) {
	p := newPair(t, 4*ledger.Credit)
	_, err := p.user.Lock(t.Context(), ledger.LockRequest{Payee: p.host.Account(), Amount: 7 * ledger.Credit, Expiry: time.Now().Add(time.Hour)})
	var no *ledger.NoCreditError
	if !errors.As(err, &no) || no.Need != 7*ledger.Credit || no.Have != 6*ledger.Credit {
		t.Fatalf("%v", err)
	}
}

// The last voucher got lost with its stream, and the settle pays every unit in full.
func TestPaidInFullBySettleIsNoDefault(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	for range 3 {
		_, v := p.unit(t, ledger.Credit/10)
		if err := p.host.Credit(t.Context(), v, 0); err != nil {
			t.Fatal(err)
		}
	}
	c := ok(p.host.Claim(t.Context(), p.lock, 1000, ledger.Credit/10, ledger.Digest{1}))(t)
	ok(p.user.Vouch(t.Context(), p.lock, c, 4*ledger.Credit/10))(t) // it never arrives
	settle := ok(p.user.Settle(t.Context(), p.lock))(t)
	ok(p.host.Earn(t.Context(), settle))(t)
	x, err := p.host.Exposure(p.user.Account())
	if err != nil {
		t.Fatal(err)
	}
	if x.Window.Allowed() != 4 || x.Window.Defaults() != 0 || x.Unpaid != 0 {
		t.Errorf("window %d with %d defaults and %d unpaid after four paid units", x.Window.Allowed(), x.Window.Defaults(), x.Unpaid)
	}
}

// One unit of the lease was outvoted; all others are paid, and count.
func TestOneOutvotedUnitDoesNotHoldTheWindow(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	ok(p.host.Claim(t.Context(), p.lock, 1, ledger.Credit/10, ledger.Digest{1}))(t) // not paid
	for i := range uint32(40) {
		c := ok(p.host.Claim(t.Context(), p.lock, 1, ledger.Credit/100, ledger.Digest{1}))(t)
		v := ok(p.user.Vouch(t.Context(), p.lock, c, ledger.Credits(i+1)*ledger.Credit/100))(t)
		if err := p.host.Credit(t.Context(), v, i+1); err != nil {
			t.Fatal(err)
		}
	}
	x, err := p.host.Exposure(p.user.Account())
	if err != nil {
		t.Fatal(err)
	}
	if x.Window.Allowed() != ledger.MaxWindow || x.Unpaid != 1 {
		t.Errorf("window %d, %d unpaid after 40 paid units and one that is not", x.Window.Allowed(), x.Unpaid)
	}
}
