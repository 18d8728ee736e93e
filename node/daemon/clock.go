package daemon

import (
	"fmt"
	"time"

	"github.com/personal-power-plant/p3/market"
)

// wrongClock says what it means that a peer's clock is so far from ours; "" while it means nothing. Its offers, and ours
// there, are taken for expired or not yet signed, and no LOCK between the two is accepted: without a word nobody would
// find out why they don't see each other.
func wrongClock(name string, skew time.Duration) string {
	off, way := skew, "ahead of"
	if skew < 0 {
		off, way = -skew, "behind"
	}
	if off <= market.MaxSkew {
		return ""
	}
	return fmt.Sprintf("the clock of %s is %s %s ours: set the wrong one, until then neither sees offers of the other nor takes its LOCKs", name, off.Round(time.Second), way)
}
