package farm

import (
	"slices"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A unit is one that was opened and has no result yet.
type unit struct {
	id      uint64
	reps    []replica
	faults  int      // replicas that were lost or failed
	dups    int      // duplicates made because it was slow
	failed  []HostID // hosts that failed it, at most Retries+1
	reason  string   // the last failure
	wants   bool     // is in Farm.want
	quorum  int      // equal votes that make its result
	checker *host    // whom a check of it is kept for; nil = anybody
	own     ownState // whether the requester computes it
}

// A replica is one host's try at a unit. A replica that failed is removed.
type replica struct {
	host       *host
	state      replicaState
	assigned   time.Time
	started    time.Time // zero while it waits in the host's queue
	commitment ledger.Digest
	asked      bool // for its result, now or before
	vote       Vote
}

type replicaState uint8

const (
	running   replicaState = iota // at the host, queued or computing
	committed                     // computed, result hidden
	revealing                     // asked for the result
	voted                         // result known
)

func (u *unit) replica(id HostID) *replica {
	for i := range u.reps {
		if u.reps[i].host.id == id {
			return &u.reps[i]
		}
	}
	return nil
}

// queued reports that no host has come to the unit yet, by our reckoning.
func (u *unit) queued() bool {
	return len(u.reps) > 0 && !slices.ContainsFunc(u.reps, func(r replica) bool { return r.state != running || !r.started.IsZero() })
}

func (u *unit) remove(id HostID) {
	u.reps = slices.DeleteFunc(u.reps, func(r replica) bool { return r.host.id == id })
}

func (u *unit) hasFailed(id HostID) bool { return slices.Contains(u.failed, id) }

// blame counts a failed try.
func (u *unit) blame(id HostID, reason string) {
	u.faults++
	u.reason = reason
	if !u.hasFailed(id) {
		u.failed = append(u.failed, id)
	}
}

// A tally counts a unit's replicas by state. agree is the size of the largest group of equal
// votes and lead is one vote of that group.
type tally struct {
	running, committed, revealing, voted, agree int
	lead                                        Vote
}

func (u *unit) count() (t tally) {
	for i := range u.reps {
		switch u.reps[i].state {
		case running:
			t.running++
		case committed:
			t.committed++
		case revealing:
			t.revealing++
		case voted:
			t.voted++
			n := 0
			for j := range u.reps {
				if u.reps[j].state == voted && u.reps[j].vote.equal(u.reps[i].vote) {
					n++
				}
			}
			if n > t.agree {
				t.agree, t.lead = n, u.reps[i].vote
			}
		}
	}
	return t
}

func (v Vote) equal(w Vote) bool { return v.Digest == w.Digest && v.Fuel == w.Fuel }

// lacks is how many more replicas a quorum needs if all that are under way agree.
func (u *unit) lacks(t tally) int {
	return u.quorum - t.agree - t.running - t.committed - t.revealing
}
