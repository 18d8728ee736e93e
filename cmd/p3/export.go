package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

func (a *app) exportCmd() *cobra.Command {
	var format, file, since string
	c := &cobra.Command{
		Use: "export [--format jsonl|csv] [-o FILE]", Short: "Write the whole ledger as lines of JSON or CSV",
		Long: `Write the whole ledger, one line for each entry and each receipt, as JSON or CSV. The node may run or not.

Each line has fields to read (docs/ledger.md lists them; they never change) and signed_hex, the signed bytes that
prove them and that p3 credit audit checks. With --since it holds only what is younger, which no audit can check.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.export(c.Context(), format, file, since) },
	}
	c.Flags().StringVar(&format, "format", "jsonl", "jsonl or csv")
	c.Flags().StringVarP(&file, "output", "o", "", "write to this file instead of stdout")
	c.Flags().StringVar(&since, "since", "", "leave out what is older: a date (2026-03-01, local midnight), a time (RFC 3339) or a duration (720h)")
	return c
}

func (a *app) export(ctx context.Context, format, file, since string) (err error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	if format != "jsonl" && format != "csv" {
		return usage("--format %q: write jsonl or csv", format)
	}
	from, err := sinceTime(since, time.Now())
	if err != nil {
		return err
	}
	out, done := a.out, func(err error) error { return err }
	if file != "" && file != "-" {
		if out, done, err = replaceFile(file); err != nil {
			return err
		}
	}
	w := ledger.NewRowWriter(out, format == "csv")
	n := 0
	err = a.rows(ctx, from, func(r ledger.Row) error { n++; return w.Write(r) })
	if err == nil {
		err = w.Flush()
	}
	if err := done(err); err != nil {
		return err
	}
	if file != "" {
		a.say("%d lines written to %s", n, file)
	}
	return nil
}

// rows reads the ledger through the running node, or from its folder when it is down.
func (a *app) rows(ctx context.Context, since time.Time, yield func(ledger.Row) error) error {
	err := a.client().Export(ctx, since, yield)
	if p := (*node.Problem)(nil); !errors.As(err, &p) || p.Code != node.CodeNoNode {
		return err
	}
	l, offline := a.offline()
	if offline != nil {
		return offline
	}
	defer l.Close()
	var failed error
	err = l.Rows(l.Genesis, since, func(r ledger.Row) bool {
		failed = errors.Join(ctx.Err(), yield(r))
		return failed == nil
	})
	return errors.Join(failed, err)
}

// offline reads this node's ledger from its folder.
func (a *app) offline() (*daemon.OfflineLedger, error) {
	l, err := daemon.ReadLedger(a.dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &node.Problem{Code: node.CodeNoNode, Message: "no node is running, and there is no ledger in " + a.dataDir, Hint: "start the node with: p3 up"}
	}
	return l, err
}

// sinceTime reads a date, a time or how long ago.
func sinceTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, now.Location()); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, usage("--since %q: write a date (2026-03-01), a time (2026-03-01T12:00:00Z) or a duration (720h)", s)
}

// replaceFile writes a file for its owner alone, which appears whole or not at all; done takes the error so far.
func replaceFile(path string) (io.Writer, func(error) error, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".p3-*") // mode 0600
	if err != nil {
		return nil, nil, err
	}
	return f, func(err error) error {
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(f.Name(), path)
		}
		if err != nil {
			os.Remove(f.Name())
		}
		return err
	}, nil
}

func (a *app) historyCmd() *cobra.Command {
	days := 14
	c := &cobra.Command{
		Use: "history [--days N]", Short: "What was earned and spent, day by day",
		Long: `What was earned and spent on each of the last days, today included, and the balance at the end of each.

A day runs from midnight to midnight in the time zone of the node. A payment counts when its entry was signed:
an earn when it was taken up, a spending when the lease was settled.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.history(c.Context(), days) },
	}
	c.Flags().IntVar(&days, "days", days, "how many days, today included (1 to "+strconv.Itoa(node.MaxDays)+")")
	return c
}

func (a *app) history(ctx context.Context, days int) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	if days < 1 || days > node.MaxDays {
		return usage("--days %d: give 1 to %d", days, node.MaxDays)
	}
	h, err := a.client().History(ctx, days)
	if p := (*node.Problem)(nil); errors.As(err, &p) && p.Code == node.CodeNoNode {
		var l *daemon.OfflineLedger
		if l, err = a.offline(); err != nil {
			return err
		}
		defer l.Close()
		h, err = node.NewHistory(l.View, days, time.Now())
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.print(h)
	}
	var rows [][]string
	granted := false // in a mutual network there is nothing to show
	for _, d := range h.Days {
		granted = granted || d.Granted != 0
	}
	head := "DAY EARNED SPENT BALANCE"
	if granted {
		head = "DAY GRANTED EARNED SPENT BALANCE"
	}
	for _, d := range h.Days {
		row := []string{d.Date, d.Earned.Decimal(), d.Spent.Decimal(), d.Net.Decimal()}
		if granted {
			row = slices.Insert(row, 1, d.Granted.Decimal())
		}
		rows = append(rows, row)
	}
	a.say("days from midnight to midnight, %s time", printable(h.Zone))
	if err := table(a.out, head, rows); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
