package wasm

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// nativeEnds makes what a worker and a native process share: a socket pair, and a memory file
// whose size nobody can change any more.
func nativeEnds(size int64) (worker, native [2]*os.File, err error) {
	memory, err := unix.MemfdCreate("p3 guest", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return worker, native, fmt.Errorf("memory for a guest: %w", err)
	}
	file := os.NewFile(uintptr(memory), "memory")
	if err = unix.Ftruncate(memory, size); err == nil {
		_, err = unix.FcntlInt(uintptr(memory), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	var sockets [2]int
	if err == nil {
		sockets, err = socketpair()
	}
	if err != nil {
		file.Close()
		return worker, native, fmt.Errorf("memory for a guest: %w", err)
	}
	mine, theirs := os.NewFile(uintptr(sockets[0]), "worker"), os.NewFile(uintptr(sockets[1]), "native")
	return [2]*os.File{mine, file}, [2]*os.File{theirs, file}, nil
}
