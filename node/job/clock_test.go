package job

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// TestAttack30ClockSkewIsNamed: a payer whose clock is an hour ahead or behind gets no lease, learns why, and nothing
// stays locked; minutes do not matter.
func TestAttack30ClockSkewIsNamed(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, -2 * time.Minute, 0, 2 * time.Minute, time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			withProvider(t, lends(2), func(t *testing.T, h *hirer) {
				ctx := t.Context()
				raw, job, err := h.m.Encode()
				if err != nil {
					t.Fatal(err)
				}
				// What its clock writes, seen from here: the LOCK ends lockLife later than it was made, by that clock.
				life := lockLife + 2*time.Duration(h.m.Limits.WallMs)*time.Millisecond
				made := life
				if skew > 0 {
					made += skew
				}
				lock, err := h.Book.Lock(ctx, ledger.LockRequest{Payee: h.host.Book.Account(), Amount: 1000, Evidence: ledger.Digest(job), Expiry: time.Now().Add(made)})
				if err != nil {
					t.Fatal(err)
				}
				if skew < 0 {
					time.Sleep(-skew) // of fake time, as withProvider has it
				}
				h.x.allow(h.host.self, h.m.Program.Hash)
				s := h.dial()
				h.send(s, frame{Open: &open{Manifest: raw, Lock: lock.Raw, Binding: h.binding, Slots: h.slots, Price: h.price}})
				f := h.answer(s)
				if skew == time.Hour || skew == -time.Hour {
					if f.Refuse == nil || f.Refuse.Code != CodeRecord || !strings.Contains(f.Refuse.Text, "compare the clocks") {
						t.Fatalf("%+v", f)
					}
				} else if f.Grant == nil {
					t.Fatalf("%+v", f.Refuse)
				} else {
					h.pay(s, h.work(s, 0), 0)
				}
				s.Reset()
				synctest.Wait()
				settle, err := h.Book.Settle(ctx, lock.Digest)
				if err != nil {
					t.Fatal(err)
				}
				if f.Grant != nil {
					if _, err := h.host.Book.Earn(ctx, settle); err != nil {
						t.Fatal(err)
					}
				}
				u, p := h.Book.Balance(), h.host.Book.Balance()
				if u.Locked != 0 || u.Spent != p.Earned || (f.Grant != nil) != (u.Spent > 0) {
					t.Errorf("payer %+v, payee %+v", u, p)
				}
			})
		})
	}
}
