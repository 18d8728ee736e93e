//go:build !linux

package wasm

import (
	"context"
	"errors"
	"os"

	"github.com/personal-power-plant/p3/exec"
)

// There is no second tier here yet: no walls to run a compiler behind.

const (
	nativeFile = "native"
	maxNative  = 0
)

var errNoNative = errors.New("only on Linux")

// FindToolchain looks for what compiles programs natively, and says what is missing.
func FindToolchain(context.Context) (Toolchain, error) { return Toolchain{}, errNoNative }

func (Toolchain) id() string { return "" }

type nativeFault struct{ err error }

func (e *nativeFault) Error() string { return e.err.Error() }

type nativeLink struct {
	id   uint64
	lost bool
}

func newNativeLink(uint64, *os.File, *os.File) (*nativeLink, error) { return nil, errNoNative }
func (*nativeLink) run(*guest) (exec.Result, error)                 { return exec.Result{}, errNoNative }
func (*nativeLink) close()                                          {}

func (*worker) become() error { return errNoNative }
func (*worker) compile(context.Context, *task) *doneBuild {
	return &doneBuild{Fault: errNoNative.Error()}
}

// nativeEnds are the worker's ends of a native process, and what the process gets.
func nativeEnds(int64) (ours, theirs [2]*os.File, err error) { return ours, theirs, errNoNative }
