package meter_test

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what this thread has used: wall time would measure the machine's other work.
func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}
