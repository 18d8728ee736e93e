package localapi

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/node"
)

const (
	watchEvery = 250 * time.Millisecond // at most four updates a second
	maxEvents  = 200                    // newest events kept for a slow watcher
)

func (h handler) watch(w http.ResponseWriter, r *http.Request) error {
	rc := http.NewResponseController(w)
	begun := false
	err := coalesce(r.Context(), h.b.Watch, func(u *node.Update) error {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store")
		}
		line := []byte(":\n") // a comment: alive, nothing new
		if u != nil {
			b, err := json.Marshal(u)
			if err != nil {
				return err
			}
			line = append(append([]byte("data: "), b...), "\n\n"...)
		}
		_ = rc.SetWriteDeadline(time.Now().Add(4 * node.Silence))
		if _, err := w.Write(line); err != nil {
			return err
		}
		return rc.Flush()
	})
	if !begun {
		return err
	}
	return nil // the end of the stream says it all: a watcher connects again
}

// coalesce merges what source yields and hands it to emit, first at once, then at most
// every watchEvery, and nil every node.Beat without news. It returns the first error of
// either, after source has returned. emit is never called concurrently.
func coalesce(ctx context.Context, source func(context.Context, func(node.Update) error) error, emit func(*node.Update) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var (
		mu      sync.Mutex // guards pending
		pending *node.Update
		news    = make(chan struct{}, 1)
		ended   = make(chan error, 1)
	)
	go func() {
		ended <- source(ctx, func(u node.Update) error {
			mu.Lock()
			pending = merge(pending, u)
			mu.Unlock()
			select {
			case news <- struct{}{}:
			default:
			}
			return ctx.Err()
		})
	}()
	flush := func() error {
		mu.Lock()
		u := pending
		pending = nil
		mu.Unlock()
		return emit(u)
	}

	var beat <-chan time.Time // none before the first update
	for {
		var err error
		select {
		case err = <-ended:
			cancel()
			if pending != nil && err == nil {
				err = flush()
			}
			return err
		case <-news:
			err = flush()
		case <-beat:
			err = emit(nil)
		}
		if err == nil {
			beat = time.After(node.Beat)
			select {
			case <-time.After(watchEvery):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		cancel()
		<-ended
		return err
	}
}

// merge adds a newer update to an older one, which may be nil.
func merge(old *node.Update, u node.Update) *node.Update {
	if old == nil {
		old = &node.Update{}
	}
	if u.Status != nil {
		old.Status = u.Status
	}
	old.Events = append(old.Events, u.Events...)
	if n := len(old.Events) - maxEvents; n > 0 {
		old.Events = append([]node.Event(nil), old.Events[n:]...)
	}
	return old
}
