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

// A witnessPane is the network's witnesses as they were last read.
type witnessPane struct {
	status *node.WitnessStatus // nil until read
	seats  table[seatRow]
}

// A seatRow is a witness with its text made clean.
type seatRow struct {
	node.WitnessSeat
	account, name, state, hay string
	place                     int
	ok                        bool
}

func newSeatRow(x node.WitnessSeat, place int) seatRow {
	r := seatRow{WitnessSeat: x, account: x.Account.String(), name: clean(x.Name), place: place}
	switch {
	case x.Here:
		r.name = "this one"
	case r.name == "":
		r.name = "not known"
	}
	switch {
	case x.Convicted:
		r.state = "convicted: it signed twice"
	case x.Why != "":
		r.state = clean(x.Why)
	case x.Asked.IsZero():
		r.state = "not asked yet"
	default:
		r.state, r.ok = "signed", true
	}
	r.hay = strings.ToLower(strings.Join([]string{r.account, r.name, clean(x.Peer), r.state}, " "))
	return r
}

func (r *seatRow) tint() style {
	switch {
	case r.ok:
		return good
	case r.Convicted:
		return bad
	case r.Asked.IsZero():
		return plain
	}
	return warn
}

func seatTable() table[seatRow] {
	type row = seatRow
	return table[row]{
		id: func(r *row) string { return r.account }, hay: func(r *row) string { return r.hay },
		cols: []column[row]{
			{field: "account", width: 10, num: func(r *row) float64 { return float64(r.place) }, text: func(r *row, _ time.Time) string { return r.Account.Short() }},
			{field: "node", width: 12, str: func(r *row) string { return r.name }},
			{field: "asked", width: 7, right: true, num: func(r *row) float64 { return -float64(r.Asked.UnixMilli()) },
				text: func(r *row, now time.Time) string { return since(now, r.Asked) }},
			{field: "state", width: 28, str: func(r *row) string { return r.state }, tint: (*row).tint},
		},
	}
}

func (m *model) wantWitness(every time.Duration) want {
	return want{fromWitness, every, func(ctx context.Context) (func(*model), error) {
		w, err := m.node.Witness(ctx)
		rows := make([]seatRow, len(w.Witnesses))
		for i, x := range w.Witnesses {
			rows[i] = newSeatRow(x, i+1)
		}
		return func(m *model) {
			m.ledger.witnesses.status = &w
			m.ledger.witnesses.seats.set(rows, m.now)
		}, err
	}}
}

func (m *model) witnessesPart() part {
	t := &m.ledger.witnesses.seats
	return part{name: "Witnesses", source: fromWitness, list: t, wants: []want{m.wantWitness(2 * time.Second)}, view: m.witnessesView,
		open: func() tea.Cmd {
			r := t.selected()
			facts := []string{fact("account", r.account), fact("node", r.name), fact("asked", since(m.now, r.Asked)+" ago")}
			if r.Asked.IsZero() {
				facts[2] = fact("asked", "never")
			}
			if r.Peer != "" {
				facts = append(facts, fact("peer", clean(r.Peer)))
			}
			m.dialog = &dialog{title: fmt.Sprintf("Witness %d", r.place), body: append(facts, factWrapped("state", r.tint().of(r.state), 80)...)}
			return nil
		},
		id: func() string { return t.selected().account }}
}

func (m *model) witnessesView(w, h int) block {
	p := &m.ledger.witnesses
	switch trouble := m.trouble(fromWitness); {
	case p.status == nil && trouble != "":
		return m.g.box("Witnesses", "", wrap("Cannot be read: "+trouble, w-4), w, h)
	case p.status == nil:
		return m.g.box("Witnesses", "", []string{"Reading…"}, w, h)
	case p.status.Of == 0:
		return m.g.box("Witnesses", "", wrap("Network "+clean(p.status.NetName)+" has no witnesses. Who spends twice is found out and shut out for ever, and has had a bounded amount of work by then. "+
			"Witnesses make that impossible: who founds a network names them, p3 org init --witness.", w-4), w, h)
	}
	return m.listUnder("Network "+clean(p.status.NetName), quorum(p.status.Need, p.status.Of, p.status.Faulty), m.witnessFacts(w-4), w, h, func(w, h int) block {
		return m.tableView(&p.seats, "Witnesses", "witness", "", w, h)
	})
}

// witnessFacts is whether a quorum signed when it was last asked, the last certificate, and what this node's own witness did.
func (m *model) witnessFacts(w int) []string {
	s := m.ledger.witnesses.status
	signed, asked := 0, false
	for _, x := range m.ledger.witnesses.seats.rows {
		if x.ok {
			signed++
		}
		asked = asked || !x.Asked.IsZero()
	}
	reached := fmt.Sprintf("%d of %d signed when last asked, it takes %d", signed, s.Of, s.Need)
	switch {
	case !asked:
		reached = "nobody was asked yet: nothing was locked since this node started"
	case signed >= s.Need:
		reached = good.of("reached: ") + reached
	default:
		reached = bad.of("not reached: ") + reached + "; nothing can be spent until more answer"
	}
	facts := factWrapped("quorum", reached, w)
	if c := s.Certified; c != nil {
		facts = append(facts, fact("last", fmt.Sprintf("lock r-%s, entry %d, %s ago, by %s", c.Lock.Short(), c.Seq, since(m.now, c.Time), m.seatNames(c.By))))
	} else {
		facts = append(facts, fact("last", "no certificate since this node started"))
	}
	switch {
	case s.Serving:
		return append(facts, fact("here", fmt.Sprintf("%s signs: %s of %s in %s; %s refused, %s", s.Account.Short(), count(s.Signed), plural(s.Entries, "slot"), plural(s.Accounts, "chain"), count(s.Refused), plural(s.Forks, "fork"))))
	case s.Account.IsZero():
		return append(facts, fact("here", "this node is no witness"))
	case s.Why != "":
		return append(facts, factWrapped("here", bad.of("does not sign: ")+clean(s.Why), w)...)
	}
	return append(facts, fact("here", s.Account.Short()+" is not named by this network"))
}

// seatNames is how people know these witnesses.
func (m *model) seatNames(by []ledger.Account) string {
	var names []string
	for _, a := range by {
		name := a.Short()
		for _, x := range m.ledger.witnesses.seats.rows {
			if x.Account == a && x.Name != "" {
				name = clean(x.Name)
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
