package wasm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

// speedKernel is a WASI command that multiplies and adds until its fuel is used up.
var speedKernel = []byte("\x00asm\x01\x00\x00\x00" +
	"\x01\x04\x01\x60\x00\x00" + // type 0: func()
	"\x03\x02\x01\x00" + // function 0: type 0
	"\x05\x03\x01\x00\x01" + // memory: 1 page
	"\x07\x13\x02\x06_start\x00\x00\x06memory\x02\x00" + // exports
	"\x0a\x17\x01\x15\x01\x01\x7e" + // code: one local i64
	"\x03\x40" + // loop
	"\x20\x00\x42\xad\xfe\xd5\xe4\x05\x7e\x42\x01\x7c\x21\x00" + // l = l*k + 1
	"\x0c\x00\x0b\x0b") // br 0, end, end

// MeasureSpeed returns how much fuel a second one slot of the engine burns, by running a small
// kernel for some tenths of a second.
func MeasureSpeed(ctx context.Context, engine exec.Engine) (fuelPerSecond uint64, err error) {
	dir, err := os.MkdirTemp("", "p3-speed-")
	if err != nil {
		return 0, fmt.Errorf("measure speed: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "kernel.wasm")
	if err := os.WriteFile(path, speedKernel, 0o600); err != nil {
		return 0, fmt.Errorf("measure speed: %w", err)
	}
	spec := exec.Spec{Program: path, Hash: sha256.Sum256(speedKernel), Limits: exec.DefaultLimits}
	for spec.Limits.Fuel = 10_000_000; ; spec.Limits.Fuel *= 4 {
		start := time.Now()
		r, err := engine.Run(ctx, spec)
		if err != nil {
			return 0, fmt.Errorf("measure speed: %w", err)
		}
		if r.Status != exec.OutOfFuel {
			return 0, fmt.Errorf("measure speed: ended with %s %s", r.Status, r.Message)
		}
		if d := time.Since(start); d > 200*time.Millisecond {
			return uint64(float64(r.Fuel) / d.Seconds()), nil
		}
	}
}
