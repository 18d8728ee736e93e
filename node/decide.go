package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A SignalKind says what a signal is about.
type SignalKind string

// Kinds of signals.
const (
	SignalPresence SignalKind = "presence" // whether somebody is at the machine
	SignalLoad     SignalKind = "load"     // what others compute
	SignalPower    SignalKind = "power"    // mains or battery
	SignalMemory   SignalKind = "memory"   // what is left
)

// A Signal is what one layer knows of the machine at one moment. Layers differ from system to system
// and some are known to lie by omission, so all are asked and all are shown.
type Signal struct {
	Layer   string     `json:"layer"`             // "logind", "x11", "tty", …
	Kind    SignalKind `json:"kind"`              //
	Known   bool       `json:"known"`             // it answers; what follows is meant
	Text    string     `json:"text"`              // its value in words, or why it does not answer
	Last    time.Time  `json:"last,omitzero"`     // presence: the last sign of somebody
	Screen  bool       `json:"screen,omitempty"`  // presence: it sees the input of graphical sessions
	Percent float64    `json:"percent,omitempty"` // load: of the machine's CPU, over some seconds
	Battery bool       `json:"battery,omitempty"` // power: no mains
	Free    int64      `json:"free,omitempty"`    // memory: available bytes
}

// Signals is all that the layers say, and whether somebody may be working on a screen here, which
// layers of terminals do not see.
type Signals struct {
	Graphical string   `json:"graphical,omitempty"` // what shows that a graphical session runs; "" = none
	Layers    []Signal `json:"layers"`
}

// A HostControl is what stands above a policy: what the owner said by hand, and what the node can do.
type HostControl struct {
	Donate  bool
	Paused  time.Time // until
	Finish  bool      // end what runs, take nothing new
	Network int64     // bytes moved for guests today
	Blocked string    // why the node itself cannot take work, "" = it can
}

// A Decision is what a policy comes to at one moment. It is also the memory of the state machine:
// the next Decide wants the last Decision.
type Decision struct {
	Accepts  bool      `json:"accepts"`         // takes new leases and starts new units
	Freeze   bool      `json:"freeze"`          // running guests stand still
	HandBack bool      `json:"hand_back"`       // running guests are given up
	By       string    `json:"by"`              // the layer or key that decided
	Why      string    `json:"why"`             // one sentence, always set
	Reasons  []Reason  `json:"reasons"`         // all that speaks against it now, the strongest first
	Frozen   time.Time `json:"frozen,omitzero"` // since when guests stand still

	inUse, loaded bool
	last, stirred time.Time // of presence: the newest sign ever seen, and the first of its kind for grace
	layer         string    // that saw last
}

// A Reason is one thing that speaks against taking work.
type Reason struct {
	By   string `json:"by"`
	Why  string `json:"why"`
	Then string `json:"then"` // "refuse": no new units; "freeze": running ones stand still; "hand back": they are given up

	weight int
}

const (
	refuses = iota + 1
	freezes
	handsBack
)

var weights = map[int]string{refuses: "refuse", freezes: "freeze", handsBack: "hand back"}

// stirEnds is when a stir is over: input so long ago was one nudge.
const stirEnds = 10 * time.Second

// Decide is the policy's answer at now, given what the machine says and what was decided before.
//
// Presence has two thresholds, as the owner's hands do not rest evenly: without a sign for
// ResumeAfter frozen guests go on, without one for IdleAfter new work is taken; at the first sign,
// or after Grace, guests freeze. Of all layers that answer the newest sign counts: a layer that
// sees no input, as X11's does of a Wayland program, can never outvote one that does.
func Decide(p HostPolicy, s Signals, c HostControl, now time.Time, prev Decision) Decision {
	d := Decision{inUse: prev.inUse, loaded: prev.loaded, last: prev.last, layer: prev.layer, stirred: prev.stirred}
	say := func(weight int, by, format string, args ...any) {
		d.Reasons = append(d.Reasons, Reason{By: by, Why: fmt.Sprintf(format, args...), Then: weights[weight], weight: weight})
	}
	if !c.Donate {
		say(refuses, "donate", "not donating: start with `p3 up --donate`")
	}
	if left := c.Paused.Sub(now); left > 0 {
		say(freezes, "pause", "paused by the owner for another %s", left.Round(time.Second))
	}
	if c.Finish {
		say(refuses, "finish", "finishing what runs: `p3 host resume` takes new work again")
	}
	if !p.open(now) {
		say(handsBack, "hours", "outside the owner's hours (%s, %s)", strings.Replace(textHours(p.Hours), "any", "all day", 1), strings.Replace(p.Days.String(), "any", "every day", 1))
	}
	if sig, ok := s.of(SignalPower); p.ACOnly && ok && sig.Battery {
		say(freezes, sig.Layer, "on battery")
	}
	if sig, ok := s.of(SignalMemory); p.FreeMemory > 0 && ok && sig.Free < p.FreeMemory {
		say(handsBack, sig.Layer, "%s of memory left, %s stay free for the owner", textSize(sig.Free&^(1<<20-1)), textSize(p.FreeMemory))
	}
	if p.IdleOnly {
		d.presence(p, s, now, prev, say)
	} else {
		d.inUse, d.last, d.layer, d.stirred = false, time.Time{}, "", time.Time{}
	}
	d.load(p, s, say)
	if p.NetworkPerDay > 0 && c.Network >= p.NetworkPerDay {
		say(refuses, "network_per_day", "%s of today's %s network are used", textSize(c.Network&^(1<<20-1)), textSize(p.NetworkPerDay))
	}
	if c.Blocked != "" {
		say(refuses, "node", "%s", c.Blocked)
	}
	return d.conclude(p, s, now, prev)
}

// conclude turns the reasons into what to do.
func (d Decision) conclude(p HostPolicy, s Signals, now time.Time, prev Decision) Decision {
	if len(d.Reasons) == 0 {
		d.Accepts, d.By, d.Why = true, "policy", "accepting work"
		if p.IdleOnly {
			d.By = d.layer
			d.Why = "idle for " + age(now.Sub(d.last)) + ": accepting work"
		}
		return d
	}
	slices.SortStableFunc(d.Reasons, func(a, b Reason) int { return cmp.Compare(b.weight, a.weight) })
	d.By, d.Why = d.Reasons[0].By, d.Reasons[0].Why
	if d.Reasons[0].weight >= freezes {
		d.Freeze, d.Frozen = true, now
		if prev.Freeze {
			d.Frozen = prev.Frozen
		}
		d.HandBack = d.Reasons[0].weight == handsBack || now.Sub(d.Frozen) >= p.HandBackAfter
	}
	return d
}

// presence is the part of Decide that is about the owner's hands.
func (d *Decision) presence(p HostPolicy, s Signals, now time.Time, prev Decision, say func(int, string, string, ...any)) {
	sig := s.newest()
	switch {
	case !sig.Known:
		say(refuses, "presence", "no layer can tell whether somebody is here: `p3 host why` lists them, `p3 host policy idle_only=no` does without")
		return
	case s.Graphical != "" && !s.screened():
		say(refuses, "presence", "a graphical session runs (%s) and no layer sees its input: run p3 inside it, or set idle_only=no", s.Graphical)
		return
	}
	stir := sig.Last.After(prev.last)
	if stir || d.layer == "" || prev.last.After(now) { // or the clock was set back
		d.last, d.layer = sig.Last, sig.Layer
	}
	quiet := max(now.Sub(d.last), 0) // a terminal that was closed was used all the same
	switch {
	case prev.last.IsZero(), prev.inUse, quiet >= p.IdleAfter: // at the first look a sign counts, however old
		d.inUse = quiet < p.IdleAfter
	case stir:
		if d.stirred.IsZero() {
			d.stirred = sig.Last
		}
		d.inUse = now.Sub(d.stirred) >= p.Grace
	case quiet > stirEnds:
		d.stirred = time.Time{}
	}
	if d.inUse {
		d.stirred = time.Time{}
	}
	if !d.inUse {
		return
	}
	used, weight := "now", refuses
	if quiet >= 2*time.Second {
		used = age(quiet) + " ago"
	}
	if quiet < p.ResumeAfter {
		weight = freezes
	}
	say(weight, d.layer, "in use %s (%s); idle after %s without input", used, d.layer, shortSpan(p.IdleAfter))
}

// load is the part of Decide about what others compute. Guests that stand still do not change it,
// so it cannot swing by itself; a quarter between going and coming keeps it from fluttering.
func (d *Decision) load(p HostPolicy, s Signals, say func(int, string, string, ...any)) {
	sig, ok := s.of(SignalLoad)
	if p.MaxLoad == 0 || !ok {
		d.loaded = false
		return
	}
	most := float64(p.MaxLoad)
	if d.loaded {
		most *= 0.75
	}
	if d.loaded = sig.Percent > most; d.loaded {
		say(freezes, sig.Layer, "other programs use %.0f%% of the CPU, guests yield at %d%%", sig.Percent, p.MaxLoad)
	}
}

// of is the first signal of a kind that answers.
func (s Signals) of(k SignalKind) (Signal, bool) {
	i := slices.IndexFunc(s.Layers, func(x Signal) bool { return x.Kind == k && x.Known })
	if i < 0 {
		return Signal{}, false
	}
	return s.Layers[i], true
}

// newest is the layer with the latest sign of somebody; Known is false when none answers.
func (s Signals) newest() (best Signal) {
	for _, x := range s.Layers {
		if x.Kind == SignalPresence && x.Known && (!best.Known || x.Last.After(best.Last)) {
			best = x
		}
	}
	return best
}

// screened reports whether a layer sees the input of graphical sessions.
func (s Signals) screened() bool {
	return slices.ContainsFunc(s.Layers, func(x Signal) bool { return x.Kind == SignalPresence && x.Known && x.Screen })
}

// age is a duration as people say it.
func age(d time.Duration) string { return shortSpan(max(d, 0).Truncate(time.Second)) }
