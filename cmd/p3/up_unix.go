//go:build unix

package main

import "syscall"

// detached keeps the node alive when the terminal closes.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
