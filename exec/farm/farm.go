package farm

import (
	"fmt"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A Farm is the state of one job. Its methods that take the time are events: they return
// the actions to perform, in a slice that is valid until the next event. Times may not
// run backwards; an earlier one counts as the latest seen.
//
// Events about hosts or units that the farm does not know, or no longer, change nothing:
// they crossed a cancellation on the wire.
type Farm struct {
	cfg Config
	now time.Time
	out []Action

	known, next, done uint64 // units known; first never assigned; all below done have ended
	closed, over      bool
	cancelled         string
	unwell            uint64 // units that ended without a result, or whose program failed
	halted            string // why Config.Halt ends the job

	units map[uint64]*unit    // assigned at some time, not ended
	ended map[uint64]struct{} // ended, but not below done
	want  []*unit             // those of units that lack replicas, ascending
	spare []*unit             // memory for more units

	hosts    map[HostID]*host
	order    []*host // by time of joining
	accounts map[ledger.Account]int
	outvoted map[HostID]int    // times, of each host that ever was
	bad      map[HostID]string // why each is used no more
	open     bool              // a host other than the event's may have something to do

	times   durations // of recent replicas, from slot to result
	nextDup time.Time // no replica becomes slow before
	stats   Stats
}

// Stats counts units, except where it says replicas.
type Stats struct {
	Known     uint64
	Ended     uint64 // accepted, failed or restored
	Failed    uint64
	Open      uint64 // assigned at some time, not ended
	Replicas  uint64 // assigned
	Repeated  uint64 // of these, duplicates of slow ones
	Moved     uint64 // of these, taken from another host's queue
	Disputes  uint64 // replicas that were outvoted
	Own       uint64 // units that the requester computed itself
	HostFault uint64 // replicas that failed or were lost
}

// New returns the farm of a job with no units and no hosts yet.
func New(cfg Config) *Farm {
	return &Farm{
		cfg:      cfg.withDefaults(),
		units:    make(map[uint64]*unit),
		ended:    make(map[uint64]struct{}),
		hosts:    make(map[HostID]*host),
		accounts: make(map[ledger.Account]int),
		outvoted: make(map[HostID]int),
		bad:      make(map[HostID]string),
	}
}

// AddUnits makes n more units known. It costs no memory, however large n is.
func (f *Farm) AddUnits(n uint64, now time.Time) []Action {
	if f.begin(now) && !f.closed {
		f.known += min(n, 1<<62-f.known)
		f.open = true
	}
	return f.end(nil)
}

// Close says that no further units will come.
func (f *Farm) Close(now time.Time) []Action {
	if f.begin(now) {
		f.closed = true
	}
	return f.end(nil)
}

// Restore says that a known unit ended in an earlier life of the job, and whether well. Call it after
// AddUnits and before hosts join; it reports false for a unit that is unknown or assigned already.
func (f *Farm) Restore(unit uint64, well bool) bool {
	if unit >= f.known || f.units[unit] != nil {
		return false
	}
	if _, again := f.ended[unit]; !again && unit >= f.done {
		if !well {
			f.unwell++
		}
		f.markDone(unit)
	}
	return true
}

// HostJoined adds a host. slots is how many units it computes at a time and queue how many
// more it holds for each slot; both may be 0. A host that is there already leaves first.
func (f *Farm) HostJoined(id HostID, account ledger.Account, slots, queue int, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	if h := f.hosts[id]; h != nil {
		f.leave(h, "host left", true, false, false)
	}
	if reason, bad := f.bad[id]; bad {
		f.emit(Bad{id, reason})
		return f.end(nil)
	}
	share := -1
	if f.cfg.Planned {
		share = 0
	}
	h := &host{id: id, account: account, share: share, slots: clamp(slots, maxSlots), queue: clamp(queue, maxQueue)}
	if h.ahead = h.queue; f.cfg.Planned {
		h.queue = min(h.queue, 1)
	}
	f.hosts[id] = h
	f.order = append(f.order, h)
	if f.accounts[account]++; f.accounts[account] == 1 {
		f.open = true // there may be enough accounts now
	}
	return f.end(h)
}

// HostLost removes a host. What it computed is tried elsewhere; votes it gave stay valid.
func (f *Farm) HostLost(id HostID, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	if h := f.hosts[id]; h != nil {
		f.leave(h, "host lost", true, false, false)
	}
	return f.end(nil)
}

// HostSlots changes how many units a host computes at a time; 0 lets it finish what it has.
func (f *Farm) HostSlots(id HostID, slots int, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	h := f.hosts[id]
	if h != nil {
		h.slots = clamp(slots, maxSlots)
		h.start(f.now)
		f.recount() // with 0 slots it is no alternative for others
	}
	return f.end(h)
}

// HostShare says how many further units a host may be given, as a plan has it; below 0, as many as it takes.
// What it has already stays.
func (f *Farm) HostShare(id HostID, units int, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	h := f.hosts[id]
	if h == nil || h.share == max(units, -1) {
		return f.end(nil)
	}
	known := h.share == 0 || units == 0
	if h.share = max(units, -1); known {
		f.recount() // it is an alternative for others now, or none
	}
	return f.end(h)
}

// ToGive is what is yet to be given out if all goes well: further replicas of units that were begun, and
// units that were not.
func (f *Farm) ToGive() (replicas, fresh uint64) {
	for _, u := range f.want {
		replicas += uint64(u.lacks(u.count()))
	}
	if f.halted == "" {
		fresh = f.known - f.done - uint64(len(f.ended)+len(f.units))
	}
	return replicas, fresh
}

// Pace is how long a unit took a host lately, from slot to result; 0 = it brought none.
func (f *Farm) Pace(id HostID) time.Duration {
	if h := f.hosts[id]; h != nil {
		return h.pace
	}
	return 0
}

// Committed says that a host has computed a replica and hides the result. Only with Verify > 1 or a Checker.
func (f *Farm) Committed(id HostID, unit uint64, commitment ledger.Digest, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	h, u, r := f.find(id, unit)
	if r == nil || r.state != running || !f.votes() {
		return f.end(h)
	}
	r.commitment = commitment
	f.computed(h, u, r, committed)
	if u.quorum == 1 && f.cfg.Check.Always(h.account) {
		f.check(u)
	}
	f.review(u)
	return f.end(h)
}

// Commitment returns what a host has committed to for a unit that has not ended.
func (f *Farm) Commitment(id HostID, unit uint64) (ledger.Digest, bool) {
	if _, _, r := f.find(id, unit); r != nil && r.state != running {
		return r.commitment, true
	}
	return ledger.Digest{}, false
}

// Revealed brings a result: with Verify = 1 and no Checker as soon as it is computed, otherwise after
// Reveal and a successful CheckReveal. A status that says nothing of the program counts as HostFault.
func (f *Farm) Revealed(id HostID, unit uint64, v Vote, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	h, u, r := f.find(id, unit)
	switch {
	case r == nil || r.state == voted:
	case !v.Status.Deterministic():
		f.fault(h, u, v.Status.String())
	case f.votes() && (r.state == running || !r.asked):
		f.fault(h, u, "result shown before it was asked for")
	default:
		if !f.votes() {
			f.computed(h, u, r, voted)
		}
		r.state, r.vote = voted, v
		if u.quorum == 1 && f.cfg.Check != nil && f.cfg.Check.Draw(h.account) {
			f.check(u)
		}
		f.review(u)
	}
	return f.end(h)
}

// HostFault says that a host could not give a replica: it failed, passed its deadline or broke
// off. The reason is for people and is cut to 200 bytes.
func (f *Farm) HostFault(id HostID, unit uint64, reason string, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	h, u, r := f.find(id, unit)
	if r != nil && r.state != voted {
		f.fault(h, u, reason)
	}
	return f.end(h)
}

// Mismatch says that what a host revealed is not what it committed to: it is refused and used no more.
func (f *Farm) Mismatch(id HostID, unit uint64, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	_, _, r := f.find(id, unit)
	if r != nil && (r.state == committed || r.state == revealing) {
		f.emit(Refuse{id, unit, "broke its commitment"})
		f.ban(id, fmt.Sprintf("broke its commitment to unit %d", unit))
	}
	return f.end(nil)
}

// Tick lets time pass. Call it when NextTick says so.
func (f *Farm) Tick(now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	f.open = true
	return f.end(nil)
}

// Cancel ends the job: every replica is cancelled and Finished comes last.
func (f *Farm) Cancel(reason string, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	f.drop(func(*unit) bool { return true })
	f.cancelled = cut(reason)
	f.finished()
	return f.out
}

// Halted says why Config.Halt ends the job, or ended it; "" if it does not.
func (f *Farm) Halted() string { return f.halted }

// Done returns the first unit that has not ended: all below have.
func (f *Farm) Done() uint64 { return f.done }

// Over reports whether Finished was returned.
func (f *Farm) Over() bool { return f.over }

// Stats returns the counts so far.
func (f *Farm) Stats() Stats {
	s := f.stats
	s.Known, s.Ended, s.Open = f.known, f.done+uint64(len(f.ended)), uint64(len(f.units))
	return s
}

// votes reports whether results are hidden behind commitments, and may be compared.
func (f *Farm) votes() bool { return f.cfg.Verify > 1 || f.cfg.Check != nil }

// begin starts an event; it reports false when the job is over.
func (f *Farm) begin(now time.Time) bool {
	clear(f.out)
	f.out = f.out[:0]
	if now.After(f.now) {
		f.now = now
	}
	return !f.over
}

// end gives work to h (may be nil), to others if the event may have made some, and returns the actions.
func (f *Farm) end(h *host) []Action {
	if f.over {
		return nil
	}
	f.halt()
	if f.closed && f.done == f.known || f.halted != "" && len(f.units) == 0 {
		f.finished()
		return f.out
	}
	if !f.open && h != nil && f.hosts[h.id] == h {
		f.fill(h, h.queue)
	}
	for f.open {
		f.open = false
		f.fillAll()
	}
	return f.out
}

// halt looks whether the job is to end early, now or when what runs has ended.
func (f *Farm) halt() {
	h, ended := f.cfg.Halt, f.done+uint64(len(f.ended))
	if f.halted != "" || !h.Met(ended, f.unwell) {
		return
	}
	f.halted = fmt.Sprintf("%d units have ended, %d of them failed", ended, f.unwell)
	f.drop(func(u *unit) bool { return !h.Soon || u.queued() })
}

// drop forgets units that have not ended, and has their replicas cancelled.
func (f *Farm) drop(those func(*unit) bool) {
	for id := f.done; id < f.next; id++ {
		u := f.units[id]
		if u == nil || !those(u) {
			continue
		}
		for _, r := range u.reps {
			if r.state != voted {
				f.emit(CancelUnit{r.host.id, id})
				r.host.drop(u, f.now)
			}
		}
		f.setWants(u, false)
		delete(f.units, id)
	}
}

func (f *Farm) finished() {
	f.over = true
	f.emit(Finished{})
}

func (f *Farm) emit(a Action) { f.out = append(f.out, a) }

// find returns a joined host, an open unit and its replica there; the latter two are nil when there is none.
func (f *Farm) find(id HostID, unit uint64) (*host, *unit, *replica) {
	h, u := f.hosts[id], f.units[unit]
	if h == nil || u == nil {
		return h, nil, nil
	}
	if r := u.replica(id); r != nil && r.host == h {
		return h, u, r
	}
	return h, nil, nil
}

// computed frees the slot of a replica that came to its end.
func (f *Farm) computed(h *host, u *unit, r *replica, s replicaState) {
	began := r.started
	if began.IsZero() {
		began = r.assigned // the host took its queue in another order
	}
	took := f.now.Sub(began)
	f.times.add(took)
	if h.pace == 0 {
		h.pace = took
	}
	if h.pace = (3*h.pace + took) / 4; f.cfg.Planned {
		h.queue = min(h.ahead, 1+int(planAhead/max(h.pace, 1)))
	}
	h.strikes = 0
	r.state = s
	h.drop(u, f.now)
}

// fault removes a replica that failed and avoids its host for a while.
func (f *Farm) fault(h *host, u *unit, reason string) {
	f.stats.HostFault++
	u.remove(h.id)
	h.drop(u, f.now)
	u.blame(h.id, cut(reason))
	f.strike(h)
	f.review(u)
}

// markDone notes that a unit ended and moves the window over all that have.
func (f *Farm) markDone(unit uint64) {
	f.ended[unit] = struct{}{}
	if unit != f.done {
		return
	}
	if f.next-f.done >= uint64(f.cfg.MaxAhead) {
		f.open = true // hosts may have waited for the window
	}
	for {
		if _, ok := f.ended[f.done]; !ok {
			break
		}
		delete(f.ended, f.done)
		f.done++
	}
	f.next = max(f.next, f.done)
}

func clamp(n, most int) int { return min(max(n, 0), most) }

// cut bounds a stranger's text.
func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxReason)], "") }
