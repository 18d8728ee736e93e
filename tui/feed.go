package tui

import (
	"context"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// retryEvery is the pause before a lost node is asked again.
const retryEvery = 2 * time.Second

// maxDiary is how many of the node's latest events are kept.
const maxDiary = 500

// A feed watches a node, over and over, and gathers what changed since it was last taken.
type feed struct {
	again chan struct{} // ends a pause

	mu   sync.Mutex // guards the rest
	news news
}

// news is what a feed has gathered: the newest status, if there was one, new events, and
// whether the node is lost.
type news struct {
	status *node.Status
	events []node.Event
	fresh  bool // events begin anew: the watch was started again
	lost   error
	lostAt time.Time
}

func newFeed() *feed { return &feed{again: make(chan struct{}, 1)} }

// run watches until ctx ends.
func (f *feed) run(ctx context.Context, n Node) {
	for ctx.Err() == nil {
		first := true
		err := n.Watch(ctx, func(u node.Update) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if first {
				first, f.news = false, news{fresh: true}
			}
			if u.Status != nil {
				f.news.status = u.Status
			}
			f.news.events = lastOf(append(f.news.events, u.Events...), maxDiary)
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = &node.Problem{Code: node.CodeNoNode, Message: "the node ended the watch", Hint: "start it with: p3 up"}
		}
		f.mu.Lock()
		if f.news.lost == nil {
			f.news.lostAt = time.Now()
		}
		f.news.lost = err
		f.mu.Unlock()
		select {
		case <-time.After(retryEvery):
		case <-f.again:
		case <-ctx.Done():
		}
	}
}

// retry ends the pause before the next attempt.
func (f *feed) retry() {
	select {
	case f.again <- struct{}{}:
	default:
	}
}

// take returns what is new and begins to gather anew. A loss stays until the node is back.
func (f *feed) take() news {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.news
	f.news = news{lost: n.lost, lostAt: n.lostAt}
	return n
}

func lastOf[T any](list []T, n int) []T {
	if len(list) > n {
		return append([]T(nil), list[len(list)-n:]...)
	}
	return list
}
