package daemon

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// diarySize is how many events a node remembers.
const diarySize = 200

// A diary keeps the latest events and tells watchers of new ones and of changed state.
type diary struct {
	mu     sync.Mutex // guards what follows
	seq    uint64
	events []node.Event
	subs   map[*watcher]struct{}
}

// A watcher collects what one reader has not seen yet. Events beyond diarySize are lost to
// a reader that slow; state is only marked as changed, so it never piles up.
type watcher struct {
	wake    chan struct{}
	events  []node.Event
	changed bool
}

func newDiary() *diary { return &diary{subs: map[*watcher]struct{}{}} }

// emit adds one event; with is key, value, … of "job" and "peer".
func (d *diary) emit(level, kind, text string, with ...any) {
	e := node.Event{Time: time.Now(), Level: level, Kind: kind, Text: text}
	for i := 0; i+1 < len(with); i += 2 {
		switch with[i] {
		case "job":
			e.Job = fmt.Sprint(with[i+1])
		case "peer":
			e.Peer = fmt.Sprint(with[i+1])
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seq++
	e.Seq = d.seq
	d.events = keepLast(append(d.events, e))
	for w := range d.subs {
		w.events = keepLast(append(w.events, e))
		w.signal()
	}
}

func keepLast(e []node.Event) []node.Event {
	if len(e) > 2*diarySize {
		return slices.Clone(e[len(e)-diarySize:])
	}
	return e
}

// touch says that the state has changed.
func (d *diary) touch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.subs {
		w.changed = true
		w.signal()
	}
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// subscribe returns a watcher that starts with the latest events.
func (d *diary) subscribe() *watcher {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &watcher{wake: make(chan struct{}, 1), changed: true}
	w.events = slices.Clone(d.events[max(0, len(d.events)-diarySize):])
	w.signal()
	d.subs[w] = struct{}{}
	return w
}

func (d *diary) unsubscribe(w *watcher) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.subs, w)
}

// take returns what is new for w.
func (d *diary) take(w *watcher) (events []node.Event, changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	events, changed = w.events, w.changed
	w.events, w.changed = nil, false
	return events, changed
}
