package job

import (
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// Results wait for others only where others come soon, and never for long.
func TestShortUnitsGoOutTogether(t *testing.T) {
	now := time.Now()
	tests := []struct {
		name              string
		finished, running int
		took, waited      time.Duration
		ended             bool
		want              time.Duration
	}{
		{"none is finished", 0, 1, time.Millisecond, 0, false, 0},
		{"more run", 1, 1, time.Millisecond, 0, false, gatherTime},
		{"the only one", 1, 0, time.Millisecond, 0, false, 0},
		{"long units", 1, 1, time.Second, 0, false, 0},
		{"half of the window", 8, 1, time.Millisecond, 0, false, 0},
		{"waited already", 3, 1, time.Millisecond, 4 * time.Millisecond, false, gatherTime - 4*time.Millisecond},
		{"waited enough", 3, 1, time.Millisecond, gatherTime, false, 0},
		{"the lease ends", 1, 1, time.Millisecond, 0, true, 0},
	}
	for _, c := range tests {
		h := &hosting{window: 16, took: c.took, running: map[uint64]*guest{}}
		for range c.finished {
			h.finished = append(h.finished, &finished{})
		}
		for u := range c.running {
			h.running[uint64(u)] = &guest{}
		}
		if c.waited > 0 {
			h.gathers = now.Add(-c.waited)
		}
		if c.ended {
			h.ended = refuse(CodeIdle, "")
		}
		if got := h.gather(now); got != c.want || (got == 0) != h.gathers.IsZero() {
			t.Errorf("%s: waits %s, want %s; since %s", c.name, got, c.want, h.gathers)
		}
	}
}

// Results that come in one frame are paid with one voucher.
func TestOneVoucherPaysAFrame(t *testing.T) {
	var vouchers, paid int
	grants := grant{Slots: 1, Queue: queueAhead}
	runAgainst(t, 1, 0, func(c *cheat, s Stream, l *cheatedLease) {
		for sent := false; ; {
			f, ok := l.next(s)
			if len(f.Voucher) > 0 {
				vouchers++
				paid += len(f.Paid)
			}
			if !ok {
				return
			}
			if sent || len(l.tasks) < hostileUnits {
				continue
			}
			sent = true
			var all []result
			for _, t := range l.tasks {
				all = append(all, right(t))
			}
			writeFrame(s, c.sign(l, 1, all...))
		}
	}, func(t *testing.T, j node.Job, p node.JobPeer, earned ledger.Credits) {
		if vouchers != 1 || paid != hostileUnits || earned != j.Spent {
			t.Errorf("%d vouchers for %d units, want 1 for %d; earned %s of %s", vouchers, paid, hostileUnits, earned, j.Spent)
		}
	}, grants)
}
