package tui

import (
	"context"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/node"
)

func (m *model) overviewView(w, h int) block {
	if w < 100 {
		machine, chart := 7, 0
		if h >= 20 {
			chart = 6
		}
		rest := h - machine - chart
		jobs := min(max(rest/2, 3), len(m.status.Jobs)+2)
		if rest < 7 {
			jobs = 0
		}
		out := m.machineBox(w, machine)
		if chart > 0 {
			out = append(out, m.balanceBox(w, chart)...)
		}
		if jobs > 0 {
			out = append(out, m.jobsBox(w, jobs)...)
		}
		return append(out, m.diaryBox(w, h-len(out))...)
	}
	top := 7
	if h > 24 {
		top = min(7+(h-24)/2, 18)
	}
	mid := min(max((h-top)/2, 5), max(len(m.status.Jobs), len(m.status.Guests), 3)+2)
	left := w / 2
	out := beside(m.machineBox(left, top), m.balanceBox(w-left, top))
	left = w * 3 / 5
	out = append(out, beside(m.jobsBox(left, mid), m.guestsBox(w-left, mid))...)
	return append(out, m.diaryBox(w, h-len(out))...)
}

func (m *model) machineBox(w, h int) block {
	host, in := m.status.Host, w-4
	bar := max(min(in-44, 24), 6)
	line := func(name, rest string) string { return fit(name, 7) + rest }
	why := good.of("accepting") + ": "
	if !host.Accepts {
		why = warn.of("not accepting") + ": "
	}
	lines := []string{
		line("CPU", m.g.bar(host.CPUPercent/100, bar)+fmt.Sprintf(" %.0f%% of the machine", host.CPUPercent)),
		line("Memory", m.g.bar(ratio(host.MemUsed, host.MemTotal), bar)+fmt.Sprintf(" %s of %s GiB, lends %s", gibs(host.MemUsed), gibs(host.MemTotal), gibs(host.Capacity.Memory))),
		line("Slots", m.g.bar(ratio(host.Busy, host.Capacity.Slots), bar)+fmt.Sprintf(" %d of %d busy at %s cr/Tfuel", host.Busy, host.Capacity.Slots, price(host.Price))),
		line("Policy", clean(host.Policy)+"; done "+plural(host.UnitsDone, "unit")+", "+fuel(host.FuelDone)),
		line("Why", why+clean(host.Why)),
	}
	if in := wrap("Why    "+why+clean(host.Why), in); len(in) > 1 && h-2 >= len(lines)+len(in)-1 {
		lines = append(lines[:len(lines)-1], in...)
	}
	return m.g.box("This machine", m.donation(), lines, w, h)
}

// donation is the state of the provider side in a few words.
func (m *model) donation() string {
	switch host := m.status.Host; {
	case !host.Donating:
		return "not donating"
	case host.PausedUntil.After(m.now):
		return warn.of("paused " + span(host.PausedUntil.Sub(m.now)))
	case host.Finishing:
		return warn.of("finishing")
	case host.Frozen && host.Busy > 0:
		return warn.of("guests stand still")
	default:
		return good.of(fmt.Sprintf("donating %d", host.Capacity.Slots)) + " slots"
	}
}

func (m *model) balanceBox(w, h int) block {
	b := m.status.Balance
	in, out := flows(m.day, m.status.Account, m.now, day)
	const title = "Credits, 24 h"
	sums := fmt.Sprintf("earned %s  spent %s", credits(in), credits(out))
	remarks := []string{sums, signed(in) + "  " + signed(-out)}
	if b.Locked != 0 {
		remarks = append([]string{sums + "  locked " + credits(b.Locked)}, remarks...)
	}
	remark := longest(boxRoom(title, w), remarks...)
	var lines []string
	if o := m.status.Office; o != nil { // the balance is where the key is
		remark = fmt.Sprintf("earns for %s  %d wait: %s", o.Account.Short(), o.Waiting, credits(o.Amount))
	}
	switch {
	case m.polls[fromReceipts] == nil || m.polls[fromReceipts].busy && m.day == nil:
		lines = []string{"Reading receipts…"}
	case m.trouble(fromReceipts) != "":
		lines = wrap("Receipts cannot be read: "+m.trouble(fromReceipts), w-4)
	case b.Net == 0 && len(m.day) == 0:
		lines = wrap("Balance 0.00. Donate to earn: press d on Overview.", w-4)
	default:
		width := max(w-4, 1)
		lines = m.g.dayChart(balances(m.day, m.status.Account, b.Net, m.now, width), m.now, width, h-2)
	}
	return m.g.box(title, remark, lines, w, h)
}

func (m *model) jobsBox(w, h int) block {
	var running, done int
	var lines []string
	for _, j := range m.status.Jobs {
		r := newJobRow(j)
		switch {
		case r.ended():
			done++
		default:
			running++
		}
		if len(lines) < h-2 {
			lines = append(lines, m.jobLine(&r, w-4))
		}
	}
	if len(lines) == 0 {
		lines = []string{"No jobs yet. Start one with: p3 map APP.wasm INPUTS.txt"}
	}
	return m.g.box("My jobs", fmt.Sprintf("%d running, %d ended", running, done), lines, w, h)
}

func (m *model) jobLine(r *jobRow, w int) string {
	name := fit(r.name, 12)
	if r.ended() {
		text := fmt.Sprintf("%s %s  %s/%s  %s cr  %s failed", name, r.tint().of(fit(string(r.State), 9)), count(r.Done), r.total(), credits(r.Spent), count(r.Failed))
		return fit(text, w)
	}
	bar := max(min(w-52, 30), 8)
	text := fmt.Sprintf("%s %s %s  %s/%s  ETA %s", name, r.tint().of(fit(string(r.State), 9)), m.g.bar(ratio(r.Done, r.Units), bar), count(r.Done), r.total(), r.eta(m.now))
	if r.why != "" {
		text = fmt.Sprintf("%s %s %s", name, r.tint().of(fit(string(r.State), 9)), r.why)
	}
	return fit(text, w)
}

func (m *model) guestsBox(w, h int) block {
	var lines []string
	for _, u := range m.status.Guests {
		lines = append(lines, fmt.Sprintf("%s u-%d for %s  %s", fit(clean(u.Name), 10), u.Unit, u.For.Short(), since(m.now, u.Started)))
	}
	if len(lines) == 0 {
		lines = []string{"Nobody's unit is running here now."}
	}
	return m.g.box("Guests on this machine", count(len(m.status.Guests)), lines, w, h)
}

// diaryBox shows the newest events, newest first.
func (m *model) diaryBox(w, h int) block {
	var lines []string
	for i := len(m.diary) - 1; i >= 0 && len(lines) < h-2; i-- {
		e := m.diary[i]
		lines = append(lines, faint.of(fit(clock(e.Time, m.now), 8))+" "+levelStyle(e.Level).of(fit(clean(e.Level), 5))+" "+e.Text)
	}
	if len(lines) == 0 {
		lines = []string{"Nothing has happened yet."}
	}
	return m.g.box("Events", "", lines, w, h)
}

func (m *model) setHost(c node.HostChange, says string) tea.Cmd {
	n := m.node
	return m.act(func(ctx context.Context) (func(*model), error) {
		host, err := n.SetHost(ctx, c)
		return func(m *model) {
			s := *m.status // the feed's value is shared
			s.Host = host
			m.status = &s
			m.say(says + ": " + clean(host.Why))
		}, err
	})
}

func (m *model) toggleDonate() tea.Cmd {
	on := !m.status.Host.Donating
	says := "donating is off"
	if on {
		says = "donating is on"
	}
	return m.setHost(node.HostChange{Donate: &on}, says)
}

func (m *model) togglePause() tea.Cmd {
	ms, says := time.Hour.Milliseconds(), "paused for 1 h"
	if m.status.Host.PausedUntil.After(m.now) {
		ms, says = 0, "resumed"
	}
	return m.setHost(node.HostChange{PauseMs: &ms}, says)
}

func (m *model) whyNoPause() string {
	if !m.status.Host.Donating {
		return "there is nothing to pause: donating is off (d turns it on)"
	}
	return ""
}
