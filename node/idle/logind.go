package idle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/personal-power-plant/p3/node"
)

func socketAddress(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return "unix:path=" + path
}

const login1 = "org.freedesktop.login1"

// logind asks systemd's login manager (org.freedesktop.login1(5)) about every user's session:
// whether it is idle, and since when, or locked.
//
// A graphical session's hint is set by its desktop, and some never set it: "not idle" is believed only of
// a session that this watcher has seen idle. Terminals' hints are logind's own, from their access times.
type logind struct {
	bus
	tell     func(graphical string)
	honest   map[dbus.ObjectPath]bool      // was seen idle: its desktop sets the hint
	lockedAt map[dbus.ObjectPath]time.Time // since when we have seen it locked
}

func newLogind(o Options, tell func(string)) *logind {
	return &logind{bus{address: systemBus(o)}, tell, map[dbus.ObjectPath]bool{}, map[dbus.ObjectPath]time.Time{}}
}

func (*logind) name() string          { return "logind" }
func (*logind) kind() node.SignalKind { return node.SignalPresence }

func (l *logind) look(ctx context.Context, s *node.Signal) error {
	var list []struct {
		ID   string
		UID  uint32
		User string
		Seat string
		Path dbus.ObjectPath
	}
	if err := l.call(ctx, login1, "/org/freedesktop/login1", login1+".Manager.ListSessions", &list); err != nil {
		l.tell("")
		return err
	}
	screen, users := "", 0
	var silent error
	for _, x := range list {
		m, err := l.props(ctx, login1, x.Path, login1+".Session")
		if err != nil {
			continue // it ended meanwhile
		}
		if class := text(m["Class"]); class != "user" && class != "" || text(m["State"]) == "closing" {
			continue // the greeter, or on its way out
		}
		users++
		kind := text(m["Type"])
		onScreen := kind == "x11" || kind == "wayland" || kind == "mir"
		if onScreen {
			screen = fmt.Sprintf("session %s of %s, %s", x.ID, x.User, kind)
		}
		last, how, err := l.session(x.Path, m, onScreen)
		if err != nil {
			silent = fmt.Errorf("session %s of %s (%s): %w", x.ID, x.User, kind, err)
			continue
		}
		s.Screen = s.Screen || onScreen
		if s.Last.IsZero() || last.After(s.Last) {
			s.Last, s.Text = last, fmt.Sprintf("session %s of %s (%s) %s", x.ID, x.User, kind, how)
		}
	}
	l.tell(screen)
	switch {
	case silent != nil:
		return silent
	case users == 0:
		return errors.New("nobody is logged in")
	}
	return nil
}

// session is the last sign of one session's user.
func (l *logind) session(path dbus.ObjectPath, m map[string]dbus.Variant, onScreen bool) (last time.Time, how string, err error) {
	idle, _ := m["IdleHint"].Value().(bool)
	locked, _ := m["LockedHint"].Value().(bool)
	usec, _ := m["IdleSinceHint"].Value().(uint64)
	hint := time.UnixMicro(int64(min(usec, 1<<62)))
	if !locked {
		delete(l.lockedAt, path)
	} else if l.lockedAt[path].IsZero() {
		l.lockedAt[path] = time.Now()
	}
	switch {
	case idle && usec > 0:
		l.honest[path] = true
		return hint, "idle since " + clock(hint), nil
	case locked:
		at := l.lockedAt[path]
		return at, "locked since " + clock(at), nil
	case !onScreen && usec > 0:
		return hint, "last used " + clock(hint), nil
	case l.honest[path]:
		return time.Now(), "is in use", nil
	}
	return last, "", errors.New(`says "not idle", as some desktops always do`)
}

func text(v dbus.Variant) string { s, _ := v.Value().(string); return s }
