package wasm

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

//go:embed kernel/kernel.wasm
var kernel []byte

// MeasureSpeed runs a built-in program for about 200 ms and returns the fuel that one slot of
// the engine burns in a second, for exec.Capacity.Speed. It is a figure for this machine as
// busy as it is now, not a constant; programs differ from it by a factor of a few.
func MeasureSpeed(ctx context.Context, engine exec.Engine) (fuelPerSecond uint64, err error) {
	const enough = 150 * time.Millisecond
	dir, err := os.MkdirTemp("", "p3-speed-")
	if err != nil {
		return 0, fmt.Errorf("measure speed: %w", err)
	}
	defer os.RemoveAll(dir)
	spec := exec.Spec{
		Program: filepath.Join(dir, "kernel.wasm"),
		Hash:    sha256.Sum256(kernel),
		Limits:  exec.Limits{Fuel: 1_000_000, Memory: 1 << 20, WallMs: 10_000, Output: 0},
	}
	if err := os.WriteFile(spec.Program, kernel, 0o600); err != nil {
		return 0, fmt.Errorf("measure speed: %w", err)
	}
	for fuel := uint64(1_000_000); ; { // the first round compiles and warms up
		spec.Limits.Fuel = ledger.Fuel(fuel)
		start := time.Now()
		res, err := engine.Run(ctx, spec)
		took := max(time.Since(start), time.Microsecond)
		switch {
		case err != nil:
			return 0, fmt.Errorf("measure speed: %w", err)
		case res.Status != exec.OutOfFuel:
			return 0, fmt.Errorf("measure speed: the kernel ended with %s: %s", res.Status, res.Message)
		case took >= enough && fuel > 1_000_000:
			return uint64(float64(fuel) / took.Seconds()), nil
		}
		fuel = min(fuel*50, uint64(float64(fuel)*float64(200*time.Millisecond)/float64(took))+50_000_000)
	}
}
