package wasm

import (
	"sync"
	"time"
)

// paceEvery is one turn of running and standing still. It is short against what a unit is given to
// end when cancelled, and long against what two signals cost.
const paceEvery = 20 * time.Millisecond

// A pacer keeps workers to a share of a CPU by letting them stand still for the rest of each turn, where no
// cgroup of ours does it. Unlike time in which they are frozen this counts as theirs: the machine is
// slower, and says so in its offer.
type pacer struct {
	f    *freezer
	mu   sync.Mutex // guards what follows
	stop chan struct{}
	done chan struct{}
}

// set changes the share, in percent of one CPU for each worker; 100 and more is no bound.
func (p *pacer) set(share int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		close(p.stop)
		<-p.done
		p.stop = nil
	}
	if share >= 100 {
		return
	}
	p.stop, p.done = make(chan struct{}), make(chan struct{})
	go p.pace(p.stop, p.done, paceEvery*time.Duration(max(share, 1))/100)
}

func (p *pacer) pace(stop, done chan struct{}, runs time.Duration) {
	defer close(done)
	timer := time.NewTimer(runs)
	defer timer.Stop()
	for still := false; ; still = !still {
		select {
		case <-stop:
			if still {
				p.f.pace(false)
			}
			return
		case <-timer.C:
		}
		p.f.pace(!still)
		if still {
			timer.Reset(runs)
		} else {
			timer.Reset(paceEvery - runs)
		}
	}
}

// pace stops or starts all processes, unless they are frozen anyway.
func (f *freezer) pace(still bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.since.IsZero():
	case still:
		for c := range f.children {
			_ = halt(c.cmd.Process) // where it cannot be, there is no share to keep
		}
	default:
		f.resume()
	}
}
