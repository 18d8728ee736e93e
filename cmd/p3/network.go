package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
	"github.com/personal-power-plant/p3/node/p2p"
)

func (a *app) inviteCmd() *cobra.Command {
	return &cobra.Command{
		Use: "invite", Short: "Print one line that lets another machine join this network", Args: cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error {
			s, err := cl.Invite(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(map[string]any{"schema": "p3.invite/v1", "invite": s})
			}
			fmt.Fprintln(a.out, s)
			return nil
		}),
	}
}

func (a *app) joinCmd() *cobra.Command {
	return &cobra.Command{
		Use: "join INVITE|-", Short: "Join the network that an invite leads to",
		Long: `Join the network that an invite leads to. Each network has a ledger of its own; what you have in
another stays there until you join that one again. "p3 join public" returns to the public network.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.join(c.Context(), args[0]) },
	}
}

func (a *app) join(ctx context.Context, text string) error {
	if text == "-" { // an invite to a private network is a secret: keep it out of the process list
		b, err := io.ReadAll(io.LimitReader(a.in, 64<<10))
		if err != nil {
			return err
		}
		text = string(b)
	}
	inv, err := a.invite(text)
	if err != nil {
		return err
	}
	network, err := inv.Network()
	if err != nil {
		return usage("%v", err)
	}
	st, err := a.client().Status(ctx)
	running := err == nil
	if p := (*node.Problem)(nil); err != nil && !(errors.As(err, &p) && p.Code == node.CodeNoNode) {
		return err
	}
	if running && st.Network != network {
		return &node.Problem{Code: node.CodeDenied, Message: fmt.Sprintf("the invite is for another network than the running node's (%s)", st.NetName),
			Hint: "stop the node first: p3 down; then p3 join again and p3 up"}
	}
	if err := daemon.SaveMembership(a.dataDir, inv); err != nil {
		return err
	}
	if running {
		if err := a.client().Join(ctx, inv.String()); err != nil {
			return err
		}
	}
	g, err := ledger.ParseGenesis(inv.Genesis)
	if err != nil {
		return err
	}
	if a.json {
		return a.print(map[string]any{"schema": "p3.join/v1", "network": network, "name": g.Name, "running": running})
	}
	fmt.Fprintf(a.out, "joined network %s (%s)\n", printable(g.Name), network.String()[:8])
	if !running {
		a.say("start the node with: p3 up")
	}
	return nil
}

func (a *app) invite(text string) (p2p.Invite, error) {
	if text == "public" {
		b, err := ledger.DefaultGenesis().Encode()
		return p2p.Invite{Genesis: b}, err
	}
	inv, err := p2p.ParseInvite(text)
	if err == nil {
		err = inv.Check(time.Now())
	}
	if err != nil {
		return inv, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "get a fresh one with `p3 invite` on a machine of that network"}
	}
	return inv, nil
}
