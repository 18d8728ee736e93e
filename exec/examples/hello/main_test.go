package main

import (
	"testing"

	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

func TestItAnswersInCapitals(t *testing.T) {
	if got := examplestest.Text(t, examplestest.BuildGo(t, "."), "power to the people\n"); got != "POWER TO THE PEOPLE\n" {
		t.Errorf("%q", got)
	}
}
