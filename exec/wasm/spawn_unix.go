//go:build unix && !linux

package wasm

import "syscall"

const haveSpaces = false

func keepThread() {}

// workerAttr gives a worker its own session, out of reach of the terminal's signals.
func workerAttr(bool, bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
