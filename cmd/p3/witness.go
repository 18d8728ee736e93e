package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

func (a *app) witnessCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "witness", Short: "Be a witness of this network, so that nobody spends credit twice", Args: cobra.NoArgs,
		Long: `In a network whose founder named witnesses, a lock counts, and a provider starts work, only when a quorum of them
has signed it. Each signs one entry for each place in each account's chain, ever: spending twice is then not
only found out, it does not work. Of n witnesses f = (n-1)/3 may be dead or lie, and (n+f+1)/2, rounded up, must
sign: 3 of 4, 5 of 7. One witness alone is a bank: all hangs on it.

p3 witness makes a witness key in the data folder, if there is none, and prints its account. Give that to who founds the
network; the founding document names the witnesses for good. On a network that names it, the running
node begins to sign at once, and with every p3 up from then on. The key has no passphrase and spends nothing.

A witness must not forget what it signed, or it signs twice and is convicted. Never put its data folder back from a backup,
and never run a copy of it. Where p3 notices that its records went back it never signs again; the others
go on without it. A backup by p3 credit backup holds no witness key.

` + exitHelp,
		RunE: func(c *cobra.Command, _ []string) error { return a.beWitness(c.Context()) },
	}
	c.AddCommand(
		&cobra.Command{
			Use: "show", Short: "Show what this node's witness has signed and refused", Args: cobra.NoArgs,
			RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error {
				w, err := cl.Witness(ctx)
				if err != nil {
					return err
				}
				return a.showWitness(w)
			}),
		},
		&cobra.Command{
			Use: "ls", Short: "List the network's witnesses, and what became of the last lock each was asked about", Args: cobra.NoArgs,
			RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error {
				w, err := cl.Witness(ctx)
				if err != nil {
					return err
				}
				return a.listWitnesses(w)
			}),
		},
	)
	return c
}

// beWitness also works without a running node, since a network is founded after its witnesses have keys.
func (a *app) beWitness(ctx context.Context) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	w, err := a.client().BeWitness(ctx)
	if p := (*node.Problem)(nil); errors.As(err, &p) && p.Code == node.CodeNoNode {
		return a.witnessKey()
	}
	if err != nil {
		return err
	}
	return a.showWitness(w)
}

func (a *app) witnessKey() error {
	k, err := daemon.WitnessKey(a.dataDir)
	if err != nil {
		return err
	}
	m, err := daemon.LoadMembership(a.dataDir)
	if err != nil {
		return err
	}
	g := m.Genesis
	w := node.WitnessStatus{Account: k.Account(), Named: g.Witness(k.Account()) >= 0, NetName: g.Name, Need: g.Quorum(), Of: len(g.Witnesses), Faulty: g.Faulty(),
		Why: "the node does not run: start it with p3 up", Witnesses: []node.WitnessSeat{}}
	for _, account := range g.Witnesses {
		w.Witnesses = append(w.Witnesses, node.WitnessSeat{Account: account, Here: account == k.Account()})
	}
	return a.showWitness(w)
}

func (a *app) showWitness(w node.WitnessStatus) error {
	if a.json {
		return a.printAs("p3.witness/v1", w)
	}
	fmt.Fprintf(a.out, "network   %s, %s\n", printable(w.NetName), quorumLine(w))
	if w.Account == (ledger.Account{}) {
		fmt.Fprintln(a.out, "witness   none here; make a key with: p3 witness")
		return nil
	}
	fmt.Fprintf(a.out, "witness   %s\n", w.Account)
	switch {
	case w.Serving:
		fmt.Fprintf(a.out, "state     signs\n")
	case !w.Named:
		fmt.Fprintf(a.out, "state     idle: this network does not name it; give its account to who founds one\n")
	default:
		fmt.Fprintf(a.out, "state     does not sign: %s\n", printable(w.Why))
	}
	if w.Serving || w.Entries > 0 {
		fmt.Fprintf(a.out, "follows   %d accounts, %d entries\nsigned    %d\nrefused   %d since the node started, %d of them forks\n", w.Accounts, w.Entries, w.Signed, w.Refused, w.Forks)
	}
	return nil
}

func quorumLine(w node.WitnessStatus) string { return quorumText(w.Need, w.Of, w.Faulty) }

// quorumText says how many witnesses it takes.
func quorumText(need, of, faulty int) string {
	switch of {
	case 0:
		return "open: it has no witnesses"
	case 1:
		return "1 witness signs each lock: a bank"
	}
	return fmt.Sprintf("%d of %d witnesses sign each lock, %d may fail", need, of, faulty)
}

func (a *app) listWitnesses(w node.WitnessStatus) error {
	if a.json {
		return a.printAs("p3.witness/v1", w)
	}
	if w.Of == 0 {
		a.say("network %s has no witnesses", printable(w.NetName))
		return nil
	}
	a.say("%s", quorumLine(w))
	var rows [][]string
	for _, s := range w.Witnesses {
		rows = append(rows, []string{s.Account.String(), seatName(s), asked(s), seatState(s)})
	}
	if c := w.Certified; c != nil {
		a.say("the last lock that a quorum signed: %s, entry %d, %s ago", c.Lock.Short(), c.Seq, showAge(time.Since(c.Time)))
	}
	return table(a.out, "ACCOUNT NODE ASKED STATE", rows)
}

func seatName(s node.WitnessSeat) string {
	switch {
	case s.Here:
		return "this one"
	case s.Name == "":
		return "not known"
	}
	return printable(s.Name)
}

func asked(s node.WitnessSeat) string {
	if s.Asked.IsZero() {
		return "never"
	}
	return showAge(time.Since(s.Asked)) + " ago"
}

func seatState(s node.WitnessSeat) string {
	switch {
	case s.Convicted:
		return "convicted: it signed twice"
	case s.Why != "":
		return printable(s.Why)
	case s.Asked.IsZero():
		return "-"
	}
	return "signed"
}
