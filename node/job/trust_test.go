package job

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/flow"
	"github.com/personal-power-plant/p3/market"
)

// A unit here costs 10 µcr, and 20 at its worst.

func trusts(starter, dayBudget ledger.Credits) Policy {
	pol := lends(2)
	pol.Terms = &flow.Terms{Starter: starter, DayBudget: dayBudget}
	return pol
}

// did makes p have done amount for payer, signed by both, and returns the proof.
func (p *party) did(payer *party, amount ledger.Credits) []byte {
	p.t.Helper()
	ctx := p.t.Context()
	must := func(b []byte, err error) []byte {
		p.t.Helper()
		if err != nil {
			p.t.Fatal(err)
		}
		return b
	}
	lock, err := payer.Book.Lock(ctx, ledger.LockRequest{Payee: p.Book.Account(), Amount: amount, Expiry: time.Now().Add(time.Minute)})
	if err == nil {
		_, err = p.Book.AcceptLock(ctx, lock.Raw, time.Now())
	}
	claim := must(p.Book.Claim(ctx, lock.Digest, 1, amount, ledger.Digest{}))
	voucher := must(payer.Book.Vouch(ctx, lock.Digest, claim, amount))
	if err == nil {
		err = p.Book.Credit(ctx, voucher, 1)
	}
	earn := must(p.Book.Earn(ctx, must(payer.Book.Settle(ctx, lock.Digest))))
	if err == nil {
		err = payer.Book.AcknowledgeEarn(ctx, earn)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := p.Book.Receipt(lock.Digest)
	return must(r.Work(), err)
}

func TestStrangersGetTheirStarterAndAReason(t *testing.T) {
	withProvider(t, trusts(45, 1000), func(t *testing.T, h *hirer) {
		h.x.allow(h.host.self, h.m.Program.Hash)
		s := h.dial()
		h.send(s, frame{Open: h.request()})
		if f := h.answer(s); f.Grant == nil || f.Grant.Limit != 45 {
			t.Fatalf("%+v, want a grant of 45 µcr", f)
		}
		for u := range uint64(3) {
			h.pay(s, h.work(s, u), u)
		}
		h.send(s, frame{Tasks: []task{{Unit: 3}}}) // 30 claimed, 20 more might be
		f := h.answer(s)
		if len(f.Faults) != 1 || f.Faults[0].Code != CodeCredit || !strings.Contains(f.Faults[0].Text, "credit limit of this lease is used up: flow 0.00; starter left today") {
			t.Fatalf("%+v", f)
		}
		s.Reset()
		synctest.Wait()
		next := h.dial()
		h.send(next, frame{Open: h.request()})
		if f = h.answer(next); f.Refuse == nil || f.Refuse.Code != CodeCredit ||
			f.Refuse.Text != "credit limit 0.000015 cr, one unit may cost 0.00002 cr: flow 0.00; starter left today 0.00097, for this account 0.000015 (it owes 0.00003)" {
			t.Fatalf("%+v", f.Refuse)
		}
		// It works here, and may come again.
		h.party.did(h.host, 500)
		s = h.dial()
		h.send(s, frame{Open: h.request()})
		if f := h.answer(s); f.Grant == nil || f.Grant.Limit != 500-30+45 {
			t.Fatalf("%+v", f)
		}
		s.Reset()
		// So may who worked for somebody that works here, and shows it.
		friend := &hirer{party: h.hub.party(), host: h.host, price: onePer, slots: 2}
		friend.m = friend.manifest(1)
		proof := friend.party.did(h.party, 300)
		synctest.Wait()
		for _, c := range []struct {
			work [][]byte
			want ledger.Credits
		}{{nil, 45}, {[][]byte{proof}, 345}} {
			o := friend.request()
			o.Work = c.work
			s := friend.dial()
			friend.send(s, frame{Open: o})
			if f := friend.answer(s); f.Grant == nil || f.Grant.Limit != c.want {
				t.Errorf("%d proofs: %+v, want %d", len(c.work), f, c.want)
			}
			s.Reset()
			synctest.Wait()
		}
		proof[400] ^= 1
		o := friend.request()
		o.Work = [][]byte{proof}
		s = friend.dial()
		friend.send(s, frame{Open: o})
		friend.wantRefusal(s, CodeRecord)
	})
}

// Hosts that trust a newcomer with a little each do a job together, and what none of them does has a reason.
func TestJobOfANewcomerMeetsItsLimits(t *testing.T) {
	hosts := func(h *hub) (parties []*party, offers []market.Offer) {
		for range 3 {
			p := h.party()
			p.provide(trusts(45, 1000))
			parties, offers = append(parties, p), append(offers, p.offer())
		}
		return parties, offers
	}
	withRequester(t, 1, hosts, func(t *testing.T, d *desk) {
		var in []exec.Input
		for i := range 10 {
			in = append(in, texts(fmt.Sprint(i))...)
		}
		j := d.submit(false, in[:9]...)
		done := func() uint64 {
			v, err := d.Job(j.ID)
			if err != nil {
				t.Fatal(err)
			}
			return v.Done
		}
		await(t, 10*time.Minute, "three units of each host", func() bool { return done() == 9 })
		left := in[9:]
		next := func() (exec.Input, error) {
			if len(left) == 0 {
				return exec.Input{}, io.EOF
			}
			in := left[0]
			left = nil
			return in, nil
		}
		if _, err := d.AddInputs(t.Context(), j.ID, 9, next); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		v, err := d.Job(j.ID)
		if err != nil {
			t.Fatal(err)
		}
		reasons := 0
		for _, p := range v.Peers {
			if strings.Contains(p.Why, "starter left today") {
				reasons++
			}
		}
		if v.Done != 9 || reasons != 3 {
			t.Errorf("%d done, %d reasons: %+v", v.Done, reasons, v)
		}
		if _, err := d.Cancel(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
	})
}

// TestAttack34VerificationFlood: requests that fail a cheap check cost no signature, a peer that has many checked is
// cut off at its bucket and all strangers together at theirs; who had a lease before is served all the while. Checks are
// counted, so the machine's speed is no part of it.
func TestAttack34VerificationFlood(t *testing.T) {
	pol := trusts(1000, 1_000_000)
	withProvider(t, pol, func(t *testing.T, h *hirer) {
		m := h.host.settler.meter
		spent := func() uint64 { m.mu.Lock(); defer m.mu.Unlock(); return m.spent }
		h.hire().Reset() // a customer
		synctest.Wait()
		flood := func(p *hirer, n int, o *open) (busy int) {
			for range n {
				s := p.dial()
				p.send(s, frame{Open: o})
				if f := p.answer(s); f.Refuse == nil {
					t.Fatalf("a flood was granted: %+v", f)
				} else if f.Refuse.Code == CodeBusy {
					busy++
				}
			}
			return busy
		}
		attacker := func() *hirer {
			a := &hirer{party: h.hub.party(), host: h.host, price: onePer, slots: 2}
			a.m = a.manifest(1)
			return a
		}
		a := attacker()
		before := spent()
		for _, spoil := range []func(*open){
			func(o *open) { o.Manifest = []byte("garbage") },
			func(o *open) { o.Price = ledger.Price{Num: 1, Den: 1000} },
			func(o *open) { o.Slots = 0 },
			func(o *open) { o.Work = make([][]byte, flow.MaxShown+1) },
		} {
			o := a.request()
			spoil(o)
			flood(a, 500, o)
		}
		if n := spent() - before; n != 0 {
			t.Errorf("2,000 requests that fail cheap checks cost %d signature checks", n)
		}
		// A well-formed binding that somebody else signed: it must be checked to be found out.
		bad := a.request()
		bad.Binding = append([]byte(nil), bad.Binding...)
		bad.Binding[len(bad.Binding)-40] ^= 1
		busy := flood(a, 2000, bad)
		if n := spent() - before; n > peerChecksBurst || busy < 2000-peerChecksBurst/2 {
			t.Errorf("one peer had %d signatures checked, %d of 2,000 requests put off; at most %d", n, busy, peerChecksBurst)
		}
		// Records of the credit protocol share the bucket.
		if m.take(a.self, 1, time.Now()) {
			t.Error("there was something left")
		}
		for range 10 {
			b := attacker()
			o := b.request()
			o.Binding = bad.Binding
			flood(b, 600, o)
		}
		if n := spent() - before; n > allChecksBurst {
			t.Errorf("10,000 requests of 11 peers: %d signature checks, at most %d", n, allChecksBurst)
		}
		h.hire().Reset() // the customer's turn cannot be taken
		t.Logf("10,000 requests of 11 peers: %d signature checks; then a customer was served at once", spent()-before)
		time.Sleep(time.Minute) // and soon strangers are served again
		attacker().hire().Reset()
	})
}

// TestAttack25IdleLeasesHoldNoBudget: a stranger asks for 1,000 leases and uses none. It holds what the slots are
// worth, for seconds, and then the day's budget is as it was.
func TestAttack25IdleLeasesHoldNoBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		host, me := net.party(), net.party()
		p := host.provide(trusts(400, 1000))
		h := &hirer{party: me, host: host, m: me.manifest(1), price: onePer, slots: 1}
		h.x.allow(host.self, h.m.Program.Hash)
		limit := func() flow.Limit {
			l, _, _, err := p.Limit(me.Book.Account())
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		granted, least := 0, limit().Today
		for range 1000 {
			s := h.dial()
			h.send(s, frame{Open: h.request()})
			if f := h.answer(s); f.Grant != nil {
				granted++
			} else if f.Refuse.Code != CodeBusy && f.Refuse.Code != CodeCredit {
				t.Fatalf("%+v", f.Refuse)
			}
			least = min(least, limit().Today)
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("%d of 1,000 idle leases granted, %s of the day's 0.001 cr left at the least", granted, least)
		if granted < 1 || granted > 4 || least < 1000-400 {
			t.Errorf("%d idle leases granted, %s left at the least", granted, least)
		}
		time.Sleep(2 * silence)
		synctest.Wait()
		if l := limit(); l.Total() != 400 || l.Today != 1000 || l.Owes != 0 {
			t.Errorf("afterwards: %+v", l)
		}
		h.hire().Reset()
	})
}

func TestMeterIsBounded(t *testing.T) {
	m, now := newMeter(), time.Unix(1e9, 0)
	for i := range 3 * maxMetered {
		if !m.take(peer.ID(fmt.Sprint(i)), 1, now.Add(time.Duration(i)*time.Millisecond)) && i < allChecksBurst {
			t.Fatalf("peer %d was refused its first check", i)
		}
	}
	if len(m.peers) > maxMetered {
		t.Errorf("%d peers remembered", len(m.peers))
	}
}

// A voucher that is sent again and again is checked once.
func TestRepeatedVoucherIsNotCheckedAgain(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		s := h.hire()
		v := h.pay(s, h.work(s, 0), 0)
		forged := append([]byte(nil), v...)
		forged[len(forged)-40] ^= 1 // would end the lease if anybody looked
		for range 100 {
			h.send(s, frame{Voucher: forged})
		}
		h.pay(s, h.work(s, 1), 1)
		s.Reset()
	})
}
