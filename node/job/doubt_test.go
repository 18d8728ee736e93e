package job

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// lucky draws no check so many times, then always one.
type lucky struct{ left int }

func (l *lucky) Uint64() uint64 {
	if l.left == 0 {
		return 1 // next to nothing; of zeros, IntN never makes a number
	}
	l.left--
	return 1<<64 - 1
}

// A host of long standing gives wrong results in a job with verify auto. Those that nobody checked before the first that
// was found are counted in the job's summary, those after it do not pass, and both that count and what is held against the
// host outlive the process.
func TestUncheckedResultsOfALiarAreCounted(t *testing.T) {
	const units = 40
	var liar *cheat
	withRequester(t, exec.VerifyAuto, func(h *hub) (parties []*party, offers []market.Offer) {
		liar = &cheat{party: h.party(), work: votes(func(_ *cheat, t task) result {
			r := exec.Result{Status: exec.Exited, Stdout: []byte("wrong"), Fuel: unitFuel}
			return result{Unit: t.Unit, Result: r, Digest: r.Digest()}
		}, nil)}
		liar.Handle(Protocol, MaxFrame, liar.serve)
		parties, offers = append(parties, liar.party), append(offers, liar.offer())
		for range 2 { // strangers, who take a second for each unit
			p := h.party()
			p.provide(lends(2))
			parties, offers = append(parties, p), append(offers, p.offer())
		}
		return parties, offers
	}, func(t *testing.T, d *desk) {
		account := liar.Book.Account()
		d.conduct.random = rand.New(&lucky{left: 5})
		for range 1000 {
			d.conduct.note(account, true)
		}
		var inputs []exec.Input
		for i := range units {
			inputs = append(inputs, exec.Input{Stdin: []byte{byte(i)}})
		}
		j := d.submit(true, inputs...)
		wrong, got := uint64(0), 0
		err := d.Results(t.Context(), j.ID, 0, node.InOrder, func(u node.UnitResult) error {
			if string(u.Result.Stdout) == "wrong" {
				wrong++
			}
			got++
			return nil
		})
		if err != nil || got != units {
			t.Fatalf("%d results, %v", got, err)
		}
		await(t, time.Hour, "all locks are settled", func() bool { return len(d.me.Book.OpenLocks()) == 0 })
		if j, err = d.Job(j.ID); err != nil {
			t.Fatal(err)
		}
		c, chance, err := d.Conduct(account)
		if err != nil {
			t.Fatal(err)
		}
		if wrong == 0 || wrong > 5 || j.Doubtful != wrong || c.Wrong == 0 || c.Row != 0 || chance != 1 {
			t.Errorf("%d wrong results passed; the job says %d are in doubt; %+v, checked with a chance of %v", wrong, j.Doubtful, c, chance)
		}
		for _, p := range j.Peers {
			if p.Account == account && (p.Unchecked != wrong || p.State != "bad" && p.Failed == 0) {
				t.Errorf("the liar: %+v", p)
			}
		}
		d.Close()
		again := NewRequester(d.me.Env, d.me.x, d.me.settler, fair{})
		defer again.Close()
		if err := again.Resume(); err != nil {
			t.Fatal(err)
		}
		if k, err := again.Job(j.ID); err != nil || k.Doubtful != wrong {
			t.Errorf("after a restart %d are in doubt, %v", k.Doubtful, err)
		}
		if x, _, err := again.Conduct(account); err != nil || x != c {
			t.Errorf("after a restart %+v, %v; want %+v", x, err, c)
		}
	})
}
