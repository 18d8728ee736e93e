package farm

import (
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// Config is the policy of one job. The zero value of a field means its default.
type Config struct {
	// Verify is how many equal votes make a result; at least 1, the default, which is no voting.
	Verify int
	// Check, with Verify 1, decides which results are computed once more; nil = none. A checked one needs two equal votes.
	Check Checker
	// Own is the most fuel of a unit that the caller computes itself when its votes differ, and to check a
	// result in a host's place; 0 = none.
	Own ledger.Fuel
	// Retries is how many replicas of a unit may be lost, fail or disagree before the
	// unit fails. 0 means none.
	Retries int
	// MaxAhead bounds how far work runs ahead of the first unfinished unit, and with it
	// memory, in units. Default 1024.
	MaxAhead int
	// MaxOpen bounds how many units are on their way at a time. 0 means as many as hosts take.
	MaxOpen int
	// Planned hosts get nothing until HostShare says how much, and no more ahead than hides the round trip: what
	// waits at one host cannot be planned anew.
	Planned bool
	// Halt ends the job early, by the units that have ended.
	Halt exec.Halt
	// Straggler is the policy for slow replicas.
	Straggler Straggler
	// BadAfter is how many times a host may be outvoted before it is used no more. Default 2:
	// one flipped bit is forgiven. A broken commitment is never forgiven.
	BadAfter int
}

// Straggler says when a slot with nothing else to do repeats a unit that runs elsewhere.
type Straggler struct {
	Off bool
	// Factor times the median run time is the age at which a replica counts as slow. Default 2.
	Factor float64
	// MinAge is the least such age, so that noise does not duplicate tiny units. Default 100 ms.
	MinAge time.Duration
}

const (
	// A host that failed gets nothing for avoidBase, doubled for each failure in a row, at
	// most avoidMax: long enough that others pick the unit first, short enough that a
	// laptop that woke up is back within a minute.
	avoidBase = time.Second
	avoidMax  = time.Minute

	// stealMin is the median run time from which a unit that waits in another host's
	// queue is worth a round trip to move to a free slot.
	stealMin = 10 * time.Millisecond

	// planAhead is the work that waits at a host of a planned job for each slot, at least one unit.
	planAhead = 250 * time.Millisecond

	// Bounds of what a host may claim.
	maxSlots = 4096
	maxQueue = 64

	// maxReason bounds the text kept of a host's excuse, in bytes.
	maxReason = 200
)

func (c Config) withDefaults() Config {
	c.Verify = max(c.Verify, 1)
	if c.Verify > 1 {
		c.Check = nil // all are
	}
	c.Retries = max(c.Retries, 0)
	if c.MaxAhead <= 0 {
		c.MaxAhead = 1024
	}
	if c.BadAfter <= 0 {
		c.BadAfter = 2
	}
	if c.Straggler.Factor <= 0 {
		c.Straggler.Factor = 2
	}
	if c.Straggler.MinAge <= 0 {
		c.Straggler.MinAge = 100 * time.Millisecond
	}
	return c
}
