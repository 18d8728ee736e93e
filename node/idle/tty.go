package idle

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// ttys looks at when somebody last typed on a console or a pseudo-terminal, of ssh for example: the
// access time of its device, as w(1) does. Output changes another time, so a program that prints is
// nobody's presence. The kernel moves the time on in steps of 8 seconds.
type ttys struct{ opt Options }

func (*ttys) name() string          { return "tty" }
func (*ttys) kind() node.SignalKind { return node.SignalPresence }
func (*ttys) close()                {}

func (t *ttys) look(_ context.Context, s *node.Signal) error {
	newest, at := "", time.Time{}
	for _, pattern := range []string{"/dev/tty[0-9]*", "/dev/ttyS[0-9]*", "/dev/pts/[0-9]*"} {
		found, _ := filepath.Glob(t.opt.path(pattern))
		for _, f := range found {
			if a, err := accessed(f); err == nil && a.After(at) {
				newest, at = f, a
			}
		}
	}
	if newest == "" {
		return errors.New("no terminals, or their times cannot be read")
	}
	at = sooner(at, time.Now())
	s.Last = at
	s.Text = fmt.Sprintf("%s typed on %s ago", strings.TrimPrefix(newest, t.opt.path("/dev")+"/"), time.Since(at).Truncate(time.Second))
	return nil
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
