package idle

import (
	"time"

	"golang.org/x/sys/unix"
)

// accessed is when a device was last read from.
func accessed(path string) (time.Time, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return time.Time{}, err
	}
	return time.Unix(st.Atim.Unix()), nil
}
