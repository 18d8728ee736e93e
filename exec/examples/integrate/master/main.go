// Master integrates by halves: an interval that its unit finds too hard becomes two units.
//
// Arguments: FROM TO TOLERANCE; output: the integral and how many units that took.
package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/personal-power-plant/p3/exec/guest"
)

// A span is an interval with the error that it may bring.
type span struct{ from, to, tolerance float64 }

func main() { guest.Exit(integrate(os.Args[1:])) }

func integrate(args []string) error {
	var whole span
	if _, err := fmt.Sscan(strings.Join(args, " "), &whole.from, &whole.to, &whole.tolerance); err != nil {
		return fmt.Errorf("give FROM TO TOLERANCE: %w", err)
	}
	var spans []span // by the id of their units
	submit := func(s span) error {
		spans = append(spans, s)
		return guest.Submit(len(spans)-1, fmt.Sprintf("%.17g %.17g %g\n", s.from, s.to, s.tolerance))
	}
	if err := submit(whole); err != nil {
		return err
	}
	var parts []float64
	for out := 1; out > 0; out-- {
		r, err := guest.Next()
		if err != nil {
			return err
		}
		if !r.OK {
			return fmt.Errorf("unit %d: %s", r.Unit, r.Error)
		}
		s, text := spans[r.ID], strings.TrimSpace(string(r.Stdout))
		if text == "split" {
			middle := s.from + (s.to-s.from)/2
			for _, half := range []span{{s.from, middle, s.tolerance / 2}, {middle, s.to, s.tolerance / 2}} {
				if err := submit(half); err != nil {
					return err
				}
				out++
			}
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		parts = append(parts, v)
	}
	slices.Sort(parts) // results come in any order, and the order of a sum changes its last digits
	sum := 0.0
	for _, v := range parts {
		sum += v
	}
	return guest.Output(fmt.Sprintf("%.12f in %d units\n", sum, len(spans)))
}
