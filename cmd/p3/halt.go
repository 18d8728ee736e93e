package main

import (
	"strconv"
	"strings"
)

// A halt says when a job ends before all its units have: GNU parallel's --halt now,WHY=N or WHY=P%.
type halt struct {
	why     string // fail, success or done; "" = never
	count   uint64
	percent float64
}

// haltLeast is how many units must have ended before a percentage of them means anything.
const haltLeast = 3

func parseHalt(s string) (h halt, err error) {
	if s == "" || s == "never" {
		return h, nil
	}
	bad := usage("--halt %q: write never, or now,fail=1, now,success=1, now,done=10, or with a percentage, now,fail=30%%", s)
	when, rest, _ := strings.Cut(s, ",")
	why, value, ok := strings.Cut(rest, "=")
	if when == "soon" {
		return h, usage("--halt %q: only now is known: it ends what runs too", s)
	}
	if when != "now" || !ok || why != "fail" && why != "success" && why != "done" {
		return h, bad
	}
	h.why = why
	if p, is := strings.CutSuffix(value, "%"); is {
		if h.percent, err = strconv.ParseFloat(p, 64); err != nil || !(h.percent > 0 && h.percent <= 100) {
			return halt{}, bad
		}
		return h, nil
	}
	if h.count, err = strconv.ParseUint(value, 10, 64); err != nil || h.count == 0 {
		return halt{}, bad
	}
	return h, nil
}

// met reports that the job is to end now.
func (h halt) met(done, failed uint64) bool {
	n := done
	switch h.why {
	case "":
		return false
	case "fail":
		n = failed
	case "success":
		n = done - failed
	}
	if h.percent > 0 {
		return done >= haltLeast && 100*float64(n) >= h.percent*float64(done)
	}
	return n >= h.count
}
