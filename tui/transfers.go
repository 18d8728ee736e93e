package tui

import (
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/ledger"
)

// moved tells in a few words where a transfer is.
func (r *receiptRow) moved() string {
	switch {
	case r.Paid > 0 && r.State == ledger.StateSettled:
		return "on its way"
	case r.Paid > 0:
		return "arrived"
	case r.State == ledger.StateOpen:
		return "in transit"
	case r.State == ledger.StateExpired:
		return "coming back"
	}
	return "came back"
}

var movedMeans = map[string]string{
	"on its way":  "paid; the receiver's signature is awaited",
	"arrived":     "both have signed; nothing takes it back",
	"in transit":  "reserved; it is paid when a node of the receiver is connected",
	"coming back": "nobody took it up in time; it is free again in a few minutes",
	"came back":   "nobody took it up in time; it is free again",
}

// given is the amount of a transfer, with its sign for this account.
func (r *receiptRow) given() ledger.Credits {
	amount := r.Paid
	if amount == 0 {
		amount = r.Locked
	}
	if r.with == r.Payee {
		return -amount
	}
	return amount
}

func (r *receiptRow) way() string {
	if r.with == r.Payee {
		return "to"
	}
	return "from"
}

// transfersOf is the receipts of what was given.
func transfersOf(rows []receiptRow) (out []receiptRow) {
	for _, r := range rows {
		if r.Transfer {
			out = append(out, r)
		}
	}
	return out
}

func transferTable() table[receiptRow] {
	type row = receiptRow
	return table[row]{
		id: func(r *row) string { return r.id }, hay: func(r *row) string { return r.hay },
		sort: 1, reverse: true,
		cols: []column[row]{
			idColumn, timeColumn,
			{field: "way", width: 4, str: (*row).way},
			{field: "account", width: 10, str: func(r *row) string { return r.with.Short() }},
			{field: "amount", head: "cr", width: 10, right: true, num: func(r *row) float64 { return float64(r.given()) / float64(ledger.Credit) },
				text: func(r *row, _ time.Time) string { return signed(r.given()) }},
			{field: "state", width: 11, str: (*row).moved, tint: func(r *row) style {
				switch r.moved() {
				case "arrived":
					return good
				case "came back":
					return plain
				}
				return warn
			}},
			signedColumn(80),
		},
	}
}

func (m *model) transfersPart() part {
	t := &m.ledger.transfers
	return part{name: "Transfers", source: fromReceipts, list: t, wants: []want{m.wantReceipts(5 * time.Second)},
		view: m.transfersView,
		open: func() tea.Cmd {
			r := t.selected()
			m.dialog = &dialog{title: r.id, body: m.transferFacts(r)}
			return nil
		},
		id: func() string { return t.selected().ID.String() },
		actions: []action{
			{keys: "n", label: "send", help: "give credit to another account, after a question", why: (*model).whyNoSend, do: (*model).promptSend},
		}}
}

func (m *model) transfersView(w, h int) block {
	var leaving, sent, got ledger.Credits
	for _, r := range m.ledger.transfers.rows {
		switch {
		case r.Payee == m.status.Account:
			got += r.Paid
		case r.moved() == "in transit" || r.moved() == "coming back":
			leaving += r.Locked
		default:
			sent += r.Paid
		}
	}
	remark := fmt.Sprintf("sent %s  got %s", credits(sent), credits(got))
	if leaving > 0 {
		remark = fmt.Sprintf("in transit %s  ", credits(leaving)) + remark
	}
	facts := []string{fact("free", m.status.Balance.Free.String()+" may be sent now")}
	return m.listUnder("Moving credit", remark, facts, w, h, func(w, h int) block {
		return m.listWith(w, h, false, func(w, h int) block {
			return m.tableView(&m.ledger.transfers, "Transfers", "transfer", "No transfers yet. n sends credit to another account, such as that of another PC of yours.", w, h)
		}, func(w, h int) block {
			r := m.ledger.transfers.selected()
			if r == nil {
				return m.g.box("Transfer", "", nil, w, h)
			}
			return m.g.box(r.id, "", m.transferFacts(r), w, h)
		})
	})
}

func (m *model) transferFacts(r *receiptRow) []string {
	moved := r.moved()
	return []string{
		fact("receipt", r.ID.String()), fact("from", m.whose(r.Payer)), fact("to", m.whose(r.Payee)),
		fact("amount", max(r.given(), -r.given()).String()), fact("state", moved+": "+movedMeans[moved]),
		fact("sent", r.Time.In(m.now.Location()).Format("2006-01-02 15:04:05")),
	}
}
