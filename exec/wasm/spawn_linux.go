package wasm

import (
	"os"
	"runtime"
	"syscall"
)

// The user that a compiler runs as when its node runs as root: root's processes are not counted.
const (
	nobodyInside  = 1
	nobodyOutside = 65534
)

// keepThread ties the spawner to its thread for as long as it lives: Pdeathsig is about threads.
func keepThread() { runtime.LockOSThread() }

// workerAttr gives a worker its own session (so that its autogroup is not ours) and, with
// spaces, its own user, mount, network, PID, IPC and UTS namespaces. In its user namespace it
// is root until it drops that; outside it is who we are. With nobody it can become a user that
// is nobody outside, which takes root here.
func workerAttr(spaces, nobody bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if spaces {
		a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		if nobody {
			a.UidMappings = append(a.UidMappings, syscall.SysProcIDMap{ContainerID: nobodyInside, HostID: nobodyOutside, Size: 1})
		}
	}
	return a
}
