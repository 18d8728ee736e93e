package tui

import (
	"context"
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// readOnlyBox says why the ledger signs nothing and what to do; nil while it signs.
func (m *model) readOnlyBox(w, h int) block {
	why := clean(m.status.ReadOnly)
	if why == "" {
		return nil
	}
	lines := []string{"Why: " + strings.TrimPrefix(why, ledger.ErrReadOnly.Error()+": "), "Until it is mended this account signs nothing: no lease, no transfer. What is recorded stays."}
	if strings.Contains(why, "p3 credit recover") {
		lines = append(lines, "Way out: "+bold.of("R")+" asks the connected peers for what is lost (p3 credit recover).")
	} else {
		lines = append(lines, "Way out: remove the cause, then p3 down; p3 up. More: docs/ledger.md")
	}
	var out []string
	for _, line := range lines {
		out = append(out, wrap(line, w-4)...)
	}
	return m.g.box(bad.of("Read-only"), "", out, w, max(min(len(out)+2, h/2), 3))
}

// askRecover asks before peers are asked.
func (m *model) askRecover() tea.Cmd {
	m.dialog = &dialog{title: "Recover the ledger?", body: []string{
		fmt.Sprintf("Asks the %s for entries and vouchers of this account that they hold, and puts back what follows on what is here.", plural(uint64(m.status.Peers), "connected peer")),
		"Nothing is overwritten. If nothing is missing then, the next question is whether to sign again. It may take two minutes.",
	}, do: func(m *model) tea.Cmd { return m.recover(false) }}
	return nil
}

// recover asks the peers, and shows what came of it. sure says that no other copy of the account is at work.
func (m *model) recover(sure bool) tea.Cmd {
	n := m.node
	m.say("asking the peers…")
	return m.actSlowly(func(ctx context.Context) (func(*model), error) {
		r, err := n.Recover(ctx, sure)
		return func(m *model) { m.dialog = recovered(r, sure) }, err
	})
}

func recovered(r node.Recovery, sure bool) *dialog {
	d := &dialog{title: "Recovered", body: []string{
		fmt.Sprintf("%s asked, %d answered; %d entries put back, and something of %d leases.", plural(uint64(r.Asked), "peer"), r.Answers, r.Entries, r.Leases)}}
	switch {
	case r.Signs:
		d.body = append(d.body, good.of("The ledger signs again."))
	case r.Missing > 0:
		d.title = "Not whole yet"
		d.body = append(d.body, bad.of(fmt.Sprintf("%d entries from %d on are missing.", r.Missing, r.From)), clean(r.Why), "Be connected to those you dealt with last, then R again.")
	case sure:
		d.title = "Not yet"
		d.body = append(d.body, clean(r.Why))
	default:
		d.title = "Sign again?"
		d.body = append(d.body, "Nothing is known to be missing.",
			"Yes only if no other copy of this account is at work and those it dealt with last are connected: else it signs twice for one place, and everybody shuts it out for ever.")
		d.do = func(m *model) tea.Cmd { return m.recover(true) }
	}
	return d
}
