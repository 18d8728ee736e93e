package tui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/vt"

	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/localapi"
	"github.com/personal-power-plant/p3/node/nodetest"
)

// A watched is a terminal on which one can wait for a text.
type watched struct {
	mu     sync.Mutex
	text   bytes.Buffer // all that was written
	screen *vt.Emulator // what a person sees of it: programs draw only what has changed
	want   string
	seen   chan struct{}
}

func newWatched(w, h int) *watched {
	t := &watched{screen: vt.NewEmulator(w, h)}
	go io.Copy(io.Discard, t.screen) // what a terminal answers; Close would race with this
	return t
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	if w.screen != nil {
		w.screen.Write(b)
	}
	w.check()
	return len(b), nil
}

func (w *watched) check() {
	if w.seen != nil && strings.Contains(w.screen.String(), w.want) {
		close(w.seen)
		w.seen = nil
	}
}

// wait waits until text is on the screen.
func (w *watched) wait(t *testing.T, text string) {
	t.Helper()
	seen := make(chan struct{})
	w.mu.Lock()
	w.want, w.seen = text, seen
	w.check()
	w.mu.Unlock()
	select {
	case <-seen:
	case <-time.After(20 * time.Second):
		w.mu.Lock()
		defer w.mu.Unlock()
		t.Fatalf("never saw %q on\n%s", text, w.screen)
	}
}

func (w *watched) all() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// The real program over a real socket: a person looks around and quits.
func TestRunOverASocket(t *testing.T) {
	t.Setenv("CLICOLOR_FORCE", "1") // there would be colour, but for the option
	t.Setenv("TERM", "xterm-256color")
	dir, err := os.MkdirTemp("", "p3")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	l, err := localapi.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- localapi.Serve(ctx, l, nodetest.New(nodetest.Sample(time.Now(), 30))) }()
	defer func() { stop(); <-served }()

	keys, typed := io.Pipe()
	out := newWatched(100, 30)
	done := make(chan error, 1)
	go func() {
		done <- Run(t.Context(), node.NewClient(socket), Options{In: keys, Out: out, NoColor: true, width: 100, height: 30})
	}()
	out.wait(t, "mandel")
	typed.Write([]byte("2"))
	out.wait(t, "cr/Tfuel")
	typed.Write([]byte("/"))
	typed.Write([]byte("maple\r"))
	out.wait(t, "/maple")
	stop() // the node goes
	out.wait(t, "stale")
	if colour := regexp.MustCompile(`\x1b\[([0-9;]*;)?(3|4|9|10)[0-8](;[0-9;]*)?m`).FindString(out.all()); colour != "" {
		t.Errorf("colour %q in spite of NoColor", colour)
	}
	typed.Write([]byte("q"))
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	keys, typed := io.Pipe()
	defer typed.Close()
	out := newWatched(80, 24)
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, nodetest.New(nodetest.Sample(start, 3)), Options{In: keys, Out: out, width: 80, height: 24})
	}()
	out.wait(t, "This machine")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("run: %v", err)
	}
}

// flaky loses every watch until it is mended.
type flaky struct {
	*nodetest.Node
	watches atomic.Int32
	mended  atomic.Bool
}

func (f *flaky) Watch(ctx context.Context, yield func(node.Update) error) error {
	f.watches.Add(1)
	if f.mended.Load() {
		return f.Node.Watch(ctx, yield)
	}
	return &node.Problem{Code: node.CodeNoNode, Message: "gone", Hint: "start it with: p3 up"}
}

func TestFeedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := &flaky{Node: nodetest.New(nodetest.Sample(start, 3))}
		f, begun := newFeed(), time.Now()
		done := make(chan struct{})
		go func() { defer close(done); f.run(ctx, n) }()
		time.Sleep(2*retryEvery + time.Second)
		synctest.Wait()
		got := f.take()
		if n.watches.Load() != 3 || got.lost == nil || !got.lostAt.Equal(begun) {
			t.Errorf("%d attempts, lost %v at %v", n.watches.Load(), got.lost, got.lostAt)
		}
		n.mended.Store(true)
		f.retry()
		synctest.Wait()
		got = f.take()
		if n.watches.Load() != 4 || got.lost != nil || got.status == nil || !got.fresh || len(got.events) != 6 {
			t.Errorf("%d attempts, then %+v", n.watches.Load(), got)
		}
		if got := f.take(); got.status != nil || got.events != nil || got.fresh {
			t.Errorf("news told twice: %+v", got)
		}
		cancel()
		<-done
	})
}

func TestPlainAppendsLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nodetest.Sample(time.Now(), 3)
		s.Events[0].Text = "joined\x1b[2J\n\u202eevil"
		n := &flaky{Node: nodetest.New(s)}
		out := &watched{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Plain(ctx, n, out) }()
		time.Sleep(time.Minute) // many attempts, one line
		n.mended.Store(true)
		time.Sleep(3 * time.Second)
		n.Change(func(s *nodetest.State) { s.Status.Peers = 7 })
		n.Change(func(s *nodetest.State) {
			s.Events = append(s.Events, node.Event{Seq: 7, Time: time.Now(), Level: "ok", Text: "seventh"})
		})
		time.Sleep(10 * time.Second)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSpace(out.all()), "\n")
		want := []string{"error gone; start it with: p3 up; retrying", "info  joined?[2J ?evil", "info", "error", "", "", "", "state 3 peers", "ok    seventh", "state 7 peers"}
		if len(lines) != len(want) {
			t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), out.all())
		}
		for i := range want {
			if i < 2 || i > 6 {
				if !strings.Contains(lines[i], want[i]) {
					t.Errorf("line %d is %q, want %q", i, lines[i], want[i])
				}
			}
			if strings.ContainsRune(lines[i], '\x1b') {
				t.Errorf("escape sequence in %q", lines[i])
			}
		}
	})
}

// deaf fails every write.
type deaf struct{}

func (deaf) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestPlainEndsWhenNobodyReads(t *testing.T) {
	if err := Plain(t.Context(), nodetest.New(nodetest.Sample(start, 3)), deaf{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}
