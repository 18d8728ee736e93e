package node

import (
	"context"
	"errors"
	"time"
)

// outage is how long a node may be gone before those who wait for one of its jobs give up.
const outage = 2 * time.Minute

// Outlast does what needs the node, again and again while that is gone, as over a restart: its jobs go on by themselves. notice is
// told once for each time that it goes. short is the job's short ID, for who gives up.
func Outlast(ctx context.Context, short string, notice func(string), op func() error) error {
	var gone time.Time
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		begun := time.Now()
		err := op()
		if time.Since(begun) > time.Minute { // it was back in between
			gone, wait = time.Time{}, 100*time.Millisecond
		}
		var p *Problem
		if !errors.As(err, &p) || p.Code != CodeNoNode {
			return err
		}
		switch {
		case gone.IsZero():
			gone = time.Now()
			notice("the node is gone; waiting for it to come back (the job goes on then)")
		case time.Since(gone) > outage:
			return &Problem{Code: CodeNoNode, Message: p.Message, Hint: "start it with `p3 up`; then `p3 job watch " + short + "` shows the rest"}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
