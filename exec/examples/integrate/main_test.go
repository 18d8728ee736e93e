package main

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

// TestSplittingComesToTheIntegral follows the splits to their end. The value is that of mpmath.quad at 30 digits.
func TestSplittingComesToTheIntegral(t *testing.T) {
	units := 0
	var whole func(from, to, tolerance float64) float64
	whole = func(from, to, tolerance float64) float64 {
		units++
		if v, ok := integral(from, to, tolerance); ok {
			return v
		}
		middle := from + (to-from)/2
		return whole(from, middle, tolerance/2) + whole(middle, to, tolerance/2)
	}
	const want = 1.196407175802437
	if got := whole(0.01, 2, 1e-9); math.Abs(got-want) > 1e-9 {
		t.Errorf("%.12f, want %.12f", got, want)
	}
	if units < 100 {
		t.Errorf("%d units: nothing was hard", units)
	}
}

func TestItIntegratesAsAGuest(t *testing.T) {
	wasm := examplestest.BuildGo(t, ".")
	if got := examplestest.Text(t, wasm, "0.01 2 1e-9\n"); got != "split\n" {
		t.Errorf("%q", got)
	}
	if got, err := strconv.ParseFloat(strings.TrimSpace(examplestest.Text(t, wasm, "1.5 2 1e-9\n")), 64); err != nil || math.Abs(got-0.358102360825771) > 1e-9 {
		t.Errorf("%v, %v", got, err)
	}
	if r := examplestest.Run(t, wasm, "2 1 0\n", exec.Spec{}); r.Status != exec.Exited || r.ExitCode != 1 || len(r.Stderr) == 0 {
		t.Errorf("%+v", r)
	}
}
