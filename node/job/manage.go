package job

import (
	"context"
	"fmt"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// Raise gives a job that runs more to spend. What it may spend in all outlives a restart; the manifest, which is the
// job's identity, stays as it is.
func (r *Requester) Raise(ctx context.Context, id exec.JobID, by ledger.Credits) (node.Job, error) {
	n, err := r.run(id)
	if err != nil {
		return node.Job{}, err
	}
	if by <= 0 || by > ledger.MaxCredits {
		return node.Job{}, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("a budget is raised by a positive amount, not by %s", by)}
	}
	if b := r.env.Book.Balance(); by > b.Free+b.Locked {
		return node.Job{}, &node.Problem{Code: node.CodeNoCredit, Message: fmt.Sprintf("not enough credit: %s can be spent", b.Free+b.Locked), Hint: "raise it by less, or earn some with `p3 up --donate`"}
	}
	budget := ledger.Credits(0)
	if err := n.restate(ctx, func(s *jobState) error {
		if s.State != node.JobRunning {
			return &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%s has ended already: it is %s", id.Short(), s.State), Hint: "submit what is left as a new job, with `p3 map --resume` if it has a job log"}
		}
		if s.Raised > ledger.MaxCredits-by || n.manifestBudget > ledger.MaxCredits-s.Raised-by {
			return &node.Problem{Code: node.CodeUsage, Message: "no job may spend so much"}
		}
		s.Raised += by
		budget = n.manifestBudget + s.Raised
		return nil
	}); err != nil {
		return node.Job{}, err
	}
	done := make(chan struct{})
	n.post(func(time.Time) []farm.Action {
		defer close(done)
		n.m.Budget = max(n.m.Budget, budget)
		n.hireAt = time.Time{}
		n.mu.Lock()
		n.job.Budget = n.m.Budget
		n.mu.Unlock()
		return nil
	})
	select {
	case <-done:
	case <-n.done:
	case <-ctx.Done():
		return node.Job{}, ctx.Err()
	}
	r.env.Emit("info", "job", fmt.Sprintf("%s may cost %s now", n.m.Name, budget), "job", id.Short())
	r.env.Tell()
	return n.view(), nil
}

// Remove forgets a job that has ended, with its inputs and results. What it cost stays in the ledger.
func (r *Requester) Remove(ctx context.Context, id exec.JobID) (node.Job, error) {
	n, err := r.run(id)
	if err != nil {
		return node.Job{}, err
	}
	n.mu.Lock()
	s, readers := n.state, n.readers
	n.mu.Unlock()
	switch {
	case s.State == node.JobRunning:
		return node.Job{}, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%s is still running", id.Short()), Hint: "end it first with `p3 job cancel " + id.Short() + "`"}
	case readers > 0:
		return node.Job{}, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("somebody is reading the results of %s", id.Short()), Hint: "try again when that has ended"}
	}
	select {
	case <-n.done: // the last vouchers are out
	case <-ctx.Done():
		return node.Job{}, ctx.Err()
	}
	j := n.view()
	s.Removed = true // from here on a restart goes on with it
	op, err := put(jobKey('s', id), s)
	if err == nil {
		err = r.env.Store.Commit(ctx, op)
	}
	if err == nil {
		err = r.j.remove(ctx, id)
	}
	if err != nil {
		return node.Job{}, err
	}
	r.mu.Lock()
	delete(r.runs, id)
	r.mu.Unlock()
	for _, owner := range []string{"job/", "result/"} {
		r.env.Blobs.Unpin(owner + id.String())
	}
	r.env.Emit("info", "job", fmt.Sprintf("%s removed: %d results", j.Name, j.Done), "job", id.Short())
	r.env.Tell()
	return j, nil
}

// removeMax is how many rows go with one commit.
const removeMax = 512

// remove deletes a job's rows, those that name it last.
func (j journal) remove(ctx context.Context, id exec.JobID) error {
	for _, part := range []byte{'i', 'o', 'k'} {
		prefix := jobKey(part, id)
		for {
			var ops []ledger.Op
			if err := j.store.Scan(prefix, nil, func(k, _ []byte) bool {
				ops = append(ops, ledger.Op{Key: append([]byte(nil), k...), Delete: true})
				return len(ops) < removeMax
			}); err != nil {
				return err
			}
			if len(ops) == 0 {
				break
			}
			if err := j.store.Commit(ctx, ops...); err != nil {
				return err
			}
		}
	}
	return j.store.Commit(ctx, ledger.Op{Key: jobKey('m', id), Delete: true}, ledger.Op{Key: jobKey('s', id), Delete: true})
}
