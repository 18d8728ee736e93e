package ledger

import (
	"errors"
	"fmt"
	"time"
)

// A Span is what happened to an account between two moments, in µcr.
type Span struct {
	Granted, Earned, Spent Credits
	Net                    Credits // at its end: granted + earned − spent since the beginning
}

// History sums the chain up over the spans that begin at starts, which ascend; the last has no end.
// What counts is the time in the entry: of an earn when it was taken up, of a settle when it was signed.
func (v *View) History(starts []time.Time) ([]Span, error) {
	spans := make([]Span, len(starts))
	at := -1
	var net Credits
	var bad error
	err := v.Entries(0, 0, func(raw []byte) bool {
		var e Entry
		if e, bad = ParseEntry(raw); bad != nil {
			bad = fmt.Errorf("the ledger is damaged, restore it from a backup: %w", bad)
			return false
		}
		for at+1 < len(starts) && !e.Time().Before(starts[at+1]) {
			if at++; at > 0 {
				spans[at-1].Net = net
			}
		}
		net = e.Net()
		if at < 0 {
			return true
		}
		switch e.Type {
		case TypeGrant:
			spans[at].Granted += e.Amount
		case TypeEarn:
			spans[at].Earned += e.Amount
		case TypeSettle:
			spans[at].Spent += e.Amount
		}
		return true
	})
	for i := max(at, 0); i < len(spans); i++ {
		spans[i].Net = net
	}
	return spans, errors.Join(err, bad)
}
