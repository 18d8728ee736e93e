package farm

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

func seller(i int, slots int, unit time.Duration, cost ledger.Credits) Resource {
	return Resource{ID: HostID(fmt.Sprint(i)), Account: ledger.Account{byte(i)}, Slots: slots, Unit: unit, Cost: cost}
}

func units(p Plan) (n []uint64) {
	for _, s := range p.Shares {
		n = append(n, s.Units)
	}
	return n
}

// Two slow hosts at 1 µcr and two fast ones at 4 share 100 units.
func TestPlanReachesItsGoal(t *testing.T) {
	rs := []Resource{seller(0, 1, 10*time.Second, 1), seller(1, 1, 20*time.Second, 1), seller(2, 2, 4*time.Second, 4), seller(3, 1, 2*time.Second, 4)}
	for _, c := range []struct {
		name string
		goal Goal
		want string // units of hosts 0, 1, 3, 2: cheapest first, then fastest
		took time.Duration
		cost ledger.Credits
		late bool
	}{
		{"cost, no deadline: the cheap ones, however long", Goal{Aim: exec.ForCost, Units: 100}, "[67 33 0 0]", 670 * time.Second, 100, false},
		{"cost, a deadline they meet", Goal{Aim: exec.ForCost, Deadline: true, Left: 800 * time.Second, Units: 100}, "[67 33 0 0]", 670 * time.Second, 100, false},
		{"cost, a deadline they do not meet alone", Goal{Aim: exec.ForCost, Deadline: true, Left: 500 * time.Second, Units: 100}, "[45 22 17 16]", 450 * time.Second, 67 + 33*4, false},
		{"balanced: by half of the time", Goal{Deadline: true, Left: 800 * time.Second, Units: 100}, "[40 20 20 20]", 400 * time.Second, 60 + 40*4, false},
		{"time", Goal{Aim: exec.ForTime, Units: 100}, "[8 4 44 44]", 88 * time.Second, 12 + 88*4, false},
		{"time, as the budget allows", Goal{Aim: exec.ForTime, Units: 100, Budget: 220}, "[40 20 20 20]", 400 * time.Second, 220, false},
		{"a deadline that nobody meets", Goal{Aim: exec.ForCost, Deadline: true, Left: time.Minute, Units: 100}, "[8 4 44 44]", 88 * time.Second, 12 + 88*4, true},
		{"a budget for less", Goal{Aim: exec.ForTime, Units: 100, Budget: 50}, "[34 16 0 0]", 340 * time.Second, 50, false},
		{"no more than a part to one account", Goal{Aim: exec.ForCost, Units: 100, Each: 50}, "[50 50 0 0]", 1000 * time.Second, 100, false},
		{"one host", Goal{Aim: exec.ForCost, Units: 100, Most: 1}, "[100 0 0 0]", 1000 * time.Second, 100, false},
	} {
		if c.goal.Budget == 0 {
			c.goal.Budget = ledger.Credit
		}
		p := MakePlan(c.goal, rs)
		near := p.Took > c.took*9/10 && p.Took < c.took*11/10
		if got := fmt.Sprint(units(p)); got != c.want || !near || p.Cost != c.cost || p.Late != c.late {
			t.Errorf("%s: %s in %s for %d µcr, late %v; want %s in %s for %d", c.name, got, p.Took, p.Cost, p.Late, c.want, c.took, c.cost)
		}
	}
}

func drawGoal(t *rapid.T) (Goal, []Resource) {
	g := Goal{
		Aim:    rapid.SampledFrom([]exec.Optimise{exec.Balanced, exec.ForCost, exec.ForTime, ""}).Draw(t, "aim"),
		Budget: ledger.Credits(rapid.Int64Range(-5, 200).Draw(t, "budget")),
		Units:  rapid.Uint64Range(0, 60).Draw(t, "units"),
	}
	if g.Deadline = rapid.Bool().Draw(t, "deadline"); g.Deadline {
		g.Left = time.Duration(rapid.Int64Range(-10, 300).Draw(t, "left")) * time.Second
	}
	if rapid.Bool().Draw(t, "capped") {
		g.Each, g.Most = rapid.Uint64Range(1, 30).Draw(t, "each"), rapid.IntRange(0, 3).Draw(t, "most")
	}
	n := rapid.IntRange(0, 6).Draw(t, "hosts")
	rs := make([]Resource, n)
	for i := range rs {
		rs[i] = seller(i, rapid.IntRange(0, 3).Draw(t, "slots"), time.Duration(rapid.Int64Range(0, 20).Draw(t, "unit"))*time.Second, ledger.Credits(rapid.Int64Range(0, 6).Draw(t, "cost")))
		rs[i].Account = ledger.Account{byte(rapid.IntRange(0, 3).Draw(t, "account"))}
		rs[i].Working = rapid.IntRange(0, 3).Draw(t, "working")
	}
	return g, rs
}

// Whatever the goal and whoever is there, a plan stays within the budget, gives nothing twice, bounds each account, and
// says why it passes a host over.
func TestPlanNeverExceedsItsGoal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, rs := drawGoal(t)
		p := MakePlan(g, rs)
		var given uint64
		var cost ledger.Credits
		accounts, used := map[ledger.Account]uint64{}, 0
		for _, s := range p.Shares {
			given += s.Units
			cost += ledger.Credits(s.Units) * s.Cost
			accounts[s.Account] += s.Units
			if s.Units > 0 {
				used++
			}
			if (s.Units == 0) == (s.Why == NotPassed) || s.Units > 0 && s.Slots == 0 {
				t.Fatalf("%+v", s)
			}
		}
		if len(p.Shares) != len(rs) || given != p.Given || given > g.Units || cost != p.Cost || cost > max(g.Budget, 0) || g.Most > 0 && used > g.Most {
			t.Fatalf("%+v", p)
		}
		for _, n := range accounts {
			if g.Each > 0 && n > g.Each {
				t.Fatalf("%d to one account: %+v", n, p)
			}
		}
		if g.Deadline && p.Late != (p.Took > g.Left) {
			t.Fatalf("late %v: %+v", p.Late, p)
		}
	})
}

// A plan that aims at cost, in time, costs no more than the cheapest of all ways to give the units out; one that aims at
// time takes no longer than the soonest.
func TestPlanIsAsGoodAsTheBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, rs := drawGoal(t)
		g.Units, g.Each, g.Most, g.Budget = g.Units%7, 0, 0, 10_000
		for i := range rs {
			rs[i].Working = 0
		}
		rs = rs[:min(len(rs), 4)]
		var aim time.Duration // by which all must have ended
		switch {
		case g.Aim == exec.ForTime || g.Aim != exec.ForCost && !g.Deadline:
			aim = forever
		case !g.Deadline:
			aim = forever
		case g.Aim == exec.ForCost:
			aim = time.Duration(planMargin * float64(max(g.Left, 0)))
		default:
			aim = max(g.Left, 0) / 2
		}
		p := MakePlan(g, rs)
		cheapest, soonest := ledger.Credits(-1), time.Duration(-1)
		var try func(i int, left uint64, cost ledger.Credits, took time.Duration)
		try = func(i int, left uint64, cost ledger.Credits, took time.Duration) {
			if left == 0 {
				if took <= aim && (cheapest < 0 || cost < cheapest) {
					cheapest = cost
				}
				if soonest < 0 || took < soonest {
					soonest = took
				}
				return
			}
			if i == len(rs) {
				return
			}
			try(i+1, left, cost, took)
			for n := uint64(1); n <= left && rs[i].Slots > 0; n++ {
				try(i+1, left-n, cost+ledger.Credits(n)*rs[i].Cost, max(took, Share{Resource: rs[i], Units: n}.ends()))
			}
		}
		try(0, g.Units, 0, 0)
		if soonest < 0 {
			if p.Given > 0 && g.Units > 0 {
				t.Fatalf("given without a way: %+v", p)
			}
			return
		}
		if p.Given != g.Units {
			t.Fatalf("%d of %d units: %+v", p.Given, g.Units, p)
		}
		switch byTime := g.Aim == exec.ForTime || g.Aim != exec.ForCost && !g.Deadline; {
		case byTime || cheapest < 0: // or too late for any
			if p.Took > soonest+soonest/1000 {
				t.Fatalf("takes %s, could %s: %+v", p.Took, soonest, p)
			}
		case p.Cost > cheapest || p.Took > aim:
			t.Fatalf("costs %d in %s, could %d: %+v", p.Cost, p.Took, cheapest, p)
		}
	})
}
