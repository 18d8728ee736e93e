package job

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// lying is a provider that always gives the same wrong result.
func lying(h *hub) *cheat {
	c := &cheat{party: h.party(), work: votes(func(_ *cheat, t task) result {
		r := exec.Result{Status: exec.Exited, Stdout: []byte("wrong"), Fuel: unitFuel}
		return result{Unit: t.Unit, Result: r, Digest: r.Digest()}
	}, nil)}
	c.Handle(Protocol, MaxFrame, c.serve)
	return c
}

// With two hosts only, of which one lies, votes never come to a result. Ours does, the liar gets nothing, and the honest
// one is paid.
func TestDisputeIsSettledByOurOwnRun(t *testing.T) {
	var liar *cheat
	var honest *party
	withRequesterOf(t, echo{}, 2, func(h *hub) ([]*party, []market.Offer) {
		liar, honest = lying(h), h.party()
		honest.provide(lends(1))
		return []*party{liar.party, honest}, []market.Offer{liar.offer(), honest.offer()}
	}, func(t *testing.T, d *desk) {
		j := d.submit(true, exec.Input{Stdin: []byte("a")})
		err := d.Results(t.Context(), j.ID, 0, node.InOrder, func(u node.UnitResult) error {
			if string(u.Result.Stdout) != "a" || u.Cost == 0 || len(u.Hosts) != 1 || u.Hosts[0] != honest.Name(honest.self) {
				t.Errorf("%+v", u)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		await(t, time.Hour, "all locks are settled, and the host has heard", func() bool {
			return len(d.me.Book.OpenLocks()) == 0 && honest.Book.Balance().Earned > 0
		})
		if got, paid := honest.Book.Balance().Earned, d.me.Book.Balance().Spent; got != paid || liar.Book.Balance().Earned != 0 {
			t.Errorf("the honest host earned %s, the liar %s, of %s spent", got, liar.Book.Balance().Earned, paid)
		}
		c, _, err := d.Conduct(honest.Book.Account())
		if w, _, err2 := d.Conduct(liar.Book.Account()); err != nil || err2 != nil || c.Valid != 1 || w.Wrong != 1 {
			t.Errorf("conduct: %+v, of the liar %+v", c, w)
		}
	})
}

// Two hosts that both lie, each in its way: nobody is paid, and the result is right all the same.
func TestOurOwnResultNeedsNoHost(t *testing.T) {
	withRequesterOf(t, echo{}, 2, func(h *hub) ([]*party, []market.Offer) {
		one := lying(h)
		two := &cheat{party: h.party(), work: votes(func(_ *cheat, t task) result {
			r := exec.Result{Status: exec.Exited, Stdout: []byte("false"), Fuel: unitFuel}
			return result{Unit: t.Unit, Result: r, Digest: r.Digest()}
		}, nil)}
		two.Handle(Protocol, MaxFrame, two.serve)
		return []*party{one.party, two.party}, []market.Offer{one.offer(), two.offer()}
	}, func(t *testing.T, d *desk) {
		j := d.submit(true, exec.Input{Stdin: []byte("a")})
		err := d.Results(t.Context(), j.ID, 0, node.InOrder, func(u node.UnitResult) error {
			if string(u.Result.Stdout) != "a" || u.Cost != 0 || len(u.Hosts) != 1 || u.Hosts[0] != "this node" {
				t.Errorf("%+v", u)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		await(t, time.Hour, "all locks are settled", func() bool { return len(d.me.Book.OpenLocks()) == 0 })
		if b := d.me.Book.Balance(); b.Spent != 0 {
			t.Errorf("%s spent on lies", b.Spent)
		}
	})
}

// turns draws a check, and then us of all who may make it.
type turns struct{ drawn bool }

func (x *turns) Uint64() uint64 {
	if x.drawn = !x.drawn; x.drawn {
		return 0
	}
	return 1<<64 - 1
}

// Two trusted colluders would confirm each other's results, but not to us.
func TestColludersCannotConfirmALieToUs(t *testing.T) {
	var liars []*cheat
	withRequesterOf(t, echo{}, exec.VerifyAuto, func(h *hub) (parties []*party, offers []market.Offer) {
		for range 2 {
			l := lying(h)
			liars, parties, offers = append(liars, l), append(parties, l.party), append(offers, l.offer())
		}
		return parties, offers
	}, func(t *testing.T, d *desk) {
		d.conduct.random = rand.New(&turns{})
		for _, l := range liars {
			for range 1000 {
				d.conduct.note(l.Book.Account(), true)
			}
		}
		j := d.submit(true, exec.Input{Stdin: []byte("a")})
		got := ""
		err := d.Results(t.Context(), j.ID, 0, node.InOrder, func(u node.UnitResult) error {
			got = string(u.Result.Stdout)
			return nil
		})
		if err != nil || got != "a" {
			t.Errorf("%q, %v", got, err)
		}
		wrong := uint64(0)
		for _, l := range liars {
			c, _, err := d.Conduct(l.Book.Account())
			if err != nil {
				t.Error(err)
			}
			wrong += c.Wrong
		}
		if wrong != 1 {
			t.Errorf("%d wrong results are held against them", wrong)
		}
	})
}
