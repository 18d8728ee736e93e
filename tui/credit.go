package tui

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// maxReceipts is how many of the newest receipts are fetched.
const maxReceipts = 10_000

// A receiptRow is a receipt as this account sees it.
type receiptRow struct {
	node.Receipt
	id, state, problem, hay string
	with                    ledger.Account // the other one
	effect                  ledger.Credits
}

func newReceiptRow(r node.Receipt, me ledger.Account) receiptRow {
	row := receiptRow{Receipt: r, id: "r-" + r.ID.Short(), state: clean(r.State), problem: clean(r.Problem), effect: effect(r, me), with: r.Payer}
	if r.Payer == me {
		row.with = r.Payee
	}
	if r.Transfer {
		row.state = row.moved()
	}
	row.hay = strings.ToLower(strings.Join([]string{row.id, r.ID.String(), r.Job.String(), row.with.String(), row.state, row.signature(), row.problem}, " "))
	return row
}

// signature tells in a word whether the signatures hold.
func (r *receiptRow) signature() string {
	switch {
	case r.Problem != "":
		return "BAD"
	case r.Verified:
		return "valid"
	}
	return "unchecked"
}

// job is the job that was worked for, "-" for a transfer.
func (r *receiptRow) job() string {
	if r.Transfer {
		return "-"
	}
	return "j-" + r.Job.Short()
}

// Columns of receipts, whatever else is said of them.
var (
	idColumn   = column[receiptRow]{field: "receipt", width: 10, str: func(r *receiptRow) string { return r.id }}
	timeColumn = column[receiptRow]{field: "time", width: 8, num: func(r *receiptRow) float64 { return float64(r.Time.UnixMilli()) },
		text: func(r *receiptRow, now time.Time) string { return clock(r.Time, now) }}
)

// signedColumn tells whether the signatures hold, on screens of need columns or more.
func signedColumn(need int) column[receiptRow] {
	return column[receiptRow]{field: "signed", head: "SIGNATURES", width: 10, need: need, str: (*receiptRow).signature, tint: func(r *receiptRow) style {
		if r.Problem != "" {
			return bad
		}
		return plain
	}}
}

func receiptTable() table[receiptRow] {
	type row = receiptRow
	return table[row]{
		id: func(r *row) string { return r.id }, hay: func(r *row) string { return r.hay },
		sort: 1, reverse: true,
		cols: []column[row]{
			idColumn, timeColumn,
			{field: "with", width: 10, need: 70, str: func(r *row) string { return r.with.Short() }},
			{field: "amount", head: "cr", width: 10, right: true, num: func(r *row) float64 { return float64(r.effect) / float64(ledger.Credit) },
				text: func(r *row, _ time.Time) string { return signed(r.effect) },
				tint: func(r *row) style {
					if r.effect <= 0 {
						return plain
					}
					return good
				}},
			{field: "units", width: 6, right: true, need: 76, num: func(r *row) float64 { return float64(r.Units) },
				text: func(r *row, _ time.Time) string { return count(r.Units) }},
			{field: "fuel", head: "Gfuel", width: 9, right: true, need: 90, num: func(r *row) float64 { return float64(r.Fuel) / 1e9 },
				text: func(r *row, _ time.Time) string { return fmt.Sprintf("%.2f", float64(r.Fuel)/1e9) }},
			{field: "state", width: 11, str: func(r *row) string { return r.state }},
			signedColumn(0),
			{field: "job", width: 10, need: 96, str: (*row).job},
		},
	}
}

// clock shows the time of day, or the date when that is another.
func clock(t, now time.Time) string {
	t = t.In(now.Location())
	if now.Sub(t) < day {
		return t.Format("15:04:05")
	}
	return t.Format("02 Jan")
}

func (m *model) wantReceipts(every time.Duration) want {
	me := ledger.Account{}
	if m.status != nil {
		me = m.status.Account
	}
	return want{fromReceipts, every, func(ctx context.Context) (func(*model), error) {
		var list []node.Receipt
		var rows []receiptRow
		enough := errors.New("enough")
		err := m.node.Receipts(ctx, func(r node.Receipt) error {
			list = append(list, r)
			rows = append(rows, newReceiptRow(r, me))
			if len(list) == maxReceipts {
				return enough
			}
			return nil
		})
		if errors.Is(err, enough) {
			err = nil
		}
		return func(m *model) {
			m.day = list
			m.credit.set(rows, m.now)
			m.ledger.transfers.set(transfersOf(rows), m.now)
		}, err
	}}
}

func (m *model) receiptsPart() part {
	return part{name: "Receipts", source: fromReceipts, list: &m.credit, wants: []want{m.wantReceipts(5 * time.Second), m.wantHistory(time.Minute)}, view: m.receiptsView,
		open: func() tea.Cmd {
			r := m.credit.selected()
			m.dialog = &dialog{title: r.id, body: m.receiptFacts(r)}
			return nil
		},
		id:      func() string { return m.credit.selected().ID.String() },
		actions: []action{{keys: "v", label: "verify", help: "check the receipt's signatures in this program", why: (*model).whyNoRow, do: (*model).verify}},
	}
}

func (m *model) receiptsView(w, h int) block {
	top := 6
	if h >= 30 {
		top = min(h/3, 16)
	}
	if h < 16 {
		top = 0
	}
	out := make(block, 0, h)
	switch {
	case top > 0 && w >= 80:
		left := w / 2
		out = append(out, beside(m.balanceBox(left, top), m.daysBox(w-left, top))...)
	case top > 0:
		out = append(out, m.balanceBox(w, top)...)
	}
	return append(out, m.listWith(w, h-top, false, func(w, h int) block {
		return m.tableView(&m.credit, "Receipts", "receipt", "No receipts yet. Donate to earn: press 1, then d.", w, h)
	}, func(w, h int) block {
		r := m.credit.selected()
		if r == nil {
			return m.g.box("Receipt", "", nil, w, h)
		}
		return m.g.box(r.id, "", m.receiptFacts(r), w, h)
	})...)
}

func (m *model) receiptFacts(r *receiptRow) []string {
	if r.Transfer {
		return append(m.transferFacts(r), fact("signatures", r.signature()))
	}
	sign := r.signature()
	switch {
	case r.Problem != "":
		sign = bad.of(sign + ": " + r.problem)
	case r.Verified:
		sign += ", checked by this node"
	}
	return []string{
		fact("receipt", r.ID.String()), fact("job", r.Job.String()),
		fact("payer", m.whose(r.Payer)), fact("payee", m.whose(r.Payee)),
		fact("locked", r.Locked.String()), fact("paid", r.Paid.String()),
		fact("for", plural(uint64(r.Units), "unit")+", "+fuel(r.Fuel)),
		fact("state", r.state+stateMeans[r.State]), fact("signatures", sign),
		fact("time", r.Time.In(m.now.Location()).Format("2006-01-02 15:04:05")),
	}
}

var stateMeans = map[string]string{
	"open":     ": work may still be added",
	"settled":  ": the payer has signed",
	"complete": ": both have signed",
	"claimed":  ": the payee took the last voucher",
	"expired":  ": ended without being settled",
}

func (m *model) whose(a ledger.Account) string {
	if m.status != nil && a == m.status.Account {
		return a.String() + " (me)"
	}
	return a.String()
}

// verify checks the selected receipt here, from its bytes alone: the node is not believed.
func (m *model) verify() tea.Cmd {
	row, network, n := *m.credit.selected(), m.status.Network, m.node
	return m.act(func(ctx context.Context) (func(*model), error) {
		raw, err := n.ReceiptBytes(ctx, row.ID.String())
		if err != nil {
			return nil, err
		}
		body := verdict(raw, row.ID, network)
		return func(m *model) { m.dialog = &dialog{title: "Verify " + row.id, body: body} }, nil
	})
}

// verdict says what the bytes of receipt id prove.
func verdict(raw []byte, id ledger.Digest, network ledger.Network) []string {
	receipt, err := ledger.ParseReceipt(raw)
	var s ledger.Summary
	if err == nil {
		s, err = receipt.Verify()
	}
	switch {
	case err == nil && s.ID != id:
		err = fmt.Errorf("these are the bytes of another receipt, r-%s", s.ID.Short())
	case err == nil && s.Network != network:
		err = errors.New("it is of another credit network")
	}
	if err != nil {
		return []string{bad.of("NOT VALID") + "  " + clean(err.Error())}
	}
	lines := []string{
		good.of("valid") + "  every signature in it holds", "",
		fact("payer", s.Payer.String()+" locked "+s.Locked.String()),
		fact("payee", s.Payee.String()+" claims "+s.Claimed.String()),
		fact("paid", fmt.Sprintf("%s for %s, %s", s.Paid, plural(uint64(s.Units), "unit"), fuel(s.Fuel))),
		"", faint.of(plural(uint64(len(raw)), "byte") + " checked by this program, not by the node."),
	}
	return lines
}
