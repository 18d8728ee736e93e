package farm

import (
	"slices"
	"time"
)

// durations is a window over the latest samples with a median that is sorted out only when asked for.
type durations struct {
	last  [64]time.Duration
	n     int // samples ever
	mid   time.Duration
	fresh bool
}

func (d *durations) add(t time.Duration) {
	d.last[d.n%len(d.last)] = t
	d.n++
	d.fresh = false
}

// median returns the middle of the latest samples; false when there are none.
func (d *durations) median() (time.Duration, bool) {
	if d.n == 0 {
		return 0, false
	}
	if !d.fresh {
		s := d.last
		sorted := s[:min(d.n, len(s))]
		slices.Sort(sorted)
		d.mid, d.fresh = sorted[(len(sorted)-1)/2], true
	}
	return d.mid, true
}
