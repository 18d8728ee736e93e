package job

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
)

// TestAttack29Eclipse: everybody that a node meets is the attacker. The provider gives away its day's budget and no
// more, whatever the number of identities; the requester pays for wrong results, which it cannot know to be wrong, its
// job's budget and no more, and what it had locked comes back.
func TestAttack29Eclipse(t *testing.T) {
	t.Run("provider", func(t *testing.T) {
		const dayBudget = 300 // µcr: 30 units
		synctest.Test(t, func(t *testing.T) {
			net := newHub(t)
			host := net.party()
			host.provide(trusts(45, dayBudget))
			cost, err := onePer.Cost(unitFuel)
			if err != nil {
				t.Fatal(err)
			}
			stolen, refused := ledger.Credits(0), 0
			for range 100 {
				h := &hirer{party: net.party(), host: host, price: onePer, slots: 2}
				h.m = h.manifest(1)
				h.x.allow(host.self, h.m.Program.Hash)
				for { // until it is not trusted any more; it never pays
					s := h.dial()
					h.send(s, frame{Open: h.request()})
					if f := h.answer(s); f.Refuse != nil {
						refused++
						s.Reset()
						break
					}
					h.work(s, 0)
					stolen += cost
					s.Reset()
					synctest.Wait()
				}
			}
			t.Logf("100 identities got %s of work, refused %d times; the day's budget is %s", stolen, refused, ledger.Credits(dayBudget))
			if stolen > dayBudget || stolen < dayBudget-2*cost {
				t.Errorf("stolen %s, want at most %s, and about so much", stolen, ledger.Credits(dayBudget))
			}
		})
	})
	t.Run("requester", func(t *testing.T) {
		const budget = 600 // µcr: 30 units of two votes
		withRequester(t, 2, func(h *hub) (parties []*party, offers []market.Offer) {
			for range 5 {
				c := &cheat{party: h.party(), grants: &grant{Slots: 2}, work: votes(func(_ *cheat, t task) result {
					r := exec.Result{Status: exec.Exited, Stdout: []byte("forged"), Fuel: unitFuel}
					return result{Unit: t.Unit, Result: r, Digest: r.Digest()}
				}, nil)}
				c.Handle(Protocol, MaxFrame, c.serve)
				parties, offers = append(parties, c.party), append(offers, c.offer())
			}
			return parties, offers
		}, func(t *testing.T, d *desk) {
			d.m.Budget = budget
			inputs := make([]exec.Input, 200)
			for i := range inputs {
				inputs[i] = exec.Input{Stdin: []byte{byte(i)}}
			}
			j := d.submit(true, inputs...)
			time.Sleep(time.Hour) // of fake time: as far as the budget goes
			j, err := d.Cancel(t.Context(), j.ID)
			if err != nil {
				t.Fatal(err)
			}
			await(t, time.Hour, "nothing is locked", func() bool { return d.me.Book.Balance().Locked == 0 })
			time.Sleep(time.Hour) // whatever was on its way
			b := d.me.Book.Balance()
			t.Logf("%d forged results were paid with %s of a budget of %s", j.Done, b.Spent, ledger.Credits(budget))
			if b.Spent > budget || b.Locked != 0 || j.Done == 0 {
				t.Errorf("spent %s, locked %s, %d units", b.Spent, b.Locked, j.Done)
			}
		})
	})
}
