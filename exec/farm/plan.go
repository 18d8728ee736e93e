package farm

import (
	"cmp"
	"slices"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// A Resource is one provider as a plan sees it, hired or not.
type Resource struct {
	ID      HostID
	Account ledger.Account
	Slots   int
	Unit    time.Duration  // that a slot needs for a unit
	Cost    ledger.Credits // of a unit, µcr
	Working int            // units that are with it now
}

// A Goal is what a plan is to reach from now on.
type Goal struct {
	Aim      exec.Optimise
	Deadline bool           // there is one:
	Left     time.Duration  // until it
	Budget   ledger.Credits // left for Units: µcr
	Units    uint64         // replicas to be given out
	Each     uint64         // of these, at most so many to one account; 0 = all
	Most     int            // resources that may be used; 0 = all
}

// A Plan says how many units each resource is given, further to those that are with it.
type Plan struct {
	Shares []Share        // of all resources, cheapest first
	Given  uint64         // together; less than the goal's where resources or the budget do not suffice
	Cost   ledger.Credits // expected of these, never above the goal's budget
	Took   time.Duration  // expected until all have ended, those that are with resources now included
	Late   bool           // that is after the deadline
}

// A Share is what one resource is given, and if nothing, why.
type Share struct {
	Resource
	Units uint64
	Why   Passed
}

// A Passed is why a resource is given nothing.
type Passed uint8

// Reasons to give nothing.
const (
	NotPassed Passed = iota
	PassedDear
	PassedSlow
	PassedBudget
	PassedEnough
)

var passedTexts = [...]string{NotPassed: "", PassedDear: "cheaper ones are done in time", PassedSlow: "too slow for the time left",
	PassedBudget: "dearer than the budget left affords", PassedEnough: "enough others work for it"}

func (p Passed) String() string { return passedTexts[p] }

const (
	// forever is more than any job takes, and can be added to.
	forever = time.Duration(1) << 61

	// planMargin is the part of the time to the deadline that a plan uses: estimates err, hosts leave.
	planMargin = 0.9
)

// MakePlan decides who is given how much, as Nimrod/G's cost-time optimisation under deadline and budget does
// (Buyya, Murshed, Abramson and Venugopal, "Scheduling parameter sweep applications on global Grids", Software:
// Practice and Experience 35, 2005): the cheapest get all that they can do by some time, then the next; among
// those that cost the same, so that all are done soonest. That time is the deadline if cost is the aim, and the soonest
// at which the budget affords it if time is. A balanced plan for a deadline is to be done by half of it. If the
// deadline cannot be met, the plan is the soonest.
//
// It is pure, and made anew as units end: who turns out to be slow is given less.
func MakePlan(g Goal, rs []Resource) Plan {
	p := planner{Goal: g, rs: slices.Clone(rs)}
	if p.Each == 0 {
		p.Each = p.Units
	}
	slices.SortFunc(p.rs, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.ID, b.ID))
	})
	most := p.given(forever)
	aim := forever
	switch {
	case g.Deadline && g.Aim == exec.ForCost:
		aim = time.Duration(planMargin * float64(max(g.Left, 0)))
	case g.Deadline && g.Aim != exec.ForTime:
		aim = max(g.Left, 0) / 2
	case g.Aim != exec.ForCost:
		aim = 0
	}
	if p.given(aim) < most {
		aim = search(forever, func(t time.Duration) bool { return p.given(t) == most })
	}
	out := p.by(aim)
	out.Late = g.Deadline && out.Took > g.Left
	return out
}

// search returns the least t, at most, for which ok; ok must stay true from there on, and be true at most.
func search(most time.Duration, ok func(time.Duration) bool) time.Duration {
	low, high := time.Duration(-1), time.Duration(1) // ok(low) is false, ok(high) unknown
	for high < most && !ok(high) {
		low, high = high, min(2*high, most)
	}
	for high-low > 1 && high-low > high>>20 { // to a millionth
		if mid := low + (high-low)/2; ok(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// A planner has its resources cheapest first, and of those that cost the same the fastest.
type planner struct {
	Goal
	rs []Resource
}

// by gives out what can be done by t, within the budget.
func (p *planner) by(t time.Duration) Plan {
	out := Plan{Shares: make([]Share, len(p.rs))}
	state := p.start()
	for i := 0; i < len(p.rs); {
		j := i + 1
		for j < len(p.rs) && p.rs[j].Cost == p.rs[i].Cost {
			j++
		}
		state = p.group(p.rs[i:j], t, state, out.Shares[i:j])
		i = j
	}
	out.Given, out.Cost = p.Units-state.left, p.Budget-state.budget
	for _, s := range out.Shares {
		if s.Units > 0 || s.Working > 0 {
			out.Took = max(out.Took, s.ends())
		}
	}
	return out
}

// given is how many units by would give.
func (p *planner) given(t time.Duration) uint64 {
	return p.Units - p.fill(p.rs, t, p.start(), nil).left
}

func (p *planner) start() allotment { return allotment{left: p.Units, budget: p.Budget} }

// An allotment is what is still to be given.
type allotment struct {
	left     uint64
	budget   ledger.Credits
	used     int
	accounts map[ledger.Account]uint64 // given; nil if that does not matter
}

// group gives to resources that cost the same, so that they are done soonest, and at the latest by t.
func (p *planner) group(rs []Resource, t time.Duration, from allotment, shares []Share) allotment {
	most := p.fill(rs, t, from, nil)
	if most.left == 0 && from.left > 0 { // they need not all the time
		t = search(t, func(t time.Duration) bool { return p.fill(rs, t, from, nil).left == 0 })
	}
	return p.fill(rs, t, from, shares)
}

// fill gives each resource what it can do by t. It changes nothing of from, and fills shares in if there are any.
func (p *planner) fill(rs []Resource, t time.Duration, from allotment, shares []Share) allotment {
	a := from
	capped := p.Each < p.Units
	if capped {
		a.accounts = make(map[ledger.Account]uint64, len(from.accounts)+len(rs))
		for k, v := range from.accounts {
			a.accounts[k] = v
		}
	}
	for i, r := range rs {
		n, why := min(r.by(t), a.left), PassedSlow
		if a.left == 0 {
			why = PassedDear
		}
		if capped {
			n = min(n, p.Each-a.accounts[r.Account])
		}
		if r.Cost > 0 && uint64(max(a.budget, 0)/r.Cost) < n {
			n, why = uint64(max(a.budget, 0)/r.Cost), PassedBudget
		}
		if n > 0 && p.Most > 0 && a.used >= p.Most {
			n, why = 0, PassedEnough
		}
		if n > 0 {
			a.left -= n
			a.budget -= ledger.Credits(n) * r.Cost
			a.used++
			why = NotPassed
			if capped {
				a.accounts[r.Account] += n
			}
		}
		if shares != nil {
			shares[i] = Share{r, n, why}
		}
	}
	return a
}

// by is how many further units the resource can do by t.
func (r Resource) by(t time.Duration) uint64 {
	if r.Slots <= 0 {
		return 0
	}
	unit := max(r.Unit, 1)
	if t -= unit * time.Duration(min(r.Working, 1<<20)) / time.Duration(r.Slots); t < unit {
		return 0
	}
	return uint64(t/unit) * uint64(r.Slots)
}

// ends is when all units of a share have ended.
func (s Share) ends() time.Duration {
	if s.Slots <= 0 {
		return max(s.Unit, 1)
	}
	slots, unit := uint64(s.Slots), max(s.Unit, 1)
	waves := (s.Units + slots - 1) / slots
	if waves > uint64(forever/unit) {
		return forever
	}
	return unit*time.Duration(min(s.Working, 1<<20))/time.Duration(slots) + unit*time.Duration(waves)
}
