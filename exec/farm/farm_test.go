package farm

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// A world is what surrounds a farm in a random schedule: hosts that hold replicas, and the rules that
// every action must keep.
type world struct {
	t     *rapid.T
	farm  *Farm
	cfg   Config
	now   time.Time
	known uint64

	hosts    []*peer // joined
	ended    map[uint64]bool
	votes    map[uint64][]*peer // hosts whose vote on an open unit was taken
	own      []uint64           // to be computed by the requester
	computed map[uint64]bool    // that the requester was asked to
	finished bool
	serial   int
}

type peer struct {
	id      HostID
	account ledger.Account
	room    int
	liar    bool
	held    []uint64 // assigned
	hidden  []uint64 // committed
	asked   []uint64 // to be revealed
}

func truth(unit uint64) Vote {
	return Vote{Digest: ledger.Digest{1, byte(unit), byte(unit >> 8)}, Fuel: 7, Status: exec.Exited, OK: true}
}

// checks draws some results by their count.
type checks struct{ all, drawn, picked int }

func (c *checks) Always(a ledger.Account) bool { return int(a[0])%3 < c.all }
func (c *checks) Draw(ledger.Account) bool     { c.drawn++; return c.drawn%3 == 0 }
func (c *checks) Pick(n int) int               { c.picked++; return c.picked % n }

// voting reports whether results are committed to before they are shown.
func (w *world) voting() bool { return w.cfg.Verify > 1 || w.cfg.Check != nil }

func (w *world) peer(id HostID) *peer {
	for _, p := range w.hosts {
		if p.id == id {
			return p
		}
	}
	return nil
}

func has(list []uint64, u uint64) bool {
	for _, x := range list {
		if x == u {
			return true
		}
	}
	return false
}

func drop(list *[]uint64, u uint64) bool {
	for i, x := range *list {
		if x == u {
			*list = append((*list)[:i], (*list)[i+1:]...)
			return true
		}
	}
	return false
}

func (p *peer) forget(u uint64) bool {
	return drop(&p.held, u) || drop(&p.hidden, u) || drop(&p.asked, u)
}

// perform checks the rules and does what the farm said.
func (w *world) perform(actions []Action) {
	for _, a := range actions {
		if w.finished {
			w.t.Fatalf("%T after Finished", a)
		}
		switch a := a.(type) {
		case Assign:
			w.assign(a)
		case Reveal:
			p := w.peer(a.Host)
			if p == nil || !drop(&p.hidden, a.Unit) {
				w.t.Fatalf("%v was asked for unit %d, which it has not committed", a.Host, a.Unit)
			}
			p.asked = append(p.asked, a.Unit)
			n := len(w.votes[a.Unit])
			for _, o := range w.hosts {
				if has(o.asked, a.Unit) || has(o.hidden, a.Unit) {
					n++
				}
			}
			if n < w.cfg.Verify {
				w.t.Fatalf("unit %d is revealed with %d of %d results given", a.Unit, n, w.cfg.Verify)
			}
		case Hide:
			p := w.peer(a.Host)
			if p == nil || !drop(&p.asked, a.Unit) {
				w.t.Fatalf("%v is to hide unit %d, which it was not asked for", a.Host, a.Unit)
			}
			p.hidden = append(p.hidden, a.Unit)
		case Compute:
			if w.computed[a.Unit] || w.ended[a.Unit] {
				w.t.Fatalf("unit %d is to be computed again", a.Unit)
			}
			w.computed[a.Unit] = true
			w.own = append(w.own, a.Unit)
		case Accept:
			w.end(a.Unit)
			if !a.Own && len(a.Winners) < max(w.cfg.Verify, 1) {
				w.t.Fatalf("unit %d accepted by %v", a.Unit, a.Winners)
			}
			if (a.Own || w.cfg.Verify > 1 || len(a.Winners) > 1) && a.Vote != truth(a.Unit) {
				w.t.Fatalf("unit %d: liars who do not collude won", a.Unit)
			}
		case Fail:
			w.end(a.Unit)
		case CancelUnit:
			if p := w.peer(a.Host); p != nil && !p.forget(a.Unit) {
				w.t.Fatalf("cancel of unit %d, which %s does not have", a.Unit, a.Host)
			}
		case Refuse:
		case Bad:
			p := w.peer(a.Host)
			if p == nil {
				continue // it has left
			}
			if !p.liar {
				w.t.Fatalf("honest %s is bad: %s", a.Host, a.Reason)
			}
			if len(p.held)+len(p.hidden)+len(p.asked) > 0 {
				w.t.Fatalf("bad %s still has work", a.Host)
			}
			w.leave(p)
			for u, voters := range w.votes {
				w.votes[u] = without(voters, p)
			}
		case Finished:
			w.finished = true
		}
	}
	if s := w.farm.Stats(); s.Open > uint64(w.cfg.MaxAhead) || w.cfg.MaxOpen > 0 && s.Open > uint64(w.cfg.MaxOpen) {
		w.t.Fatalf("%d units open, window %d, at most %d", s.Open, w.cfg.MaxAhead, w.cfg.MaxOpen)
	}
	for u := range w.known {
		if (w.farm.State(u) == Ended) != w.ended[u] {
			w.t.Fatalf("unit %d: state %d, ended %v", u, w.farm.State(u), w.ended[u])
		}
	}
	w.busy()
	if w.finished && len(w.ended) != int(w.known) {
		w.t.Fatalf("finished with %d of %d units", len(w.ended), w.known)
	}
}

// busy checks that no host waits while there is work that suits it.
func (w *world) busy() {
	f := w.farm
	if f.over {
		return
	}
	fresh := f.next < f.known && f.next < f.done+uint64(w.cfg.MaxAhead) && !f.full() && len(f.accounts) >= w.cfg.Verify
	for _, h := range f.order {
		if len(h.running) >= h.room(h.queue) || !f.usable(h) {
			continue
		}
		if fresh {
			w.t.Fatalf("%s waits though unit %d is fresh", h.id, f.next)
		}
		for _, u := range f.want {
			if f.suits(h, u, nil) {
				w.t.Fatalf("%s waits though unit %d wants a replica", h.id, u.id)
			}
		}
	}
}

func (w *world) assign(a Assign) {
	p := w.peer(a.Host)
	switch {
	case p == nil:
		w.t.Fatalf("unit %d assigned to absent %s", a.Unit, a.Host)
	case w.ended[a.Unit] || a.Unit >= w.known:
		w.t.Fatalf("unit %d assigned after its end or before its time", a.Unit)
	case a.Unit >= w.farm.Done()+uint64(w.cfg.MaxAhead):
		w.t.Fatalf("unit %d is out of the window at %d", a.Unit, w.farm.Done())
	case len(p.held) >= p.room:
		w.t.Fatalf("%s has %d units and room for %d", p.id, len(p.held)+1, p.room)
	}
	clash := func(o *peer) bool { return o.id == p.id || w.voting() && o.account == p.account }
	for _, o := range w.hosts {
		if clash(o) && (has(o.held, a.Unit) || has(o.hidden, a.Unit) || has(o.asked, a.Unit)) {
			w.t.Fatalf("unit %d is at %s and goes to %s of the same account too", a.Unit, o.id, p.id)
		}
	}
	for _, o := range w.votes[a.Unit] {
		if clash(o) {
			w.t.Fatalf("unit %d: %s voted, %s of the same account gets it", a.Unit, o.id, p.id)
		}
	}
	p.held = append(p.held, a.Unit)
}

func (w *world) end(unit uint64) {
	if w.ended[unit] {
		w.t.Fatalf("unit %d ended twice", unit)
	}
	w.ended[unit] = true
	delete(w.votes, unit)
}

func without(list []*peer, p *peer) (out []*peer) {
	for _, x := range list {
		if x != p {
			out = append(out, x)
		}
	}
	return out
}

func (w *world) leave(p *peer) {
	w.hosts = without(w.hosts, p)
}

func (w *world) join(account byte, slots, queue int, liar bool) {
	w.serial++
	p := &peer{id: HostID(fmt.Sprintf("h%d", w.serial)), account: ledger.Account{account}, room: slots * (1 + queue), liar: liar}
	w.hosts = append(w.hosts, p)
	w.perform(w.farm.HostJoined(p.id, p.account, slots, queue, w.now))
}

// work lets a host come to the end of one thing it has to do; it reports whether there was any.
func (w *world) work(p *peer, pick int, lie uint64) bool {
	vote := func(u uint64) Vote {
		v := truth(u)
		if p.liar {
			v.Digest[31], v.Digest[30] = byte(lie), byte(w.serial) // each lie is its own
			w.serial++
		}
		return v
	}
	switch {
	case len(p.asked) > 0:
		u := p.asked[pick%len(p.asked)]
		drop(&p.asked, u)
		w.votes[u] = append(w.votes[u], p)
		w.perform(w.farm.Revealed(p.id, u, vote(u), w.now))
	case len(p.held) > 0:
		u := p.held[pick%len(p.held)]
		drop(&p.held, u)
		if w.voting() {
			p.hidden = append(p.hidden, u)
			w.perform(w.farm.Committed(p.id, u, ledger.Digest{}, w.now))
		} else {
			w.perform(w.farm.Revealed(p.id, u, vote(u), w.now))
		}
	default:
		return false
	}
	return true
}

// TestEveryUnitEndsOnceUnderAnySchedule drives farms through random joins, losses, faults, lies and
// delays; the rules are in perform. In the end enough honest hosts work until the job is finished.
func TestEveryUnitEndsOnceUnderAnySchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{
			Verify:   rapid.IntRange(1, 3).Draw(t, "verify"),
			Retries:  rapid.IntRange(0, 4).Draw(t, "retries"),
			MaxAhead: rapid.IntRange(1, 20).Draw(t, "ahead"),
			MaxOpen:  rapid.IntRange(0, 6).Draw(t, "open"),
			BadAfter: rapid.IntRange(1, 3).Draw(t, "bad-after"),
		}
		if cfg.Verify == 1 && rapid.Bool().Draw(t, "auto") {
			cfg.Check = &checks{all: rapid.IntRange(0, 3).Draw(t, "checked always")}
		}
		if rapid.Bool().Draw(t, "own") {
			cfg.Own = truth(0).Fuel
		}
		cfg.Straggler.Off = rapid.Bool().Draw(t, "no-dup")
		w := &world{t: t, farm: New(cfg), cfg: cfg, now: time.Unix(0, 0), ended: map[uint64]bool{}, votes: map[uint64][]*peer{}, computed: map[uint64]bool{}}
		some := func() *peer {
			if len(w.hosts) == 0 {
				return nil
			}
			return w.hosts[rapid.IntRange(0, len(w.hosts)-1).Draw(t, "host")]
		}
		one := func(list []uint64) (uint64, bool) {
			if len(list) == 0 {
				return 0, false
			}
			return list[rapid.IntRange(0, len(list)-1).Draw(t, "unit")], true
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				n := rapid.Uint64Range(1, 6).Draw(t, "n")
				w.known += n
				w.perform(w.farm.AddUnits(n, w.now))
			},
			"join": func(t *rapid.T) {
				if len(w.hosts) < 8 {
					w.join(byte(rapid.IntRange(0, 4).Draw(t, "account")), rapid.IntRange(0, 3).Draw(t, "slots"),
						rapid.IntRange(0, 2).Draw(t, "queue"), rapid.IntRange(0, 3).Draw(t, "liar") == 0)
				}
			},
			"rejoin": func(t *rapid.T) {
				if p := some(); p != nil {
					w.leave(p)
					slots := rapid.IntRange(0, 3).Draw(t, "slots")
					w.hosts = append(w.hosts, &peer{id: p.id, account: p.account, room: slots, liar: p.liar})
					w.perform(w.farm.HostJoined(p.id, p.account, slots, 0, w.now))
				}
			},
			"slots": func(t *rapid.T) {
				if p := some(); p != nil {
					slots := rapid.IntRange(0, 3).Draw(t, "slots")
					p.room = slots * (1 + w.farm.hosts[p.id].queue)
					w.perform(w.farm.HostSlots(p.id, slots, w.now))
				}
			},
			"lose": func(t *rapid.T) {
				if p := some(); p != nil {
					w.leave(p)
					w.perform(w.farm.HostLost(p.id, w.now))
				}
			},
			"work": func(t *rapid.T) {
				if p := some(); p != nil {
					w.work(p, rapid.IntRange(0, 9).Draw(t, "pick"), rapid.Uint64Range(0, 255).Draw(t, "lie"))
				}
			},
			"fault": func(t *rapid.T) {
				p := some()
				if p == nil {
					return
				}
				if u, ok := one(append(append(append([]uint64{}, p.held...), p.hidden...), p.asked...)); ok {
					p.forget(u)
					w.perform(w.farm.HostFault(p.id, u, "fault", w.now))
				}
			},
			"mismatch": func(t *rapid.T) {
				p := some()
				if p == nil || !p.liar {
					return
				}
				if u, ok := one(p.asked); ok {
					w.perform(w.farm.Mismatch(p.id, u, w.now))
				}
			},
			"stray": func(t *rapid.T) {
				id, u := HostID(fmt.Sprintf("h%d", rapid.IntRange(0, 9).Draw(t, "h"))), rapid.Uint64Range(0, 99).Draw(t, "u")
				if p := w.peer(id); p == nil {
					w.perform(w.farm.Revealed(id, u, Vote{Status: exec.Exited}, w.now))
					w.perform(w.farm.Committed(id, u, ledger.Digest{}, w.now))
					w.perform(w.farm.HostFault(id, u, "", w.now))
				}
			},
			"compute": func(t *rapid.T) {
				if u, ok := one(w.own); ok {
					w.compute(u, rapid.Bool().Draw(t, "able"))
				}
			},
			"wait": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "ms")) * time.Millisecond)
				w.perform(w.farm.Tick(w.now))
			},
		})
		w.drain()
	})
}

// compute lets the requester come to the end of a unit it computes itself.
func (w *world) compute(u uint64, able bool) {
	drop(&w.own, u)
	var own *Vote
	if able {
		v := truth(u)
		own = &v
	}
	w.perform(w.farm.Computed(u, own, w.now))
}

// drain closes the job and lets honest hosts, and only them, finish it. Only NextTick moves time.
func (w *world) drain() {
	for _, p := range w.hosts {
		if p.liar {
			w.leave(p)
			w.perform(w.farm.HostLost(p.id, w.now))
		}
	}
	for i := range 2*w.cfg.Verify + w.cfg.Retries { // an account for each disagreeing vote, and a quorum
		w.join(byte(100+i), 2, 1, false)
	}
	w.perform(w.farm.Close(w.now))
	for n := 0; !w.finished; n++ {
		busy := false
		for _, p := range w.hosts {
			busy = w.work(p, 0, 0) || busy
		}
		if len(w.own) > 0 {
			busy = true
			w.compute(w.own[0], n%2 == 0)
		}
		if !busy && !w.finished {
			next := w.farm.NextTick()
			if next.IsZero() || n > 10_000 {
				w.t.Fatalf("stuck: %q, %+v", w.farm.Why(), w.farm.Stats())
			}
			if !next.After(w.now) {
				w.t.Fatalf("NextTick %v is not after now", next)
			}
			w.now = next
			w.perform(w.farm.Tick(w.now))
		}
	}
}

// TestMemoryIsBoundedByTheWindow runs a long job and looks at what the farm keeps.
func TestMemoryIsBoundedByTheWindow(t *testing.T) {
	f := New(Config{MaxAhead: 64})
	f.AddUnits(100_000, time.Time{})
	now := time.Unix(0, 0)
	queue := f.HostJoined("a", ledger.Account{1}, 4, 3, now)
	var todo []Assign
	most := 0
	for f.Done() < 100_000 {
		for _, a := range queue {
			if a, ok := a.(Assign); ok {
				todo = append(todo, a)
			}
		}
		// The second oldest first, so that units end out of order.
		i := min(1, len(todo)-1)
		a := todo[i]
		todo = append(todo[:i], todo[i+1:]...)
		queue = f.Revealed(a.Host, a.Unit, truth(a.Unit), now)
		most = max(most, len(f.units)+len(f.ended)+len(f.spare)+len(f.want))
	}
	if most > 3*64 {
		t.Errorf("%d things kept for a window of 64", most)
	}
}

func TestRevealMustMatchEveryFieldOfItsCommitment(t *testing.T) {
	net, lock, acc := ledger.Network{1}, ledger.Digest{2}, ledger.Account{3}
	nonce, digest := Nonce{4}, ledger.Digest{5}
	c := Commitment(net, lock, 6, acc, nonce, digest, 7)
	// Golden: computed apart from this code, over the bytes that Commitment lists.
	if want := "0f9f13d65864d0a9c62931c076e50e2454751494726d916be7e2c547220bae06"; c.String() != want {
		t.Errorf("commitment %s, want %s", c, want)
	}
	if !CheckReveal(c, net, lock, 6, acc, nonce, digest, 7) {
		t.Error("an honest reveal is refused")
	}
	for name, ok := range map[string]bool{
		"network": CheckReveal(c, ledger.Network{9}, lock, 6, acc, nonce, digest, 7),
		"lock":    CheckReveal(c, net, ledger.Digest{9}, 6, acc, nonce, digest, 7),
		"unit":    CheckReveal(c, net, lock, 9, acc, nonce, digest, 7),
		"worker":  CheckReveal(c, net, lock, 6, ledger.Account{9}, nonce, digest, 7), // a copier
		"nonce":   CheckReveal(c, net, lock, 6, acc, Nonce{9}, digest, 7),
		"digest":  CheckReveal(c, net, lock, 6, acc, nonce, ledger.Digest{9}, 7),
		"fuel":    CheckReveal(c, net, lock, 6, acc, nonce, digest, 9),
	} {
		if ok {
			t.Errorf("a reveal with another %s is taken", name)
		}
	}
}

// Event rates: one event per op. 32 hosts of 4 slots with a queue of one each.
func BenchmarkEvents(b *testing.B) {
	for _, verify := range []int{1, 2} {
		b.Run(fmt.Sprintf("verify=%d", verify), func(b *testing.B) {
			f := New(Config{Verify: verify, Retries: 3})
			now := time.Unix(0, 0)
			type job struct {
				host   HostID
				unit   uint64
				reveal bool
			}
			var todo []job
			take := func(actions []Action) {
				for _, a := range actions {
					switch a := a.(type) {
					case Assign:
						todo = append(todo, job{a.Host, a.Unit, verify == 1})
					case Reveal:
						todo = append(todo, job{a.Host, a.Unit, true})
					}
				}
			}
			take(f.AddUnits(1<<60, now))
			for i := range 32 {
				take(f.HostJoined(HostID(fmt.Sprintf("12D3KooW%044d", i)), ledger.Account{byte(i)}, 4, 1, now))
			}
			b.ReportAllocs()
			for b.Loop() {
				j := todo[0]
				todo = todo[1:]
				now = now.Add(time.Microsecond)
				if j.reveal {
					take(f.Revealed(j.host, j.unit, Vote{Digest: ledger.Digest{1}, Status: exec.Exited, OK: true}, now))
				} else {
					take(f.Committed(j.host, j.unit, ledger.Digest{}, now))
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
