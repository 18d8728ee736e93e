//go:build unix

package wasm

import (
	"errors"
	"os"
	"syscall"
)

// halt stops a process where it stands, and what it started; none need agree. One that has
// ended stands still.
func halt(p *os.Process) error { return signal(p, syscall.SIGSTOP) }

// unhalt undoes halt.
func unhalt(p *os.Process) error { return signal(p, syscall.SIGCONT) }

// signal reaches the process and its group: a worker leads one, and a compiler starts others.
func signal(p *os.Process, s syscall.Signal) error {
	err := p.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err == nil {
		_ = syscall.Kill(-p.Pid, s) // it may have ended since
	}
	return err
}
