package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger/keyfile"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

func (a *app) recoveryKeyCmd() *cobra.Command {
	var pass string
	var light bool
	c := &cobra.Command{
		Use: "recovery-key FILE", Short: "Make a key that takes the account over if its own is stolen or lost",
		Long: `Make a recovery key and write it to FILE, which belongs far from this machine: on paper, on a stick in a drawer. Whoever has it
can take the account over (p3 credit takeover), and with it the standing that the account has earned. Nobody can see that there
is one before it is used.

An account commits to its recovery key when it is begun, or when its own key changes. So make one before the first p3 up, or
run p3 credit rotate afterwards. With a passphrase (--new-passphrase-file or $P3_NEW_PASSPHRASE) FILE is encrypted.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.recoveryKey(args[0], pass, light) },
	}
	c.Flags().StringVar(&pass, "new-passphrase-file", "", "encrypt FILE with the passphrase in this file's first line")
	c.Flags().BoolVar(&light, "light", false, "for small machines: 4 MiB instead of 256 to open it, and as much easier to guess")
	return c
}

func (a *app) recoveryKey(path, pass string, light bool) error {
	key, fresh, err := daemon.NewRecoveryKey(a.dataDir)
	if err != nil {
		return err
	}
	file := keyfile.Plain(key)
	if pass != "" || os.Getenv("P3_NEW_PASSPHRASE") != "" {
		text, err := a.newPassphrase(pass, "Passphrase for the recovery key")
		if err != nil {
			return err
		}
		if file, err = keyfile.Seal(key, text, light); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &node.Problem{Code: node.CodeDenied, Message: path + " is there already: a key is not replaced", Hint: "name another file"}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(file)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := daemon.CommitRecovery(a.dataDir, key.Account()); err != nil { // what nobody has must not be committed to
		return err
	}
	if a.json {
		return a.print(map[string]any{"schema": "p3.recovery-key/v1", "account": key.Account(), "file": path, "in_force": fresh})
	}
	fmt.Fprintf(a.out, "recovery key of %s written to %s\n", key.Account(), path)
	if fresh {
		a.say("the account commits to it when it is begun, with the first p3 up; keep the file far from this machine")
	} else {
		a.say("the account commits to it with its next key: stop the node and run p3 credit rotate; keep the file far from this machine")
	}
	return nil
}

func (a *app) rotateCmd() *cobra.Command {
	var pass string
	var light bool
	c := &cobra.Command{
		Use: "rotate", Short: "Change the account's key, and so its address",
		Long: `Change the account's key while the node is stopped. The account gets another address; balance, history and standing go with it.
The old key and the new one both sign the change, and the node shows it to whom it meets: from then on the old key gets nothing any
more, and who knew the account knows it under the new address. All leases must be settled, in all networks of the data folder.

If a recovery key was made (p3 credit recovery-key), the new key commits to it. A key that was stolen is better taken
back with the recovery key: a rotation of yours can be outrun by one of the thief's.

Transfers that others sent to the old address and that have not arrived come back to them. Backups made before hold the old key: make
a new one.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.rotate(c.Context(), pass, light) },
	}
	c.Flags().StringVar(&pass, "passphrase-file", "", "read the key's passphrase, if it has one, from this file's first line; the new key gets the same")
	c.Flags().BoolVar(&light, "light", false, "for small machines: 4 MiB instead of 256 to open an encrypted key")
	return c
}

func (a *app) rotate(ctx context.Context, pass string, light bool) error {
	if err := a.stopped(ctx); err != nil {
		return err
	}
	yes, err := a.confirm("Change the account's key? It gets another address, and the old key is of no use any more.")
	if err != nil || !yes {
		return err
	}
	c, err := daemon.RotateKey(ctx, a.dataDir, a.passphrase(pass), light)
	if err != nil {
		return err
	}
	return a.keyChange("p3.rotate/v1", c)
}

func (a *app) takeoverCmd() *cobra.Command {
	var pass string
	c := &cobra.Command{
		Use: "takeover FILE", Short: "Take the account over with its recovery key",
		Long: `Take the account in this data folder over with the recovery key in FILE, while the node is stopped: after a theft of its key, or when the
key or its passphrase is lost. The recovery key becomes the account's key, under its own address. The node shows that to whom it meets,
and from then on whoever has the old key gets nothing there, also if it changed the key. What the thief spent before is spent.

In a network with witnesses (p3 witness) what a thief had signed by them is final, and the takeover has to follow it: if the old key
is there still, start the node, run p3 credit recover, which gets it from the witnesses, and stop the node again before this.

Open locks stay as they are. Make another recovery key before, and this change commits to it; or afterwards, and run
p3 credit rotate.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.takeover(c.Context(), args[0], pass) },
	}
	c.Flags().StringVar(&pass, "passphrase-file", "", "read the recovery key's passphrase, if it has one, from this file's first line")
	return c
}

func (a *app) takeover(ctx context.Context, path, pass string) error {
	if err := a.stopped(ctx); err != nil {
		return err
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return usage("%v", err)
	}
	yes, err := a.confirm("Take the account over with this recovery key? It becomes the account's key, and the old one is of no use any more.")
	if err != nil || !yes {
		return err
	}
	c, err := daemon.TakeOver(ctx, a.dataDir, file, a.passphrase(pass))
	if err != nil {
		return err
	}
	return a.keyChange("p3.takeover/v1", c)
}

// stopped refuses while a node runs on the data folder.
func (a *app) stopped(ctx context.Context) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	if _, err := a.client().Status(ctx); err == nil {
		return &node.Problem{Code: node.CodeDenied, Message: "a node is running on " + a.socketPath(), Hint: "stop it first: p3 down"}
	}
	return nil
}

func (a *app) keyChange(schema string, c daemon.KeyChange) error {
	if a.json {
		return a.print(map[string]any{"schema": schema, "old": c.Old, "new": c.New, "networks": c.Ledgers, "left": c.Left, "recovery": c.Recovery})
	}
	fmt.Fprintf(a.out, "was       %s\nis        %s\nnetworks  %s\n", c.Old, c.New, strings.Join(c.Ledgers, ", "))
	for _, left := range c.Left {
		fmt.Fprintf(a.out, "not       %s\n", left)
	}
	if !c.Recovery {
		a.say("there is no recovery key for it: p3 credit recovery-key FILE, then p3 credit rotate")
	}
	a.say("start the node, so that those who knew the old account hear of it: p3 up; and make a new backup")
	return nil
}

func (a *app) closeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "close", Short: "Close the account for good",
		Long: `Close the account of this node for good: its chain gets a last entry, and it signs nothing any more, neither earns nor spends. All
leases must be settled. Credit that is left on it is lost to you: p3 credit send moves it first. Its records stay
readable, and anybody can still verify them.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error {
			b, err := cl.Balance(ctx)
			if err != nil {
				return err
			}
			question := "Close the account for good? It never signs again."
			if b.Net > 0 {
				question = fmt.Sprintf("Close the account for good? It never signs again, and %s on it are lost to you.", b.Net)
			}
			yes, err := a.confirm(question)
			if err != nil || !yes {
				return err
			}
			if b, err = cl.CloseAccount(ctx); err != nil {
				return err
			}
			if a.json {
				return a.printAs("p3.close/v1", b)
			}
			fmt.Fprintf(a.out, "closed, with a balance of %s\n", b.Net)
			return nil
		}),
	}
}

func (a *app) pruneCmd() *cobra.Command {
	return &cobra.Command{
		Use: "prune", Short: "Remove old entries that no proof needs from the disk",
		Long: `Remove entries of the chain before the newest checkpoint that nothing needs any more: balance proofs stay the same byte for byte, and
receipts, open leases and proofs against others stay. But the ledger can no longer be audited or exported from its first entry: make
an export or a backup before. Nothing prunes by itself.

In a network with witnesses (p3 witness) each of them has to have seen the chain, and is shown it first: to one that has not, a pruned chain
can never be shown, so that it would sign nothing for this account any more. While one of them is not reached, nothing is pruned.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error {
			yes, err := a.confirm("Prune the ledger? It can no longer be audited or exported from its first entry, nor shown to a witness that has not seen it.")
			if err != nil || !yes {
				return err
			}
			p, err := cl.Prune(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(p)
			}
			fmt.Fprintf(a.out, "removed %s\n", plural(p.Entries, "entry", "entries"))
			return nil
		}),
	}
}
