package job

import (
	"context"
	"slices"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// Results yields the results of units from unit from on, waiting for those to come, until the job has ended: in
// the order of the units, or as they end. A job that ended early has gaps, which are passed over.
func (r *Requester) Results(ctx context.Context, id exec.JobID, from uint64, order node.Order, yield func(node.UnitResult) error) error {
	n, err := r.run(id)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.readers++
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.readers--
		n.announce()
		n.mu.Unlock()
	}()
	for read := (reading{next: from, ahead: map[uint64]bool{}, order: order}); ; {
		n.mu.Lock()
		if n.fetched < read.next {
			if n.fetched = read.next; n.fetched%64 == 0 {
				n.announce()
			}
		}
		units := read.more(n)
		over := n.state.State != node.JobRunning // not only out of units: who asks next sees the job's end
		changed := n.changed
		n.mu.Unlock()
		if len(units) == 0 && over {
			return nil
		}
		if len(units) == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			case <-r.ctx.Done():
				return &node.Problem{Code: node.CodeNoNode, Message: "the node is stopping; the job goes on when it is started again", Hint: "start it with `p3 up`, then `p3 job watch " + id.Short() + "`"}
			}
		}
		for _, unit := range units {
			u, err := r.unitResult(n, unit)
			if err != nil {
				return err
			}
			if err := yield(u); err != nil {
				return err
			}
			read.done(unit)
		}
	}
}

// A reading is how far one reader has come.
type reading struct {
	next  uint64          // all units below were yielded
	ahead map[uint64]bool // others that were: no more than may end ahead of the first
	order node.Order
}

// more returns units to yield next; none when what is there was yielded. The run's mu is held.
func (r *reading) more(n *run) (units []uint64) {
	if r.next < n.prefix || n.ahead[r.next] && !r.ahead[r.next] {
		return []uint64{r.next}
	}
	if r.order == node.InOrder && n.state.State == node.JobRunning {
		return nil
	}
	for u := range n.ahead {
		if u > r.next && !r.ahead[u] {
			units = append(units, u)
		}
	}
	slices.Sort(units)
	return units
}

func (r *reading) done(unit uint64) {
	r.ahead[unit] = true
	for r.ahead[r.next] {
		delete(r.ahead, r.next)
		r.next++
	}
}
