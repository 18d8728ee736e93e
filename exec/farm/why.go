package farm

import (
	"fmt"
	"time"
)

// Why says in one sentence why no unit is being worked on, or "" when some is or the job is over.
func (f *Farm) Why() string {
	if f.over {
		return f.cancelled
	}
	var slots, failed, held int
	var retry time.Time
	for _, h := range f.order {
		if len(h.running) > 0 {
			return ""
		}
		slots += h.slots
		if h.share == 0 {
			held++
		}
		if h.avoidUntil.After(f.now) {
			failed++
			retry = earlier(retry, h.avoidUntil)
		}
	}
	switch {
	case f.halted != "":
		return "ending: " + f.halted
	case f.done == f.known:
		return "waiting for input"
	case len(f.order) == 0:
		return "waiting for a host"
	case len(f.accounts) < f.cfg.Verify:
		return fmt.Sprintf("every unit is checked by %d accounts, but only %d joined: wait for more hosts or lower verify",
			f.cfg.Verify, len(f.accounts))
	case slots == 0:
		return "all hosts have paused"
	case held == len(f.order):
		return "the plan gives no host a further unit now"
	case failed == len(f.order):
		return fmt.Sprintf("all %d hosts failed lately; next try in %s", failed, retry.Sub(f.now).Round(time.Second/10))
	}
	for _, u := range f.want {
		if t := u.count(); t.voted > t.agree {
			return fmt.Sprintf("unit %d is disputed and needs a host of an account that has not voted on it", u.id)
		}
	}
	if len(f.want) > 0 && f.want[0].quorum > f.cfg.Verify {
		return fmt.Sprintf("unit %d is to be checked and needs a host of another account: wait for more hosts, or trust with verify 1", f.want[0].id)
	}
	if len(f.want) > 0 {
		return fmt.Sprintf("unit %d needs a host that is not avoided and has an account without a replica of it", f.want[0].id)
	}
	return "waiting for hosts to show their results"
}

// A State is where a unit stands.
type State uint8

// States of a unit.
const (
	Waiting  State = iota // known or not, and nobody works on it
	Running               // at a host, or computed and not yet agreed on
	Retrying              // as Running or Waiting, after a replica failed or disagreed
	Ended                 // accepted, failed or restored
)

// State returns where a unit stands.
func (f *Farm) State(unit uint64) State {
	if unit < f.done {
		return Ended
	}
	if _, ok := f.ended[unit]; ok {
		return Ended
	}
	u := f.units[unit]
	switch {
	case u == nil:
		return Waiting
	case u.faults > 0:
		return Retrying
	}
	switch t := u.count(); {
	case t.voted > t.agree:
		return Retrying
	case len(u.reps) > 0:
		return Running
	}
	return Waiting
}
