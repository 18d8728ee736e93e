package badgerstore

import (
	"errors"
	"fmt"

	"github.com/shirou/gopsutil/v4/disk"
)

// ErrFull reports a disk with less than MinFree left.
var ErrFull = errors.New("disk is full: free some space, then restart the node (p3 down; p3 up)")

// MinFree is the least space of a disk that a store opens and writes on, in bytes. It is kept free
// for what Badger has promised itself: its logs are sparse files mapped into memory, and a write that finds no block for them is no error but the end of the process
// (SIGBUS). Two logs of 16 MiB and a flushed table fit.
const MinFree = 48 << 20

// room fails with ErrFull before a write could meet the end of the disk. It costs one statfs for
// each group of commits.
func (s *Store) room() error { return room(s.dir, s.minFree) }

func room(dir string, least uint64) error {
	u, err := disk.Usage(dir)
	if err != nil {
		return fmt.Errorf("space left on the disk of %s: %w", dir, err)
	}
	if u.Free < least {
		return fmt.Errorf("%d MiB left, %d needed: %w", u.Free>>20, least>>20, ErrFull)
	}
	return nil
}
