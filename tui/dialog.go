package tui

import tea "charm.land/bubbletea/v2"

// A dialog lies over a screen until a key closes it. With do set it asks a question whose
// default is No.
type dialog struct {
	title string
	body  []string // clean
	top   int      // first line in sight
	yes   bool
	do    func(*model) tea.Cmd
}

// key handles a key; the dialog takes them all.
func (d *dialog) key(m *model, key string) tea.Cmd {
	switch key {
	case "up", "k":
		d.top--
	case "down", "j":
		d.top++
	case "pgup":
		d.top -= 10
	case "pgdown", "space":
		d.top += 10
	case "left", "right", "h", "l", "tab", "shift+tab":
		d.yes = d.do != nil && !d.yes
	case "y":
		if d.do != nil {
			return d.close(m, true)
		}
	case "enter":
		return d.close(m, d.yes)
	case "esc", "n", "q", "?":
		return d.close(m, false)
	}
	return nil
}

func (d *dialog) close(m *model, yes bool) tea.Cmd {
	m.dialog = nil
	if yes && d.do != nil {
		return d.do(m)
	}
	return nil
}

// view draws the dialog for a screen of w by h cells.
func (d *dialog) view(g glyphs, w, h int) block {
	width := 0
	for _, line := range d.body {
		width = max(width, cells(line))
	}
	width = min(max(width, cells(d.title)+2, 30)+4, w-4, 100)
	var lines []string
	for _, line := range d.body {
		lines = append(lines, wrap(line, width-4)...)
	}
	foot := faint.of("Esc close")
	if d.do != nil {
		no, yes := pick.of(" No ")+" ", " Yes "
		if d.yes {
			no, yes = " No  ", pick.of(" Yes ")
		}
		foot = no + yes + faint.of("   y yes, n no, Enter takes what is marked")
	}
	room := max(h-6, 1)
	d.top = max(min(d.top, len(lines)-room), 0)
	if len(lines) > room {
		lines = lines[d.top : d.top+room]
		foot += faint.of("   arrows scroll")
	}
	lines = append(append([]string(nil), lines...), "", foot)
	return g.box(d.title, "", lines, width, len(lines)+2)
}
