package node_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// A node that comes back in time is no trouble but a notice each time it goes; one that stays away is, and other errors are at once.
func TestOutlastWaitsForTheNodeToComeBack(t *testing.T) {
	down := &node.Problem{Code: node.CodeNoNode, Message: "down"}
	other := errors.New("other")
	for _, x := range []struct {
		name    string
		away    time.Duration // after the start
		end     error
		want    error
		notices int
	}{
		{"never gone", 0, nil, nil, 0}, {"back in time", time.Minute, nil, nil, 1}, {"back, and then another error", time.Minute, other, other, 1},
		{"another error", 0, other, other, 0}, {"gone", 3 * time.Minute, nil, down, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, notices := time.Now(), 0
				err := node.Outlast(t.Context(), "j-1", func(string) { notices++ }, func() error {
					if time.Since(begun) < x.away {
						return down
					}
					return x.end
				})
				var p *node.Problem
				same := errors.Is(err, x.want) || errors.As(err, &p) && x.want == down && p.Code == node.CodeNoNode && p.Hint != ""
				if !same || notices != x.notices {
					t.Errorf("%v after %s, %d notices", err, time.Since(begun), notices)
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := node.Outlast(ctx, "j-1", func(string) { cancel() }, func() error { return down })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
