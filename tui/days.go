package tui

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// historyDays is how many days are fetched; as many of the last as fit are shown.
const historyDays = 60

func (m *model) wantHistory(every time.Duration) want {
	return want{fromHistory, every, func(ctx context.Context) (func(*model), error) {
		h, err := m.node.History(ctx, historyDays)
		return func(m *model) { m.history = h }, err
	}}
}

// daysBox charts what was earned and spent on each day.
func (m *model) daysBox(w, h int) block {
	const label = 7
	days := m.history.Days
	if fit := w - 4 - label; len(days) > fit {
		days = days[len(days)-max(fit, 0):]
	}
	earned, spent := make([]float64, len(days)), make([]float64, len(days))
	var in, out, granted ledger.Credits
	top := 0.0
	for i, d := range days {
		in, out, granted = in+d.Earned, out+d.Spent, granted+d.Granted
		earned[i], spent[i] = float64(d.Earned), float64(d.Spent)
		top = max(top, earned[i], spent[i])
	}
	var lines []string
	switch {
	case m.trouble(fromHistory) != "":
		lines = wrap("Days cannot be read: "+m.trouble(fromHistory), w-4)
	case len(days) == 0:
		lines = []string{"Reading days…"}
	case in == 0 && out == 0:
		lines = wrap(fmt.Sprintf("Nothing earned or spent in %d days.", len(days)), w-4)
	default:
		rows := max((h-3)/2, 1)
		for _, side := range []struct {
			name   string
			values []float64
			tint   style
		}{{"earned", earned, good}, {"spent", spent, accent}} {
			for i, line := range m.g.columns(side.values, top, rows) {
				name := ""
				if i == rows-1 {
					name = side.name
				}
				lines = append(lines, faint.of(fit(name, label))+side.tint.of(line))
			}
		}
		from, to := shortDate(days[0]), shortDate(days[len(days)-1])
		lines = append(lines, faint.of(blanks(label)+from+blanks(max(len(days)-len(from)-len(to), 1))+to))
	}
	title := fmt.Sprintf("By day, %d", len(days))
	sums := []string{fmt.Sprintf("earned %s  spent %s", credits(in), credits(out)), signed(in) + "  " + signed(-out)}
	if granted > 0 { // by a mint, in an organisation's network
		long := fmt.Sprintf("granted %s  ", credits(granted))
		sums = []string{long + sums[0], long + sums[1], signed(granted+in) + "  " + signed(-out)}
	}
	return m.g.box(title, longest(boxRoom(title, w), sums...), lines, w, h)
}

// shortDate is the month and the day.
func shortDate(d node.Day) string {
	if len(d.Date) != len(time.DateOnly) {
		return clean(d.Date)
	}
	return clean(d.Date[5:])
}

// columns draws one column for each value, rows high, the largest being top.
func (g glyphs) columns(values []float64, top float64, rows int) []string {
	out := make([]string, rows)
	for row := range rows {
		var b strings.Builder
		for _, v := range values {
			full := 0.0
			if top > 0 {
				full = v / top * float64(rows*len(g.levels))
			}
			level := int(math.Round(full))
			if v > 0 {
				level = max(level, 1) // a little is not nothing
			}
			if level -= (rows - 1 - row) * len(g.levels); level <= 0 {
				b.WriteByte(' ')
			} else {
				b.WriteString(g.levels[min(level, len(g.levels))-1])
			}
		}
		out[row] = b.String()
	}
	return out
}
