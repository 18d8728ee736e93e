package ledger_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// TestAttack30ClockSkew: the payee's clock is an hour ahead of the payer's, or behind, and nothing but vouchers passes
// between them until both have closed the lease alone. Each closes it by its own clock, after expiry and grace and not
// before; the payee keeps all that was vouched for and loses at most the one unit that it shows after the payer has
// closed; when they talk again all is settled, and nobody is convicted.
func TestAttack30ClockSkew(t *testing.T) {
	const life, step = 3 * time.Hour, time.Minute
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		t.Run(fmt.Sprint(skew), func(t *testing.T) {
			ctx := t.Context()
			p := &pair{userStore: ledgertest.NewMemory(), hostStore: ledgertest.NewMemory(), userKey: newKey(t), hostKey: newKey(t)}
			p.user, p.host = openBook(t, p.userStore, p.userKey), openBook(t, p.hostStore, p.hostKey)
			start := time.Now()
			expiry := start.Add(life)
			e := ok(p.user.Lock(ctx, ledger.LockRequest{Payee: p.host.Account(), Amount: 5 * ledger.Credit, Expiry: expiry}))(t)
			p.lock = e.Digest
			ok(p.host.AcceptLock(ctx, e.Raw, start.Add(skew)))(t)
			const price = ledger.Credit / 100
			closed := map[*ledger.Book]time.Time{} // by its own clock
			vouched, unpaid := ledger.Credits(0), 0
			for at := start; len(closed) < 2; at = at.Add(step) {
				for b, now := range map[*ledger.Book]time.Time{p.user: at, p.host: at.Add(skew)} {
					n := ok(b.Sweep(ctx, now))(t)
					if _, was := closed[b]; n > 0 && !was {
						closed[b] = now
					}
				}
				if unpaid > 0 || at.Sub(start)%(10*time.Minute) != 0 {
					continue
				}
				claim, err := p.host.Claim(ctx, p.lock, 1000, price, ledger.Digest{1})
				if errors.Is(err, ledger.ErrClosed) {
					continue
				}
				c := ok(ledger.ParseClaim(ok(claim, err)(t)))(t)
				voucher, err := p.user.Vouch(ctx, p.lock, claim, c.Amount)
				switch {
				case errors.Is(err, ledger.ErrClosed):
					unpaid++
				case err != nil:
					t.Fatal(err)
				default:
					vouched = c.Amount
					if err := p.host.Credit(ctx, voucher, 0); err != nil {
						t.Fatal(err)
					}
				}
			}
			for b, at := range closed {
				if due := expiry.Truncate(time.Millisecond).Add(network.Grace()); at.Before(due) || at.After(due.Add(2*step)) {
					t.Errorf("closed at %s after the start, by its own clock; due at %s", at.Sub(start), due.Sub(start))
				}
				if b.Balance().Locked != 0 {
					t.Errorf("%+v", b.Balance())
				}
			}
			if skew >= 0 && unpaid > 0 || unpaid > 1 {
				t.Errorf("%d units were left unpaid", unpaid)
			}
			// They hear of each other again.
			for _, m := range ok(p.host.Pending())(t) {
				if err := p.user.AcknowledgeEarn(ctx, m.Entry); err != nil {
					t.Fatal(err)
				}
			}
			earn := ok(p.host.Earn(ctx, ok(p.user.Settle(ctx, p.lock))(t)))(t)
			if err := p.user.AcknowledgeEarn(ctx, earn); err != nil {
				t.Fatal(err)
			}
			if u, h := p.user.Balance(), p.host.Balance(); u.Spent != vouched || h.Earned != vouched || vouched == 0 {
				t.Errorf("%s vouched, %s spent, %s earned", vouched, u.Spent, h.Earned)
			}
			a := ok(ledger.NewAudit(network))(t)
			for _, b := range []*ledger.Book{p.user, p.host} {
				if err := a.Book(b); err != nil {
					t.Fatal(err)
				}
				if x := ok(b.Exposure(p.user.Account()))(t); x.Frozen {
					t.Error("the payer was convicted")
				}
			}
			if s := ok(a.Check())(t); s.Net() != 0 || s.InTransit != 0 || s.Locked != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}
