package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
	"github.com/personal-power-plant/p3/node/p2p"
)

func (a *app) orgCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "org", Short: "A network of your own, where credit is granted: init, grant, allow, show, ls, recover",
		Long: `A network of your own, where credit is granted. Whoever founds it has its mint: the only key that creates
credit, up to a cap that all members know. Members spend what they were granted and earn what others spend;
no balance falls below zero.

  p3 org init acme --cap 10000    found it; then: p3 up
  p3 invite                       one line, with which others: p3 join INVITE; p3 up
  p3 org grant elm 20             give a member credit, once
  p3 org allow elm 5/week         or each week

` + exitHelp,
	}
	c.AddCommand(a.orgInitCmd(), a.orgGrantCmd(), a.orgAllowCmd(),
		&cobra.Command{Use: "show", Short: "Show the network, its mint, what is issued and what is left", Args: cobra.NoArgs, RunE: a.with(a.orgShow)},
		&cobra.Command{Use: "ls", Short: "List the members: what each was granted, and its allowance", Args: cobra.NoArgs, RunE: a.with(a.orgLs)},
		a.orgRecoverCmd(),
	)
	return c
}

// defaultCap suits some dozens of PCs for years: at the usual price a core that is busy all year costs 160 credits.
const defaultCap = "100000"

func (a *app) orgInitCmd() *cobra.Command {
	var cap string
	var witnesses []string
	c := &cobra.Command{
		Use: "init NAME", Short: "Found a network: make its mint's key, and its rules", Args: cobra.ExactArgs(1),
		Long: `Found a network: make its mint's key, and its rules, which name the mint and its cap for ever. This node
belongs to the new network from its next start on; what it has in another stays there until you join that one again.

The mint is this data folder: its key (keys/mint, mode 0600), what it signed (networks/), and how far (networks/*/minted).
Whoever has the key can grant all of the cap. Keep the folder, and backups of it (p3 credit backup); let one node use the
key: two that grant at a time convict the mint. A restored folder, or one with a copy of the key, grants nothing until
p3 org recover.

With --witness, no credit is spent twice: work begins only when a quorum of the network's witnesses has signed for it. Name
four, so that one may fail; the network never gets others. Each is a node whose owner ran p3 witness, which prints
the account to give here; it takes up its work when it has joined. Without them a member who
spends twice is found out and shut out, and has had up to a provider's tentative_cap of work from each.

` + exitHelp,
		Example: "  p3 org init acme --cap 10000\n  p3 --data-dir /srv/acme org init acme\n  p3 org init acme --witness self --witness 0x8f3a…,0x11c0…,0x7d22…",
		RunE:    func(c *cobra.Command, args []string) error { return a.orgInit(c.Context(), args[0], cap, witnesses) },
	}
	c.Flags().StringVar(&cap, "cap", defaultCap, "credits that can ever be granted")
	c.Flags().StringSliceVar(&witnesses, "witness", nil, "account of a witness, which p3 witness prints there; self is this node's; give 4, or 7 (default: none)")
	return c
}

func (a *app) orgInit(ctx context.Context, name, capText string, named []string) error {
	cap, err := ledger.ParseCredits(capText)
	if err != nil || cap <= 0 {
		return &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%q is not a cap: it is the number of credits that can ever be granted", capText), Hint: "for example: p3 org init acme --cap 10000"}
	}
	witnesses, err := a.witnesses(named)
	if err != nil {
		return err
	}
	_, err = a.client().Status(ctx)
	running := err == nil
	g, mint, err := daemon.Found(a.dataDir, name, cap, witnesses...)
	if err != nil {
		return err
	}
	network, err := g.ID()
	if err != nil {
		return err
	}
	doc, err := g.Encode()
	if err != nil {
		return err
	}
	key := filepath.Join(a.dataDir, "keys", "mint")
	if a.json {
		return a.print(map[string]any{"schema": "p3.org-init/v1", "name": name, "network": network, "mint": mint, "cap_ucr": cap, "key": key, "invite": p2p.Invite{Genesis: doc}.String(),
			"witnesses": g.Witnesses, "quorum": g.Quorum()})
	}
	fmt.Fprintf(a.out, "founded network %s (%s): mint %s may grant %s\nmint key  %s\n", printable(name), network.String()[:8], mint, cap, printable(key))
	if n := len(g.Witnesses); n > 0 {
		fmt.Fprintf(a.out, "witness   %s\n", quorumText(g.Quorum(), n, g.Faulty()))
		if g.Faulty() == 0 {
			a.say("if a witness is lost, nobody in this network spends again: name at least 4, so that one may fail")
		}
	}
	if running {
		a.say("restart the node to be in it: p3 down; p3 up; then invite others with p3 invite, and grant with p3 org grant")
	} else {
		a.say("start the node with p3 up; then invite others with p3 invite, and grant with p3 org grant")
	}
	return nil
}

// witnesses reads accounts of witnesses; self is that of this node, whose key is made if there is none.
func (a *app) witnesses(named []string) (out []ledger.Account, err error) {
	for _, text := range named {
		var w ledger.Account
		if text == "self" {
			var k ledger.Key
			if k, err = daemon.WitnessKey(a.dataDir); err != nil {
				return nil, err
			}
			w = k.Account()
		} else if err = w.UnmarshalText([]byte(text)); err != nil {
			return nil, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("witness %q: %v", text, err), Hint: "give the account that `p3 witness` prints on the witness's machine"}
		}
		out = append(out, w)
	}
	return out, nil
}

func (a *app) orgGrantCmd() *cobra.Command {
	return &cobra.Command{
		Use: "grant ACCOUNT AMOUNT", Short: "Grant a member credit, once", Args: cobra.ExactArgs(2), RunE: a.with(a.orgGrant),
		Long: `Grant a member credit, once. ACCOUNT is an account, or what its node calls itself, or self. A name is only
what a node says of itself: before you confirm, compare the account with what the member's own p3 status shows.
A member that is away gets it when it connects. A grant cannot be taken back.

` + exitHelp,
		Example: "  p3 org grant elm 20\n  p3 org grant -y 0x1f9090aae28b8a3dceadf281b0f12828e676c326 2.50",
	}
}

func (a *app) orgGrant(ctx context.Context, cl *node.Client, args []string) error {
	amount, err := credits(args[1])
	if err != nil {
		return err
	}
	if _, err := a.mint(ctx, cl); err != nil {
		return err
	}
	to, name, err := a.member(ctx, cl, args[0])
	if err != nil {
		return err
	}
	ok, err := a.confirm(fmt.Sprintf("Grant %s to %s? It cannot be taken back.", amount, whom(to, name)))
	if err != nil || !ok {
		return err
	}
	g, err := cl.OrgGrant(ctx, node.OrgGrant{To: to.String(), Amount: amount})
	if err != nil {
		return err
	}
	if a.json {
		return a.print(g)
	}
	fmt.Fprintf(a.out, "granted %s to %s; %s of the cap are left\n", g.Amount, whom(g.To, g.Name), g.Left)
	return nil
}

// credits reads an amount above zero.
func credits(text string) (ledger.Credits, error) {
	amount, err := ledger.ParseCredits(text)
	if err == nil && amount <= 0 {
		err = fmt.Errorf("%q is nothing to grant", text)
	}
	if err != nil {
		return 0, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "give an amount of credits above zero, such as 20 or 2.50"}
	}
	return amount, nil
}

// mint is the network whose mint's key the node has. It comes before any question, and before anybody is looked for.
func (a *app) mint(ctx context.Context, cl *node.Client) (node.Org, error) {
	o, err := cl.Org(ctx)
	if err == nil && o.Mint.IsZero() {
		err = &node.Problem{Code: node.CodeDenied, Message: fmt.Sprintf("the mint key of network %s is not here: this node can neither grant nor list the members", printable(o.Name)),
			Hint: "run this where the network was founded with `p3 org init`: that data folder has keys/mint"}
	}
	return o, err
}

// member finds who is meant by an account, what its node calls itself, or self.
func (a *app) member(ctx context.Context, cl *node.Client, id string) (ledger.Account, string, error) {
	if id == "self" {
		st, err := cl.Status(ctx)
		return st.Account, "self", err
	}
	v, err := cl.Peer(ctx, id)
	return v.Account, v.Name, err
}

// whom is an account with the name that its node has.
func whom(account ledger.Account, name string) string {
	if name == "" {
		return account.String()
	}
	return fmt.Sprintf("%s (%s)", printable(name), account)
}

func (a *app) orgAllowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "allow ACCOUNT AMOUNT/day|week|month|none", Short: "Grant a member credit each day, week or month", Args: cobra.ExactArgs(2), RunE: a.with(a.orgAllow),
		Long: `Grant a member credit each day, week or month of the calendar in UTC, the first time now. This node grants it
while it runs; a period in which it did not run is not made up for. none ends the allowance; what was granted stays.

` + exitHelp,
		Example: "  p3 org allow elm 5/week\n  p3 org allow elm none",
	}
}

func (a *app) orgAllow(ctx context.Context, cl *node.Client, args []string) error {
	if _, err := a.mint(ctx, cl); err != nil {
		return err
	}
	to, name, err := a.member(ctx, cl, args[0])
	if err != nil {
		return err
	}
	r := node.OrgAllow{To: to.String(), Every: "month"}
	if args[1] != "none" {
		amount, every, found := strings.Cut(args[1], "/")
		if !found {
			return &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%q does not say how often", args[1]), Hint: "for example: p3 org allow elm 5/week"}
		}
		if r.Amount, err = credits(amount); err != nil {
			return err
		}
		if _, err := ledger.ParsePeriod(every); err != nil {
			return &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "for example: p3 org allow elm 5/week"}
		}
		r.Every = every
		ok, err := a.confirm(fmt.Sprintf("Grant %s to %s each %s from now on?", r.Amount, whom(to, name), every))
		if err != nil || !ok {
			return err
		}
	}
	m, err := cl.OrgAllow(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return a.printAs("p3.org-member/v1", m)
	}
	if m.Allowance == 0 {
		fmt.Fprintf(a.out, "no allowance for %s\n", whom(m.Account, m.Name))
		return nil
	}
	fmt.Fprintf(a.out, "%s each %s for %s\n", m.Allowance, m.Every, whom(m.Account, m.Name))
	return nil
}

func (a *app) orgRecoverCmd() *cobra.Command {
	return &cobra.Command{
		Use: "recover", Short: "Let a mint grant on that was found to be behind, or a copy", Args: cobra.NoArgs, RunE: a.with(a.orgRecover),
		Long: `A mint whose data folder was rolled back, copied, or made anew around its key grants nothing: it could sign for a
second time what it signed before, and everybody would freeze it.

recover asks the connected peers for the newest grant that they know, and grants on from there. Confirm only if nothing
else uses the mint's key, and if the members who were granted credit last are connected. Grants that were signed and reached
nobody are lost with their part of the cap; allowances begin with the next period.

` + exitHelp,
	}
}

func (a *app) orgRecover(ctx context.Context, cl *node.Client, _ []string) error {
	o, err := a.mint(ctx, cl)
	if err != nil {
		return err
	}
	if o.Problem != "" {
		ok, err := a.confirm("Does nothing else use this mint's key, and are those connected who were granted credit last? Else it is convicted.")
		if err != nil || !ok {
			return err
		}
	}
	if o, err = cl.OrgRecover(ctx); err != nil {
		return err
	}
	if a.json {
		return a.print(o)
	}
	fmt.Fprintf(a.out, "the mint grants: %s issued in %s, %s left\n", o.Issued, plural(int(o.Grants), "grant", "grants"), o.Left)
	return nil
}

func (a *app) orgShow(ctx context.Context, cl *node.Client, _ []string) error {
	o, err := cl.Org(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.print(o)
	}
	fmt.Fprintf(a.out, "network  %s (%s)\n", printable(o.Name), o.Network.String()[:8])
	for _, m := range o.Mints {
		state := ""
		switch {
		case m.Frozen:
			state = ", frozen: it was convicted, and nobody takes up its further grants"
		case m.Account == o.Mint:
			state = ", its key is here"
		}
		fmt.Fprintf(a.out, "mint     %s, cap %s%s\n", m.Account, m.Cap, state)
	}
	if o.Witnesses > 0 {
		fmt.Fprintf(a.out, "witness  %s\n", quorumText(o.Quorum, o.Witnesses, o.Faulty))
	}
	if o.Mint.IsZero() {
		a.say("the mint's key is not here; what it granted you: p3 credit balance")
		return nil
	}
	fmt.Fprintf(a.out, "issued   %s in %s\nleft     %s\nmembers  %d\n", o.Issued, plural(int(o.Grants), "grant", "grants"), o.Left, len(o.Members))
	if o.Problem != "" {
		fmt.Fprintf(a.out, "problem  %s\n", printable(o.Problem))
	}
	return nil
}

func (a *app) orgLs(ctx context.Context, cl *node.Client, _ []string) error {
	o, err := a.mint(ctx, cl)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, m := range o.Members {
		if a.json {
			if err := a.printAs("p3.org-member/v1", m); err != nil {
				return err
			}
			continue
		}
		name, allowance, next := m.Name, "-", "-"
		if name == "" {
			name = "-"
		}
		if m.Allowance > 0 {
			allowance = m.Allowance.Decimal() + "/" + m.Every
		}
		if !m.Next.IsZero() {
			next = m.Next.UTC().Format(time.DateOnly)
		}
		rows = append(rows, []string{printable(name), m.Account.String(), m.Granted.Decimal(), m.Waiting.Decimal(), allowance, next})
	}
	if a.json {
		return nil
	}
	if len(rows) == 0 {
		a.say("no member was granted anything yet: p3 org grant ACCOUNT AMOUNT")
	}
	return table(a.out, "NAME ACCOUNT GRANTED WAITING ALLOWANCE NEXT", rows)
}
