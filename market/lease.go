package market

import (
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
)

// LeaseIdle is how long a lease lives without a running unit. A dead requester's slots come
// back after it; a live one reaches the next task within a round trip.
const LeaseIdle = 10 * time.Second

// IdlePerPeer is how many leases without a running unit one peer may hold, so that nobody
// blocks slots by asking for leases and sending nothing.
const IdlePerPeer = 4

// A LeaseState is where a lease stands. The numbers never change.
type LeaseState uint8

// States of a lease: granted → active ⇄ idle → expired or closed.
const (
	LeaseGranted LeaseState = 1 // no unit yet
	LeaseActive  LeaseState = 2 // units run
	LeaseWaiting LeaseState = 3 // units ran, none does now
	LeaseExpired LeaseState = 4 // nothing ran for LeaseIdle
	LeaseClosed  LeaseState = 5 // given back
)

func (s LeaseState) String() string {
	return [...]string{"none", "granted", "active", "idle", "expired", "closed"}[min(s, LeaseClosed)]
}

// Refusals of a lease.
var (
	ErrNoSlots    = errors.New("no free slot: ask again when one is offered")
	ErrIdleLeases = errors.New("too many unused leases: use or close those you hold")
	ErrLeaseOver  = errors.New("lease is over: ask for a new one")
	ErrLeaseFull  = errors.New("every slot of the lease runs a unit: wait for a result")
)

// A Lease is some slots of one provider for one job. The provider's Leases hands it out and
// changes it; others only read.
type Lease struct {
	ID      uint64 // unique within one Leases
	Job     exec.JobID
	Peer    peer.ID // of the requester
	Slots   int
	State   LeaseState
	Running int       // units
	Since   time.Time // of Granted or Idle; expiry counts from here
}

// Expires is when an unused lease ends; zero while units run or after the end.
func (l *Lease) Expires() time.Time {
	if l.State == LeaseGranted || l.State == LeaseWaiting {
		return l.Since.Add(LeaseIdle)
	}
	return time.Time{}
}

// Over reports whether the lease has ended.
func (l *Lease) Over() bool { return l.State >= LeaseExpired }

// Leases is a provider's table of leases: a state machine without goroutine or clock, for
// one goroutine. Make it with NewLeases.
type Leases struct {
	slots, free int
	next        uint64
	open        map[uint64]*Lease
	idle        map[peer.ID]int
}

// NewLeases shares out the given slots.
func NewLeases(slots int) *Leases {
	return &Leases{slots: slots, free: slots, open: map[uint64]*Lease{}, idle: map[peer.ID]int{}}
}

// Free is the number of slots under no lease. It is negative after Resize took slots in use.
func (t *Leases) Free() int { return t.free }

// Len is the number of leases that are not over.
func (t *Leases) Len() int { return len(t.open) }

// Resize changes the number of slots; leases that stand keep theirs.
func (t *Leases) Resize(slots int) { t.free += slots - t.slots; t.slots = slots }

// Grant leases up to want slots, at least one, to a peer's job. It fails with ErrNoSlots or ErrIdleLeases.
func (t *Leases) Grant(job exec.JobID, p peer.ID, want int, now time.Time) (*Lease, error) {
	if t.idle[p] >= IdlePerPeer {
		return nil, fmt.Errorf("grant lease to %s: %w", p, ErrIdleLeases)
	}
	n := min(max(want, 1), t.free)
	if n < 1 {
		return nil, ErrNoSlots
	}
	t.next++
	l := &Lease{ID: t.next, Job: job, Peer: p, Slots: n, State: LeaseGranted, Since: now}
	t.open[l.ID] = l
	t.free -= n
	t.idle[p]++
	return l, nil
}

// Start counts a unit that begins. It fails with ErrLeaseOver or ErrLeaseFull.
func (t *Leases) Start(l *Lease, now time.Time) error {
	t.Expire(now)
	switch {
	case l.Over():
		return fmt.Errorf("lease %d: %w", l.ID, ErrLeaseOver)
	case l.Running >= l.Slots:
		return fmt.Errorf("lease %d: %w", l.ID, ErrLeaseFull)
	}
	if l.State != LeaseActive {
		t.unidle(l)
		l.State = LeaseActive
	}
	l.Running++
	return nil
}

// Done counts a unit that ended. A lease without units is idle from now.
func (t *Leases) Done(l *Lease, now time.Time) {
	if l.Running == 0 {
		return
	}
	if l.Running--; l.Running == 0 && l.State == LeaseActive {
		l.State, l.Since = LeaseWaiting, now
		t.idle[l.Peer]++
	}
}

// Touch says that the lease is in use though no unit runs: results wait to be shown or paid.
func (t *Leases) Touch(l *Lease, now time.Time) {
	if l.State == LeaseGranted || l.State == LeaseWaiting {
		l.Since = now
	}
}

// Close gives the lease's slots back. Closing twice does nothing.
func (t *Leases) Close(l *Lease) { t.end(l, LeaseClosed) }

// Expire ends the leases unused for LeaseIdle and returns them.
func (t *Leases) Expire(now time.Time) (over []*Lease) {
	for _, l := range t.open {
		if at := l.Expires(); !at.IsZero() && !now.Before(at) {
			t.end(l, LeaseExpired)
			over = append(over, l)
		}
	}
	return over
}

// NextExpiry is when Expire should run next; zero if no lease is unused.
func (t *Leases) NextExpiry() (at time.Time) {
	for _, l := range t.open {
		if e := l.Expires(); !e.IsZero() && (at.IsZero() || e.Before(at)) {
			at = e
		}
	}
	return at
}

func (t *Leases) end(l *Lease, s LeaseState) {
	if l.Over() {
		return
	}
	if l.State != LeaseActive {
		t.unidle(l)
	}
	l.State = s
	t.free += l.Slots
	delete(t.open, l.ID)
}

func (t *Leases) unidle(l *Lease) {
	if t.idle[l.Peer]--; t.idle[l.Peer] == 0 {
		delete(t.idle, l.Peer)
	}
}
