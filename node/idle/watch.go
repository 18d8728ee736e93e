package idle

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// Options say where to look. The zero value is this machine, as its user's session shows it.
type Options struct {
	Root   string              // of /proc, /sys, /dev and /tmp; "" = the real ones
	Getenv func(string) string // os.Getenv
	Every  time.Duration       // between two looks for the owner's hands; 300 ms, so that a return is seen in time
}

func (o Options) defaults() Options {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Every <= 0 {
		o.Every = 300 * time.Millisecond
	}
	return o
}

func (o Options) path(p string) string { return filepath.Join(o.Root, p) }

// A layer looks at one thing. One goroutine uses it.
type layer interface {
	name() string
	kind() node.SignalKind
	// look fills what the layer knows into s, or says in an error why it knows nothing. It gives
	// up when ctx ends.
	look(ctx context.Context, s *node.Signal) error
	close()
}

// patience is how long a layer may take to answer, and stale how old an answer may get.
const (
	patience = 2 * time.Second
	stale    = 8 * time.Second
)

// A Watcher keeps the newest answer of every layer.
type Watcher struct {
	opt    Options
	cancel context.CancelFunc
	wg     sync.WaitGroup
	news   chan struct{}

	mu      sync.Mutex // guards what follows
	signals []node.Signal
	at      []time.Time // of each
	session string      // graphical, as logind tells
	screen  string      // the same, as the file system tells
}

// Watch starts to look. Close ends it.
func Watch(o Options) *Watcher {
	o = o.defaults()
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{opt: o, cancel: cancel, news: make(chan struct{}, 1)}
	layers := w.layers()
	w.signals, w.at = make([]node.Signal, len(layers)), make([]time.Time, len(layers))
	w.screen = graphical(o)
	for i, l := range layers {
		w.signals[i] = node.Signal{Layer: l.name(), Kind: l.kind(), Text: "not asked yet"}
		w.wg.Go(func() { w.watch(ctx, i, l) })
	}
	w.wg.Go(func() { w.screens(ctx) })
	return w
}

// screens looks again and again whether a graphical session has begun, apart from the layers, as it
// may have to wait for a display server.
func (w *Watcher) screens(ctx context.Context) {
	tick := time.NewTicker(stale)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		screen := graphical(w.opt)
		w.mu.Lock()
		w.screen = screen
		w.mu.Unlock()
	}
}

func (w *Watcher) layers() []layer {
	return []layer{
		newLogind(w.opt, func(s string) { w.mu.Lock(); w.session = s; w.mu.Unlock() }), newMutter(w.opt), newSaver(w.opt), newX11(w.opt), &ttys{opt: w.opt},
		newLoad(w.opt), &power{w.opt}, &memory{w.opt},
	}
}

// Close ends all looking and waits for it.
func (w *Watcher) Close() {
	w.cancel()
	w.wg.Wait()
}

// News receives after a layer has answered. It holds one value: whoever reads it then asks Signals.
func (w *Watcher) News() <-chan struct{} { return w.news }

func (w *Watcher) watch(ctx context.Context, i int, l layer) {
	defer l.close()
	timer := time.NewTimer(w.opt.Every)
	defer timer.Stop()
	for {
		s := node.Signal{Layer: l.name(), Kind: l.kind(), Known: true}
		look, cancel := context.WithTimeout(ctx, patience)
		err := l.look(look, &s)
		cancel()
		every := w.opt.Every // only hands are quick
		if l.kind() != node.SignalPresence {
			every *= 3
		}
		if err != nil {
			every = 10 * w.opt.Every // it may come
			s = node.Signal{Layer: l.name(), Kind: l.kind(), Text: err.Error()}
		}
		w.mu.Lock()
		w.signals[i], w.at[i] = s, time.Now()
		w.mu.Unlock()
		select {
		case w.news <- struct{}{}:
		default:
		}
		timer.Reset(every)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// Signals is what all layers said last. A layer that has not answered for long says so.
func (w *Watcher) Signals(now time.Time) node.Signals {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := node.Signals{Graphical: w.session, Layers: slices.Clone(w.signals)}
	for i, at := range w.at {
		x := &s.Layers[i]
		if x.Layer == "x11" && strings.HasSuffix(w.session, "wayland") { // of another user, for example
			x.Screen = false
		}
		if !at.IsZero() && now.Sub(at) > stale {
			*x = node.Signal{Layer: x.Layer, Kind: x.Kind, Text: "has not answered for " + now.Sub(at).Truncate(time.Second).String()}
		}
	}
	if s.Graphical == "" {
		s.Graphical = w.screen
	}
	return s
}

// Look asks every layer once, and waits until each has answered or ctx ends.
func Look(ctx context.Context, o Options) node.Signals {
	w := Watch(o)
	defer w.Close()
	w.Wait(ctx)
	return w.Signals(time.Now())
}

// Wait returns when every layer has answered once, or ctx ends. It is for whoever started the Watcher,
// before News is read elsewhere.
func (w *Watcher) Wait(ctx context.Context) {
	for {
		w.mu.Lock()
		missing := slices.ContainsFunc(w.at, time.Time.IsZero)
		w.mu.Unlock()
		if !missing {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-w.news:
		}
	}
}

// Preset is the node.HostPolicy preset that fits this machine before its owner has said anything, and why.
func Preset(o Options) (name, why string) {
	o = o.defaults()
	p := power{o}
	switch session := graphical(o); {
	case p.batteries() > 0:
		return "laptop", "this machine has a battery"
	case session != "":
		return "desktop", "a graphical session runs here (" + session + ")"
	}
	return "server", "no graphical session and no battery here"
}

// graphical is what shows that somebody may work on a screen of this machine, "" for nothing.
func graphical(o Options) string {
	if d := wayland(o); d != "" {
		return "Wayland display " + d
	}
	if d := o.Getenv("DISPLAY"); strings.HasPrefix(d, ":") { // others are forwarded from elsewhere
		return "X display " + d
	}
	if d := localDisplay(o); d != "" {
		return "X display " + d
	}
	return ""
}

// wayland is a Wayland display of this user, also for who is not inside its session, "" for none.
func wayland(o Options) string {
	if d := o.Getenv("WAYLAND_DISPLAY"); d != "" {
		return d
	}
	found, _ := filepath.Glob(filepath.Join(runtimeDir(o), "wayland-?"))
	for _, f := range found {
		if listens(f) {
			return filepath.Base(f)
		}
	}
	return ""
}

func runtimeDir(o Options) string {
	if d := o.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return d
	}
	return o.path("/run/user/" + strconv.Itoa(os.Getuid()))
}

// localDisplay is the first X server that listens on this machine. A dead one may leave its socket.
func localDisplay(o Options) string {
	found, _ := filepath.Glob(o.path("/tmp/.X11-unix/X*"))
	for _, f := range found {
		n := strings.TrimPrefix(filepath.Base(f), "X")
		if n != "" && strings.Trim(n, "0123456789") == "" && listens(f) {
			return ":" + n
		}
	}
	return ""
}

func listens(socket string) bool {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// clock writes a time for people; its day only when it is not today.
func clock(t time.Time) string {
	if time.Since(t) < 20*time.Hour {
		return t.Format(time.TimeOnly)
	}
	return t.Format("2006-01-02 15:04")
}

// since makes a presence signal out of an idle time.
func since(s *node.Signal, idle time.Duration) {
	s.Last = time.Now().Add(-idle)
	s.Text = "last input " + idle.Truncate(time.Second).String() + " ago"
}
