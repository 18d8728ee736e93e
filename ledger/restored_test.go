package ledger_test

import (
	"errors"
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
