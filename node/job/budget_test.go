package job

import (
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// Whatever a job is optimised for, however many hosts at whatever prices there are and whatever its units use: what is
// locked and paid for it together never exceeds its budget by a micro-credit, and one that is covered comes to its end.
func TestBudgetIsNeverExceeded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		aim := rapid.SampledFrom([]exec.Optimise{exec.Balanced, exec.ForCost, exec.ForTime}).Draw(rt, "aim")
		deadline := rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(rt, "deadline")
		budget := ledger.Credits(rapid.Int64Range(10, 4000).Draw(rt, "budget"))
		verify := rapid.SampledFrom([]exec.Verify{1, 2, exec.VerifyAuto}).Draw(rt, "verify")
		units := rapid.IntRange(1, 60).Draw(rt, "units")
		prices := rapid.SliceOfN(rapid.Uint64Range(1, 9), 1, 4).Draw(rt, "prices")
		hosts := func(h *hub) (parties []*party, offers []market.Offer) {
			for _, price := range prices {
				p := h.party()
				p.Engine = varied{}
				terms := lends(2)
				terms.Price.Num *= price
				p.provide(terms)
				o := p.offer()
				o.Price = terms.Price
				parties, offers = append(parties, p), append(offers, o)
			}
			return parties, offers
		}
		withRequester(t, verify, hosts, func(t *testing.T, d *desk) {
			d.m.Optimise, d.m.Budget = aim, budget
			if deadline > 0 {
				d.m.Deadline = time.Now().Add(deadline).UnixMilli()
			}
			j, err := d.Submit(t.Context(), d.m)
			if err != nil {
				return // it does not cover one unit
			}
			in := texts(make([]string, units)...)
			_, err = d.AddInputs(t.Context(), j.ID, 0, func() (exec.Input, error) {
				if len(in) == 0 {
					return exec.Input{}, io.EOF
				}
				in = in[1:]
				return exec.Input{}, nil
			})
			if err == nil {
				_, err = d.CloseInputs(t.Context(), j.ID, uint64(units))
			}
			if err != nil {
				rt.Fatal(err)
			}
			most := ledger.Credits(0)
			for range 3000 {
				b := d.me.Book.Balance()
				most = max(most, b.Spent+b.Locked)
				if j, err = d.Job(j.ID); err != nil {
					rt.Fatal(err)
				}
				if j.State == node.JobDone || j.State == node.JobFailed {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			b := d.me.Book.Balance()
			if most = max(most, b.Spent+b.Locked); most > budget || j.Spent > budget {
				rt.Fatalf("%s were spent or locked at a time, %s spent, of %s", most, j.Spent, budget)
			}
			dear := ledger.Credits(0) // at the most, by the claims of all
			for _, p := range prices {
				dear = max(dear, ledger.Credits(p))
			}
			worstUnit, _ := onePer.Cost(2 * unitFuel)
			if worst := dear * worstUnit * ledger.Credits(units*verify.Most()); budget >= 4*worst && len(prices) >= verify.Most() && j.State != node.JobDone {
				rt.Fatalf("a budget of %s for at most %s, and the job is %s: %s", budget, worst, j.State, j.Why)
			}
		})
	})
}
