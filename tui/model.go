package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/node"
)

// tickEvery is how often the model takes news: four times a second.
const tickEvery = 250 * time.Millisecond

// callTimeout bounds one call to the node.
const callTimeout = 5 * time.Second

// slowTimeout bounds one that waits for other machines, which the node bounds too.
const slowTimeout = 150 * time.Second

// A caller makes a command of a call to the node, with a deadline.
type caller func(func(context.Context) tea.Msg) tea.Cmd

type screen int

const (
	overview screen = iota
	market
	jobs
	credit
	peers
	settings
	screens
)

var screenNames = [screens]string{"Overview", "Market", "Jobs", "Ledger", "Peers", "Settings"}

// A model is all that is shown. Only Update changes it.
type model struct {
	node  Node
	opts  Options
	g     glyphs
	call  caller
	slow  caller                      // for calls that wait for other machines
	tick  func(time.Duration) tea.Cmd // sends a tickMsg later
	retry func()                      // looks for a lost node now

	w, h   int
	now    time.Time
	status *node.Status // nil until the first has come
	diary  []node.Event // oldest first, text clean
	lost   error
	lostAt time.Time

	screen  screen
	preview bool
	offers  table[offerRow]
	jobs    table[jobRow]
	peers   table[peerRow]
	credit  table[receiptRow]
	day     []node.Receipt // newest first, all that the last day knows
	history node.History
	ledger  ledgerPane

	standing standing
	open     *jobView // nil: the list of jobs

	settings settingsPane

	polls  map[source]*poll
	prompt *prompt
	dialog *dialog
	toast  string
	until  time.Time // of the toast
}

func newModel(ctx context.Context, n Node, f *feed, o Options) *model {
	m := &model{node: n, opts: o, g: unicodeGlyphs, retry: f.retry, polls: map[source]*poll{},
		offers: offerTable(), jobs: jobTable(), peers: peerTable(), credit: receiptTable(), ledger: newLedgerPane()}
	if o.ASCII {
		m.g = asciiGlyphs
	}
	m.tick = func(d time.Duration) tea.Cmd {
		return tea.Tick(d, func(now time.Time) tea.Msg { return tickMsg{now, f.take()} })
	}
	within := func(d time.Duration) caller {
		return func(f func(context.Context) tea.Msg) tea.Cmd {
			return func() tea.Msg {
				ctx, cancel := context.WithTimeout(ctx, d)
				defer cancel()
				return f(ctx)
			}
		}
	}
	m.call, m.slow = within(callTimeout), within(slowTimeout)
	return m
}

// tickMsg brings the time and what has happened since the last.
type tickMsg struct {
	now time.Time
	news
}

// Init asks for the first news at once.
func (m *model) Init() tea.Cmd { return m.tick(20 * time.Millisecond) }

// Update takes one message.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
	case tickMsg:
		m.hear(msg)
		cmd = m.tick(tickEvery)
	case replyMsg:
		m.reply(msg)
	case tea.PasteMsg:
		if m.prompt != nil {
			m.prompt.insert(msg.Content)
			m.typed()
		}
	case tea.KeyPressMsg:
		cmd = m.key(msg)
	}
	return m, tea.Batch(cmd, m.due())
}

// hear takes the feed's news.
func (m *model) hear(t tickMsg) {
	m.now = t.now
	if t.status != nil {
		m.status = t.status
	}
	if t.fresh {
		m.diary = nil
	}
	for _, e := range t.events {
		e.Text = clean(e.Text)
		m.diary = append(m.diary, e)
	}
	m.diary = lastOf(m.diary, maxDiary)
	m.lost, m.lostAt = t.lost, t.lostAt
	m.offers.settle(m.now)
	m.jobs.settle(m.now)
	m.peers.settle(m.now)
	m.credit.settle(m.now)
	m.ledger.settle(m.now)
	if m.now.After(m.until) {
		m.toast = ""
	}
}

// say shows a line for a few seconds.
func (m *model) say(text string) {
	m.toast, m.until = text, m.now.Add(5*time.Second)
}
