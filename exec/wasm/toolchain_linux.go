package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	osexec "os/exec"
	"runtime"
	"strings"
	"time"
)

// Where the tools of the second tier are: distributions' packages put them there, and nothing
// else of the host is shown to them.
const (
	wasm2cPath   = "/usr/bin/wasm2c"
	compilerPath = "/usr/bin/gcc"
)

// wasm2cVersion is the one whose output adjust knows.
const wasm2cVersion = "1.0.32"

// FindToolchain looks for what compiles programs natively, and says what is missing.
func FindToolchain(ctx context.Context) (Toolchain, error) {
	if runtime.GOARCH != "amd64" || !haveSpaces {
		return Toolchain{}, errors.New("only on Linux on amd64, in a build without cgo")
	}
	wasm2c, err := versionOf(ctx, wasm2cPath)
	if err != nil {
		return Toolchain{}, fmt.Errorf("wasm2c: %w: install wabt", err)
	}
	if wasm2c != wasm2cVersion {
		return Toolchain{}, fmt.Errorf("wasm2c %s is not known here: install wabt %s", wasm2c, wasm2cVersion)
	}
	compiler, err := versionOf(ctx, compilerPath)
	if err != nil {
		return Toolchain{}, fmt.Errorf("gcc: %w: install gcc and libc6-dev", err)
	}
	return Toolchain{Wasm2c: "wasm2c " + wasm2c, Compiler: compiler}, nil
}

// versionOf is the first line of what a tool says of itself.
func versionOf(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := osexec.CommandContext(ctx, path, "--version")
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return clip(line), nil
}

// id tells apart what the same module could become: by tools, flags and runner.
func (t Toolchain) id() string {
	h := sha256.New()
	for _, part := range []string{t.Wasm2c, t.Compiler, strings.Join(nativeFlags, " "), string(runnerSource), string(runtimeHeader), string(nativeStubs())} {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}
