package localapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// A source of a thousand changes a second reaches the watcher four times a second, with no
// event lost, the first at once.
func TestUpdatesAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		source := func(ctx context.Context, yield func(node.Update) error) error {
			for i := range 100 {
				if err := yield(node.Update{Status: &node.Status{Peers: i}, Events: []node.Event{{Seq: uint64(i)}}}); err != nil {
					return err
				}
				time.Sleep(10 * time.Millisecond)
			}
			<-ctx.Done()
			return ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		var at []time.Duration
		var events []uint64
		last, beats := 0, 0
		err := coalesce(ctx, source, func(u *node.Update) error {
			if u == nil {
				beats++
				return nil
			}
			at = append(at, time.Since(start))
			for _, e := range u.Events {
				events = append(events, e.Seq)
			}
			last = u.Status.Peers
			return nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
		if len(at) != 5 || at[0] != 0 {
			t.Errorf("updates at %v, want 5, the first at once", at)
		}
		if len(events) != 100 || last != 99 {
			t.Errorf("%d events, last status %d", len(events), last)
		}
		if beats != 1 {
			t.Errorf("%d signs of life in 3 s of silence, want 1", beats)
		}
	})
}

func TestSlowWatcherKeepsNewestEvents(t *testing.T) {
	var u *node.Update
	for i := range 1000 {
		u = merge(u, node.Update{Events: []node.Event{{Seq: uint64(i)}}})
	}
	if len(u.Events) != maxEvents || u.Events[maxEvents-1].Seq != 999 {
		t.Errorf("%d events, last %d", len(u.Events), u.Events[len(u.Events)-1].Seq)
	}
}

func TestWatcherThatFailsEndsTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, ended := errors.New("gone"), false
		err := coalesce(t.Context(), func(ctx context.Context, yield func(node.Update) error) error {
			defer func() { ended = true }()
			_ = yield(node.Update{})
			<-ctx.Done()
			return ctx.Err()
		}, func(*node.Update) error { return gone })
		if err != gone || !ended {
			t.Errorf("error %v, source ended %v", err, ended)
		}
	})
}
