package job

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// WhyPeer fills in how the offers of an account match each of our jobs that runs, or a plain one if none does.
func (r *Requester) WhyPeer(ctx context.Context, a ledger.Account, w *node.PeerWhy) error {
	w.Refused = []node.WhyStep{}
	r.mu.Lock()
	runs := make([]*run, 0, len(r.runs))
	for _, n := range r.runs {
		runs = append(runs, n)
	}
	r.mu.Unlock()
	slices.SortFunc(runs, func(a, b *run) int { return strings.Compare(a.id.String(), b.id.String()) })
	for _, n := range runs {
		if n.snapshot().State != node.JobRunning {
			continue
		}
		matched := make(chan node.PeerWhy, 1)
		so := *w
		so.Refused = slices.Clone(w.Refused) // the caller may have left
		n.post(func(now time.Time) []farm.Action {
			n.matchPeer(&so, a, n.id.Short(), now)
			matched <- so
			return nil
		})
		select {
		case *w = <-matched:
			w.Jobs++
		case <-n.done: // it ended just now
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if w.Jobs == 0 {
		plain := exec.Manifest{Engine: exec.EngineWASM, Limits: exec.DefaultLimits, Verify: 1, Budget: 1_000_000, Account: r.env.Book.Account()}
		n, err := r.newRun(exec.JobID{}, plain, nil, jobState{State: node.JobRunning})
		if err != nil {
			return err
		}
		defer n.stop()
		n.matchPeer(w, a, "a plain job", time.Now())
	}
	sortSteps(w.Refused)
	return nil
}

// matchPeer adds how the offers of an account stand to this job.
func (r *run) matchPeer(w *node.PeerWhy, a ledger.Account, such string, now time.Time) {
	for _, l := range r.leases {
		if l.account == a {
			w.Hired++
		}
	}
	for p := range r.opening {
		if r.standing[p].view.Account == a {
			w.Asking++
		}
	}
	s := r.farm.Stats()
	ranking := r.rank(max(s.Known-s.Ended, 1), now)
	for _, c := range ranking.Ranked {
		if c.Offer.Account == a {
			w.Fit++
		}
	}
	for _, f := range ranking.Refused {
		if f.Offer.Account == a {
			w.Refused = r.step(w.Refused, f, such)
		}
	}
}
