//go:build unix

package wasm

import (
	"fmt"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// newAllocator gives guests memory straight from the system: reserved once, made usable as it
// grows, given back as soon as the guest ends. Go's heap would keep two or three times as much.
func newAllocator(g *guest) experimental.MemoryAllocator {
	return experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		m := &mapping{g: g}
		if most == 0 {
			return m
		}
		b, err := unix.Mmap(-1, 0, int(most), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|mapNoReserve)
		if err != nil {
			g.fault = fmt.Errorf("reserve %d MiB for a guest: %w: lend less memory", most>>20, err)
			panic(&hostFault{g.fault})
		}
		m.all = b
		return m
	})
}

type mapping struct {
	g    *guest
	all  []byte
	used uint64
}

// Reallocate makes the first size bytes usable; new ones are zero. A host short of memory must
// not show as a failed memory.grow, which other hosts would not see: it ends the guest.
func (m *mapping) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	if size > m.used {
		if err := unix.Mprotect(m.all[m.used:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			m.g.fault = fmt.Errorf("memory for a guest: %w: lend less memory", err)
			if m.used == 0 {
				panic(&hostFault{m.g.fault})
			}
			return nil
		}
		m.used = size
	}
	return m.all[:size:size]
}

func (m *mapping) Free() {
	if m.all != nil {
		_ = unix.Munmap(m.all)
		m.all = nil
	}
}
