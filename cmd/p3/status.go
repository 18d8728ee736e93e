package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/node"
)

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what this machine's node does, and why", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.status(c.Context()) },
	}
}

func (a *app) status(ctx context.Context) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	st, err := a.client().Status(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.print(st)
	}
	fmt.Fprintf(a.out, "node      %s, %d peers, %d offers, up %s\n", short(st.Peer), st.Peers, st.Offers, showAge(time.Since(st.Started)))
	fmt.Fprintf(a.out, "network   %s (%s)\n", printable(st.NetName), st.Network.String()[:8])
	fmt.Fprintf(a.out, "account   %s\n", st.Account)
	if o := st.Office; o != nil {
		home := "not connected"
		if o.Home {
			home = "connected"
		}
		fmt.Fprintf(a.out, "earns for the account, whose key is elsewhere (%s), until %s\n", home, o.Expires.Local().Format(time.DateTime))
		fmt.Fprintf(a.out, "waiting   %s, %s; open %s, %s: lost if this machine is\n", plural(o.Waiting, "lease", "leases"), o.Amount, plural(o.Open, "lease", "leases"), o.Vouched)
		if o.Refused > 0 {
			fmt.Fprintf(a.out, "refused   %d of them: %s\n", o.Refused, printable(o.Why))
		}
	} else {
		fmt.Fprintf(a.out, "balance   %s, %s free to spend, %s locked\n", st.Balance.Net, st.Balance.Free, st.Balance.Locked)
	}
	fmt.Fprintf(a.out, "host      %s\n", hostLine(st.Host))
	if st.Host.Donating {
		fmt.Fprintf(a.out, "native    %s\n", printable(st.Host.Native))
	}
	running := 0
	for _, j := range st.Jobs {
		if j.State == node.JobRunning || j.State == node.JobWaiting {
			running++
		}
	}
	fmt.Fprintf(a.out, "jobs      %d running, %d in all\n", running, len(st.Jobs))
	if st.ReadOnly != "" {
		fmt.Fprintf(a.out, "LEDGER    read-only: %s\n", st.ReadOnly)
	}
	return nil
}

func hostLine(h node.HostStatus) string {
	if !h.Donating {
		return "not donating; start with: p3 up --donate"
	}
	return fmt.Sprintf("%d of %d slots busy, %d units done; %s", h.Busy, h.Capacity.Slots, h.UnitsDone, h.Why)
}

func short(id string) string {
	if len(id) > 12 {
		return id[:4] + "…" + id[len(id)-6:]
	}
	return id
}

func (a *app) pauseCmd() *cobra.Command {
	return &cobra.Command{
		Use: "pause [DURATION]", Short: "Stop lending for a while (default 1h): guests stand still, and are given up if it lasts", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			d := time.Hour
			if len(args) == 1 {
				var err error
				if d, err = time.ParseDuration(args[0]); err != nil || d <= 0 {
					return usage("%q is not a duration: write 30m or 2h", args[0])
				}
			}
			return a.setPause(c.Context(), d)
		},
	}
}

func (a *app) resumeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "resume", Short: "End a pause, or finishing", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.setPause(c.Context(), 0) },
	}
}

func (a *app) setPause(ctx context.Context, d time.Duration) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	ms := d.Milliseconds()
	return a.setHost(ctx, a.client(), node.HostChange{PauseMs: &ms})
}
