package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

func (a *app) bindCmd() *cobra.Command {
	var life time.Duration
	var day string
	c := &cobra.Command{
		Use: "bind PEERID", Short: "Let another PC of yours earn for this account, without its key",
		Long: `Let another PC earn for this account. It gets no key: it can neither spend nor sign entries. Whoever steals it can keep what it had
earned and not handed on, and until you unbind it work badly in the account's name, and make up payers: of these, --most is taken up a day.

PEERID is what p3 peer id prints on that PC. Give the line that this prints to p3 up --earn-for there. What it earns waits there,
also for days, until both nodes are connected; then this one takes it up, and renews the binding. Machines of one account count as one where results are checked, and do no work for each other.

` + exitHelp,
		Example: "  p3 credit bind 16Uiu2HAm... > binding      here\n  p3 up --donate --earn-for binding           there",
		Args:    cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, cl *node.Client, args []string) error {
			if life < time.Second || life > node.MaxBindingLife {
				return usage("--for %s: give 1s to %s", life, node.MaxBindingLife)
			}
			most, err := ledger.ParseCredits(day)
			if err != nil || most <= 0 {
				return usage("--most %s: give the credits that are taken up of it a day", day)
			}
			b, err := cl.Bind(ctx, node.BindRequest{Peer: args[0], LifeMs: life.Milliseconds(), Day: most})
			if err != nil {
				return err
			}
			if a.json {
				return a.print(b)
			}
			fmt.Fprintln(a.out, b.Binding)
			a.say("it may earn for this account until %s: p3 up --earn-for there, with this line or a file that holds it", b.Expires.Local().Format(time.DateTime))
			return nil
		}),
	}
	c.Flags().DurationVar(&life, "for", node.DefaultBindingLife, "how long it may earn without meeting this node")
	c.Flags().StringVar(&day, "most", node.DefaultBindingDay.Decimal(), "credits that are taken up of it a day, at most; what it earned while it was away is taken up at once")
	return c
}

func (a *app) boundCmd() *cobra.Command {
	return &cobra.Command{
		Use: "bound", Short: "List the PCs that earn for this account", Args: cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error {
			all, err := cl.Bound(ctx)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, b := range all {
				if a.json {
					if err := a.print(b); err != nil {
						return err
					}
					continue
				}
				state := "until " + b.Expires.Local().Format(time.DateTime)
				if b.Ended {
					state = "ended; others, unless they hear of it, may take it for bound " + state
				} else if !b.Expires.After(time.Now()) {
					state = "renewed when it comes"
				}
				last := "never"
				if !b.Last.IsZero() {
					last = showAge(time.Since(b.Last)) + " ago"
				}
				rows = append(rows, []string{b.Peer, printable(b.Name), fmt.Sprint(b.Leases), b.Earned.String(), last, state})
			}
			if !a.json && len(rows) == 0 {
				a.say("no other PC earns for this account: p3 credit bind PEERID")
			}
			return table(a.out, "NODE NAME LEASES EARNED LAST BINDING", rows)
		}),
	}
}

func (a *app) unbindCmd() *cobra.Command {
	return &cobra.Command{
		Use: "unbind PEERID|NAME", Short: "Take nothing more from a PC that earns for this account",
		Long: `Take nothing more from a PC that earns for this account, and do not renew its binding: after a theft, or when it is given away. Others learn
of it when the binding ends. What it has earned and not handed on is lost: let it first run until p3 status there shows nothing waiting.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, cl *node.Client, args []string) error {
			yes, err := a.confirm(fmt.Sprintf("Unbind %s? What it earned and has not handed on is not taken up any more.", printable(args[0])))
			if err != nil || !yes {
				return err
			}
			b, err := cl.Unbind(ctx, args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.print(b)
			}
			fmt.Fprintf(a.out, "%s is not bound any more; its last binding ends %s\n", b.Peer, b.Expires.Local().Format(time.DateTime))
			return nil
		}),
	}
}

func (a *app) peerIDCmd() *cobra.Command {
	return &cobra.Command{
		Use: "id", Short: "Print this node's peer ID, which it has from its first start on or from now", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			id, err := daemon.PeerID(a.dataDir)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(map[string]any{"schema": "p3.peer-id/v1", "peer": id.String()})
			}
			fmt.Fprintln(a.out, id)
			return nil
		},
	}
}

// earnFor makes the node of the data folder one that earns for another account: by a binding, or a file that holds one.
func (a *app) earnFor(binding string) error {
	if b, err := os.ReadFile(binding); err == nil {
		binding = string(b)
	} else if len(binding) < 256 && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return daemon.SaveBinding(a.dataDir, binding)
}
