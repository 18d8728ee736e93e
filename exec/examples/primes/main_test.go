package main

import (
	"math/big"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

func TestCountAgreesWithTheTables(t *testing.T) {
	for in, want := range map[string]uint64{
		"0 0": 0, "0 2": 0, "0 3": 1, "2 3": 1, "4 5": 0, "10 20": 4,
		"0 1000000": 78498, "1000000 2000000": 70435, "1000000000000 1000000100000": 3614,
	} {
		if n, err := count(in); err != nil || n != want {
			t.Errorf("%s: %d primes, %v; want %d", in, n, err, want)
		}
	}
	for _, in := range []string{"", "5", "9 1", "-1 5", "a b", "0 99999999999999999"} {
		if _, err := count(in); err == nil {
			t.Errorf("%q was counted", in)
		}
	}
}

// TestCountAgreesWithATest compares with another algorithm where segments meet.
func TestCountAgreesWithATest(t *testing.T) {
	for from := uint64(segment - 50); from < segment+50; from++ {
		n, err := count("1 " + new(big.Int).SetUint64(from+1).String())
		m, _ := count("1 " + new(big.Int).SetUint64(from).String())
		if err != nil || n-m == 1 != new(big.Int).SetUint64(from).ProbablyPrime(10) {
			t.Errorf("is %d prime? %d, %v", from, n-m, err)
		}
	}
}

func TestItCountsAsAGuest(t *testing.T) {
	wasm := examplestest.BuildGo(t, ".")
	if got := examplestest.Text(t, wasm, "0 1000000\n"); got != "78498\n" {
		t.Errorf("%q", got)
	}
	if r := examplestest.Run(t, wasm, "nonsense\n", exec.Spec{}); r.Status != exec.Exited || r.ExitCode != 1 || len(r.Stderr) == 0 {
		t.Errorf("%+v", r)
	}
}
