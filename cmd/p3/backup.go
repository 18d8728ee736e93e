package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

func (a *app) backupCmd() *cobra.Command {
	var file string
	var light bool
	c := &cobra.Command{
		Use: "backup FILE|-", Short: "Write an encrypted backup of the account: keys, chain, open locks, outbox",
		Long: `Write an encrypted backup of the account of this node, which may run: keys, chain, open locks, receipts and
what still has to reach others, as they are at one moment. Jobs and cached data are not in it. It is an age file
(age-encryption.org) under a passphrase of its own; an account key that has a passphrase keeps it inside.

A backup is older than the account as soon as the node signs again: see p3 credit restore --help.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.backup(c.Context(), args[0], file, light) },
	}
	c.Flags().StringVar(&file, "new-passphrase-file", "", "read the backup's passphrase from this file's first line (default: $P3_NEW_PASSPHRASE, or ask)")
	c.Flags().BoolVar(&light, "light", false, "for small machines: 4 MiB instead of 256 to open it, and as much easier to guess")
	return c
}

func (a *app) backup(ctx context.Context, path, file string, light bool) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	text, err := a.newPassphrase(file, "Passphrase for the backup")
	if err != nil {
		return err
	}
	request := node.BackupRequest{Passphrase: text, Light: light}
	out, done := a.out, func(err error) error { return err }
	if path != "-" {
		if out, done, err = replaceFile(path); err != nil {
			return err
		}
	}
	in, err := a.client().Backup(ctx, request)
	if err == nil {
		_, err = io.Copy(out, in)
		in.Close()
		if err != nil {
			err = fmt.Errorf("the backup broke off: %w", err)
		}
	} else if p := (*node.Problem)(nil); errors.As(err, &p) && p.Code == node.CodeNoNode {
		if err = daemon.BackupOffline(ctx, out, a.dataDir, request); errors.Is(err, fs.ErrNotExist) {
			err = &node.Problem{Code: node.CodeNoNode, Message: "no node is running, and there is no ledger in " + a.dataDir, Hint: "start the node with: p3 up"}
		}
	}
	if err := done(err); err != nil {
		return err
	}
	if path != "-" {
		a.say("backup written to %s; keep it and its passphrase in different places", path)
	}
	return nil
}

func (a *app) restoreCmd() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "restore FILE|-", Short: "Restore an account from a backup into an empty data folder",
		Long: `Restore an account from a backup into an empty data folder (--data-dir).

The ledger in it is as old as the backup. If the account has signed since then, to sign on from there would put two
entries in one place, and that convicts the account. So a restored ledger only reads until its counterparties
have been asked: p3 status says so. Never let the old machine and the restored one run both.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.restore(c.Context(), args[0], file) },
	}
	c.Flags().StringVar(&file, "passphrase-file", "", "read the backup's passphrase from this file's first line (default: $P3_PASSPHRASE, or ask)")
	return c
}

func (a *app) restore(ctx context.Context, path, file string) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	if _, err := a.client().Status(ctx); err == nil {
		return &node.Problem{Code: node.CodeDenied, Message: "a node is running on " + a.socketPath(), Hint: "stop it first: p3 down"}
	}
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return usage("%v", err)
		}
		defer f.Close()
		in = f
	}
	text, err := a.secret(file, "P3_PASSPHRASE", "Passphrase of the backup", "--passphrase-file or $P3_PASSPHRASE")
	if err != nil {
		return err
	}
	r, err := daemon.Restore(ctx, a.dataDir, in, text)
	if err != nil {
		return err
	}
	if a.json {
		return a.print(map[string]any{"schema": "p3.restore/v1", "account": r.Account, "network": r.Network, "network_name": r.Name, "made": r.Made.UTC(), "entries": r.Entries})
	}
	fmt.Fprintf(a.out, "account   %s\nnetwork   %s (%s)\nbackup of %s, %s\n", r.Account, printable(r.Name), r.Network.String()[:8], r.Made.Local().Format(time.DateTime), plural(int(r.Entries), "entry", "entries"))
	a.say("it signs nothing until its counterparties have been asked whether the account has signed more since then; start it with: p3 up")
	return nil
}
