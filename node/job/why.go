package job

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// Why says how the offers known now match a job, step by step, and what holds it up.
func (r *Requester) Why(ctx context.Context, id exec.JobID) (node.JobWhy, error) {
	n, err := r.run(id)
	if err != nil {
		return node.JobWhy{}, err
	}
	j := n.view()
	w := node.JobWhy{Schema: "p3.job-why/v1", Job: j.ID, Name: j.Name, State: j.State, Why: j.Why}
	if j.State != node.JobRunning && j.State != node.JobWaiting {
		return w, nil
	}
	matched := make(chan node.JobWhy, 1)
	n.post(func(now time.Time) []farm.Action {
		w := w // the caller may have left
		n.match(&w, now)
		matched <- w
		return nil
	})
	select {
	case w = <-matched:
	case <-n.done: // it ended just now
	case <-ctx.Done():
		return w, ctx.Err()
	}
	return w, nil
}

// match fills in what hire would find.
func (r *run) match(w *node.JobWhy, now time.Time) {
	s := r.farm.Stats()
	ranking := r.rank(max(s.Known-s.Ended, 1), now)
	w.Hired, w.Asking, w.Fit = len(r.leases), len(r.opening), len(ranking.Ranked)
	w.Offers = w.Hired + w.Asking + w.Fit + len(ranking.Refused)
	for _, f := range ranking.Refused {
		w.Refused = r.step(w.Refused, f, cmp.Or(f.Offer.Name, r.env.Net.Name(f.Offer.Peer)))
	}
	sortSteps(w.Refused)
	w.Plan = r.planned
	for _, s := range r.plan.Shares {
		if r.leases[peer.ID(s.ID)] == nil && s.Units == 0 && s.Why != farm.PassedEnough {
			w.Kept = group(w.Kept, node.WhyStep{Count: 1, Why: s.Why.String(), Such: r.env.Net.Name(peer.ID(s.ID)), Fix: keptFixes[s.Why]})
		}
	}
	sortSteps(w.Kept)
}

// keptFixes is what the user can do about hosts that a plan gives nothing.
var keptFixes = map[farm.Passed]string{
	farm.PassedDear: "--optimise time uses it too", farm.PassedSlow: "a later --deadline uses it", farm.PassedBudget: "`p3 job raise` lets it spend more",
}

// maxSteps bounds the different reasons shown: strangers may word some of them.
const maxSteps = 32

// step adds a refusal to the reasons.
func (r *run) step(steps []node.WhyStep, f market.Refusal, such string) []node.WhyStep {
	step := node.WhyStep{Count: 1, Why: f.Reason.String(), Such: such, Fix: r.fix(f)}
	if f.Reason == market.Blocked { // each reason of ours is one of its own
		step.Why = f.Detail
	}
	if f.Reason == market.OverBudget || f.Reason == market.NeedFails || f.Reason == market.WrongEngine {
		step.Detail = f.Detail
	}
	return group(steps, step)
}

// group adds a step to others: equal reasons are counted together.
func group(steps []node.WhyStep, step node.WhyStep) []node.WhyStep {
	if i := slices.IndexFunc(steps, func(o node.WhyStep) bool { return o.Why == step.Why }); i >= 0 {
		steps[i].Count++
	} else if len(steps) < maxSteps {
		steps = append(steps, step)
	}
	return steps
}

func sortSteps(steps []node.WhyStep) {
	slices.SortStableFunc(steps, func(a, b node.WhyStep) int { return b.Count - a.Count })
}

// fix is what the user can do about a refused offer, "" for nothing.
func (r *run) fix(f market.Refusal) string {
	switch f.Reason {
	case market.TooDear:
		if c, err := f.Offer.Price.Cost(ledger.PriceFuel); err == nil {
			return fmt.Sprintf("--max-price %s or more takes it", c.Decimal())
		}
	case market.SmallMemory:
		return fmt.Sprintf("it lends %d MiB: --memory %dMiB fits there", f.Offer.Capacity.Memory>>20, f.Offer.Capacity.Memory>>20)
	case market.OverBudget:
		return "`p3 job raise` lets it spend more"
	case market.NeedNotMet, market.NeedFails:
		return fmt.Sprintf("relax --need %q", r.m.Need)
	case market.NoFreeSlots:
		return "wait until it has room"
	case market.WrongEngine:
		return "it cannot run WebAssembly"
	}
	return ""
}
