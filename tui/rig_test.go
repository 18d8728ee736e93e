package tui

import (
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/personal-power-plant/p3/node/nodetest"
)

var start = time.Date(2026, 3, 1, 14, 2, 10, 0, time.UTC)

// A rig drives a model by hand: keys go through Update, commands run at once against a node
// in memory, and time passes only in ticks.
type rig struct {
	t    *testing.T
	m    *model
	n    *nodetest.Node
	now  time.Time
	quit bool
}

func newRig(t *testing.T, s nodetest.State, w, h int, o Options) *rig {
	t.Helper()
	r := &rig{t: t, n: nodetest.New(s), now: start}
	r.m = newModel(t.Context(), r.n, newFeed(), o)
	r.m.tick = func(time.Duration) tea.Cmd { return nil }
	r.send(tea.WindowSizeMsg{Width: w, Height: h})
	r.m.diary = nil
	r.tick(0)
	r.send(tickMsg{r.now, news{events: s.Events}})
	return r
}

// tick lets d pass and brings the node's state.
func (r *rig) tick(d time.Duration) {
	r.now = r.now.Add(d)
	st, _ := r.n.Status(r.t.Context())
	r.send(tickMsg{r.now, news{status: &st}})
}

// lose lets d pass with the node lost since then.
func (r *rig) lose(err error, since time.Time, d time.Duration) {
	r.now = r.now.Add(d)
	r.send(tickMsg{r.now, news{lost: err, lostAt: since}})
}

func (r *rig) send(msg tea.Msg) {
	_, cmd := r.m.Update(msg)
	r.run(cmd)
}

func (r *rig) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.QuitMsg:
		r.quit = true
	case tea.BatchMsg:
		for _, c := range msg {
			r.run(c)
		}
	default:
		r.send(msg)
	}
}

var namedKeys = map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown,
	"left": tea.KeyLeft, "right": tea.KeyRight, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "backspace": tea.KeyBackspace}

// keys presses keys, named ones or characters one by one.
func (r *rig) keys(keys ...string) {
	for _, k := range keys {
		if _, ok := namedKeys[k]; ok {
			r.send(keyPress(k))
			continue
		}
		for _, c := range k {
			r.send(tea.KeyPressMsg{Code: c, Text: string(c)})
		}
	}
}

// keyPress is one key, by its name or its character.
func keyPress(k string) tea.KeyPressMsg {
	if code, ok := namedKeys[k]; ok {
		return tea.KeyPressMsg{Code: code}
	}
	return tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
}

// screen is what is shown, without styles.
func (r *rig) screen() string {
	r.check()
	return ansi.Strip(strings.Join(r.m.frame(), "\n"))
}

// check fails unless the frame fills the terminal exactly.
func (r *rig) check() {
	r.t.Helper()
	frame := r.m.frame()
	if len(frame) != r.m.h {
		r.t.Fatalf("%d lines on a screen of %d", len(frame), r.m.h)
	}
	for i, line := range frame {
		plain := ansi.Strip(line)
		for _, c := range plain {
			if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
				r.t.Fatalf("control character %q in line %d: %q", c, i, plain)
			}
		}
		if w, wc := ansi.StringWidth(line), ansi.StringWidthWc(line); w != r.m.w || wc != r.m.w {
			r.t.Fatalf("line %d is %d cells wide by clusters, %d by code points, on a screen of %d: %q", i, w, wc, r.m.w, plain)
		}
	}
}

// shows fails unless the screen contains every text.
func (r *rig) shows(texts ...string) {
	r.t.Helper()
	screen := r.screen()
	for _, text := range texts {
		if !strings.Contains(screen, text) {
			r.t.Fatalf("no %q on the screen:\n%s", text, screen)
		}
	}
}

// hides fails if the screen contains text.
func (r *rig) hides(text string) {
	r.t.Helper()
	if screen := r.screen(); strings.Contains(screen, text) {
		r.t.Fatalf("%q on the screen:\n%s", text, screen)
	}
}
