package tui

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// gridUnits is how many units one grid covers; a longer job has several.
const gridUnits = 1 << 16

// A jobView is one job opened: its grid of units, its peers and the log of one unit.
type jobView struct {
	id     string
	job    *jobRow // nil until fetched
	base   uint64  // first unit of the grid
	states string  // letters from base on
	unit   uint64  // cursor
	cols   int     // cells of a row when last drawn
	rows   int
	per    uint64 // units of a cell when last drawn
	plan   string // what the plan is up to, "" when there is none

	log    bool     // shown
	lines  []string // of the log
	lineOf uint64   // the unit they are of
	have   bool     // lines are set
	top    int      // first line in sight
}

func (m *model) openJob(id string) { m.open = &jobView{id: id} }

func (v *jobView) wants(m *model) []want {
	n, id, base := m.node, v.id, v.base
	list := []want{{fromJob, time.Second, func(ctx context.Context) (func(*model), error) {
		j, err := n.Job(ctx, id)
		if err != nil {
			return nil, err
		}
		states, err := n.UnitStates(ctx, id, base, gridUnits)
		row := newJobRow(j)
		return func(m *model) {
			if m.open == v {
				v.job = &row
				if v.base == base {
					v.states = states
				}
			}
		}, err
	}}}
	if unit := v.unit; v.log && v.finished() && (!v.have || v.lineOf != unit) {
		list = append(list, want{fromUnit, 0, func(ctx context.Context) (func(*model), error) {
			u, err := n.Unit(ctx, id, unit)
			lines := unitLines(u)
			if err != nil {
				lines = []string{"The result cannot be read: " + explain(err)}
			}
			return func(m *model) {
				if m.open == v {
					v.lines, v.lineOf, v.have, v.top = lines, unit, true, 0
				}
			}, nil
		}})
	}
	return list
}

// state is the letter of a unit.
func (v *jobView) state(unit uint64) node.UnitState {
	if unit >= v.base && unit-v.base < uint64(len(v.states)) {
		return node.UnitState(v.states[unit-v.base])
	}
	return node.UnitWaiting
}

func (v *jobView) finished() bool {
	s := v.state(v.unit)
	return s == node.UnitDone || s == node.UnitFailed
}

// seek moves the cursor to a unit and the grid with it.
func (v *jobView) seek(unit uint64) {
	if v.job == nil || v.job.Units == 0 {
		return
	}
	v.unit = min(unit, v.job.Units-1)
	if base := v.unit / gridUnits * gridUnits; base != v.base {
		v.base, v.states = base, ""
	}
}

// step moves the cursor by cells.
func (v *jobView) step(cells int) {
	d := uint64(max(cells, -cells)) * max(v.per, 1)
	if cells < 0 {
		v.seek(v.unit - min(d, v.unit))
	} else {
		v.seek(v.unit + d)
	}
}

// nextFailed moves to the next failed unit of the grid, around its end.
func (v *jobView) nextFailed() bool {
	n := uint64(len(v.states))
	for i := range n {
		u := (v.unit - v.base + 1 + i) % n
		if node.UnitState(v.states[u]) == node.UnitFailed {
			v.seek(v.base + u)
			return true
		}
	}
	return false
}

func (v *jobView) view(m *model, w, h int) block {
	if v.job == nil {
		text := "Opening…"
		if t := m.trouble(fromJob); t != "" {
			text = t
		}
		return m.g.box("Job", "", wrap(text, w-4), w, h)
	}
	head := v.header(m, w, h/2)
	h -= len(head)
	logHeight := 0
	if v.log || h >= 40 {
		logHeight = min(max(h/3, 6), 18)
	}
	h -= logHeight
	var mid block
	switch {
	case w >= 100:
		side := min(max(w*2/5, 46), 70)
		mid = beside(v.grid(m, w-side, h), v.byPeer(m, side, h))
	case h >= 12 && len(v.job.Peers) > 0:
		low := min(2*len(v.job.Peers)+3, h/2)
		mid = append(v.grid(m, w, h-low), v.byPeer(m, w, low)...)
	default:
		mid = v.grid(m, w, h)
	}
	out := append(head, mid...)
	if logHeight > 0 {
		out = append(out, v.logBox(m, w, logHeight)...)
	}
	return out
}

// header is at most h lines.
func (v *jobView) header(m *model, w, h int) block {
	j := v.job
	right := fmt.Sprintf("%s of %s   %s of %s   %s", count(j.Done), j.total(), credits(j.Spent), j.Budget, plural(uint64(len(j.Peers)), "peer"))
	if e := j.eta(m.now); e != "-" {
		right = "ETA " + e + "   " + right
	}
	part := ratio(j.Done, j.Units)
	if !j.Closed {
		part = 0 // unknown how much there will be
	}
	note := fmt.Sprintf(" %5.1f%%", part*100)
	if !j.Closed {
		note = " input open"
	}
	lines := []string{m.g.bar(part, w-4-len(note)) + note}
	if j.why != "" {
		lines = append(lines, j.tint().of(j.why))
	}
	lines = append(lines, j.planFacts(m, w-4)...)
	if v.plan != "" && !j.ended() {
		lines = append(lines, factWrapped("plan", v.plan, w-4)...)
	}
	lines = lines[:min(len(lines), max(h-2, 1))]
	title := fmt.Sprintf("%s %s  %s", j.id, j.name, strings.ToUpper(string(j.State)))
	return m.g.box(title, right, lines, w, len(lines)+2)
}

// grid draws the units, several to a cell when there are too many.
func (v *jobView) grid(m *model, w, h int) block {
	total := uint64(0)
	if v.job.Units > v.base {
		total = min(v.job.Units-v.base, gridUnits)
	}
	label := len(fmt.Sprint(v.base+total)) + 1
	cols := w - 4 - label
	if cols >= 20 {
		cols = cols / 10 * 10
	}
	v.cols, v.rows = max(cols, 1), max(h-2, 1)
	v.per = max((total+uint64(v.cols*v.rows)-1)/uint64(v.cols*v.rows), 1)
	var lines []string
	for at := uint64(0); at < total; at += uint64(v.cols) * v.per {
		line := faint.of(fit(fmt.Sprintf("%0*d", label-1, v.base+at), label))
		run, runStyle := []byte(nil), plain
		flush := func() { line += runStyle.of(string(run)); run = run[:0] }
		for c := range uint64(v.cols) {
			first := v.base + at + c*v.per
			if first >= v.base+total {
				break
			}
			letter := v.cell(first, min(first+v.per, v.base+total))
			s := unitStyle(letter)
			if v.unit >= first && v.unit < first+v.per {
				s = pick
			}
			if s != runStyle {
				flush()
				runStyle = s
			}
			run = append(run, byte(letter))
		}
		flush()
		lines = append(lines, line)
	}
	title := "Units"
	if v.per > 1 {
		title = fmt.Sprintf("Units, %s per cell", count(v.per))
	}
	if v.job.Units > gridUnits {
		title += fmt.Sprintf(", %s–%s of %s", count(v.base), count(v.base+total-1), count(v.job.Units))
	}
	if total == 0 {
		lines = []string{"No units yet: the job waits for its inputs."}
	}
	return m.g.box(title, "# done  > run  . wait  r retry  x fail", lines, w, h)
}

// cell is the letter for units from first up to end: the most urgent one.
func (v *jobView) cell(first, end uint64) node.UnitState {
	order := [...]node.UnitState{node.UnitFailed, node.UnitRetry, node.UnitRunning, node.UnitWaiting}
	best := len(order)
	for u := first; u < end; u++ {
		for i, s := range order[:best] {
			if v.state(u) == s {
				best = i
				break
			}
		}
	}
	if best == len(order) {
		return node.UnitDone
	}
	return order[best]
}

func unitStyle(s node.UnitState) style {
	switch s {
	case node.UnitDone:
		return good
	case node.UnitRunning:
		return accent
	case node.UnitRetry:
		return warn
	case node.UnitFailed:
		return bad
	}
	return faint
}

func (v *jobView) byPeer(m *model, w, h int) block {
	lines := []string{faint.of(fmt.Sprintf("%-9s %5s %3s %4s %6s  %s", "PEER", "DONE", "RUN", "FAIL", "RTT", "STATE"))}
	for _, p := range v.job.Peers {
		name := clean(p.Name)
		if name == "" {
			name = p.Account.Short()
		}
		s := plain
		if p.State == "lost" || p.State == "refused" {
			s = warn
		} else if p.State == "bad" {
			s = bad
		}
		lines = append(lines, fit(name, 9)+fmt.Sprintf(" %5s %3d %4s %6s  ", count(p.Done), p.Running, count(p.Failed), rtt(p.RTTMs))+s.of(clean(p.State)))
		if p.Why != "" {
			lines = append(lines, faint.of("  "+clean(p.Why)))
		}
	}
	remark := ""
	if d := v.job.Disputes; d > 0 {
		remark = count(d) + " outvoted"
	}
	return m.g.box("By peer", remark, lines, w, h)
}

func (v *jobView) logBox(m *model, w, h int) block {
	lines := []string{unitWords[v.state(v.unit)]}
	if v.finished() {
		lines = []string{"Fetching…"}
		if v.have && v.lineOf == v.unit {
			lines = v.lines
		}
	}
	v.top = max(min(v.top, len(lines)-(h-2)), 0)
	remark := ""
	if len(lines) > h-2 {
		remark = fmt.Sprintf("lines %d to %d of %d, PgUp PgDn", v.top+1, min(v.top+h-2, len(lines)), len(lines))
	}
	return m.g.box(fmt.Sprintf("Unit %s", count(v.unit)), remark, lines[v.top:], w, h)
}

var unitWords = map[node.UnitState]string{
	node.UnitWaiting: "Waiting for a provider: nothing to show yet.",
	node.UnitRunning: "Running: its result comes when it has ended.",
	node.UnitRetry:   "Waiting for another try elsewhere, since a host failed.",
}

// unitLines is a result as its log shows it.
func unitLines(u node.UnitResult) []string {
	const most = 2000
	r := u.Result
	hosts := clean(strings.Join(u.Hosts, ", "))
	head := fmt.Sprintf("%s on %s   %s   %.1f s   %s", outcome(u), hosts, fuel(r.Fuel), float64(r.WallMs)/1000, u.Cost)
	if u.Tries > 1 {
		head += fmt.Sprintf("   %d tries", u.Tries)
	}
	lines := []string{head}
	if u.Error != "" {
		lines = append(lines, bad.of(clean(u.Error)))
	}
	if r.Message != "" {
		lines = append(lines, bad.of(clean(r.Message)))
	}
	for _, part := range []struct {
		name string
		text []byte
	}{{"stderr", r.Stderr}, {"stdout", r.Stdout}} {
		if len(part.text) > 0 {
			lines = append(lines, faint.of(fmt.Sprintf("%s, %s", part.name, plural(uint64(len(part.text)), "byte"))))
			lines = append(lines, cleanLines(string(part.text[:min(len(part.text), 1<<20)]), most)...)
		}
	}
	for _, f := range r.Files {
		lines = append(lines, faint.of("file ")+clean(f.Name)+"  "+plural(uint64(max(f.Size, 0)), "byte"))
	}
	return lines
}

func outcome(u node.UnitResult) string {
	switch {
	case u.Error != "":
		return bad.of("FAILED")
	case u.Result.OK():
		return good.of("done")
	case u.Result.ExitCode != 0:
		return bad.of(fmt.Sprintf("FAILED exit %d", u.Result.ExitCode))
	}
	return bad.of("FAILED " + u.Result.Status.String())
}
