package job

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
)

// forkOf is proof that key signed two entries for one place.
func forkOf(t *testing.T, key ledger.Key, network ledger.Network) []byte {
	t.Helper()
	h := ledger.Head{Network: network, Account: key.Account()}
	var two [2][]byte
	for i := range two {
		raw, err := key.SignEntry(h.Genesis(ledger.Digest{byte(i)}, time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		two[i] = raw
	}
	p, err := ledger.NewProof(ledger.ProofFork, two[0], two[1])
	if err != nil {
		t.Fatal(err)
	}
	return p.Encode()
}

func TestLeaseOfAConvictedPayerStopsAtTheNextUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		host, me := net.party(), net.party()
		accepted := 0
		host.Accepted = func(_, _ []byte) { accepted++ }
		host.provide(lends(2))
		h := &hirer{party: me, host: host, m: me.manifest(1), price: onePer, slots: 2}
		s := h.hire()
		h.pay(s, h.work(s, 1), 1)
		if accepted != 1 {
			t.Errorf("told of %d accepted locks, want 1", accepted)
		}
		if _, news, err := host.Book.Convict(t.Context(), forkOf(t, me.key, host.Book.Network())); !news || err != nil {
			t.Fatal(news, err)
		}
		h.send(s, frame{Tasks: []task{{Unit: 2}}})
		h.wantRefusal(s, CodeFrozen)
		leave(s)
		h.m.Nonce[0]++ // another job
		again := h.dial()
		h.send(again, frame{Open: h.request()})
		h.wantRefusal(again, CodeFrozen)
		leave(again)
	})
}

func TestRequesterSendsAConvictedProviderNothing(t *testing.T) {
	var host *party
	withRequester(t, 1, func(h *hub) ([]*party, []market.Offer) {
		host = h.party()
		host.provide(lends(2))
		return []*party{host}, []market.Offer{host.offer()}
	}, func(t *testing.T, d *desk) {
		id := d.submit(false, exec.Input{}).ID
		await(t, time.Minute, "the first result", func() bool { j, err := d.Job(id); return err == nil && j.Done == 1 })
		proof, news, err := d.me.Book.Convict(t.Context(), forkOf(t, host.key, host.Book.Network()))
		if !news || err != nil {
			t.Fatal(news, err)
		}
		d.Convicted(proof.Account)
		await(t, time.Minute, "the end of its lease", func() bool {
			j, err := d.Job(id)
			return err == nil && len(j.Peers) == 1 && j.Peers[0].State == "bad"
		})
		more := 1
		if _, err := d.AddInputs(t.Context(), id, 1, func() (exec.Input, error) {
			if more--; more < 0 {
				return exec.Input{}, io.EOF
			}
			return exec.Input{}, nil
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // fake time
		if j, err := d.Job(id); err != nil || j.Done != 1 {
			t.Errorf("%d units done by a convicted provider, the job is %s (%v)", j.Done, j.State, err)
		}
		if _, err := d.Cancel(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
}
