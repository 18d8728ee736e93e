package main

import (
	"math"
	"time"
)

// paceHalf is the time after which what was seen of a job counts half: its providers come and go.
const paceHalf = 30 * time.Second

// A pace tells from the units that ended lately how long the others will take.
type pace struct {
	at             time.Time // of the last look; zero = none yet
	done           uint64
	units, seconds float64 // seen, the older the less
}

// look notes how many units have ended by now.
func (p *pace) look(done uint64, now time.Time) {
	if took := now.Sub(p.at).Seconds(); !p.at.IsZero() && took > 0 {
		keep := math.Exp2(-took / paceHalf.Seconds())
		p.units = keep*p.units + float64(done-min(p.done, done))
		p.seconds = keep*p.seconds + took
	}
	p.at, p.done = now, done
}

// left is how long so many more units take; false while too little was seen to say.
func (p *pace) left(units uint64) (time.Duration, bool) {
	if p.units < 0.5 {
		return 0, false
	}
	s := float64(units) * p.seconds / p.units
	return time.Duration(min(s, 1e9) * float64(time.Second)), true
}
