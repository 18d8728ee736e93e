//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// detached keeps the node alive when the terminal closes.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// ended reports whether a process has ended; one that nobody has waited for yet counts.
func ended(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // Linux
	return err == nil && bytes.HasPrefix(b[bytes.LastIndexByte(b, ')')+1:], []byte(" Z"))
}
