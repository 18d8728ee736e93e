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
type ttys struct {
	opt      Options
	consoles []string // which come and go with drivers only
	listed   time.Time
}

func (*ttys) name() string          { return "tty" }
func (*ttys) kind() node.SignalKind { return node.SignalPresence }
func (*ttys) close()                {}

func (t *ttys) look(_ context.Context, s *node.Signal) error {
	if time.Since(t.listed) > time.Minute {
		t.consoles, _ = filepath.Glob(t.opt.path("/dev/tty[0-9S]*"))
		t.listed = time.Now()
	}
	newest, at := "", time.Time{}
	terminals, _ := filepath.Glob(t.opt.path("/dev/pts/[0-9]*"))
	for _, list := range [][]string{t.consoles, terminals} {
		for _, f := range list {
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
