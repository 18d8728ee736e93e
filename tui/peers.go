package tui

import (
	"context"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/node"
)

// A peerRow is a peer with its text made clean.
type peerRow struct {
	node.Peer
	id, name, account, agent, hay string
}

func newPeerRow(p node.Peer) peerRow {
	r := peerRow{Peer: p, id: clean(p.ID), name: clean(p.Name), account: "unknown", agent: clean(p.Agent)}
	if r.name == "" {
		r.name = "-"
	}
	if !p.Account.IsZero() {
		r.account = p.Account.Short()
	}
	r.hay = strings.ToLower(strings.Join([]string{r.name, r.id, p.Account.String(), r.agent, r.via(), clean(strings.Join(p.Addrs, " "))}, " "))
	return r
}

func (r *peerRow) via() string {
	if r.Relayed {
		return "relay"
	}
	return "direct"
}

// tail is the end of a peer ID: the start is the same for all.
func tail(id string, n int) string { return id[max(len(id)-n, 0):] }

func peerTable() table[peerRow] {
	type row = peerRow
	return table[row]{
		id: func(r *row) string { return r.ID }, hay: func(r *row) string { return r.hay },
		sort: 3,
		cols: []column[row]{
			{field: "name", width: 10, str: func(r *row) string { return r.name }},
			{field: "peer", width: 10, str: func(r *row) string { return tail(r.id, 10) }},
			{field: "account", width: 10, str: func(r *row) string { return r.account }},
			{field: "rtt", width: 7, right: true, num: func(r *row) float64 { return far(r.RTTMs) },
				text: func(r *row, _ time.Time) string { return rtt(r.RTTMs) }},
			{field: "via", width: 6, str: (*row).via},
			{field: "since", width: 7, right: true, num: func(r *row) float64 { return -float64(r.Since.Unix()) },
				text: func(r *row, now time.Time) string { return since(now, r.Since) }},
			{field: "agent", width: 14, need: 92, str: func(r *row) string { return r.agent }},
		},
	}
}

func (m *model) wantPeers(every time.Duration) want {
	return want{fromPeers, every, func(ctx context.Context) (func(*model), error) {
		list, err := m.node.Peers(ctx)
		rows := make([]peerRow, len(list))
		for i, p := range list {
			rows[i] = newPeerRow(p)
		}
		return func(m *model) { m.peers.set(rows, m.now) }, err
	}}
}

func (m *model) peersView(w, h int) block {
	return m.listWith(w, h, false, func(w, h int) block {
		return m.tableView(&m.peers, "Peers", "peer", m.noPeers(), w, h)
	}, func(w, h int) block {
		r := m.peers.selected()
		if r == nil {
			return m.g.box("Peer", "", nil, w, h)
		}
		facts := []string{
			fact("peer", r.id), fact("account", r.Account.String()), fact("reached", r.via()+", round trip "+rtt(r.RTTMs)),
			fact("connected", since(m.now, r.Since)+" ago"), fact("agent", r.agent),
		}
		facts = append(facts[:3], append(m.standingFacts(r.Account, w-4), facts[3:]...)...)
		if r.Account.IsZero() {
			facts[1] = fact("account", "unknown until its binding is seen")
		}
		for _, a := range r.Addrs {
			facts = append(facts, fact("address", clean(a)))
		}
		return m.g.box(r.name, "", facts, w, h)
	})
}

func (m *model) noPeers() string {
	searching := ""
	if m.status != nil {
		searching = " " + since(m.now, m.status.Started)
	}
	return "No peers yet. Searching this LAN" + searching + ". Press i for an invite code: p3 join CODE on another PC brings it in."
}

// invite fetches an invitation and shows it.
func (m *model) invite() tea.Cmd {
	n := m.node
	return m.act(func(ctx context.Context) (func(*model), error) {
		code, err := n.Invite(ctx)
		body := []string{"Run this on the PC that is to join:", "", "p3 join " + clean(code)}
		return func(m *model) { m.dialog = &dialog{title: "Invite", body: body} }, err
	})
}
