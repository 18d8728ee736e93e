package tui

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

// A part is one view of the Ledger screen: a list with something above it.
type part struct {
	name    string
	source  source // what fills its list
	wants   []want
	list    list
	view    func(w, h int) block
	actions []action       // besides those of every list
	open    func() tea.Cmd // what Enter does on a row
	id      func() string  // of the row under the cursor, to be copied
}

// parts are the views of the Ledger screen in the order of their keys.
func (m *model) parts() []part {
	return []part{m.receiptsPart(), m.transfersPart(), m.grantsPart(), m.witnessesPart(), m.frozenPart()}
}

// part is the view in front.
func (m *model) part() part { return m.parts()[m.ledger.at] }

// A ledgerPane is what the parts besides the receipts show, as it was last read.
type ledgerPane struct {
	at        int // part in front
	transfers table[receiptRow]
	grants    grantsPane
	witnesses witnessPane
	frozen    frozenPane
}

func newLedgerPane() ledgerPane {
	return ledgerPane{transfers: transferTable(), grants: newGrantsPane(), witnesses: witnessPane{seats: seatTable()}, frozen: frozenPane{rows: frozenTable()}}
}

// settle sorts lists again whose cursor has rested.
func (p *ledgerPane) settle(now time.Time) {
	p.transfers.settle(now)
	p.grants.grants.settle(now)
	p.grants.members.settle(now)
	p.witnesses.seats.settle(now)
	p.frozen.rows.settle(now)
}

// creditView draws the names of the parts, what is wrong with the ledger, and the part in front.
func (m *model) creditView(w, h int) block {
	out := block{m.partNames(w)}
	out = append(out, m.readOnlyBox(w, h-1)...)
	return append(out, m.part().view(w, h-len(out))...)
}

func (m *model) partNames(w int) string {
	var b strings.Builder
	for i, p := range m.parts() {
		if i == m.ledger.at {
			b.WriteString(active.of("<" + p.name + ">"))
		} else {
			b.WriteString(" " + p.name + " ")
		}
		b.WriteByte(' ')
	}
	return between(" "+b.String(), faint.of("h l change "), w)
}

// turnTo shows the part d further on, around the ends.
func (m *model) turnTo(d int) {
	n := len(m.parts())
	m.ledger.at, m.preview = (m.ledger.at+d+n)%n, false
}

// partActions is what the keys of the part in front do, before those of every list.
func (m *model) partActions() []action {
	p := m.part()
	names := m.parts()
	next := strings.ToLower(names[(m.ledger.at+1)%len(names)].name)
	var list []action
	if m.status.ReadOnly != "" {
		list = append(list, action{keys: "R", label: "recover", help: "ask peers for what this ledger has lost, after a question", do: (*model).askRecover})
	}
	list = append(list, p.actions...)
	return append(list,
		action{keys: "l right", label: next, help: "the next part of the ledger: " + next, do: always(func(m *model) { m.turnTo(1) })},
		action{keys: "h left", help: "the part before", do: always(func(m *model) { m.turnTo(-1) })})
}

// goToPart shows the part whose name begins with word.
func (m *model) goToPart(word string) bool {
	for i, p := range m.parts() {
		if strings.HasPrefix(strings.ToLower(p.name), word) {
			m.show(credit)
			m.ledger.at = i
			return true
		}
	}
	return false
}

// factWrapped is a fact whose value may take several lines of w cells.
func factWrapped(name, value string, w int) []string {
	var out []string
	for i, line := range wrap(value, max(w-len(fact("", "")), 10)) {
		if i > 0 {
			name = ""
		}
		out = append(out, fact(name, line))
	}
	return out
}

// listUnder draws facts in a box above a list, as many as leave it room.
func (m *model) listUnder(title, remark string, facts []string, w, h int, list func(w, h int) block) block {
	top := min(len(facts)+2, max(h-6, 0))
	if top < 3 {
		return list(w, h)
	}
	return append(m.g.box(title, remark, facts, w, top), list(w, h-top)...)
}

// quorum says how many witnesses it takes.
func quorum(need, of, faulty int) string {
	switch of {
	case 0:
		return "none: spending twice is found out, not prevented"
	case 1:
		return "one signs each lock: a bank"
	}
	return fmt.Sprintf("%d of %d sign each lock, %d may fail", need, of, faulty)
}
