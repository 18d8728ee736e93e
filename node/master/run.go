package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// Run is the loop of a master: it submits the units of first (nil = none) as far as the window goes, calls use with
// each result, submits what use returns, and ends when all units have ended and there are no more. Of the units that
// wait for room the newest goes first, so that a search goes deep before it goes wide and keeps little. It returns the
// error of use, or why the job ended before. It never waits for itself, so one goroutine is enough; use is called from it.
func (f *Farm) Run(ctx context.Context, first iter.Seq[exec.Input], use func(node.UnitResult) ([]exec.Input, error)) error {
	if first == nil {
		first = func(func(exec.Input) bool) {}
	}
	next, stop := iter.Pull(first)
	defer stop()
	var waiting []exec.Input
	for more := true; ; {
		for f.free() {
			var in exec.Input
			if n := len(waiting); n > 0 {
				in, waiting = waiting[n-1], waiting[:n-1]
			} else if more {
				if in, more = next(); !more {
					break
				}
			} else {
				break
			}
			if _, err := f.Submit(ctx, in); err != nil {
				return err
			}
		}
		if f.Out() == 0 {
			f.Close()
		}
		r, err := f.Next(ctx)
		if errors.Is(err, io.EOF) {
			if n := f.Out(); n > 0 {
				return fmt.Errorf("%w with %d units out", ErrHalted, n)
			}
			return nil
		}
		if err != nil {
			return err
		}
		born, err := use(r)
		if err != nil {
			return err
		}
		waiting = append(waiting, born...)
	}
}

// free reports whether Submit would take a unit of any size at once.
func (f *Farm) free() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.room(exec.MaxInline + exec.MaxInline)
}
