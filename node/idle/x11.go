package idle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/screensaver"
	"github.com/jezek/xgb/xproto"

	"github.com/personal-power-plant/p3/node"
)

func init() { xgb.Logger = log.New(io.Discard, "", 0) } // what it would say is in the error, too

// x11 asks the X server for its idle time (MIT-SCREEN-SAVER extension). Under Wayland that server
// sees only what X11 programs get: then it may report use, but never that nobody is there.
type x11 struct {
	opt  Options
	conn *xgb.Conn
	root xproto.Drawable
}

func newX11(o Options) *x11 { return &x11{opt: o} }

func (*x11) name() string          { return "x11" }
func (*x11) kind() node.SignalKind { return node.SignalPresence }

func (x *x11) close() {
	if x.conn != nil {
		x.conn.Close()
		x.conn = nil
	}
}

func (x *x11) look(ctx context.Context, s *node.Signal) error {
	if x.conn == nil {
		if err := x.open(); err != nil {
			return err
		}
	}
	type answer struct {
		r   *screensaver.QueryInfoReply
		err error
	}
	got := make(chan answer, 1)
	conn := x.conn
	go func() { r, err := screensaver.QueryInfo(conn, x.root).Reply(); got <- answer{r, err} }()
	select {
	case a := <-got:
		if a.err != nil || a.r == nil {
			x.close()
			return fmt.Errorf("the X server has gone: %w", errors.Join(a.err))
		}
		s.Screen = wayland(x.opt) == ""
		since(s, time.Duration(a.r.MsSinceUserInput)*time.Millisecond)
		return nil
	case <-ctx.Done():
		x.close() // which ends the call
		return errors.New("the X server does not answer")
	}
}

func (x *x11) open() error {
	display := x.opt.Getenv("DISPLAY")
	if display == "" {
		display = localDisplay(x.opt)
	}
	if display == "" {
		return errors.New("no display of X11")
	}
	conn, err := xgb.NewConnDisplay(display)
	if err != nil {
		return fmt.Errorf("display %s: %w", display, err)
	}
	if err := screensaver.Init(conn); err != nil {
		conn.Close()
		return fmt.Errorf("display %s has no idle time: %w", display, err)
	}
	x.conn, x.root = conn, xproto.Drawable(xproto.Setup(conn).DefaultScreen(conn).Root)
	return nil
}
