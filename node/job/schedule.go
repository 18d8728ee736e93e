package job

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// Bounds of planned jobs.
const (
	planGap    = 500 * time.Millisecond // between two plans
	maxPlanned = 512                    // offers that a plan considers, the best ones

	// pilotUnits are given out before anything is known of the job's units; when half of them have ended, what
	// the others come to is estimated. One host that stalls must not hold that up.
	pilotUnits = 8
)

var aims = map[exec.Optimise]market.Optimise{exec.ForCost: market.ForCost, exec.ForTime: market.ForTime}

// A sample is the mean of what was seen, and how much it varies (Welford's method).
type sample struct{ n, mean, squares float64 }

func (s *sample) add(x float64) {
	s.n++
	d := x - s.mean
	s.mean += d / s.n
	s.squares += d * (x - s.mean)
}

// low is below the mean of all with a chance of some 98 %: two standard errors down.
func (s *sample) low() float64 {
	if s.n < 2 {
		return 0
	}
	return max(0, s.mean-2*math.Sqrt(s.squares/(s.n-1)/s.n))
}

// noteFuel learns what a unit took.
func (r *run) noteFuel(f ledger.Fuel) {
	r.took.add(float64(f))
	if r.meanFuel == 0 {
		r.meanFuel = f
	} else {
		r.meanFuel = (7*r.meanFuel + f) / 8
	}
}

// unitFuel is what to expect of a unit.
func (r *run) unitFuel() ledger.Fuel {
	switch {
	case r.m.Planned() && r.took.n > 0:
		return max(1, ledger.Fuel(r.took.mean))
	case r.meanFuel > 0:
		return r.meanFuel
	}
	return min(market.UnknownUnit, r.m.Limits.Fuel) // a guess must not exceed what a unit may use, or it shuts out hosts that the budget affords
}

// schedule decides which leases a planned job opens, and how many units each is given.
func (r *run) schedule(s farm.Stats, now time.Time) {
	r.hireLater = true // a plan is made anew as time passes
	if now.Before(r.hireAt) {
		return
	}
	r.hireAt = now.Add(planGap)
	waiting := s.Known - s.Ended
	r.req.market.Advertise(r.id, r.m, waiting)
	ranking := r.rank(waiting, now)
	offers := map[farm.HostID]market.Offer{}
	rs := r.resources(ranking, offers)
	g := r.goal(s, rs, now)
	r.plan = farm.MakePlan(g, rs)
	least := g // whatever it takes
	least.Aim, least.Deadline, least.Budget = exec.ForCost, false, ledger.MaxCredits
	e := r.estimate(g, farm.MakePlan(least, rs), s, now)
	switch {
	case e == nil:
		r.plan = r.pilot(r.plan, s)
		r.planned = fmt.Sprintf("%d pilot units are to show what a unit comes to; %d have ended", r.pilots(s), s.Ended)
	case e.Over:
		hold(&r.plan)
		r.planned = e.String()
	default:
		r.planned = e.String()
	}
	r.setEstimate(e)
	r.follow(g, offers, now)
	r.explainPlan(e, ranking)
}

// resources are the providers at hand and those that could be.
func (r *run) resources(ranking market.Ranking, offers map[farm.HostID]market.Offer) (rs []farm.Resource) {
	add := func(p peer.ID, c candidate, slots, working int) {
		id := farm.HostID(p)
		cost, err := c.price.Cost(r.unitFuel())
		if err != nil {
			return
		}
		unit := r.farm.Pace(id)
		if unit == 0 {
			unit = time.Duration(min(float64(r.unitFuel())/float64(max(c.speed, 1)), 1e9)*1e9) + r.env.Net.RTT(p)
		}
		rs = append(rs, farm.Resource{ID: id, Account: c.account, Slots: slots, Unit: unit, Cost: cost, Working: working})
	}
	for p, l := range r.leases {
		add(p, r.standing[p].cand, l.told, l.busy())
	}
	for p := range r.opening {
		add(p, r.standing[p].cand, r.standing[p].cand.slots, 0)
	}
	for _, c := range ranking.Ranked[:min(len(ranking.Ranked), maxPlanned)] {
		o := c.Offer
		offers[farm.HostID(o.Peer)] = o
		add(o.Peer, candidate{account: o.Account, price: o.Price, speed: o.Capacity.Speed}, o.FreeSlots, 0)
	}
	return rs
}

// goal is what is left of the job.
func (r *run) goal(s farm.Stats, rs []farm.Resource, now time.Time) farm.Goal {
	replicas, fresh := r.farm.ToGive()
	g := farm.Goal{Aim: r.m.Optimise, Units: replicas + fresh*uint64(max(r.m.Verify, 1)), Budget: r.m.Budget - r.paidOut, Most: maxLeases}
	if r.m.Verify.Votes() {
		g.Each = replicas + fresh // never two of a unit
	}
	if r.m.Verify == exec.VerifyAuto { // as many are checked as were so far
		often := 2.0
		if n := s.Ended + s.Open; s.Ended >= pilotUnits {
			often = min(max(1, float64(s.Replicas)/float64(n)), often)
		}
		g.Units = replicas + uint64(often*float64(fresh))
	}
	if r.m.Deadline > 0 {
		g.Deadline, g.Left = true, time.UnixMilli(r.m.Deadline).Sub(now)
	}
	for _, l := range r.leases {
		g.Budget -= l.spent()
	}
	for _, x := range rs {
		g.Budget -= x.Cost * ledger.Credits(x.Working)
	}
	return g
}

// pilots is how many pilot units the job has.
func (r *run) pilots(s farm.Stats) uint64 { return min(pilotUnits, s.Known) }

// estimate says what the job comes to, by the units that have ended: nil before enough have. least is the plan that
// costs least.
func (r *run) estimate(g farm.Goal, least farm.Plan, s farm.Stats, now time.Time) *node.JobEstimate {
	if s.Ended < (r.pilots(s)+1)/2 || r.took.n == 0 {
		return nil
	}
	used := r.m.Budget - g.Budget // spent, or with providers now
	e := &node.JobEstimate{From: uint64(r.took.n), Units: s.Known, Cost: used + r.plan.Cost, Ends: now.Add(r.plan.Took), Late: r.plan.Late}
	if r.plan.Given < g.Units {
		e.Cost = used + least.Cost
		e.Over = least.Given == g.Units && r.took.low()/max(r.took.mean, 1)*float64(least.Cost) > float64(max(g.Budget, 0))
	}
	return e
}

func (r *run) setEstimate(e *node.JobEstimate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.job.Estimate = e
}

// pilot cuts a plan down to the pilot units: one for each slot, of the cheapest, or the fastest if time is the aim.
func (r *run) pilot(p farm.Plan, s farm.Stats) farm.Plan {
	if r.m.Optimise == exec.ForTime {
		slices.SortStableFunc(p.Shares, func(a, b farm.Share) int { return int(min(max(a.Unit-b.Unit, -1), 1)) })
	}
	left, _ := r.farm.ToGive() // replicas of those that were begun
	left += (pilotUnits - min(pilotUnits, s.Ended+s.Open)) * uint64(r.m.Verify.Most())
	for i := range p.Shares {
		x := &p.Shares[i]
		x.Units = min(left, uint64(max(x.Slots-x.Working, 0)))
		left -= x.Units
	}
	return p
}

// hold takes all back that a plan gives.
func hold(p *farm.Plan) {
	p.Given = 0
	for i := range p.Shares {
		p.Shares[i].Units = 0
	}
}

// follow does what the plan says: hired hosts get their shares, others are asked.
func (r *run) follow(g farm.Goal, offers map[farm.HostID]market.Offer, now time.Time) {
	stuck := r.stuck(now)
	avail := r.available()
	fresh, tail := 0, ledger.Credits(-1)
	for _, x := range r.plan.Shares {
		if _, known := offers[x.ID]; known && x.Units > 0 {
			fresh++
		}
		if x.Working > 0 {
			tail = max(tail, x.Cost)
		}
	}
	if r.m.Optimise == exec.ForTime || g.Deadline && g.Left < time.UnixMilli(r.m.Deadline).Sub(time.UnixMilli(r.m.Created))/10 {
		tail = ledger.MaxCredits
	}
	for _, x := range r.plan.Shares {
		if r.leases[peer.ID(x.ID)] != nil {
			n := x.Units
			// What is left may need another than planned: a voter, or somebody who repeats what takes long, no
			// dearer than who has it while there is time.
			if stuck || g.Units == 0 && g.Budget >= x.Cost && x.Cost <= tail {
				n = max(n, uint64(x.Slots))
			}
			r.perform(r.farm.HostShare(x.ID, int(min(n, 1<<30)), now))
			continue
		}
		o, known := offers[x.ID]
		if !known || x.Units == 0 && !stuck || len(r.leases)+len(r.opening) >= maxLeases {
			continue
		}
		worst, err := o.Price.Cost(r.m.Limits.Fuel)
		if err != nil {
			continue
		}
		// What it is to earn if it gets all, and what may be with it at its worst, with room to go on after the first
		// are paid; if that is more than there is, a fair part.
		amount := min(x.Cost*ledger.Credits(min(g.Units, 1<<20))+r.mostCost(worst, uint64(2*(1+queueAhead)*x.Slots)), r.mostCost(worst, g.Units), avail)
		if amount < worst {
			continue
		}
		amount = min(amount, max(worst, avail/ledger.Credits(max(fresh, 1))))
		avail -= amount
		fresh--
		stuck = false
		r.open(candidate{peer: o.Peer, account: o.Account, name: o.Name, price: o.Price, slots: int(max(1, min(uint64(o.FreeSlots), x.Units))), speed: o.Capacity.Speed, seq: o.Seq}, amount)
	}
}

// stuck reports that some units wait and none is worked on, for long: then one more host is to help.
func (r *run) stuck(now time.Time) bool {
	switch {
	case r.farm.Why() == "" || len(r.leases) == 0 || len(r.opening) > 0 || r.plan.Given == 0:
		r.stuckSince = time.Time{}
	case r.stuckSince.IsZero():
		r.stuckSince = now
	case now.Sub(r.stuckSince) >= stuckTime:
		r.stuckSince = now
		return true
	}
	return false
}

// explainPlan says what holds the job up, if anything does.
func (r *run) explainPlan(e *node.JobEstimate, ranking market.Ranking) {
	idle := len(r.leases)+len(r.opening) == 0
	short := ledger.Credits(0)
	if idle {
		short = r.tooDear(ranking, r.available())
	}
	r.setShort(short)
	switch {
	case e != nil && e.Over:
		r.setWhy(fmt.Sprintf("%s of %s: raise it with `p3 job raise %s %s`", e, r.m.Budget, r.id.Short(), max(e.Cost+e.Cost/10-r.m.Budget, 1).Decimal()))
	case idle && len(ranking.Ranked) == 0:
		r.setWhy(explain(ranking))
	case idle && short > 0:
		r.setWhy(fmt.Sprintf("one unit may cost %s (fuel limit times price), %s of the budget is free: raise it with `p3 job raise`, or submit it anew with less --fuel", short, max(r.available(), 0)))
	default:
		r.setWhy(r.farm.Why())
	}
}
