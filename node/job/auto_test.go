package job

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// long takes the sizes of the figures in docs/security.md.
var long = flag.Bool("long", false, "simulate 100,000 units instead of some thousands")

// A fleet is a job's farm with hosts that work in a random order, each with one slot, and the checks that a requester
// makes. It stands for a job of thousands of units: everything that decides is the real code.
type fleet struct {
	t       *testing.T
	farm    *farm.Farm
	conduct *conducts
	random  *rand.Rand
	now     time.Time
	hosts   map[farm.HostID]*fleetHost
	order   []*fleetHost
	lies    func(h *fleetHost, unit uint64) bool // what liars do; all tell the same lie
	first   map[uint64]*fleetHost                // who had a unit first
	renew   bool                                 // who is banned comes back under another name

	accepted, wrong, alone int // units; wrong ones; those of one host alone
	own                    int // units that the requester computed itself
	replicas               int
	over                   bool
}

type fleetHost struct {
	id      farm.HostID
	account ledger.Account
	liar    bool
	tasks   []uint64
	lied    map[uint64]bool
	passed  int            // lies accepted
	caught  int            // lies refused
	shown   map[uint64]int // of lies: how many were shown before
	first   int            // of the lies refused, the shown of the one shown first
}

func newFleet(t *testing.T, verify exec.Verify, units uint64, seed uint64) *fleet {
	return newFleetOf(t, verify, units, seed, 0)
}

// newFleetOf is a fleet whose requester computes units of at most so much fuel itself where they are in doubt.
func newFleetOf(t *testing.T, verify exec.Verify, units uint64, seed uint64, own ledger.Fuel) *fleet {
	f := &fleet{t: t, random: rand.New(rand.NewPCG(seed, 0)), now: time.Unix(1e9, 0), hosts: map[farm.HostID]*fleetHost{}, first: map[uint64]*fleetHost{}}
	f.conduct = newConducts(Env{Store: ledgertest.NewMemory()})
	f.conduct.random = rand.New(rand.NewPCG(seed, 1))
	cfg := farm.Config{Verify: int(verify), Own: own, Retries: 100, Straggler: farm.Straggler{Off: true}}
	if verify == exec.VerifyAuto {
		cfg.Check = f.conduct
	}
	f.farm = farm.New(cfg)
	f.perform(f.farm.AddUnits(units, f.now))
	f.perform(f.farm.Close(f.now))
	return f
}

// join adds a host; stood is how many checks its results have stood before.
func (f *fleet) join(liar bool, stood int) *fleetHost {
	n := len(f.hosts)
	h := &fleetHost{id: farm.HostID(fmt.Sprint("h", n)), account: ledger.Account{byte(n >> 16), byte(n >> 8), byte(n), 1}, liar: liar, lied: map[uint64]bool{}, shown: map[uint64]int{}}
	f.hosts[h.id] = h
	f.order = append(f.order, h)
	for range stood {
		f.conduct.note(h.account, true)
	}
	f.perform(f.farm.HostJoined(h.id, h.account, 1, 0, f.now))
	return h
}

func (f *fleet) vote(h *fleetHost, unit uint64) farm.Vote {
	v := farm.Vote{Digest: ledger.Digest{1}, Fuel: unitFuel, Status: exec.Exited, OK: true}
	if h.lied[unit] {
		v.Digest[0] = 2
	}
	return v
}

func (f *fleet) perform(actions []farm.Action) {
	actions = append([]farm.Action(nil), actions...) // events follow before all are done
	for _, a := range actions {
		switch a := a.(type) {
		case farm.Assign:
			h := f.hosts[a.Host]
			h.tasks = append(h.tasks, a.Unit)
			if f.first[a.Unit] == nil {
				f.first[a.Unit] = h
			}
			f.replicas++
		case farm.Reveal:
			if h := f.hosts[a.Host]; h.lied[a.Unit] {
				h.shown[a.Unit] = len(h.shown)
			}
			f.perform(f.farm.Revealed(a.Host, a.Unit, f.vote(f.hosts[a.Host], a.Unit), f.now))
		case farm.Compute:
			f.own++
			f.perform(f.farm.Computed(a.Unit, &farm.Vote{Digest: ledger.Digest{1}, Fuel: unitFuel, Status: exec.Exited, OK: true}, f.now))
		case farm.Accept:
			f.accept(a)
		case farm.Fail:
			f.t.Fatalf("unit %d: %s", a.Unit, a.Reason)
		case farm.Bad:
			if f.renew {
				h := f.hosts[a.Host]
				for i, o := range f.order {
					if o == h {
						f.order = append(f.order[:i], f.order[i+1:]...)
						break
					}
				}
				f.join(h.liar, 0)
			}
		case farm.Finished:
			f.over = true
		}
	}
}

// accept does what run.accept does for the books.
func (f *fleet) accept(a farm.Accept) {
	f.accepted++
	checked := len(a.Winners) > 1 || a.Own
	if !checked {
		f.alone++
	}
	for _, id := range a.Winners {
		h := f.hosts[id]
		if checked {
			f.conduct.note(h.account, true)
		}
		if h.lied[a.Unit] {
			h.passed++
		}
	}
	for _, id := range a.Losers {
		h := f.hosts[id]
		f.conduct.note(h.account, false)
		if h.lied[a.Unit] {
			if h.caught++; h.caught == 1 || h.shown[a.Unit] < h.first {
				h.first = h.shown[a.Unit]
			}
		}
	}
	if a.Vote.Digest[0] == 2 {
		f.wrong++
	}
}

// run lets hosts work until stop says so or the job is done.
func (f *fleet) run(stop func() bool) {
	for !f.over && !stop() {
		h := f.order[f.random.IntN(len(f.order))]
		f.now = f.now.Add(time.Millisecond)
		if len(h.tasks) == 0 {
			f.perform(f.farm.Tick(f.now))
			continue
		}
		u := h.tasks[0]
		h.tasks = h.tasks[1:]
		h.lied[u] = h.liar && f.lies(h, u)
		f.perform(f.farm.Committed(h.id, u, ledger.Digest{}, f.now))
	}
}

// TestAttack22ColludingWrongMajority measures how many wrong results pass when a share of the hosts always gives the
// same wrong one, and comes back under another name when it is found out. Nothing prevents it: it is bounded by the
// votes. With verify q the vote goes to the first q equal results, the better of 2q−1, so the share must
// match the binomial distribution; verify auto is held to what new hosts are held to, q = 2, while liars never get
// out of probation.
func TestAttack22ColludingWrongMajority(t *testing.T) {
	const units, hosts = 4000, 40
	bound := func(q int, s float64) (p float64) { // at least q of 2q−1
		n := 2*q - 1
		for k := q; k <= n; k++ {
			p += binomial(n, k) * math.Pow(s, float64(k)) * math.Pow(1-s, float64(n-k))
		}
		return p
	}
	for _, verify := range []exec.Verify{2, 3, 5, exec.VerifyAuto} {
		for _, liars := range []int{2, 4, 8, 12, 16} {
			f := newFleet(t, verify, units, uint64(liars))
			f.lies, f.renew = func(*fleetHost, uint64) bool { return true }, true
			for i := range hosts {
				f.join(i < liars, 0)
			}
			f.run(func() bool { return false })
			share := float64(liars) / hosts
			rate, want := float64(f.wrong)/units, bound(verify.Most(), share)
			t.Logf("verify %-4s  %2.0f %% colluders: %6.3f %% wrong, binomial %6.3f %%; %.2f replicas a unit", verify, 100*share, 100*rate, 100*want, float64(f.replicas)/units)
			// Six standard deviations, and a tenth for hosts that are drawn without replacement.
			if slack := 6*math.Sqrt(want*(1-want)/units) + want/10 + 2.0/units; rate > want+slack {
				t.Errorf("verify %s with %d of %d colluders: %.4f of the results are wrong, expected %.4f", verify, liars, hosts, rate, want)
			}
			if f.wrong == 0 && want > 0.01 {
				t.Error("no wrong result passed: the colluders did nothing")
			}
		}
	}
}

// Colluders who know more: they are honest until their results are accepted unchecked, then lie, confirm each other's
// lies, and start anew when they are found out. What passes is less than their share.
func TestPatientColludersStayBelowTheirShare(t *testing.T) {
	const units, hosts = 4000, 40
	for _, liars := range []int{2, 4, 8, 12, 16} {
		f := newFleet(t, exec.VerifyAuto, units, uint64(liars))
		f.renew = true
		f.lies = func(h *fleetHost, unit uint64) bool {
			if o := f.first[unit]; o != h {
				return o.liar && o.lied[unit]
			}
			return !f.conduct.Always(h.account)
		}
		for i := range hosts {
			f.join(i < liars, 0)
		}
		f.run(func() bool { return false })
		share, rate := float64(liars)/hosts, float64(f.wrong)/units
		t.Logf("verify auto  %2.0f %% patient colluders: %6.3f %% wrong; %.2f replicas a unit", 100*share, 100*rate, float64(f.replicas)/units)
		if rate > share || f.wrong == 0 {
			t.Errorf("%d of %d patient colluders: %.4f of the results are wrong", liars, hosts, rate)
		}
	}
}

// TestOwnRunsAgainstColluders is the same with a requester that computes small units itself where hosts disagree, and
// where a check is drawn to be its own: a lie is lost whenever one honest host meets it, so that only units all of
// whose hosts collude are wrong, share^q.
func TestOwnRunsAgainstColluders(t *testing.T) {
	units, hosts := uint64(4000), 40
	if *long {
		units = 100_000
	}
	for _, verify := range []exec.Verify{2, 3, exec.VerifyAuto} {
		for _, liars := range []int{2, 4, 8, 12, 16} {
			f := newFleetOf(t, verify, units, uint64(liars), unitFuel)
			f.lies, f.renew = func(*fleetHost, uint64) bool { return true }, true
			for i := range hosts {
				f.join(i < liars, 0)
			}
			f.run(func() bool { return false })
			share := float64(liars) / float64(hosts)
			rate, want := float64(f.wrong)/float64(units), math.Pow(share, float64(verify.Most()))
			t.Logf("verify %-4s  %2.0f %% colluders: %6.3f %% wrong, all of q %6.3f %%; %.2f replicas and %.3f own runs a unit",
				verify, 100*share, 100*rate, 100*want, float64(f.replicas)/float64(units), float64(f.own)/float64(units))
			if slack := 6*math.Sqrt(want*(1-want)/float64(units)) + want/10 + 2/float64(units); rate > want+slack {
				t.Errorf("verify %s with %d of %d colluders: %.4f of the results are wrong, expected %.4f", verify, liars, hosts, rate, want)
			}
		}
	}
}

// TestReplicationOverheadIsSmall: hosts that have stood twenty checks each, one in a hundred of which now gives wrong
// results of its own all the time, cost less than a tenth more work than without any check, and what passes is less than
// a lie in a thousand results.
func TestReplicationOverheadIsSmall(t *testing.T) {
	units, hosts := uint64(5_000), 200
	if *long {
		units = 100_000
	}
	for _, own := range []ledger.Fuel{0, unitFuel} {
		f := newFleetOf(t, exec.VerifyAuto, units, 1, own)
		f.lies = func(*fleetHost, uint64) bool { return true }
		for i := range hosts {
			f.join(i < hosts/100, 20)
		}
		f.run(func() bool { return false })
		extra, rate := float64(f.replicas+f.own)/float64(units)-1, float64(f.wrong)/float64(units)
		t.Logf("1 %% liars, warm trust, own runs up to %d fuel: %.3f more work a unit (%.4f own runs), %.4f %% wrong", own, extra, float64(f.own)/float64(units), 100*rate)
		if extra > 0.10 || rate > 0.01 {
			t.Errorf("%.3f more work, %.5f of the results are wrong", extra, rate)
		}
	}
}

func binomial(n, k int) float64 {
	c := 1.0
	for i := range k {
		c = c * float64(n-i) / float64(i+1)
	}
	return c
}

// TestAttack23Sleeper: a host whose results stood a thousand checks begins to lie in every unit, but for those that it
// guesses to be checks of others (it guesses right: else it is found sooner). Each lie is checked with a chance of
// checkFloor, so 1/checkFloor − 1 = 19 pass on average before the one that is, in a geometric distribution, and 90
// with a chance of 1 %; a few more are shown until the vote is over, and then none passes. 1,000 sleepers, fixed seeds.
func TestAttack23Sleeper(t *testing.T) {
	const sleepers = 1000
	sum, all, long := 0.0, 0.0, 0
	for seed := range uint64(sleepers) {
		f := newFleet(t, exec.VerifyAuto, 1<<40, seed)
		f.lies = func(h *fleetHost, unit uint64) bool { return f.first[unit] == h }
		f.join(false, 1000)
		f.join(false, 1000)
		h := f.join(true, 1000)
		f.run(func() bool { return h.caught > 0 })
		passed := h.passed
		sum, all = sum+float64(h.first), all+float64(passed)
		if h.first >= 90 {
			long++
		}
		if x, _ := f.conduct.of(h.account); x.Row != 0 || x.Chance() != 1 {
			t.Fatalf("after it was found it is checked with a chance of %v", x.Chance())
		}
		if f.wrong != passed {
			t.Fatalf("%d lies of the sleeper passed, %d wrong results were accepted", passed, f.wrong)
		}
		end := f.accepted + 100
		f.run(func() bool { return f.accepted >= end })
		if h.passed > passed+1 { // one may have been shown unchecked before
			t.Fatalf("%d lies passed after the first was found", h.passed-passed)
		}
	}
	mean, sigma := sum/sleepers, math.Sqrt(1-checkFloor)/checkFloor/math.Sqrt(sleepers)
	t.Logf("%d sleepers: %.1f lies pass on average before one is checked (predicted 19 ± %.1f), 90 or more for %d (predicted 10); %.1f until its vote is over", sleepers, mean, sigma, long, all/sleepers)
	if want := 1/checkFloor - 1; math.Abs(mean-want) > 4*sigma {
		t.Errorf("%.2f lies pass on average, predicted %.2f", mean, want)
	}
	if long > 10+4*4 { // Poisson with mean 10: four standard deviations
		t.Errorf("90 lies passed for %d of %d sleepers", long, sleepers)
	}
}

// Honest hosts cost less and less: the chance falls with what stood, to the floor, and a wrong result sets it back.
func TestChecksFallToTheFloorAndComeBack(t *testing.T) {
	f := newFleet(t, exec.VerifyAuto, 3000, 1)
	for range 4 {
		f.join(false, 0)
	}
	f.run(func() bool { return false })
	if f.wrong != 0 || f.accepted != 3000 {
		t.Fatalf("%d accepted, %d wrong", f.accepted, f.wrong)
	}
	// In probation 4 hosts need 40 votes, 20 units; from 10 to 20 the chance is 1/Row, then the floor.
	if f.alone < 2600 || f.alone > 2960 {
		t.Errorf("%d of 3,000 results were accepted unchecked", f.alone)
	}
	t.Logf("%.3f replicas a unit", float64(f.replicas)/3000)
	for row, want := range map[uint64]float64{0: 1, 9: 1, 10: 0.1, 16: 1.0 / 16, 20: 0.05, 1 << 40: 0.05} {
		if have := (Conduct{Row: row}).Chance(); have != want {
			t.Errorf("after %d results in a row: %v, want %v", row, have, want)
		}
	}
}

// What checks came to survives a restart, and a failed commit.
func TestConductIsDurable(t *testing.T) {
	store := &ledgertest.Failing{Store: ledgertest.NewMemory()}
	a, b := ledger.Account{1}, ledger.Account{2}
	c := newConducts(Env{Store: store})
	for range 12 {
		c.note(a, true)
	}
	c.note(b, true)
	c.note(b, false)
	c.note(b, true)
	if err := c.commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.note(a, true)
	store.FailAt = 2
	if err := c.commit(t.Context()); !errors.Is(err, ledgertest.ErrInjected) {
		t.Fatal(err)
	}
	store.FailAt = 0
	if err := c.commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = newConducts(Env{Store: store})
	for account, want := range map[ledger.Account]Conduct{a: {Row: 13, Valid: 13}, b: {Row: 1, Valid: 2, Wrong: 1}, {3}: {}} {
		if have, err := c.of(account); err != nil || have != want {
			t.Errorf("%+v, %v; want %+v", have, err, want)
		}
	}
}
