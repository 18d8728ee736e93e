package job

import (
	"errors"
	"fmt"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// unattendedAfter is how long a job whose stream of inputs broke off waits for the rest: longer than a sender
// needs to meet its restarted node.
const unattendedAfter = 10 * time.Minute

// attend counts one sender of inputs until leave is called with how its stream ended.
func (n *run) attend() (leave func(*error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.senders++
	if n.attended != nil {
		close(n.attended)
		n.attended = nil
	}
	return func(err *error) {
		n.mu.Lock()
		n.senders--
		n.mu.Unlock()
		if *err != nil { // not closed by its sender, who may still have come to an end for now
			n.unattended()
		}
	}
}

// unattended takes the job for whole, with the units it has, unless a sender comes in time: a master or a p3 map that
// was killed cannot say that nothing follows, and its job would be open for ever.
func (n *run) unattended() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.senders > 0 || n.attended != nil || n.state.Closed || n.state.State != node.JobRunning || n.ctx.Err() != nil {
		return
	}
	attended := make(chan struct{})
	n.attended = attended
	n.req.wg.Go(func() {
		timer := time.NewTimer(unattendedAfter)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-attended:
			return
		case <-n.ctx.Done():
			return
		}
		units := n.known()
		if _, err := n.req.CloseInputs(n.ctx, n.id, units); err != nil {
			if p := (*node.Problem)(nil); !errors.As(err, &p) { // more units, or an end, have come meanwhile
				n.log.Warn("close a job whose inputs broke off", "err", err)
			}
			return
		}
		n.env.Emit("warn", "job", fmt.Sprintf("%s: its inputs broke off and nobody sent more: it ends with the %d units it has", n.m.Name, units), "job", n.id.Short())
	})
}
