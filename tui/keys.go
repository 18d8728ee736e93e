package tui

import (
	"fmt"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// An action is what a key does on a screen. One table of them draws the last line, the help
// and decides what happens.
type action struct {
	keys  string // as Bubble Tea names them, between spaces; the first is shown
	label string // on the last line; "" leaves it out there
	help  string
	why   func(*model) string // why it cannot act now, "" when it can
	do    func(*model) tea.Cmd
}

// shown is the key as people know it.
func (a action) shown() string {
	first, _, _ := strings.Cut(a.keys, " ")
	return first
}

func always(f func(*model)) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd { f(m); return nil }
}

// list is the table in front, nil when there is none.
func (m *model) list() list {
	switch {
	case m.status == nil:
		return nil
	case m.screen == market:
		return &m.offers
	case m.screen == jobs && m.open == nil:
		return &m.jobs
	case m.screen == credit:
		return m.part().list
	case m.screen == peers:
		return &m.peers
	}
	return nil
}

// actions is what the keys of the screen in front do, besides those of every screen.
func (m *model) actions() []action {
	if m.status == nil || m.lost != nil {
		return []action{{keys: "r", label: "retry", help: "look for the node now", do: always(func(m *model) { m.retry(); m.say("looking for the node…") })}}
	}
	switch {
	case m.screen == overview || m.screen == settings:
		donate, pause := "donate on", "pause 1 h"
		if m.status.Host.Donating {
			donate = "donate off"
		}
		if m.status.Host.PausedUntil.After(m.now) {
			pause = "resume"
		}
		list := []action{
			{keys: "d", label: donate, help: "turn donating on or off", do: (*model).toggleDonate},
			{keys: "p", label: pause, help: "pause donating for an hour, or resume", why: (*model).whyNoPause, do: (*model).togglePause},
		}
		if m.screen == settings {
			list = append(settingsActions[:len(settingsActions):len(settingsActions)], list...)
		}
		return list
	case m.open != nil && m.screen == jobs:
		return jobActions
	}
	list := []action{{keys: "enter", label: "open", why: (*model).whyNoRow, help: "open what is under the cursor", do: (*model).enter}}
	switch m.screen {
	case market:
		list[0].label, list[0].help = "details", "show the offer under the cursor"
		list = append(list, action{keys: "space", label: "mark", help: "mark an offer, to compare marked ones", why: (*model).whyNoRow, do: always(func(m *model) { m.offers.mark() })})
	case jobs:
		list = append(list, action{keys: "K", label: "cancel", help: "cancel the job under the cursor, after a question", why: (*model).whyNoCancel, do: (*model).askCancel})
	case credit:
		list = append(list, m.partActions()...)
	case peers:
		list[0].label, list[0].help = "details", "show the peer under the cursor"
		list = append(list, action{keys: "i", label: "invite", help: "a code that brings another PC in", do: (*model).invite})
	}
	return append(list, listActions...)
}

var listActions = []action{
	{keys: "/", label: "filter", help: "filter: text, or field and value such as price<20 state=done", do: (*model).askFilter},
	{keys: "c", label: "clear", help: "clear the filter", why: func(m *model) string {
		if _, _, text, _ := m.list().state(); text == "" {
			return "there is no filter to clear"
		}
		return ""
	}, do: always(func(m *model) { m.list().setFilter("") })},
	{keys: "s", label: "sort", help: "sort by the next column", do: always(func(m *model) { m.list().sortBy(1, m.listWidth()) })},
	{keys: "S", label: "reverse", help: "reverse the order", do: always(func(m *model) { m.list().turn() })},
	{keys: "p", label: "preview", help: "show or hide the details below the list", why: func(m *model) string {
		if m.w >= wide {
			return "the details are always beside the list on a screen this wide"
		}
		return ""
	}, do: always(func(m *model) { m.preview = !m.preview })},
	{keys: "y", label: "copy", help: "copy the identity to the clipboard", why: (*model).whyNoRow, do: (*model).copy},
}

var jobActions = []action{
	{keys: "l", label: "log", help: "show or hide the log of the unit under the cursor", do: always(func(m *model) { m.open.log = !m.open.log })},
	{keys: "f", label: "next failed", help: "go to the next failed unit", why: func(m *model) string {
		if j := m.open.job; j == nil || j.Failed == 0 {
			return "no unit has failed"
		}
		return ""
	}, do: always(func(m *model) {
		if !m.open.nextFailed() {
			m.say("no failed unit among those shown")
		}
	})},
	{keys: "K", label: "cancel", help: "cancel this job, after a question", why: (*model).whyNoCancel, do: (*model).askCancel},
	{keys: "y", label: "copy", help: "copy the job's identity", do: (*model).copy},
	{keys: "esc", label: "back", help: "back to the list", do: always(func(m *model) { m.open = nil })},
}

var everywhere = []action{
	{keys: "1 2 3 4 5 6", help: "go to that screen; Tab and Shift-Tab to the next and the one before"},
	{keys: "j k", help: "or arrows: move; g G first and last, PgUp PgDn a screen"},
	{keys: ":", help: "a command: a screen's name, a part of the ledger, a job's id, send elm 2.50, donate, pause, quit"},
	{keys: "?", help: "this help"},
	{keys: "q", help: "quit; the node keeps running"},
}

func (m *model) whyNoRow() string {
	if shown, _, _, _ := m.list().state(); shown == 0 {
		return "the list is empty"
	}
	return ""
}

// key handles a key.
func (m *model) key(msg tea.KeyPressMsg) tea.Cmd {
	key := msg.Keystroke()
	if msg.Text != "" && msg.Text != " " {
		key = msg.Text
	}
	switch {
	case key == "ctrl+c":
		return tea.Quit
	case m.prompt != nil:
		return m.promptKey(key, msg.Text)
	case m.dialog != nil:
		return m.dialog.key(m, key)
	}
	m.toast = ""
	for _, a := range m.actions() {
		if !strings.Contains(" "+a.keys+" ", " "+key+" ") {
			continue
		}
		if a.why != nil {
			if why := a.why(m); why != "" {
				m.say(why)
				return nil
			}
		}
		return a.do(m)
	}
	return m.globalKey(key)
}

func (m *model) globalKey(key string) tea.Cmd {
	switch key {
	case "q":
		return tea.Quit
	case "1", "2", "3", "4", "5", "6":
		m.show(screen(key[0] - '1'))
	case "tab":
		m.show((m.screen + 1) % screens)
	case "shift+tab":
		m.show((m.screen + screens - 1) % screens)
	case "?":
		m.dialog = m.help()
	case ":":
		m.prompt = &prompt{label: ":", enter: (*model).command}
	case "esc":
		m.preview, m.offers.marks = false, nil
	default:
		m.moveKey(key)
	}
	return nil
}

func (m *model) show(s screen) { m.screen, m.preview = s, false }

const farAway = 1 << 30

func (m *model) moveKey(key string) {
	if m.screen == jobs && m.open != nil {
		m.open.moveKey(key)
		return
	}
	if m.screen == settings {
		m.settings.moveKey(key)
		return
	}
	l := m.list()
	if l == nil {
		return
	}
	switch key {
	case "up", "k":
		l.move(-1, m.now)
	case "down", "j":
		l.move(1, m.now)
	case "g", "home":
		l.move(-farAway, m.now)
	case "G", "end":
		l.move(farAway, m.now)
	case "pgup", "ctrl+b":
		l.page(-1, m.now)
	case "pgdown", "ctrl+f":
		l.page(1, m.now)
	}
}

func (v *jobView) moveKey(key string) {
	switch key {
	case "left", "h":
		v.step(-1)
	case "right":
		v.step(1)
	case "up", "k":
		v.step(-v.cols)
	case "down", "j":
		v.step(v.cols)
	case "g", "home":
		v.seek(0)
	case "G", "end":
		v.seek(^uint64(0))
	case "pgup":
		v.page(-1)
	case "pgdown":
		v.page(1)
	}
}

// page scrolls the log when it is open, else the grid.
func (v *jobView) page(d int) {
	if v.log {
		v.top += 5 * d
		return
	}
	v.step(d * v.cols * max(v.rows-1, 1))
}

func (m *model) listWidth() int {
	if m.w >= wide {
		return m.w - m.w*2/5 - 4
	}
	return m.w - 4
}

// enter opens what is under the cursor.
func (m *model) enter() tea.Cmd {
	switch m.screen {
	case jobs:
		m.openJob(m.jobs.selected().ID.String())
		m.ask(fromJob)
	case credit:
		return m.part().open()
	case market:
		r := m.offers.selected()
		m.dialog = &dialog{title: r.name, body: m.offerFacts(r, 80)}
	case peers:
		m.preview = true
	}
	return nil
}

// copy puts the identity in front into the terminal's clipboard (OSC 52).
func (m *model) copy() tea.Cmd {
	id := ""
	switch {
	case m.open != nil && m.screen == jobs:
		id = m.open.id
	case m.screen == jobs:
		id = m.jobs.selected().ID.String()
	case m.screen == market:
		id = clean(m.offers.selected().Peer)
	case m.screen == credit:
		id = m.part().id()
	case m.screen == peers:
		id = m.peers.selected().id
	}
	m.say("copied " + id)
	return tea.SetClipboard(id)
}

func (m *model) askFilter() tea.Cmd {
	_, _, before, _ := m.list().state()
	text := []rune(before)
	m.prompt = &prompt{label: "/", text: text, at: len(text),
		typed: func(m *model, text string) { m.list().setFilter(text) },
		leave: func(m *model) { m.list().setFilter(before) }}
	return nil
}

func (m *model) promptKey(key, text string) tea.Cmd {
	p := m.prompt
	switch key {
	case "enter":
		m.prompt = nil
		if p.enter != nil {
			return p.enter(m, string(p.text))
		}
	case "esc":
		m.prompt = nil
		if p.leave != nil {
			p.leave(m)
		}
	default:
		if p.key(key, text) {
			m.typed()
		}
	}
	return nil
}

func (m *model) typed() {
	if m.prompt.typed != nil {
		m.prompt.typed(m, string(m.prompt.text))
	}
}

// help lists the keys of the screen in front.
func (m *model) help() *dialog {
	var body []string
	add := func(a action) {
		line := fit(a.keys, 12) + " " + a.help
		if a.why != nil {
			if why := a.why(m); why != "" {
				line = faint.of(line + " (not now: " + why + ")")
			}
		}
		body = append(body, line)
	}
	for _, a := range m.actions() {
		add(a)
	}
	body = append(body, "")
	for _, a := range everywhere {
		add(a)
	}
	return &dialog{title: fmt.Sprintf("Keys of %s", screenNames[m.screen]), body: body}
}

// command runs what was typed after ":".
func (m *model) command(text string) tea.Cmd {
	word, rest, _ := strings.Cut(strings.TrimSpace(strings.ToLower(text)), " ")
	if word == "" {
		return nil
	}
	if n, err := strconv.Atoi(word); err == nil && n >= 1 && n <= int(screens) {
		m.show(screen(n - 1))
		return nil
	}
	if strings.HasPrefix(word, "j-") {
		m.show(jobs)
		m.openJob(word)
		m.ask(fromJob)
		return nil
	}
	for i, name := range screenNames {
		if strings.HasPrefix(strings.ToLower(name), word) {
			m.show(screen(i))
			if l := m.list(); l != nil && rest != "" {
				l.setFilter(rest)
			}
			return nil
		}
	}
	if len(word) > 2 && m.goToPart(word) {
		return nil
	}
	switch word {
	case "q", "quit":
		return tea.Quit
	case "help":
		m.dialog = m.help()
		return nil
	case "donate", "pause", "resume", "send":
		if m.status == nil || m.lost != nil {
			m.say("the node is not there: only screens and quit work")
			return nil
		}
		if word == "donate" {
			return m.toggleDonate()
		}
		if word == "send" {
			_, to, _ := strings.Cut(strings.TrimSpace(text), " ") // as it was typed
			return m.prepareSend(to)
		}
		if why := m.whyNoPause(); why != "" {
			m.say(why)
			return nil
		}
		return m.togglePause()
	}
	m.say(fmt.Sprintf("no command %q: try market, jobs, ledger, j-7f3, donate, pause, quit", word))
	return nil
}
