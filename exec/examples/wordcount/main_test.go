package main

import (
	"testing"

	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

func TestItCountsWords(t *testing.T) {
	got := examplestest.Text(t, examplestest.BuildGo(t, "."), "The cat, the 'dog' & the cat's Müsli.\nDog!\n")
	if want := "3 the\n2 dog\n1 cat\n1 cat's\n1 müsli\n"; got != want {
		t.Errorf("have\n%swant\n%s", got, want)
	}
}
