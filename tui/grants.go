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

// A grantsPane is a granted network as it was last read.
type grantsPane struct {
	org     *node.Org // nil: not read yet, or the network is mutual
	mutual  string    // why there is no org
	taken   []node.GrantTaken
	grants  table[grantRow]
	members table[memberRow]
}

func newGrantsPane() grantsPane { return grantsPane{grants: grantTable(), members: memberTable()} }

// A grantRow is a grant that this account took up.
type grantRow struct {
	node.GrantTaken
	id, hay string
}

// A memberRow is a member of a network whose mint's key is here.
type memberRow struct {
	node.OrgMember
	account, name, hay string
}

func grantTable() table[grantRow] {
	type row = grantRow
	return table[row]{
		id: func(r *row) string { return r.id }, hay: func(r *row) string { return r.hay }, sort: 1, reverse: true,
		cols: []column[row]{
			{field: "grant", width: 10, str: func(r *row) string { return r.id }},
			{field: "time", width: 8, num: func(r *row) float64 { return float64(r.Time.UnixMilli()) },
				text: func(r *row, now time.Time) string { return clock(r.Time, now) }},
			{field: "amount", head: "cr", width: 10, right: true, num: func(r *row) float64 { return float64(r.Amount) / float64(ledger.Credit) },
				text: func(r *row, _ time.Time) string { return signed(r.Amount) }},
			{field: "mint", width: 10, str: func(r *row) string { return r.Mint.Short() }},
		},
	}
}

func memberTable() table[memberRow] {
	type row = memberRow
	amount := func(field string, of func(*row) ledger.Credits) column[row] {
		return column[row]{field: field, width: 9, right: true, num: func(r *row) float64 { return float64(of(r)) / float64(ledger.Credit) },
			text: func(r *row, _ time.Time) string { return credits(of(r)) }}
	}
	return table[row]{
		id: func(r *row) string { return r.account }, hay: func(r *row) string { return r.hay },
		cols: []column[row]{
			{field: "name", width: 10, str: func(r *row) string { return r.name }},
			{field: "account", width: 10, str: func(r *row) string { return r.Account.Short() }},
			amount("granted", func(r *row) ledger.Credits { return r.Granted }),
			amount("waiting", func(r *row) ledger.Credits { return r.Waiting }),
			{field: "allowance", width: 12, right: true, num: func(r *row) float64 { return float64(r.Allowance) / float64(ledger.Credit) },
				text: func(r *row, _ time.Time) string {
					if r.Allowance == 0 {
						return "-"
					}
					return credits(r.Allowance) + "/" + clean(r.Every)
				}},
			{field: "next", width: 10, need: 72, str: func(r *row) string {
				if r.Next.IsZero() {
					return "-"
				}
				return r.Next.UTC().Format(time.DateOnly)
			}},
		},
	}
}

func newMemberRow(x node.OrgMember) memberRow {
	r := memberRow{OrgMember: x, account: x.Account.String(), name: clean(x.Name)}
	if r.name == "" {
		r.name = "-"
	}
	r.hay = strings.ToLower(r.name + " " + r.account)
	return r
}

// wantOrg reads the network and what it granted. A mutual one is an answer too, not a trouble.
func (m *model) wantOrg(every time.Duration) want {
	return want{fromOrg, every, func(ctx context.Context) (func(*model), error) {
		o, err := m.node.Org(ctx)
		var p *node.Problem
		if errors.As(err, &p) && p.Code == node.CodeDenied {
			return func(m *model) { m.ledger.grants.org, m.ledger.grants.mutual = nil, clean(p.Message) }, nil
		}
		if err != nil {
			return nil, err
		}
		taken, err := m.node.Grants(ctx)
		grants, members := make([]grantRow, len(taken)), make([]memberRow, len(o.Members))
		for i, g := range taken {
			grants[i] = grantRow{g, "g-" + g.ID.Short(), strings.ToLower(g.ID.String() + " " + g.Mint.String())}
		}
		for i, x := range o.Members {
			members[i] = newMemberRow(x)
		}
		return func(m *model) {
			p := &m.ledger.grants
			p.org, p.mutual, p.taken = &o, "", taken
			p.grants.set(grants, m.now)
			p.members.set(members, m.now)
		}, err
	}}
}

// minting tells whether the key of the network's mint is here.
func (p *grantsPane) minting() bool { return p.org != nil && !p.org.Mint.IsZero() }

func (m *model) grantsPart() part {
	p := &m.ledger.grants
	out := part{name: "Grants", source: fromOrg, list: &p.grants, wants: []want{m.wantOrg(5 * time.Second)}, view: m.grantsView,
		open: func() tea.Cmd {
			g := p.grants.selected()
			m.dialog = &dialog{title: g.id, body: []string{fact("grant", g.ID.String()), fact("mint", g.Mint.String()), fact("amount", g.Amount.String()),
				fact("taken up", g.Time.In(m.now.Location()).Format("2006-01-02 15:04:05"))}}
			return nil
		},
		id: func() string { return p.grants.selected().ID.String() }}
	if p.minting() {
		out.list = &p.members
		out.id = func() string { return p.members.selected().account }
		out.open = func() tea.Cmd {
			r := p.members.selected()
			m.dialog = &dialog{title: r.name, body: m.memberFacts(r)}
			return nil
		}
	}
	return out
}

func (m *model) memberFacts(r *memberRow) []string {
	facts := []string{fact("account", r.account), fact("granted", fmt.Sprintf("%s in %s", r.Granted, plural(r.Grants, "grant")))}
	if r.Waiting > 0 {
		facts = append(facts, fact("waiting", r.Waiting.String()+" until its node connects"))
	}
	if r.Allowance == 0 {
		return append(facts, fact("allowance", "none; p3 org allow "+r.account+" 5/week"))
	}
	facts = append(facts, fact("allowance", fmt.Sprintf("%s each %s", r.Allowance, clean(r.Every))))
	if !r.Next.IsZero() {
		facts = append(facts, fact("next", r.Next.UTC().Format(time.DateTime)+" UTC"))
	}
	return facts
}

func (m *model) grantsView(w, h int) block {
	p := &m.ledger.grants
	if p.org == nil {
		text := "Reading…"
		switch trouble := m.trouble(fromOrg); {
		case trouble != "":
			text = "Cannot be read: " + trouble
		case p.mutual != "":
			text = "Nobody grants credit here: " + p.mutual + ". A network with a mint, a cap and allowances is founded with p3 org init NAME."
		}
		return m.g.box("Grants", "", wrap(text, w-4), w, h)
	}
	return m.listUnder("Network "+clean(p.org.Name), "granted", m.orgFacts(w-4), w, h, func(w, h int) block {
		if p.minting() {
			return m.tableView(&p.members, "Members", "member", "No member was granted anything yet: p3 org grant ACCOUNT AMOUNT", w, h)
		}
		return m.tableView(&p.grants, "Granted to this account", "grant", "Nothing was granted to this account yet. Who founded the network grants with: p3 org grant", w, h)
	})
}

// orgFacts is the mint, what it has issued, and what this account got and has left.
func (m *model) orgFacts(w int) []string {
	o := m.ledger.grants.org
	var facts []string
	for _, x := range o.Mints {
		state := "cap " + x.Cap.String()
		switch {
		case x.Frozen:
			state += ", " + bad.of("frozen: it was convicted, nobody takes up its further grants")
		case x.Account == o.Mint:
			state += ", its key is here"
		}
		facts = append(facts, fact("mint", x.Account.Short()+"  "+state))
	}
	if m.ledger.grants.minting() {
		facts = append(facts, fact("issued", m.g.bar(ratio(int64(o.Issued), int64(o.Issued+o.Left)), 12)+fmt.Sprintf(" %s in %s, %s left of the cap", o.Issued, plural(o.Grants, "grant"), o.Left)))
	}
	if o.Problem != "" {
		facts = append(facts, factWrapped("problem", bad.of(clean(o.Problem)), w)...)
	}
	sums := m.ledger.grants.recent(m.now)
	facts = append(facts,
		fact("to me", fmt.Sprintf("today %s, this week %s, this month %s (UTC)", credits(sums[ledger.Daily]), credits(sums[ledger.Weekly]), credits(sums[ledger.Monthly]))),
		fact("left", fmt.Sprintf("%s of %s granted and %s earned; %s locked", m.status.Balance.Free, m.status.Balance.Granted, credits(m.status.Balance.Earned), credits(m.status.Balance.Locked))))
	for _, x := range o.Members {
		if x.Account == m.status.Account && x.Allowance > 0 {
			facts = append(facts, fact("allowance", fmt.Sprintf("%s each %s", x.Allowance, clean(x.Every))))
		}
	}
	return append(facts, fact("witnesses", quorum(o.Quorum, o.Witnesses, o.Faulty)))
}

// recent sums what was granted since each period of the calendar began, in which allowances are given.
func (p *grantsPane) recent(now time.Time) map[ledger.Period]ledger.Credits {
	sums := map[ledger.Period]ledger.Credits{}
	for period := ledger.Daily; period <= ledger.Monthly; period++ {
		for _, g := range p.taken {
			if !g.Time.Before(period.Start(now)) {
				sums[period] += g.Amount
			}
		}
	}
	return sums
}
