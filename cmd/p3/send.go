package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

func (a *app) sendCmd() *cobra.Command {
	var life time.Duration
	c := &cobra.Command{
		Use: "send ACCOUNT AMOUNT", Short: "Give credit to another account, such as that of another PC of yours",
		Long: `Give credit to another account, such as that of another PC of yours (p3 status shows each one's account). ACCOUNT may also
be what its node calls itself, if it is connected. It asks first, or wants -y: what the other side has taken up nothing
brings back.

The credit is reserved at once. It is paid when a node of that account is connected, and comes back if none was before
--expires; p3 credit receipts tells which. What is given was not worked for: it earns no trust.

` + exitHelp,
		Example: "  p3 credit send 0x90f8bf6a479f320ead074411a4b0e7944ea8c9c1 2.50",
		Args:    cobra.ExactArgs(2),
		RunE:    a.with(func(ctx context.Context, cl *node.Client, args []string) error { return a.send(ctx, cl, args, life) }),
	}
	c.Flags().DurationVar(&life, "expires", node.DefaultTransferLife, "how long the receiver may stay away before the credit comes back")
	return c
}

func (a *app) send(ctx context.Context, cl *node.Client, args []string, life time.Duration) error {
	amount, err := credits(args[1])
	if err != nil {
		return err
	}
	if life < time.Second || life > ledger.MaxLease {
		return usage("--expires %s: give 1s to %s", life, ledger.MaxLease)
	}
	var to ledger.Account
	if to.UnmarshalText([]byte(args[0])) != nil { // a name that anybody may take: show whose it is
		p, err := cl.Peer(ctx, args[0])
		if err != nil {
			return err
		}
		to = p.Account
	}
	st, err := cl.Status(ctx)
	if err != nil {
		return err
	}
	yes, err := a.confirm(fmt.Sprintf("Send %s to %s? Nothing takes it back once it is there. %s are free.", amount, to, st.Balance.Free))
	if err != nil || !yes {
		return err
	}
	sent, err := cl.Send(ctx, node.Transfer{To: to.String(), Amount: amount, LifeMs: life.Milliseconds()})
	if err != nil {
		return err
	}
	if a.json {
		return a.print(sent)
	}
	fmt.Fprintf(a.out, "%s  %s to %s\n", sent.ID.Short(), sent.Amount, whom(sent.To, sent.Name))
	if sent.Peer == "" {
		a.say("no peer of that account is connected: it waits for one, and comes back at %s", sent.Expires.Local().Format(time.DateTime))
	} else {
		a.say("on its way: p3 credit receipts shows when it is there")
	}
	return nil
}
