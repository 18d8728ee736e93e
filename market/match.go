package market

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
)

// Optimise says what a buyer cares for most.
type Optimise uint8

// Ways to optimise. The zero value is balanced.
const (
	Balanced Optimise = 0
	ForCost  Optimise = 1
	ForTime  Optimise = 2
)

// weights of cost, finish and trust in the score; each row sums to one. A mode leans on its
// own aim but never ignores the others: the cheapest host that never finishes helps nobody.
var weights = [...]struct{ cost, finish, trust float64 }{
	Balanced: {0.40, 0.40, 0.20},
	ForCost:  {0.70, 0.15, 0.15},
	ForTime:  {0.15, 0.70, 0.15},
}

// A Demand is what a buyer wants of a host.
type Demand struct {
	Self     peer.ID        // the buyer, which never hires itself
	Engine   string         // "" = any
	Need     Need           // further conditions
	Ceiling  ledger.Price   // highest price; zero Den = any
	Memory   int64          // bytes one unit needs
	Units    uint64         // units left to run; 0 counts as 1
	UnitFuel ledger.Fuel    // expected fuel of a unit; 0 = UnknownUnit
	Budget   ledger.Credits // µcr left; 0 = no bound. A host where one unit costs more is refused
	Optimise Optimise
}

// UnknownUnit is the fuel taken for a unit nobody has seen yet: some seconds of a small PC.
const UnknownUnit ledger.Fuel = 5_000_000_000

// A Candidate is an offer with what the buyer knows about its peer.
type Candidate struct {
	Offer   Offer
	RTT     time.Duration // round trip; 0 = unknown
	Trust   float64       // 0..1: share of good results, smoothed; strangers about 0.5
	Queue   int           // our own units that already wait there
	Blocked string        // why the buyer refuses the peer; "" = it does not
}

// A Reason says why an offer was refused. The numbers never change.
type Reason uint8

// Reasons, in the order in which they are checked.
const (
	Withdrawn    Reason = 1
	Expired      Reason = 2
	Self         Reason = 3
	Blocked      Reason = 4
	WrongEngine  Reason = 5
	TooDear      Reason = 6
	SmallMemory  Reason = 7
	OverBudget   Reason = 8
	NeedNotMet   Reason = 9
	NeedFails    Reason = 10
	NoFreeSlots  Reason = 11
	NoSpeedKnown Reason = 12
)

var reasonTexts = [...]string{
	Withdrawn: "withdrawn", Expired: "offer expired", Self: "this machine", Blocked: "blocked here",
	WrongEngine: "other engine", TooDear: "above the price ceiling", SmallMemory: "too little memory for a unit",
	OverBudget: "one unit costs more than the budget left", NeedNotMet: "need not met", NeedFails: "need cannot be evaluated",
	NoFreeSlots: "no free slot", NoSpeedKnown: "speed not measured",
}

func (r Reason) String() string {
	if int(r) < len(reasonTexts) && reasonTexts[r] != "" {
		return reasonTexts[r]
	}
	return "unknown reason"
}

// A Score is between 0 and 1, higher is better, with the parts it was made of.
type Score struct {
	Total               float64
	Cost, Finish, Trust float64        // each 0..1; the best candidate's Cost and Finish are 1
	UnitCost            ledger.Credits // expected, µcr
	FinishIn            time.Duration  // expected, if this host alone ran all units
}

// A Ranked candidate with its score.
type Ranked struct {
	Candidate
	Score Score
}

// A Refusal is a candidate that cannot serve, and why.
type Refusal struct {
	Offer  Offer
	Reason Reason
	Detail string // further words, may be empty
}

// A Ranking is Match's answer: who can serve, best first, and why the others cannot.
type Ranking struct {
	Ranked  []Ranked
	Refused []Refusal
}

// A ReasonCount is one line of "why".
type ReasonCount struct {
	Reason Reason
	Count  int
}

// Reasons groups the refusals, most frequent first.
func (r Ranking) Reasons() []ReasonCount {
	var n [len(reasonTexts)]int
	for _, f := range r.Refused {
		n[f.Reason]++
	}
	var out []ReasonCount
	for reason, count := range n {
		if count > 0 {
			out = append(out, ReasonCount{Reason(reason), count})
		}
	}
	slices.SortStableFunc(out, func(a, b ReasonCount) int { return b.Count - a.Count })
	return out
}

// Match filters and ranks candidates for a demand. It is pure: the same arguments give the
// same ranking; equal scores are ordered by peer ID.
//
// Expected cost is the price of one unit; expected finish is the round trip plus the waves
// of units this host would need alone: ceil((units + queue) / free slots) × fuel / speed. Cost and finish are
// scored relative to the best candidate, trust as it is, weighted by the demand's Optimise.
func Match(d Demand, candidates []Candidate, now time.Time) Ranking {
	if d.UnitFuel == 0 {
		d.UnitFuel = UnknownUnit
	}
	if int(d.Optimise) >= len(weights) {
		d.Optimise = Balanced
	}
	var r Ranking
	bestCost, bestFinish := math.Inf(1), math.Inf(1)
	for _, c := range candidates {
		cost, reason, detail := refuse(d, c, now)
		if reason != 0 {
			r.Refused = append(r.Refused, Refusal{c.Offer, reason, detail})
			continue
		}
		s := Score{UnitCost: cost, FinishIn: finish(d, c), Trust: min(max(c.Trust, 0), 1)}
		bestCost, bestFinish = min(bestCost, float64(cost)), min(bestFinish, float64(s.FinishIn))
		r.Ranked = append(r.Ranked, Ranked{c, s})
	}
	w := weights[d.Optimise]
	for i := range r.Ranked {
		s := &r.Ranked[i].Score
		s.Cost = (bestCost + 1) / (float64(s.UnitCost) + 1) // +1 µcr: free offers divide too
		s.Finish = (bestFinish + 1) / (float64(s.FinishIn) + 1)
		s.Total = w.cost*s.Cost + w.finish*s.Finish + w.trust*s.Trust
	}
	slices.SortFunc(r.Ranked, func(a, b Ranked) int {
		return cmp.Or(cmp.Compare(b.Score.Total, a.Score.Total), strings.Compare(string(a.Offer.Peer), string(b.Offer.Peer)))
	})
	return r
}

// refuse returns the first reason against c, or 0 and the cost of one unit.
func refuse(d Demand, c Candidate, now time.Time) (cost ledger.Credits, why Reason, detail string) {
	o := c.Offer
	switch {
	case o.Withdrawn():
		return 0, Withdrawn, ""
	case !now.Before(o.ExpiresAt()):
		return 0, Expired, ""
	case o.Peer == d.Self && d.Self != "":
		return 0, Self, ""
	case c.Blocked != "":
		return 0, Blocked, c.Blocked
	case d.Engine != "" && !slices.Contains(o.Capacity.Engines, d.Engine):
		return 0, WrongEngine, strings.Join(o.Capacity.Engines, ", ")
	case d.Ceiling.Den != 0 && o.Price.Cmp(d.Ceiling) > 0:
		return 0, TooDear, ""
	case o.Capacity.Memory < d.Memory:
		return 0, SmallMemory, ""
	case o.Capacity.Speed == 0:
		return 0, NoSpeedKnown, ""
	}
	cost, err := o.Price.Cost(d.UnitFuel)
	if err != nil {
		return 0, TooDear, err.Error()
	}
	if d.Budget > 0 && cost > d.Budget {
		return 0, OverBudget, cost.String()
	}
	if d.Need.program != nil { // else the attributes' texts would be made for nothing
		switch ok, err := d.Need.Match(c.Attributes()); {
		case err != nil:
			return 0, NeedFails, err.Error()
		case !ok:
			return 0, NeedNotMet, d.Need.String()
		}
	}
	if o.FreeSlots == 0 {
		return 0, NoFreeSlots, ""
	}
	return cost, 0, ""
}

// finish is the expected time until this host alone had run the demand's units.
func finish(d Demand, c Candidate) time.Duration {
	waves := math.Ceil((float64(max(d.Units, 1)) + float64(max(c.Queue, 0))) / float64(c.Offer.FreeSlots))
	sec := waves*float64(d.UnitFuel)/float64(c.Offer.Capacity.Speed) + c.RTT.Seconds()
	return time.Duration(min(sec*1e9, 1e18)) // about 30 years say enough
}

// perTera is a price in cr per 10^12 fuel.
func perTera(p ledger.Price) float64 { return float64(p.Num) / float64(p.Den) * 1e6 }
