package wasm

import (
	"context"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

// A freezer makes all worker processes of a spawner stand still, and with them the clocks that
// bound their work: what a machine's owner takes for himself is not the guest's time.
type freezer struct {
	mu       sync.Mutex // guards what follows
	since    time.Time  // when it froze; zero = all run
	before   time.Duration
	thawed   chan struct{} // closed while all run
	children map[*child]struct{}
	clocks   map[*stopwatch]struct{}
}

func newFreezer() *freezer {
	f := &freezer{thawed: make(chan struct{}), children: map[*child]struct{}{}, clocks: map[*stopwatch]struct{}{}}
	close(f.thawed)
	return f
}

// set freezes or thaws; again is nothing. The error is of the last process that could not be
// stopped: then none is.
func (f *freezer) set(frozen bool) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	switch {
	case frozen && f.since.IsZero():
		for c := range f.children {
			if e := halt(c.cmd.Process); e != nil {
				err = e
			}
		}
		if err != nil {
			f.resume()
			return err
		}
		f.since, f.thawed = now, make(chan struct{})
		for w := range f.clocks {
			w.hold(now)
		}
	case !frozen && !f.since.IsZero():
		f.before += now.Sub(f.since)
		f.since = time.Time{}
		for w := range f.clocks {
			w.run(now)
		}
		f.resume()
		close(f.thawed)
	}
	return err
}

// resume lets all processes run; mu is held. One that cannot is gone.
func (f *freezer) resume() {
	for c := range f.children {
		_ = unhalt(c.cmd.Process)
	}
}

// add takes in a new process, until it has exited.
func (f *freezer) add(c *child) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.children[c] = struct{}{}
	if !f.since.IsZero() {
		_ = halt(c.cmd.Process)
	}
	go func() {
		<-c.exited
		f.mu.Lock()
		delete(f.children, c)
		f.mu.Unlock()
	}()
}

// size is how many processes there are, and the most memory for guests in one of them, in bytes.
func (f *freezer) size() (n int, memory int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.children {
		memory = max(memory, c.memory)
	}
	return len(f.children), memory
}

// wait returns when processes may run.
func (f *freezer) wait(ctx context.Context) error {
	f.mu.Lock()
	thawed := f.thawed
	f.mu.Unlock()
	select {
	case <-thawed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stood is for how long in all the processes have stood still.
func (f *freezer) stood() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since.IsZero() {
		return f.before
	}
	return f.before + time.Since(f.since)
}

// A stopwatch is a time.AfterFunc whose time does not pass while all is frozen.
type stopwatch struct {
	f     *freezer
	timer *time.Timer
	at    time.Time     // when it fires, if it runs
	left  time.Duration // until then, if it is held
	held  bool
}

// after calls do once processes have run for d.
func (f *freezer) after(d time.Duration, do func()) *stopwatch {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	w := &stopwatch{f: f, at: now.Add(d)}
	w.timer = time.AfterFunc(d, func() {
		f.mu.Lock()
		delete(f.clocks, w)
		f.mu.Unlock()
		do()
	})
	f.clocks[w] = struct{}{}
	if !f.since.IsZero() {
		w.hold(now)
	}
	return w
}

func (w *stopwatch) hold(now time.Time) {
	if w.held = w.timer.Stop(); w.held {
		w.left = w.at.Sub(now)
	}
}

func (w *stopwatch) run(now time.Time) {
	if w.held {
		w.held, w.at = false, now.Add(w.left)
		w.timer.Reset(w.left)
	}
}

// reset gives a stopwatch that stop has stopped another time.
func (w *stopwatch) reset(d time.Duration) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	w.f.clocks[w] = struct{}{}
	now := time.Now()
	if w.held = !w.f.since.IsZero(); w.held {
		w.left = d
		return
	}
	w.at = now.Add(d)
	w.timer.Reset(d)
}

// stop reports false when the time had passed.
func (w *stopwatch) stop() bool {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	delete(w.f.clocks, w)
	if w.held {
		w.held = false
		return true
	}
	return w.timer.Stop()
}

var _ exec.Freezer = (*Pool)(nil)

// Freeze implements exec.Freezer: workers, also those that compile, are stopped as SIGSTOP stops.
func (p *Pool) Freeze(frozen bool) error { return p.spawn.freezer.set(frozen) }
