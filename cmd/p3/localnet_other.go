//go:build !linux

package main

import "syscall"

// child needs nothing here; a demo that is killed leaves its nodes, which `p3 down --data-dir` ends.
func child() *syscall.SysProcAttr { return nil }
