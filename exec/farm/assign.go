package farm

import (
	"slices"
	"sort"
	"time"
)

// fillAll gives work to every host with room: first to free slots of all, then one more
// unit a slot, so that nobody queues while others idle.
func (f *Farm) fillAll() {
	for level, more := 0, true; more; level++ {
		more = false
		for i := 0; i < len(f.order); i++ {
			f.fill(f.order[i], level)
			more = more || f.order[i].queue > level
		}
	}
}

// fill gives work to one host until its queues are filled to level.
func (f *Farm) fill(h *host, level int) {
	for len(h.running) < h.room(level) && f.usable(h) {
		u := f.pick(h)
		if u == nil && h.idle() {
			if u = f.steal(h); u == nil {
				u = f.duplicate(h)
			}
		}
		if u == nil {
			return
		}
		f.assign(h, u)
	}
}

// pick returns the lowest unit that lacks a replica and suits the host, or nil.
func (f *Farm) pick(h *host) *unit {
	i := sort.Search(len(f.want), func(i int) bool { return f.want[i].id >= h.cursor })
	for passed := true; i < len(f.want); i++ {
		u := f.want[i]
		if f.suits(h, u, nil) {
			return u
		}
		// A unit that h has failed comes back to h when the other hosts have failed it too.
		if passed = passed && f.clash(h, u, nil); passed {
			h.cursor = u.id + 1
		}
	}
	for _, again := f.ended[f.next]; again; _, again = f.ended[f.next] {
		f.next++ // restored
	}
	if f.halted != "" || f.next >= f.known || f.next-f.done >= uint64(f.cfg.MaxAhead) || f.full() || len(f.accounts) < f.cfg.Verify {
		return nil
	}
	u := f.newUnit(f.next)
	f.next++
	return u
}

// full reports that no more units may be on their way.
func (f *Farm) full() bool { return f.cfg.MaxOpen > 0 && len(f.units) >= f.cfg.MaxOpen }

func (f *Farm) newUnit(id uint64) *unit {
	var u *unit
	if n := len(f.spare); n > 0 {
		u, f.spare = f.spare[n-1], f.spare[:n-1]
	} else {
		u = new(unit)
	}
	u.id, u.quorum = id, f.cfg.Verify
	f.units[id] = u
	return u
}

// suits reports whether h may run u, ignoring the replica on except: never two replicas on
// one host, nor, when they are compared, on one account; and not again where it failed
// while another host could try. A check is kept for whom it was drawn for.
func (f *Farm) suits(h *host, u *unit, except *host) bool {
	if f.clash(h, u, except) || f.reserved(h, u, except) {
		return false
	}
	if !u.hasFailed(h.id) {
		return true
	}
	return !slices.ContainsFunc(f.order, func(o *host) bool {
		return o != h && o != except && f.usable(o) && !u.hasFailed(o.id) && !f.clash(o, u, except)
	})
}

func (f *Farm) clash(h *host, u *unit, except *host) bool {
	for i := range u.reps {
		o := u.reps[i].host
		if o != except && (o.id == h.id || f.votes() && o.account == h.account) {
			return true
		}
	}
	return false
}

func (f *Farm) assign(h *host, u *unit) {
	u.reps = append(u.reps, replica{host: h, assigned: f.now})
	h.running = append(h.running, u)
	if h.share > 0 {
		h.share--
	}
	h.start(f.now)
	f.stats.Replicas++
	f.setWants(u, u.lacks(u.count()) > 0)
	f.open = f.open || u.wants && (len(u.failed) > 0 || u.checker == h) // h is no alternative to others any more
	f.emit(Assign{h.id, u.id})
}

// steal takes a unit for a free slot from the longest queue, if it is worth the trip or has waited too long.
func (f *Farm) steal(h *host) *unit {
	median, ok := f.times.median()
	if !ok {
		return nil
	}
	limit, timed := f.slow()
	var from *host
	var unit *unit
	for _, o := range f.order {
		if o == h || from != nil && o.backlog() <= from.backlog() {
			continue
		}
		for _, u := range o.running[min(o.slots, len(o.running)):] {
			r := u.replica(o.id)
			worth := median >= stealMin || timed && f.now.Sub(r.assigned) > limit
			if worth && r.started.IsZero() && f.suits(h, u, o) {
				from, unit = o, u
				break
			}
		}
	}
	if unit == nil {
		return nil
	}
	f.stats.Moved++
	f.emit(CancelUnit{from.id, unit.id})
	unit.remove(from.id)
	from.drop(unit, f.now)
	f.recount()
	return unit
}

// backlog is how many units wait for each slot, in thousandths.
func (h *host) backlog() int { return 1000 * (len(h.running) - h.slots) / max(h.slots, 1) }

// duplicate returns the lowest unit all of whose replicas are slow, for a free slot of h, or nil.
// Each duplicate of a unit doubles the patience for the next.
func (f *Farm) duplicate(h *host) *unit {
	limit, ok := f.slow()
	if !ok || f.now.Before(f.nextDup) {
		return nil
	}
	var slowest *unit
	soonest, ripened := f.now.Add(limit/2), false
	for _, o := range f.order {
		for _, u := range o.running {
			if u.replica(o.id).started.IsZero() {
				continue
			}
			ripe := u.lastStart().Add(limit << min(u.dups, 10))
			switch {
			case ripe.After(f.now):
				soonest = earlier(soonest, ripe)
				continue
			case (slowest == nil || u.id < slowest.id) && f.suits(h, u, nil):
				slowest = u
			}
			ripened = true
		}
	}
	if !ripened {
		f.nextDup = soonest
	}
	if slowest == nil {
		return nil
	}
	f.stats.Repeated++
	slowest.dups++
	return slowest
}

// slow is the age from which a running replica is repeated; false while nothing is known of run times.
func (f *Farm) slow() (time.Duration, bool) {
	median, ok := f.times.median()
	if !ok || f.cfg.Straggler.Off {
		return 0, false
	}
	return max(time.Duration(f.cfg.Straggler.Factor*float64(median)), f.cfg.Straggler.MinAge), true
}

func (f *Farm) isSlow(r *replica) bool {
	limit, ok := f.slow()
	return ok && !r.started.IsZero() && f.now.Sub(r.started) > limit
}

// lastStart is when the youngest running replica came to a slot.
func (u *unit) lastStart() (t time.Time) {
	for i := range u.reps {
		if r := &u.reps[i]; r.state == running && r.started.After(t) {
			t = r.started
		}
	}
	return t
}

// NextTick is when time alone will change something: a host is to be tried again, or a replica becomes
// slow. It is zero when there is nothing to wait for. It never lies before the last event.
func (f *Farm) NextTick() (t time.Time) {
	if f.over {
		return t
	}
	busy, idle := false, false
	for _, h := range f.order {
		busy = busy || len(h.running) > 0
		if h.avoidUntil.After(f.now) {
			t = earlier(t, h.avoidUntil)
		} else if h.idle() && h.share != 0 {
			idle = true
		}
	}
	if limit, ok := f.slow(); ok && busy && idle {
		if dup := f.nextDup; dup.After(f.now) {
			t = earlier(t, dup)
		} else {
			t = earlier(t, f.now.Add(limit/2)) // slow ones there are, but no host suits them
		}
	}
	return t
}

// earlier returns the earlier of two times; zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
