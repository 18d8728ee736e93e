package job

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// An owner is a policy that changes while leases stand.
type owner struct {
	mu  sync.Mutex // guards pol
	pol Policy
	p   *Provider
}

func (o *owner) policy() Policy { o.mu.Lock(); defer o.mu.Unlock(); return o.pol }

func (o *owner) says(change func(*Policy)) {
	o.mu.Lock()
	change(&o.pol)
	o.mu.Unlock()
	o.p.Kick()
}

// withOwner runs test with a requester and a provider whose owner changes his mind.
func withOwner(t *testing.T, engine exec.Engine, test func(t *testing.T, o *owner, h *hirer)) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		host, me := net.party(), net.party()
		if engine != nil {
			host.Env.Engine = engine
		}
		o := &owner{pol: lends(2)}
		o.p = NewProvider(host.Env, host.x, host.settler, o.policy)
		test(t, o, &hirer{party: me, host: host, m: me.manifest(1), price: onePer, slots: 2})
		time.Sleep(2 * silence)
		synctest.Wait()
		if c := o.p.Counters(); c.Busy != 0 || len(o.p.Guests()) != 0 {
			t.Errorf("%d slots and %d units are still taken", c.Busy, len(o.p.Guests()))
		}
	})
}

func tasks(units ...uint64) frame {
	var f frame
	for _, u := range units {
		f.Tasks = append(f.Tasks, task{Unit: u, Input: exec.Input{Stdin: []byte("x")}})
	}
	return f
}

func TestOwnerWhoReturnsGetsTheMachineBack(t *testing.T) {
	withOwner(t, nil, func(t *testing.T, o *owner, h *hirer) {
		s := h.hire()
		h.send(s, tasks(0, 1))
		time.Sleep(heartbeat / 6)
		synctest.Wait()
		if n := len(o.p.Guests()); n == 0 {
			t.Fatal("nothing runs")
		}
		o.says(func(p *Policy) { p.Accepts, p.Freeze, p.Why = false, true, "in use now (x11)" })
		synctest.Wait()
		if n := len(o.p.Guests()); n == 0 {
			t.Error("frozen units are given up")
		}
		o.says(func(p *Policy) { p.HandBack = true })
		h.wantRefusal(s, CodePaused)
		synctest.Wait()
		if n := len(o.p.Guests()); n != 0 {
			t.Errorf("%d units run on", n)
		}
		h.m = h.party.manifest(1)
		s = h.dial()
		h.send(s, frame{Open: h.request()})
		h.wantRefusal(s, CodePaused)
	})
}

// Finishing lets what runs end, sends its result, waits for its pay and then ends the lease.
func TestFinishEndsWhatRunsFirst(t *testing.T) {
	withOwner(t, nil, func(t *testing.T, o *owner, h *hirer) {
		s := h.hire()
		h.send(s, tasks(0, 1)) // one unpaid unit is allowed: the second waits
		time.Sleep(heartbeat / 6)
		o.says(func(p *Policy) { p.Accepts, p.Why = false, "finishing" })
		f := h.answer(s)
		if len(f.Results) != 1 || f.Results[0].Unit != 0 {
			t.Fatalf("%+v", f)
		}
		h.pay(s, f, 0)
		h.wantRefusal(s, CodePaused)
	})
}

// Who is sent away before paying has left nothing unpaid.
func TestSentAwayIsNoDebt(t *testing.T) {
	withOwner(t, nil, func(t *testing.T, o *owner, h *hirer) {
		s := h.hire()
		h.work(s, 0)
		o.says(func(p *Policy) { p.Accepts, p.Freeze, p.HandBack, p.Why = false, true, true, "on battery" })
		h.wantRefusal(s, CodePaused)
		synctest.Wait()
		if d := o.p.owes(h.Book.Account(), time.Now()); d != 0 {
			t.Errorf("it must wait %s", d)
		}
	})
}

func TestPolicyChoosesWhoMayCome(t *testing.T) {
	withOwner(t, nil, func(t *testing.T, o *owner, h *hirer) {
		var host node.HostPolicy
		o.says(func(p *Policy) { p.Refuses = func(v node.Visitor) string { return host.Refuses(v) } })
		s := h.hire()
		for _, set := range [][2]string{
			{"deny", "account:" + h.Book.Account().String()}, {"deny", "program:" + h.m.Program.Hash.String()}, {"deny", "peer:" + h.self.String()},
			{"allow", "program:" + fmt.Sprintf("%064d", 7)}, {"min_trust", "0.51"},
		} {
			var err error
			if host, err = (node.HostPolicy{}).Set(set[0], set[1]); err != nil {
				t.Fatal(err)
			}
			s := h.dial()
			h.send(s, frame{Open: h.request()})
			h.wantRefusal(s, CodePolicy)
		}
		o.p.Kick() // the lease that stands meets the new word, too
		h.wantRefusal(s, CodePolicy)
	})
}

// A publication makes the publisher another than who pays.
func TestPolicyKnowsPublishers(t *testing.T) {
	withOwner(t, nil, func(t *testing.T, o *owner, h *hirer) {
		var host node.HostPolicy
		o.says(func(p *Policy) { p.Refuses = func(v node.Visitor) string { return host.Refuses(v) } })
		author := newHub(t).party().Book
		payer, publisher := "publisher:"+h.Book.Account().String(), "publisher:"+author.Account().String()
		sign := func(program ledger.Digest) (raw []byte) {
			raw, err := author.Publish(program)
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		for _, x := range []struct {
			signed    []byte
			key, rule string
			want      Code
		}{
			{nil, "deny", payer, CodePolicy},
			{nil, "allow", publisher, CodePolicy},
			{sign(h.m.Program.Hash), "deny", publisher, CodePolicy},
			{sign(h.m.Program.Hash), "allow", payer, CodePolicy},
			{sign(ledger.Digest{1}), "allow", publisher, CodeManifest},
		} {
			var err error
			if host, err = (node.HostPolicy{}).Set(x.key, x.rule); err != nil {
				t.Fatal(err)
			}
			h.m.Signed = x.signed
			s := h.dial()
			h.send(s, frame{Open: h.request()})
			h.wantRefusal(s, x.want)
		}
		h.m.Signed = sign(h.m.Program.Hash)
		h.hire()
	})
}

// frozenEngine ends every unit as one does whose time ran out while it was frozen.
type frozenEngine struct{ echo }

func (frozenEngine) Run(context.Context, exec.Spec) (exec.Result, error) {
	return exec.Result{}, fmt.Errorf("its wall time ran out: %w", exec.ErrFrozen)
}

func TestDeadlineWhileFrozenIsNoFaultOfTheProgram(t *testing.T) {
	withOwner(t, frozenEngine{}, func(t *testing.T, o *owner, h *hirer) {
		s := h.hire()
		h.send(s, tasks(0))
		f := h.answer(s)
		if len(f.Faults) != 1 || f.Faults[0].Code != CodePaused || len(f.Results) != 0 {
			t.Errorf("%+v", f)
		}
		s.Reset()
	})
}

// Slots that the owner takes away are gone from leases that stand, at the next unit.
func TestFewerSlotsHoldAtOnce(t *testing.T) {
	withOwner(t, nil, func(t *testing.T, o *owner, h *hirer) {
		h.m.Verify = 2 // more than one may run before pay
		s := h.hire()
		h.send(s, tasks(0, 1, 2, 3))
		time.Sleep(heartbeat / 6)
		synctest.Wait()
		if n := len(o.p.Guests()); n != 2 {
			t.Fatalf("%d units run, not 2", n)
		}
		o.says(func(p *Policy) { p.Capacity.Slots = 1 })
		time.Sleep(time.Second) // both have ended
		synctest.Wait()
		if n := len(o.p.Guests()); n != 1 {
			t.Errorf("%d units run, not 1", n)
		}
		s.Reset()
	})
}

func TestTrafficOfGuestsIsCounted(t *testing.T) {
	withOwner(t, nil, func(t *testing.T, o *owner, h *hirer) {
		var sum int64
		o.p.env.Moved = func(n int64) { o.mu.Lock(); sum += n; o.mu.Unlock() }
		s := h.hire()
		h.send(s, tasks(0))
		h.answer(s)
		s.Reset()
		synctest.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		if least := h.m.Program.Size + 2; sum < least {
			t.Errorf("%d bytes, the program alone has %d", sum, least)
		}
	})
}
