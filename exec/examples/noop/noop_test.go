package noop

import (
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

func TestModuleIsWhatItsSourceGives(t *testing.T) { examplestest.SameBytes(t, Wasm) }

func TestItDoesNothing(t *testing.T) {
	r := examplestest.Run(t, Wasm, "whatever", exec.Spec{})
	if !r.OK() || len(r.Stdout)+len(r.Stderr)+len(r.Files) > 0 || r.Fuel > 101_000 { // a start, and next to nothing
		t.Errorf("%+v", r)
	}
}
