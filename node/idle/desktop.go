package idle

import (
	"context"
	"errors"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// mutter asks GNOME's compositor, which sees all input of X11 and Wayland programs.
type mutter struct{ bus }

func newMutter(o Options) *mutter { return &mutter{bus{address: sessionBus(o)}} }

func (*mutter) name() string          { return "gnome" }
func (*mutter) kind() node.SignalKind { return node.SignalPresence }

func (m *mutter) look(ctx context.Context, s *node.Signal) error {
	const service = "org.gnome.Mutter.IdleMonitor"
	var ms uint64
	if err := m.call(ctx, service, "/org/gnome/Mutter/IdleMonitor/Core", service+".GetIdletime", &ms); err != nil {
		return err
	}
	s.Screen = true
	since(s, time.Duration(min(ms, 1<<40))*time.Millisecond)
	return nil
}

// saver asks the desktop's screen saver (org.freedesktop.ScreenSaver). Its idle time is in seconds by
// the specification and in milliseconds on KDE, so how fast it grows tells which.
type saver struct {
	bus
	first uint32
	at    time.Time // when it was first; zero = not asked yet
	unit  time.Duration
}

func newSaver(o Options) *saver { return &saver{bus: bus{address: sessionBus(o)}} }

func (*saver) name() string          { return "screensaver" }
func (*saver) kind() node.SignalKind { return node.SignalPresence }

// settling is how long the time must grow before its unit is believed.
const settling = 1500 * time.Millisecond

func (v *saver) look(ctx context.Context, s *node.Signal) error {
	const service = "org.freedesktop.ScreenSaver"
	var n uint32
	if err := v.call(ctx, service, "/org/freedesktop/ScreenSaver", service+".GetSessionIdleTime", &n); err != nil {
		return err
	}
	if v.unit == 0 {
		grown, asked := time.Since(v.at), v.at
		switch {
		case asked.IsZero() || n < v.first:
			v.first, v.at = n, time.Now()
		case grown >= settling && float64(n-v.first) > 100*grown.Seconds():
			v.unit = time.Millisecond
		case grown >= settling && n > v.first:
			v.unit = time.Second
		}
		if v.unit == 0 {
			return errors.New("finding out whether it counts seconds or milliseconds")
		}
	}
	s.Screen = true
	since(s, time.Duration(n)*v.unit)
	return nil
}
