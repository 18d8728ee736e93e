package farm

import (
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// ownState says how far the requester is with computing a unit itself.
type ownState uint8

const (
	notOwn    ownState = iota
	ownAsked           // Compute was emitted; the unit waits for Computed
	ownFailed          // it could not: votes decide
)

// small reports whether the requester may compute a unit itself: by the least fuel that a vote has, as liars
// who claim more must not keep it from looking.
func (f *Farm) small(u *unit) bool {
	if f.cfg.Own == 0 || u.own != notOwn {
		return false
	}
	least, some := ledger.Fuel(0), false
	for i := range u.reps {
		if r := &u.reps[i]; r.state == voted && (!some || r.vote.Fuel < least) {
			least, some = r.vote.Fuel, true
		}
	}
	return some && least <= f.cfg.Own
}

// compute has the requester compute a unit itself.
func (f *Farm) compute(u *unit) {
	u.own = ownAsked
	f.emit(Compute{u.id})
}

// Computed brings what came of a Compute: the requester's own result, which decides the unit whatever the votes are, or
// nil when there is none and votes must do.
func (f *Farm) Computed(unit uint64, own *Vote, now time.Time) []Action {
	if !f.begin(now) {
		return nil
	}
	switch u := f.units[unit]; {
	case u == nil || u.own != ownAsked:
	case own != nil:
		f.stats.Own++
		f.accept(u, *own)
	default:
		u.own = ownFailed
		if u.quorum == 1 {
			f.check(u)
		}
		f.review(u)
	}
	return f.end(nil)
}
