package ledger_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A restored book shows all it has and signs nothing, however often it is opened, until somebody says
// that nothing newer is known.
func TestRestoredBookSignsNothingUntilConfirmed(t *testing.T) {
	p := settledPair(t, ledger.Credit)
	made := time.UnixMilli(1_772_000_000_000)
	old := p.userStore.Clone()
	p.user.Close()
	if err := old.Commit(t.Context(), ledger.MarkRestored(made)); err != nil {
		t.Fatal(err)
	}
	request := ledger.LockRequest{Payee: p.host.Account(), Amount: 5, Expiry: time.Now().Add(time.Hour)}
	for range 2 {
		b := openBook(t, old, p.userKey)
		if !b.Restored().Equal(made) || b.Balance().Net != -ledger.Credit {
			t.Errorf("restored %s, %+v", b.Restored(), b.Balance())
		}
		if err := b.ReadOnly(); !errors.Is(err, ledger.ErrReadOnly) || !errors.Is(err, ledger.ErrRestored) {
			t.Errorf("%v", err)
		}
		if _, err := b.Lock(t.Context(), request); !errors.Is(err, ledger.ErrRestored) {
			t.Errorf("it signed a lock: %v", err)
		}
		if ledger.WritesBesideForced(b) {
			t.Error("it signs what shares a commit with a recovery")
		}
		if n := len(entries(t, b)); n != 3 {
			t.Errorf("%d entries", n)
		}
		b.Close()
	}
	b := openBook(t, old, p.userKey)
	if r, err := b.Recover(t.Context(), nil, false); err != nil || r.Signs || b.ReadOnly() == nil {
		t.Errorf("not sure: %+v, %v", r, err)
	}
	if r, err := b.Recover(t.Context(), nil, true); err != nil || !r.Signs {
		t.Fatal(r, err)
	}
	if _, err := b.Lock(t.Context(), request); err != nil || !b.Restored().IsZero() {
		t.Errorf("%v, restored %s", err, b.Restored())
	}
	b.Close()
	if b := openBook(t, old, p.userKey); b.ReadOnly() != nil {
		t.Errorf("%v", b.ReadOnly())
	}
}

// Who gets back what it has earned also gets back what that shows of it: its standing, and the work to show to others.
func TestRecoveredWorkCountsAgain(t *testing.T) {
	p := newPair(t, ledger.Credit)
	old := p.hostStore.Clone()
	p.unit(t, 100)
	earn := ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
	if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
	want, shown := ok(p.host.Standing(p.user.Account()))(t), ok(p.host.ShowWork(9))(t)
	if want.Got != 100 || len(shown) != 1 {
		t.Fatalf("%+v, %d works", want, len(shown))
	}
	p.host.Close()
	if err := old.Commit(t.Context(), ledger.MarkRestored(time.Now())); err != nil {
		t.Fatal(err)
	}
	b := openBook(t, old, p.hostKey)
	receipts, _, err := p.user.Held(b.Account(), 0, 0, 9)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time finds nothing
		if r, err := b.Recover(t.Context(), receipts, true); err != nil || !r.Signs {
			t.Fatal(r, err)
		}
	}
	if got := ok(b.Standing(p.user.Account()))(t); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := ok(b.ShowWork(9))(t); !reflect.DeepEqual(got, shown) {
		t.Errorf("%d works, want the one", len(got))
	}
}
