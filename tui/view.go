package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// Smallest screen that is drawn.
const minWidth, minHeight = 60, 15

// wide is from where on a list has its detail always beside it.
const wide = 160

// View draws the model.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.frame(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "P3"
	return v
}

// frame is the whole screen: header, screens, body, keys.
func (m *model) frame() block {
	if m.w < minWidth || m.h < minHeight {
		return sized([]string{fmt.Sprintf("Need %dx%d, have %dx%d", minWidth, minHeight, m.w, m.h)}, m.w, m.h)
	}
	bodyHeight := m.h - 3
	var body block
	if m.status == nil {
		body = m.waiting(m.w, bodyHeight)
	} else {
		body = m.body(m.w, bodyHeight)
		if m.lost != nil {
			body = dimmed(body)
		}
	}
	if m.dialog != nil {
		body = over(body, m.dialog.view(m.g, m.w, bodyHeight))
	}
	out := make(block, 0, m.h)
	out = append(out, fit(m.header(), m.w), fit(m.tabs(), m.w))
	out = append(append(out, body...), fit(m.footer(), m.w))
	if m.opts.ASCII {
		for i := range out {
			out[i] = ascii(out[i])
		}
	}
	return out
}

func (m *model) body(w, h int) block {
	switch m.screen {
	case market:
		return m.marketView(w, h)
	case jobs:
		return m.jobsView(w, h)
	case credit:
		return m.creditView(w, h)
	case peers:
		return m.peersView(w, h)
	case settings:
		return m.settingsView(w, h)
	}
	return m.overviewView(w, h)
}

// waiting is the screen before the first status.
func (m *model) waiting(w, h int) block {
	lines := []string{"Connecting to the node…"}
	if m.lost != nil {
		lines = append(wrap(explain(m.lost), min(w-8, 72)), "", "Retrying every "+span(retryEvery)+". r now, q quit")
	}
	return over(sized(nil, w, h), m.g.box("P3", "", lines, min(w-4, 76), len(lines)+2))
}

func (m *model) header() string {
	left := " " + active.of("P3")
	if m.status == nil {
		return left
	}
	s, sep := m.status, " "+faint.of(m.g.sep)+" "
	left += " " + clean(s.NetName)
	switch s.Peers {
	case 0:
		left += sep + "searching for peers"
	default:
		left += sep + "online, " + plural(uint64(s.Peers), "peer")
	}
	left += sep + bold.of(credits(s.Balance.Net)+" cr")
	if in, out := flows(m.day, s.Account, m.now, day/24); in != 0 || out != 0 {
		left += fmt.Sprintf(" (%s/h)", signed(in-out))
	}
	if s.Host.Donating && !s.Host.PausedUntil.After(m.now) {
		left += sep + fmt.Sprintf("donating, %d of %d slots busy", s.Host.Busy, s.Host.Capacity.Slots)
	} else {
		left += sep + m.donation()
	}
	return between(left, faint.of(": command "), m.w)
}

func (m *model) tabs() string {
	var b strings.Builder
	for i, name := range screenNames {
		text := fmt.Sprintf("%d %s", i+1, name)
		if screen(i) == m.screen {
			b.WriteString(active.of("[" + text + "]"))
		} else {
			b.WriteString(" " + text + " ")
		}
	}
	right := ""
	switch {
	case m.status == nil:
	case m.lost != nil:
		right = bad.of(fmt.Sprintf("stale %s, retrying (r)", strings.TrimSpace(since(m.now, m.lostAt)))) + " "
	case m.status.ReadOnly != "":
		right = warn.of("ledger read-only (4)") + " "
	}
	if m.w-cells(b.String())-cells(right) < 1 { // narrow: the notice matters more than the other names
		return between(" "+active.of(fmt.Sprintf("[%d %s]", m.screen+1, screenNames[m.screen])), right, m.w)
	}
	return between(b.String(), right, m.w)
}

// footer is the prompt, a toast, the trouble of a lost node, or the keys.
func (m *model) footer() string {
	switch {
	case m.prompt != nil:
		return " " + m.prompt.line(m.w-1)
	case m.toast != "":
		return " " + m.toast
	case m.lost != nil && m.status != nil:
		return " " + bad.of(explain(m.lost))
	}
	var b strings.Builder
	for _, a := range m.actions() {
		if a.label == "" {
			continue
		}
		text := a.shown() + " " + a.label
		if a.why != nil && a.why(m) != "" {
			text = faint.of(text)
		} else {
			text = bold.of(a.shown()) + " " + a.label
		}
		if cells(b.String())+cells(text)+20 > m.w {
			break
		}
		b.WriteString(" " + text + " ")
	}
	b.WriteString(" " + bold.of("?") + " help  " + bold.of("q") + " quit")
	return b.String()
}

// listWith draws a list and, on a wide screen, on demand, or always when pinned, the detail
// of what is selected.
func (m *model) listWith(w, h int, pinned bool, list, detail func(w, h int) block) block {
	switch {
	case w >= wide:
		side := w * 2 / 5
		return beside(list(w-side, h), detail(side, h))
	case (m.preview || pinned) && h >= 12:
		low := min(h/2, 15)
		return append(list(w, h-low), detail(w, low)...)
	case m.preview || pinned:
		return detail(w, h)
	}
	return list(w, h)
}

// tableView draws a table in its box, its filter in the title.
func (m *model) tableView(t list, title, one, empty string, w, h int) block {
	shown, all, filter, err := t.state()
	lines := t.lines(m.g, w-4, h-2, m.now)
	if shown == 0 {
		text := empty
		switch trouble := m.trouble(m.source()); {
		case trouble != "":
			text = "Cannot be read: " + trouble
		case err != nil:
			text = clean(err.Error())
		case all > 0:
			text = fmt.Sprintf("No %s match %s. c clears the filter.", many(one), filter)
		case m.polls[m.source()] == nil || m.polls[m.source()].at.IsZero() || m.polls[m.source()].busy:
			text = "Reading…"
		}
		lines = append(lines[:1], wrap(text, w-4)...)
	}
	if filter != "" {
		title += "  /" + filter
	}
	remark := plural(uint64(all), one)
	if filter != "" {
		remark = fmt.Sprintf("%s of %s", count(shown), plural(uint64(all), one))
	}
	remark += "   " + t.sorted(m.g)
	if err != nil {
		remark = warn.of(clean(err.Error()))
	}
	return m.g.box(title, remark, lines, w, h)
}

// source is what fills the list in front.
func (m *model) source() source {
	switch m.screen {
	case market:
		return fromOffers
	case jobs:
		return fromJobs
	case credit:
		return m.part().source
	}
	return fromPeers
}
