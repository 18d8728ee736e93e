// Package examplestest runs the example programs in tests the way a provider does, and builds
// them the way their recipes say.
package examplestest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
)

var engine = sync.OnceValues(func() (*wasm.Local, error) { return wasm.NewLocal(wasm.LocalOptions{}) })

// Run runs a program on input to its end, with the limits and mounts that spec adds; zero limits are the defaults.
func Run(t testing.TB, program []byte, stdin string, spec exec.Spec) exec.Result {
	t.Helper()
	e, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	spec.Program = filepath.Join(t.TempDir(), "program.wasm")
	if err := os.WriteFile(spec.Program, program, 0o600); err != nil {
		t.Fatal(err)
	}
	spec.Hash = ledger.Digest(sha256.Sum256(program))
	spec.Stdin = []byte(stdin)
	d := exec.DefaultLimits
	spec.Limits.Fuel = or(spec.Limits.Fuel, d.Fuel)
	spec.Limits.Memory = or(spec.Limits.Memory, d.Memory)
	spec.Limits.WallMs = or(spec.Limits.WallMs, d.WallMs)
	spec.Limits.Output = or(spec.Limits.Output, d.Output)
	r, err := e.Run(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func or[T ~int64 | ~uint64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Text runs a program that is expected to end well and returns its stdout.
func Text(t testing.TB, program []byte, stdin string) string {
	t.Helper()
	r := Run(t, program, stdin, exec.Spec{})
	if !r.OK() {
		t.Fatalf("%s, exit code %d: %s%s", r.Status, r.ExitCode, r.Message, r.Stderr)
	}
	return string(r.Stdout)
}

// BuildGo compiles the Go program in dir for wasip1.
func BuildGo(t testing.TB, dir string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program.wasm")
	cmd := osexec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, dir)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", dir, err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// SameBytes runs ./build.sh, where the compiler that made the committed module is installed, and requires the same bytes.
func SameBytes(t *testing.T, committed []byte) {
	t.Helper()
	if _, err := osexec.LookPath("clang"); err != nil {
		t.Skip("clang is not installed: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32")
	}
	if v, err := osexec.Command("clang", "--version").Output(); err != nil || !bytes.Contains(v, []byte(compiler)) {
		t.Skipf("another compiler than %s gives other bytes:\n%s", compiler, v)
	}
	out := filepath.Join(t.TempDir(), "rebuilt.wasm")
	if b, err := osexec.Command("./build.sh", out).CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, b)
	}
	rebuilt, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(rebuilt, committed) {
		t.Error("the committed module is not what its source gives: run ./build.sh and commit the result")
	}
}

// compiler made the committed modules.
const compiler = "Debian clang version 14.0.6"
