package farm

import (
	"slices"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A host is one joined provider. When it leaves and comes back, it is a new host.
type host struct {
	id           HostID
	account      ledger.Account
	slots, queue int
	ahead        int           // the most that queue may be
	running      []*unit       // assigned and not computed yet, oldest first; the first slots of them run
	cursor       uint64        // all units of Farm.want below it have a replica that clashes with this host
	strikes      int           // failures in a row
	avoidUntil   time.Time     // gets nothing before
	share        int           // further units it may be given; below 0: any
	pace         time.Duration // that a unit took it lately; 0 = none has ended
}

// room is how many units the host holds when its queues are filled to level (0: slots only).
func (h *host) room(level int) int { return h.slots * (1 + min(level, h.queue)) }

func (h *host) idle() bool { return len(h.running) < h.slots }

// drop forgets a unit that the host computed or lost; the next of its queue starts.
func (h *host) drop(u *unit, now time.Time) {
	if i := slices.Index(h.running, u); i >= 0 {
		h.running = slices.Delete(h.running, i, i+1)
		h.start(now)
	}
}

// start notes the time for units that have come to a slot. That is our reckoning: the host
// itself may take its queue in another order.
func (h *host) start(now time.Time) {
	for _, u := range h.running[:min(h.slots, len(h.running))] {
		if r := u.replica(h.id); r != nil && r.started.IsZero() {
			r.started = now
		}
	}
}

// strike makes the farm avoid a host that failed, longer each time.
func (f *Farm) strike(h *host) {
	wait := min(avoidBase<<min(h.strikes, 16), avoidMax)
	h.strikes++
	h.avoidUntil = f.now.Add(wait)
	f.recount() // it is no alternative now: who failed a unit before may be its best host again
}

// usable reports whether h may get work now.
func (f *Farm) usable(h *host) bool { return h.slots > 0 && h.share != 0 && !h.avoidUntil.After(f.now) }

// recount makes every host look at every wanting unit again.
func (f *Farm) recount() {
	f.open = true
	for _, h := range f.order {
		h.cursor = 0
	}
}

// leave removes a host and its hidden replicas. Votes it gave stay, unless forget is set.
// Units it was computing count a failed try when charge is set.
func (f *Farm) leave(h *host, reason string, charge, forget, cancel bool) {
	delete(f.hosts, h.id)
	f.order = slices.DeleteFunc(f.order, func(o *host) bool { return o == h })
	if f.accounts[h.account]--; f.accounts[h.account] == 0 {
		delete(f.accounts, h.account)
	}
	h.slots = 0
	f.recount()
	for id := f.done; id < f.next; id++ { // in order, so that runs repeat exactly
		u := f.units[id]
		if u == nil {
			continue
		}
		r := u.replica(h.id)
		if r == nil || r.state == voted && !forget {
			continue
		}
		switch {
		case cancel && r.state != voted:
			f.emit(CancelUnit{h.id, u.id})
		case r.state == voted: // it waits to hear
			f.emit(Refuse{h.id, u.id, reason})
		}
		begun := r.state == running && !r.started.IsZero() // what it had computed is not the unit's fault
		u.remove(h.id)
		if charge && begun {
			f.stats.HostFault++
			u.blame(h.id, reason)
		}
		f.review(u)
	}
}

// ban ends a host's part in the job for good, whether it is still here or not.
func (f *Farm) ban(id HostID, reason string) {
	f.bad[id] = reason
	if h := f.hosts[id]; h != nil {
		f.leave(h, reason, false, true, true)
	}
	f.emit(Bad{id, reason})
}
