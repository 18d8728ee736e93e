package tui

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// An offerRow is an offer with its text made clean.
type offerRow struct {
	node.Offer
	name, engines, arch, os, hay string
}

func newOfferRow(o node.Offer) offerRow {
	r := offerRow{Offer: o, name: clean(o.Name), engines: clean(strings.Join(o.Capacity.Engines, ",")),
		arch: clean(o.Capacity.Arch), os: clean(o.Capacity.OS)}
	if r.name == "" {
		r.name = o.Account.Short()
	}
	if o.Self {
		r.name += " (me)"
	}
	r.hay = strings.ToLower(strings.Join([]string{r.name, clean(o.Peer), o.Account.String(), r.engines, r.arch, r.os}, " "))
	return r
}

// trust is the share of a peer's units that we accepted; below zero when it has done none.
func (r *offerRow) trust() float64 {
	if r.Done+r.Failed == 0 {
		return -1
	}
	return float64(r.Done) / float64(r.Done+r.Failed)
}

func (r *offerRow) trustText() string {
	t := r.trust()
	if t < 0 {
		return "new"
	}
	s := fmt.Sprintf("%.2f (%s)", t, count(r.Done+r.Failed))
	if t < 0.9 {
		s += " !"
	}
	return s
}

// far sorts an unknown round trip behind all known ones.
func far(ms float64) float64 {
	if ms <= 0 {
		return math.Inf(1)
	}
	return ms
}

func offerTable() table[offerRow] {
	type row = offerRow
	return table[row]{
		id: func(r *row) string { return r.Peer }, hay: func(r *row) string { return r.hay },
		sort: 10, reverse: true,
		cols: []column[row]{
			{field: "peer", width: 10, str: func(r *row) string { return r.name }},
			{field: "slots", width: 5, right: true, num: func(r *row) float64 { return float64(r.Capacity.Slots) },
				text: func(r *row, _ time.Time) string { return count(r.Capacity.Slots) }},
			{field: "free", width: 4, right: true, num: func(r *row) float64 { return float64(r.Free) },
				text: func(r *row, _ time.Time) string { return count(r.Free) }},
			{field: "mem", head: "GiB", width: 5, right: true, num: func(r *row) float64 { return float64(r.Capacity.Memory) / gib },
				text: func(r *row, _ time.Time) string { return gibs(r.Capacity.Memory) }},
			{field: "speed", head: "Gfuel/s", width: 7, right: true, num: func(r *row) float64 { return float64(r.Capacity.Speed) / 1e9 },
				text: func(r *row, _ time.Time) string { return fmt.Sprintf("%.2f", float64(r.Capacity.Speed)/1e9) }},
			{field: "price", head: "cr/Tfuel", width: 9, right: true, num: func(r *row) float64 { return priceOf(r.Price) },
				text: func(r *row, _ time.Time) string { return price(r.Price) }},
			{field: "rtt", width: 6, right: true, num: func(r *row) float64 { return far(r.RTTMs) },
				text: func(r *row, _ time.Time) string { return rtt(r.RTTMs) }},
			{field: "trust", width: 13, need: 76, num: (*row).trust, text: func(r *row, _ time.Time) string { return r.trustText() },
				tint: func(r *row) style {
					if t := r.trust(); t >= 0 && t < 0.9 {
						return warn
					}
					return plain
				}},
			{field: "engine", width: 9, need: 100, str: func(r *row) string { return r.engines }},
			{field: "age", width: 6, right: true, need: 84, num: func(r *row) float64 { return -float64(r.Signed.Unix()) },
				text: func(r *row, now time.Time) string { return since(now, r.Signed) }},
			{field: "score", width: 5, right: true, num: func(r *row) float64 { return r.Score },
				text: func(r *row, _ time.Time) string { return fmt.Sprintf("%.2f", r.Score) }},
			{field: "arch", width: 7, need: 112, str: func(r *row) string { return r.arch }},
			{field: "os", width: 8, need: 122, str: func(r *row) string { return r.os }},
			{field: "done", num: func(r *row) float64 { return float64(r.Done) }},
			{field: "failed", num: func(r *row) float64 { return float64(r.Failed) }},
		},
	}
}

func (m *model) wantOffers(every time.Duration) want {
	return want{fromOffers, every, func(ctx context.Context) (func(*model), error) {
		list, err := m.node.Offers(ctx)
		rows := make([]offerRow, len(list))
		for i, o := range list {
			rows[i] = newOfferRow(o)
		}
		return func(m *model) { m.offers.set(rows, m.now) }, err
	}}
}

// marketView draws the offers, and at 160 columns or on demand what is known of one.
func (m *model) marketView(w, h int) block {
	return m.listWith(w, h, m.offers.marked() != nil, func(w, h int) block {
		return m.tableView(&m.offers, "Offers", "offer", m.noOffers(), w, h)
	}, func(w, h int) block {
		if rows := m.offers.marked(); rows != nil {
			return m.g.box("Compare "+count(len(rows)), "space unmarks", m.comparison(rows, w-4), w, h)
		}
		row := m.offers.selected()
		if row == nil {
			return m.g.box("Offer", "", nil, w, h)
		}
		return m.g.box(row.name, "", m.offerFacts(row, w-4), w, h)
	})
}

func (m *model) noOffers() string {
	if m.status != nil && m.status.Peers == 0 {
		return "No offers: no peers yet. Press 5 for peers and an invite code."
	}
	return "No offers yet. They appear here as providers announce them."
}

func (m *model) offerFacts(r *offerRow, w int) []string {
	facts := []string{
		fact("peer", clean(r.Peer)), fact("account", r.Account.String()),
		fact("slots", fmt.Sprintf("%s, %s free when signed", count(r.Capacity.Slots), count(r.Free))),
		fact("memory", gibs(r.Capacity.Memory)+" GiB over all slots"), fact("disk", gibs(r.Capacity.Disk)+" GiB"),
		fact("machine", r.arch+" "+r.os), fact("engines", r.engines),
		fact("speed", si(float64(r.Capacity.Speed))+"fuel/s a slot, as it says"),
		fact("price", price(r.Price)+" cr/Tfuel"), fact("round trip", rtt(r.RTTMs)),
		fact("for us", r.record()), fact("signed", since(m.now, r.Signed)+" ago, expires in "+span(r.Expires.Sub(m.now))),
		fact("score", fmt.Sprintf("%.2f for a default job", r.Score)),
	}
	if name, f := m.lastJob(); f > 0 {
		text := "no price"
		if c, err := r.Price.Cost(f); err == nil {
			text = credits(c) + " cr here"
		}
		facts = append(facts, fact("last job", fmt.Sprintf("%s (%s): %s", name, fuel(f), text)))
	}
	if w >= 110 { // two columns
		half := (len(facts) + 1) / 2
		for i := range half {
			right := ""
			if half+i < len(facts) {
				right = facts[half+i]
			}
			facts[i] = fit(facts[i], w/2) + right
		}
		facts = facts[:half]
	}
	return facts
}

func fact(name, value string) string { return faint.of(fit(name, 11)) + value }

func (r *offerRow) record() string {
	if r.Done+r.Failed == 0 {
		return "nothing yet"
	}
	return plural(r.Done, "unit") + " accepted, " + count(r.Failed) + " not"
}

// comparison puts marked offers side by side, the best of each line marked.
func (m *model) comparison(rows []*offerRow, w int) []string {
	const label, col = 11, 15
	rows = rows[:min(len(rows), max((w-label)/col, 1))]
	lines := make([]string, 0, 9)
	line := func(name string, value func(*offerRow) string, rank func(*offerRow) float64) {
		best := math.Inf(-1)
		for _, r := range rows {
			if rank != nil {
				best = max(best, rank(r))
			}
		}
		s := faint.of(fit(name, label))
		for _, r := range rows {
			cell := fitRight(value(r), col-3)
			if rank != nil && rank(r) == best && len(rows) > 1 {
				s += good.of(cell + " +")
			} else {
				s += cell + "  "
			}
			s += " "
		}
		lines = append(lines, s)
	}
	line("", func(r *offerRow) string { return r.name }, nil)
	line("price", func(r *offerRow) string { return price(r.Price) }, func(r *offerRow) float64 { return -priceOf(r.Price) })
	line("speed", func(r *offerRow) string { return si(float64(r.Capacity.Speed)) }, func(r *offerRow) float64 { return float64(r.Capacity.Speed) })
	line("slots", func(r *offerRow) string { return count(r.Capacity.Slots) }, func(r *offerRow) float64 { return float64(r.Capacity.Slots) })
	line("memory", func(r *offerRow) string { return gibs(r.Capacity.Memory) + " GiB" }, func(r *offerRow) float64 { return float64(r.Capacity.Memory) })
	line("round trip", func(r *offerRow) string { return rtt(r.RTTMs) }, func(r *offerRow) float64 { return -far(r.RTTMs) })
	line("trust", (*offerRow).trustText, (*offerRow).trust)
	line("score", func(r *offerRow) string { return fmt.Sprintf("%.2f", r.Score) }, func(r *offerRow) float64 { return r.Score })
	if name, f := m.lastJob(); f > 0 {
		line(name, func(r *offerRow) string {
			c, err := r.Price.Cost(f)
			if err != nil {
				return "-"
			}
			return credits(c) + " cr"
		}, func(r *offerRow) float64 { return -priceOf(r.Price) })
	}
	return lines
}

// lastJob is the newest of our jobs that has paid receipts, and the fuel these name.
func (m *model) lastJob() (name string, f ledger.Fuel) {
	if m.status == nil {
		return "", 0
	}
	for _, j := range m.status.Jobs {
		for _, r := range m.day {
			if r.Job == ledger.Digest(j.ID) && r.Payer == m.status.Account {
				f += r.Fuel
			}
		}
		if f > 0 {
			return clean(j.Name), f
		}
	}
	return "", 0
}
