package wasm

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapCode puts pages of a file in the place of anonymous memory p, to be read and executed. Both
// begin on a page, and p is whole pages. An error that is errors.ErrUnsupported says that the system
// lets nobody execute the file, as it lies on a file system mounted noexec, say; then p is as it was.
func mapCode(p []byte, f *os.File, pos int64) error {
	const prot = unix.PROT_READ | unix.PROT_EXEC
	// One page elsewhere shows whether it may be: a mapping that fails in place may leave a hole.
	try, err := unix.Mmap(int(f.Fd()), pos, os.Getpagesize(), prot, unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	unix.Munmap(try)
	if _, err := unix.MmapPtr(int(f.Fd()), pos, unsafe.Pointer(&p[0]), uintptr(len(p)), prot, unix.MAP_PRIVATE|unix.MAP_FIXED); err != nil {
		return err
	}
	// In one go and in large pages where there are such; else page by page as they are touched.
	_ = unix.Madvise(p, unix.MADV_HUGEPAGE)
	_ = unix.Madvise(p, unix.MADV_POPULATE_READ)
	return nil
}
