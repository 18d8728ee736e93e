package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/node"
)

func (a *app) recoverCmd() *cobra.Command {
	var sure bool
	c := &cobra.Command{
		Use: "recover", Short: "Get back from peers what this ledger has lost", Args: cobra.NoArgs,
		Long: `A ledger that was restored from a backup, damaged or copied signs nothing: it could sign for a second
time what it signed before, and its account would be frozen by everybody as one that forks.

recover asks the connected peers for the entries and vouchers of this account that they hold, and puts
back what follows on what is here. If nothing that is known of is missing, --sure lets the account sign again.
Say it only if no other copy of this account is at work, and if the peers that it dealt with last are connected; in an
organisation's network that is also the node that grants.`,
		RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error { return a.recover(ctx, cl, sure) }),
	}
	c.Flags().BoolVar(&sure, "sure", false, "no other copy of this account is at work; sign again if nothing is known to be missing")
	return c
}

func (a *app) recover(ctx context.Context, cl *node.Client, sure bool) error {
	r, err := cl.Recover(ctx, sure)
	if err != nil {
		return err
	}
	if !r.Signs {
		a.exit = exitError
	}
	if a.json {
		return a.printAs("p3.recovery/v1", r)
	}
	fmt.Fprintf(a.out, "asked    %d peers, %d answered\nput back %d entries, and something of %d leases\n", r.Asked, r.Answers, r.Entries, r.Leases)
	switch {
	case r.Signs:
		fmt.Fprintln(a.out, "the ledger signs")
	case r.Missing > 0:
		fmt.Fprintf(a.out, "missing  %d entries from %d on\n", r.Missing, r.From)
		a.say("%s", r.Why)
	default:
		a.say("%s", r.Why)
		a.say("nothing is known to be missing: if no other copy of this account is at work, run p3 credit recover --sure")
	}
	return nil
}
