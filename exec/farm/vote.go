package farm

import (
	"cmp"
	"fmt"
	"slices"
)

// review decides what a unit needs after its replicas changed: nothing, more replicas, the
// hidden results, or its end.
func (f *Farm) review(u *unit) {
	t := u.count()
	if t.voted > t.agree && f.small(u) {
		f.compute(u)
	}
	if u.own == ownAsked {
		f.setWants(u, false)
		return
	}
	switch lost := u.faults + t.voted - t.agree; {
	case t.agree >= u.quorum:
		f.accept(u, t.lead)
		return
	case lost > f.cfg.Retries:
		f.fail(u, t)
		return
	}
	// Reveal only when a quorum is committed, and no more than a quorum needs: what a late
	// duplicate hides need not be paid for.
	if t.agree+t.revealing+t.committed >= u.quorum {
		need := u.quorum - t.agree - t.revealing
		for i := range u.reps {
			if r := &u.reps[i]; need > 0 && r.state == committed {
				need--
				r.state, r.asked = revealing, true
				f.emit(Reveal{r.host.id, u.id})
			}
		}
	} else if t.revealing > 0 {
		for i := range u.reps {
			if r := &u.reps[i]; r.state == revealing {
				r.state = committed
				f.emit(Hide{r.host.id, u.id})
			}
		}
	}
	f.setWants(u, u.lacks(t) > 0)
}

// accept ends a unit with the vote of a quorum, or the requester's own.
func (f *Farm) accept(u *unit, v Vote) {
	a := Accept{Unit: u.id, Vote: v, Winners: make([]HostID, 0, u.quorum), Own: u.own == ownAsked}
	var banned []HostID
	for i := range u.reps {
		switch r := &u.reps[i]; {
		case r.state != voted:
		case r.vote.equal(v):
			a.Winners = append(a.Winners, r.host.id)
		default:
			a.Losers = append(a.Losers, r.host.id)
			f.stats.Disputes++
			if f.outvoted[r.host.id]++; f.outvoted[r.host.id] >= f.cfg.BadAfter {
				banned = append(banned, r.host.id)
			}
		}
	}
	f.emit(a)
	if !v.OK {
		f.unwell++
	}
	for _, id := range a.Losers {
		f.emit(Refuse{id, u.id, "outvoted"})
	}
	f.finish(u)
	for _, id := range banned {
		if f.bad[id] == "" {
			f.ban(id, fmt.Sprintf("outvoted %d times", f.outvoted[id]))
		}
	}
}

// fail ends a unit without a result.
func (f *Farm) fail(u *unit, t tally) {
	f.stats.Failed++
	f.unwell++
	reason := fmt.Sprintf("%d tries failed, the last one: %s", u.faults, u.reason)
	if t.voted > t.agree {
		reason = fmt.Sprintf("%d hosts gave no %d equal results: is the program deterministic?", t.voted, u.quorum)
	}
	f.emit(Fail{u.id, reason})
	f.finish(u)
}

// finish forgets a unit that has ended and moves the window.
func (f *Farm) finish(u *unit) {
	f.setWants(u, false)
	for i := range u.reps {
		r := &u.reps[i]
		if r.state == voted {
			continue
		}
		f.emit(CancelUnit{r.host.id, u.id})
		r.host.drop(u, f.now)
		f.open = true
		if r.state == running && f.hosts[r.host.id] == r.host && f.isSlow(r) {
			f.strike(r.host)
		}
	}
	f.open = f.open || f.full() // hosts may have waited for room
	delete(f.units, u.id)
	f.markDone(u.id)
	*u = unit{reps: clearReplicas(u.reps), failed: u.failed[:0]}
	f.spare = append(f.spare, u)
}

func clearReplicas(reps []replica) []replica {
	clear(reps)
	return reps[:0]
}

// setWants puts a unit on the list of those that lack replicas, or takes it off.
func (f *Farm) setWants(u *unit, wants bool) {
	if u.wants == wants {
		return
	}
	u.wants = wants
	i, _ := slices.BinarySearchFunc(f.want, u.id, func(w *unit, id uint64) int { return cmp.Compare(w.id, id) })
	if !wants {
		f.want = slices.Delete(f.want, i, i+1)
		return
	}
	f.want = slices.Insert(f.want, i, u)
	f.open = true
	for _, h := range f.order {
		h.cursor = min(h.cursor, u.id)
	}
}
