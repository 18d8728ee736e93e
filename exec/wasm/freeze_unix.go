//go:build unix

package wasm

import (
	"errors"
	"os"
	"syscall"
)

// halt stops a process where it stands; it need not agree. One that has ended stands still.
func halt(p *os.Process) error { return unlessGone(p.Signal(syscall.SIGSTOP)) }

// unhalt undoes halt.
func unhalt(p *os.Process) error { return unlessGone(p.Signal(syscall.SIGCONT)) }

func unlessGone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
