package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/tui"
)

func (a *app) tuiCmd() *cobra.Command {
	var ascii bool
	c := &cobra.Command{
		Use: "tui", Short: "Browse offers, jobs, receipts and peers on a screen", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.tui(c.Context(), ascii, false) },
	}
	c.Flags().BoolVar(&ascii, "ascii", false, "only ASCII signs")
	return c
}

func (a *app) topCmd() *cobra.Command {
	var ascii, plain bool
	c := &cobra.Command{
		Use: "top", Short: "Like tui; with --plain lines that only append, for screen readers and logs", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.tui(c.Context(), ascii, plain) },
	}
	c.Flags().BoolVar(&ascii, "ascii", false, "only ASCII signs")
	c.Flags().BoolVar(&plain, "plain", false, "append-only lines, no screen (also ACCESSIBLE=1)")
	return c
}

func (a *app) tui(ctx context.Context, ascii, plain bool) error {
	return a.screens(ctx, a.client(), ascii, plain)
}

func (a *app) screens(ctx context.Context, cl *node.Client, ascii, plain bool) error {
	if plain || os.Getenv("ACCESSIBLE") == "1" {
		return quietEnd(tui.Plain(ctx, cl, a.out))
	}
	if !a.terminal() {
		return usage("stdout is no terminal: use p3 top --plain, or the verbs with --json")
	}
	return quietEnd(tui.Run(ctx, cl, tui.Options{In: a.in, Out: a.out, ASCII: ascii, NoColor: a.noColor()}))
}

func quietEnd(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func verifyReceipt(b []byte) (string, error) {
	r, err := ledger.ParseReceipt(b)
	if err != nil {
		return "", err
	}
	s, err := r.Verify()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s paid %s %s for %d units: all signatures hold", s.Payer.Short(), s.Payee.Short(), s.Paid, s.Units), nil
}
