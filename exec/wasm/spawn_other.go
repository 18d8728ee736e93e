//go:build !unix

package wasm

import "syscall"

const haveSpaces = false

func keepThread() {}

func workerAttr(bool, bool) *syscall.SysProcAttr { return nil }
