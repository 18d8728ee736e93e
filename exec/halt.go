package exec

import (
	"fmt"
	"strconv"
	"strings"
)

// A Halt says when a job ends before all its units have: what GNU parallel's --halt says, in its words
// (https://www.gnu.org/software/parallel/parallel.html). The zero value is never.
type Halt struct {
	Why     string  // what is counted: HaltFail, HaltSuccess or HaltDone; "" = never
	Soon    bool    // what runs is awaited; otherwise it ends too
	Count   uint64  // so many, or
	Percent float64 // of those that have ended, above 0 to 100
}

// What a Halt counts.
const (
	HaltFail    = "fail"
	HaltSuccess = "success"
	HaltDone    = "done"
)

// haltLeast is how many units must have ended before a percentage of them means anything.
const haltLeast = 3

// ParseHalt reads never (or nothing), or WHEN,WHY=N, or WHEN,WHY=N%, where WHEN is now or soon.
func ParseHalt(s string) (Halt, error) {
	if s == "" || s == "never" {
		return Halt{}, nil
	}
	bad := fmt.Errorf("halt %.64q: write never, or now,fail=1, soon,success=1, now,done=10, or with a percentage, soon,fail=30%%", s)
	when, rest, _ := strings.Cut(s, ",")
	why, value, _ := strings.Cut(rest, "=")
	h := Halt{Why: why, Soon: when == "soon"}
	if when != "now" && when != "soon" || why != HaltFail && why != HaltSuccess && why != HaltDone {
		return Halt{}, bad
	}
	var err error
	if p, is := strings.CutSuffix(value, "%"); is {
		h.Percent, err = strconv.ParseFloat(p, 64)
		if err != nil || !(h.Percent > 0 && h.Percent <= 100) {
			return Halt{}, bad
		}
		return h, nil
	}
	if h.Count, err = strconv.ParseUint(value, 10, 64); err != nil || h.Count == 0 {
		return Halt{}, bad
	}
	return h, nil
}

// Met reports whether it is time, after done units have ended of which failed have failed.
func (h Halt) Met(done, failed uint64) bool {
	n := done
	switch h.Why {
	case "":
		return false
	case HaltFail:
		n = failed
	case HaltSuccess:
		n = done - failed
	}
	if h.Percent > 0 {
		return done >= haltLeast && 100*float64(n) >= h.Percent*float64(done)
	}
	return n >= h.Count
}
