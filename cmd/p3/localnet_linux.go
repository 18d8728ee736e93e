package main

import "syscall"

// child dies with the process that started it: a demo that is killed leaves nothing running.
func child() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
