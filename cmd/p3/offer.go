package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

func (a *app) offerCmd() *cobra.Command {
	var need string
	c := &cobra.Command{Use: "offer", Short: "The market: ls"}
	ls := &cobra.Command{Use: "ls", Short: "List the offers this node knows, best first", Args: cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error { return a.offerLs(ctx, cl, need) })}
	ls.Flags().StringVar(&need, "need", "", `only those that meet a condition, such as 'slots >= 4'`)
	c.AddCommand(ls)
	return c
}

func (a *app) offerLs(ctx context.Context, cl *node.Client, need string) error {
	n, err := market.CompileNeed(need)
	if err != nil {
		return usage("--need: %v", err)
	}
	all, err := cl.Offers(ctx)
	if err != nil {
		return err
	}
	offers := slices.DeleteFunc(slices.Clone(all), func(o node.Offer) bool {
		ok, err := n.Match(attributes(o))
		return err != nil || !ok
	})
	if len(offers) == 0 {
		if len(all) > 0 {
			return &node.Problem{Code: node.CodeNoOffers, Message: fmt.Sprintf("none of %d offers meets %s", len(all), need), Hint: "relax the condition"}
		}
		a.say("no offers yet; peers on this LAN appear by themselves, others by `p3 join INVITE`")
	}
	slices.SortStableFunc(offers, func(x, y node.Offer) int { return cmp.Compare(y.Score, x.Score) })
	var rows [][]string
	for _, o := range offers {
		if a.json {
			if err := a.printAs("p3.offer/v1", o); err != nil {
				return err
			}
			continue
		}
		trust := "new"
		if o.Done+o.Failed > 0 {
			trust = fmt.Sprintf("%.2f (%d)", float64(o.Done+1)/float64(o.Done+2*o.Failed+2), o.Done+o.Failed)
		}
		name := o.Name
		if o.Self {
			name += " (this node)"
		}
		rows = append(rows, []string{name, fmt.Sprintf("%d/%d", o.Free, o.Capacity.Slots), showSize(o.Capacity.Memory), fmt.Sprintf("%.2f", float64(o.Capacity.Speed)/1e9),
			perTfuel(o.Price), fmt.Sprintf("%.1fms", o.RTTMs), trust, strings.Join(o.Capacity.Engines, ","), showAge(time.Since(o.Signed)), fmt.Sprintf("%.2f", o.Score)})
	}
	return table(a.out, "PEER FREE MEM GFUEL/S CR/TFUEL RTT TRUST ENGINE AGE SCORE", rows)
}

func attributes(o node.Offer) market.Attributes {
	return market.Attributes{
		Arch: o.Capacity.Arch, OS: o.Capacity.OS, Slots: o.Capacity.Slots, Free: o.Free, Mem: float64(o.Capacity.Memory) / (1 << 30),
		Disk: float64(o.Capacity.Disk) / (1 << 30), Engines: o.Capacity.Engines, Speed: float64(o.Capacity.Speed) / 1e9,
		Price: float64(o.Price.Num) / float64(max(o.Price.Den, 1)) * 1e6, RTT: o.RTTMs,
		Trust: float64(o.Done+1) / float64(o.Done+2*o.Failed+2), Name: o.Name, Account: o.Account.String(), Peer: o.Peer,
	}
}

func perTfuel(p ledger.Price) string {
	c, err := p.Cost(ledger.PriceFuel)
	if err != nil {
		return "?"
	}
	return c.Decimal()
}

func (a *app) peerCmd() *cobra.Command {
	c := &cobra.Command{Use: "peer", Short: "Who this node is connected to, what credit they have here, why they work for you or not: ls, show, why, id"}
	c.AddCommand(a.peerIDCmd(), &cobra.Command{Use: "ls", Short: "List connected peers", Args: cobra.NoArgs, RunE: a.with(a.peerLs)})
	c.AddCommand(&cobra.Command{
		Use: "show NAME", Short: "Show an account as this node knows it: what was done, its credit here and why", Args: cobra.ExactArgs(1), RunE: a.with(a.peerShow),
		Long: `Show an account as this node knows it: what it did for you and you for it, how much credit it has here, and why so much.
NAME is what its node calls itself, a peer ID, an account, or the beginning of one.

` + exitHelp,
		Example: "  p3 peer show maple\n  p3 --json peer show 0x1f9090aa",
	})
	c.AddCommand(&cobra.Command{
		Use: "why NAME", Short: "Say step by step how an account's offers match your jobs, and why it works for you or not", Args: cobra.ExactArgs(1), RunE: a.with(a.peerWhy),
		Long: `Say why an account works for you, or does not: is it connected, does it offer anything, how do its offers match each
of your jobs that runs (or a plain job, if none does), and what to do about it. NAME is as for p3 peer show.

` + exitHelp,
	})
	return c
}

func (a *app) peerShow(ctx context.Context, cl *node.Client, args []string) error {
	v, err := cl.Peer(ctx, args[0])
	if err != nil {
		return err
	}
	if a.json {
		return a.print(v)
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(a.out, "%-9s %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	row("account", "%s", v.Account)
	if v.Name != "" {
		row("name", "%s", v.Name)
	}
	for _, p := range v.Peers {
		clock := ""
		if skew := time.Duration(p.SkewMs * 1e6); skew.Abs() > market.MaxSkew {
			clock = fmt.Sprintf("; its clock and yours are %s apart: set the wrong one", skew.Abs().Round(time.Second))
		}
		if p.Office {
			clock = "; it earns for the account and does not hold its key" + clock
		}
		row("node", "%s, connected for %s%s", p.ID, showAge(time.Since(p.Since)), clock)
	}
	row("work", "%s by it for you, %s by you for it", v.Did, v.Got)
	row("trust", "%.2f: %d of %d units that may be unpaid are, in %d leases; %d leases left unpaid", v.Trust, v.Unpaid, v.Window, v.Leases, v.Defaults)
	row("checks", "%d of its results right (%d since the last wrong one), %d wrong; --verify auto checks %.0f %% of them", v.Valid, v.Row, v.Wrong, 100*v.Check)
	switch {
	case v.Frozen:
		row("limit", "none: it was caught cheating, and the proof is kept")
	case v.Limited:
		row("limit", "%s: %s", v.Limit, v.Why)
	default:
		row("limit", "what it locks")
	}
	return nil
}

func (a *app) peerWhy(ctx context.Context, cl *node.Client, args []string) error {
	w, err := cl.PeerWhy(ctx, args[0])
	if err != nil {
		return err
	}
	if a.json {
		return a.print(w)
	}
	line := fmt.Sprintf("%s  %s: %s", cmp.Or(w.Name, "-"), w.Account.Short(), w.Why)
	if w.Fix != "" {
		line += "; " + w.Fix
	}
	fmt.Fprintln(a.out, printable(line))
	fmt.Fprintf(a.out, "%5d of its nodes connected\n%5d offers of its known here", w.Nodes, w.Offers)
	if w.Jobs > 0 {
		fmt.Fprintf(a.out, ", matched with %d jobs of yours that run:\n", w.Jobs)
	} else {
		fmt.Fprintln(a.out, ", matched with a plain job, as none of yours runs:")
	}
	fmt.Fprintf(a.out, "%5d hired, %d being asked\n", w.Hired, w.Asking)
	a.steps("refused", w.Refused)
	fmt.Fprintf(a.out, "%5d would do\n", w.Fit)
	return nil
}

func (a *app) peerLs(ctx context.Context, cl *node.Client, _ []string) error {
	peers, err := cl.Peers(ctx)
	if err != nil {
		return err
	}
	if len(peers) == 0 {
		a.say("no peers yet; those on this LAN appear by themselves, others by `p3 join INVITE`; `p3 doctor` looks for the cause")
	}
	var rows [][]string
	for _, p := range peers {
		if a.json {
			if err := a.printAs("p3.peer/v1", p); err != nil {
				return err
			}
			continue
		}
		path := "direct"
		if p.Relayed {
			path = "relayed"
		}
		addr := ""
		if len(p.Addrs) > 0 {
			addr = p.Addrs[0]
		}
		rows = append(rows, []string{p.Name, short(p.ID), p.Account.Short(), path, fmt.Sprintf("%.1fms", p.RTTMs), showAge(time.Since(p.Since)), addr})
	}
	return table(a.out, "NAME PEER ACCOUNT PATH RTT SINCE ADDRESS", rows)
}
