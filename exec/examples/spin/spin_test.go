package spin

import (
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

func TestModuleIsWhatItsSourceGives(t *testing.T) { examplestest.SameBytes(t, Wasm) }

func TestEveryMisdeedMeetsItsLimit(t *testing.T) {
	for _, c := range []struct {
		name, input string
		limits      exec.Limits
		want        exec.Status
	}{
		{"it computes for ever", "", exec.Limits{Fuel: 10_000_000}, exec.OutOfFuel},
		{"it computes for ever on a slow host", "", exec.Limits{WallMs: 50}, exec.Deadline},
		{"it takes all memory", "m", exec.Limits{Fuel: 10_000_000, Memory: 4 << 20}, exec.OutOfFuel},
		{"it recurses for ever", "r", exec.Limits{Fuel: 10_000_000_000}, exec.Trap},
		{"it writes for ever", "o", exec.Limits{Output: 1 << 16}, exec.OutputLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := examplestest.Run(t, Wasm, c.input, exec.Spec{Limits: c.limits})
			if r.Status != c.want || int64(len(r.Stdout)) > max(c.limits.Output, 0) {
				t.Errorf("%s (%s), %d bytes of output; want %s", r.Status, r.Message, len(r.Stdout), c.want)
			}
		})
	}
}
