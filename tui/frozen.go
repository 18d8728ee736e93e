package tui

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// A frozenPane is who was caught, as it was last read.
type frozenPane struct {
	total int
	rows  table[frozenRow]
}

// A frozenRow is an account with a proof against it.
type frozenRow struct {
	node.Conviction
	account, name, why, hay string
}

func newFrozenRow(c node.Conviction) frozenRow {
	r := frozenRow{Conviction: c, account: c.Account.String(), name: clean(c.Name), why: clean(c.Why)}
	if r.name == "" {
		r.name = "-"
	}
	if c.Role != "" {
		r.name = clean(c.Role)
	}
	r.hay = strings.ToLower(strings.Join([]string{r.account, r.name, r.why}, " "))
	return r
}

func frozenTable() table[frozenRow] {
	type row = frozenRow
	amount := func(field, head string, of func(*row) ledger.Credits) column[row] {
		return column[row]{field: field, head: head, width: 9, right: true, need: 100, num: func(r *row) float64 { return float64(of(r)) / float64(ledger.Credit) },
			text: func(r *row, _ time.Time) string { return credits(of(r)) }}
	}
	return table[row]{
		id: func(r *row) string { return r.account }, hay: func(r *row) string { return r.hay },
		cols: []column[row]{
			{field: "account", width: 10, str: func(r *row) string { return r.Account.Short() }},
			{field: "who", width: 9, str: func(r *row) string { return r.name }},
			amount("did", "DID cr", func(r *row) ledger.Credits { return r.Did }),
			amount("got", "GOT cr", func(r *row) ledger.Credits { return r.Got }),
			{field: "proof", width: 50, str: func(r *row) string { return r.why }, tint: func(*row) style { return bad }},
		},
	}
}

func (m *model) wantFrozen(every time.Duration) want {
	return want{fromFrozen, every, func(ctx context.Context) (func(*model), error) {
		c, err := m.node.Convicted(ctx)
		rows := make([]frozenRow, len(c.List))
		for i, x := range c.List {
			rows[i] = newFrozenRow(x)
		}
		return func(m *model) {
			m.ledger.frozen.total = c.Total
			m.ledger.frozen.rows.set(rows, m.now)
		}, err
	}}
}

func (m *model) frozenPart() part {
	t := &m.ledger.frozen.rows
	return part{name: "Frozen", source: fromFrozen, list: t, wants: []want{m.wantFrozen(10 * time.Second)}, view: m.frozenView,
		open: func() tea.Cmd {
			r := t.selected()
			m.dialog = &dialog{title: "Frozen " + r.Account.Short(), body: []string{
				fact("account", r.account), fact("who", r.name), fact("proof", bad.of(r.why)),
				fact("work", fmt.Sprintf("%s by it for me, %s by me for it", r.Did, r.Got)), "",
				"Two records that it signed contradict each other. Anyone can check that, so nobody works with it again, for ever.",
			}}
			return nil
		},
		id: func() string { return t.selected().account }}
}

func (m *model) frozenView(w, h int) block {
	var facts []string
	if m.ledger.frozen.total > 0 {
		facts = wrap("Each signed two records that contradict each other: the proof is kept, and nobody works with it.", w-4)
	}
	if shown := len(m.ledger.frozen.rows.rows); m.ledger.frozen.total > shown {
		facts = append(facts, fmt.Sprintf("%s are known; %s are listed, those dealt with first.", count(m.ledger.frozen.total), count(shown)))
	}
	return m.listUnder("Caught cheating", plural(uint64(max(m.ledger.frozen.total, 0)), "account"), facts, w, h, func(w, h int) block {
		return m.tableView(&m.ledger.frozen.rows, "Frozen", "account", "Nobody was caught: no proof against any account is known here.", w, h)
	})
}
