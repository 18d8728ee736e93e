// Integrate computes the integral of sqrt(x) sin(1/x) over an interval, if that is easy enough.
//
// stdin: "from to tolerance", three decimal numbers, from above 0; stdout: the integral, or "split" where its estimates
// by Simpson's rule differ by more than the tolerance.
package main

import (
	"fmt"
	"math"

	"github.com/personal-power-plant/p3/exec/guest"
)

func main() {
	line, err := guest.Line()
	if err == nil {
		var from, to, tolerance float64
		if _, err = fmt.Sscan(line, &from, &to, &tolerance); err == nil && !(0 < from && from < to) {
			err = fmt.Errorf("%q: give from, to and tolerance, 0 < from < to", line)
		}
		if err == nil {
			if v, ok := integral(from, to, tolerance); ok {
				fmt.Printf("%.17g\n", v)
			} else {
				fmt.Println("split")
			}
		}
	}
	guest.Exit(err)
}

func f(x float64) float64 { return math.Sqrt(x) * math.Sin(1/x) }

// pieces is how many parts a whole interval has; it is taken once with these and once with half as many.
const pieces = 64

// integral is by the composite Simpson's rule with Richardson's extrapolation; false if it is off by more than the tolerance.
func integral(from, to, tolerance float64) (float64, bool) {
	coarse, fine := simpson(from, to, pieces/2), simpson(from, to, pieces)
	off := (fine - coarse) / 15
	return fine + off, math.Abs(off) <= tolerance
}

func simpson(from, to float64, n int) float64 {
	h := (to - from) / float64(n)
	sum := f(from) + f(to)
	for i := 1; i < n; i++ {
		sum += f(from+float64(i)*h) * float64(2+2*(i%2))
	}
	return sum * h / 3
}
