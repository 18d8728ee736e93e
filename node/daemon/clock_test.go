package daemon

import (
	"testing"
	"time"
)

func TestWrongClockIsNamed(t *testing.T) {
	const rest = " ours: set the wrong one, until then neither sees offers of the other nor takes its LOCKs"
	for skew, want := range map[time.Duration]string{
		0: "", 2 * time.Minute: "", -2 * time.Minute: "",
		61 * time.Minute:  "the clock of maple is 1h1m0s ahead of" + rest,
		-61 * time.Minute: "the clock of maple is 1h1m0s behind" + rest,
	} {
		if have := wrongClock("maple", skew); have != want {
			t.Errorf("%s: %q, want %q", skew, have, want)
		}
	}
}
