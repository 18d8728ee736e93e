package farm

import (
	"container/heap"
	"fmt"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// A fleet is simulated hosts of one slot each behind a link, in fake time.
type fleet struct {
	farm   *Farm
	rtt    time.Duration
	now    time.Time
	things things
	hosts  map[HostID]*simHost
	seq    int
	over   bool
}

type simHost struct {
	unit    time.Duration // for one unit; 0: it stalls for ever
	queue   []uint64      // the first is being computed
	version int           // of the computation: a cancelled one does not end
}

// A thing happens at a time.
type thing struct {
	at  time.Time
	seq int
	do  func()
}

type things []thing

func (t things) Len() int { return len(t) }
func (t things) Less(i, j int) bool {
	return t[i].at.Before(t[j].at) || t[i].at.Equal(t[j].at) && t[i].seq < t[j].seq
}
func (t things) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *things) Push(x any)   { *t = append(*t, x.(thing)) }
func (t *things) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

func (s *fleet) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.things, thing{s.now.Add(d), s.seq, do})
}

func (s *fleet) compute(id HostID, h *simHost) {
	if len(h.queue) == 0 || h.unit == 0 {
		return
	}
	u, v := h.queue[0], h.version
	s.after(h.unit, func() {
		if h.version != v {
			return // cancelled meanwhile
		}
		h.queue = h.queue[1:]
		h.version++
		s.after(s.rtt/2, func() {
			s.perform(s.farm.Revealed(id, u, Vote{Status: exec.Exited, OK: true}, s.now))
		})
		s.compute(id, h)
	})
}

func (s *fleet) perform(actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case Assign:
			h := s.hosts[a.Host]
			s.after(s.rtt/2, func() {
				if h.queue = append(h.queue, a.Unit); len(h.queue) == 1 {
					s.compute(a.Host, h)
				}
			})
		case CancelUnit:
			h := s.hosts[a.Host]
			s.after(s.rtt/2, func() {
				for i, u := range h.queue {
					if u != a.Unit {
						continue
					}
					h.queue = append(h.queue[:i], h.queue[i+1:]...)
					if i == 0 {
						h.version++
						s.compute(a.Host, h)
					}
					break
				}
			})
		case Fail:
			panic("a unit failed")
		case Finished:
			s.over = true
		}
	}
}

// makespan is how long units take on hosts that need the given time for each.
func makespan(units uint64, rtt time.Duration, queue int, hosts ...time.Duration) (time.Duration, Stats) {
	s := &fleet{farm: New(Config{Retries: 3}), rtt: rtt, now: time.Unix(0, 0), hosts: map[HostID]*simHost{}}
	start := s.now
	for i, d := range hosts {
		id := HostID(fmt.Sprint(i))
		s.hosts[id] = &simHost{unit: d}
		s.perform(s.farm.HostJoined(id, ledger.Account{byte(i), byte(i >> 8)}, 1, queue, s.now))
	}
	s.perform(s.farm.AddUnits(units, s.now))
	s.perform(s.farm.Close(s.now))
	for !s.over {
		tick := s.farm.NextTick()
		if len(s.things) > 0 && (tick.IsZero() || !s.things[0].at.After(tick)) {
			next := heap.Pop(&s.things).(thing)
			s.now = next.at
			next.do()
			continue
		}
		if tick.IsZero() {
			panic("stuck: " + s.farm.Why())
		}
		s.now = tick
		s.perform(s.farm.Tick(s.now))
	}
	return s.now.Sub(start), s.farm.Stats()
}

func fleetOf(n int, d time.Duration) []time.Duration {
	h := make([]time.Duration, n)
	for i := range h {
		h[i] = d
	}
	return h
}

// TestEfficiencyBehindARoundTrip: 32 hosts, 20 ms there and back, a queue of one unit a slot.
func TestEfficiencyBehindARoundTrip(t *testing.T) {
	for unit, least := range map[time.Duration]float64{500 * time.Millisecond: 0.98, 50 * time.Millisecond: 0.90} {
		const perHost = 20
		took, stats := makespan(32*perHost, 20*time.Millisecond, 1, fleetOf(32, unit)...)
		if e := float64(perHost*unit) / float64(took); e < least {
			t.Errorf("units of %v: efficiency %.3f, want %.2f; %+v", unit, e, least, stats)
		} else {
			t.Logf("units of %v: efficiency %.3f", unit, e)
		}
	}
}

// TestSlowAndStalledHostsCostLittle: of 40 hosts 4 stall for ever and 4 run at a tenth of the speed.
func TestSlowAndStalledHostsCostLittle(t *testing.T) {
	const units, unit = 1000, time.Second
	good := fleetOf(32, unit)
	without, _ := makespan(units, 20*time.Millisecond, 1, good...)
	// Spread among the others, as they would come.
	var mixed []time.Duration
	for i, d := range good {
		switch i % 8 {
		case 3:
			mixed = append(mixed, 0)
		case 6:
			mixed = append(mixed, 10*unit)
		}
		mixed = append(mixed, d)
	}
	with, stats := makespan(units, 20*time.Millisecond, 1, mixed...)
	ratio := float64(with) / float64(without)
	t.Logf("%v with, %v without: %.2f; %+v", with, without, ratio, stats)
	if ratio > 1.3 {
		t.Error("want at most 1.3 of the time without them")
	}
}
