package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

func (a *app) creditCmd() *cobra.Command {
	c := &cobra.Command{Use: "credit", Short: "Your credit: balance, history, receipts, send, show, proof, verify, export, audit"}
	c.AddCommand(
		a.historyCmd(), a.exportCmd(), a.auditCmd(), a.passphraseCmd(), a.backupCmd(), a.restoreCmd(), a.recoverCmd(), a.sendCmd(),
		a.recoveryKeyCmd(), a.rotateCmd(), a.takeoverCmd(), a.closeCmd(), a.pruneCmd(),
		a.bindCmd(), a.boundCmd(), a.unbindCmd(),
		&cobra.Command{Use: "balance", Short: "Show what you earned, spent and may spend", Args: cobra.NoArgs, RunE: a.with(a.balance)},
		&cobra.Command{Use: "receipts", Short: "List receipts, newest first", Args: cobra.NoArgs, RunE: a.with(a.receipts)},
		&cobra.Command{Use: "show ID", Short: "Write one receipt's signed bytes to stdout", Args: cobra.ExactArgs(1), RunE: a.with(a.creditShow)},
		a.proofCmd(),
		&cobra.Command{
			Use: "verify [FILE|ID]...", Short: "Check receipts and balance proofs from their bytes alone; without arguments all receipts of this node",
			RunE: func(c *cobra.Command, args []string) error { return a.verify(c.Context(), args) },
		},
	)
	return c
}

func (a *app) balance(ctx context.Context, cl *node.Client, _ []string) error {
	b, err := cl.Balance(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printAs("p3.balance/v1", b)
	}
	fmt.Fprintf(a.out, "balance  %s\n", b.Net)
	if b.Granted > 0 {
		fmt.Fprintf(a.out, "granted  %s\n", b.Granted)
	}
	floor := fmt.Sprintf(" (down to -%s)", b.Floor)
	if b.Floor == 0 {
		floor = ""
	}
	fmt.Fprintf(a.out, "earned   %s\nspent    %s\nlocked   %s\nfree     %s%s\n", b.Earned, b.Spent, b.Locked, b.Free, floor)
	return nil
}

func (a *app) receipts(ctx context.Context, cl *node.Client, _ []string) error {
	var rows [][]string
	var me ledger.Account
	if !a.json {
		st, err := cl.Status(ctx)
		if err != nil {
			return err
		}
		me = st.Account
	}
	grants, err := cl.Grants(ctx) // of a mint, in an organisation's network
	if err != nil {
		return err
	}
	granted := func(since time.Time) error { // those taken up since then
		for ; len(grants) > 0 && !grants[0].Time.Before(since); grants = grants[1:] {
			g := grants[0]
			if a.json {
				if err := a.printAs("p3.grant-taken/v1", g); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []string{g.ID.Short(), g.Time.Local().Format(time.DateTime), g.Mint.Short(), g.Amount.Decimal(), "-", "-", "granted", "ok"})
		}
		return nil
	}
	err = cl.Receipts(ctx, func(r node.Receipt) error {
		if err := granted(r.Time); err != nil {
			return err
		}
		if a.json {
			return a.printAs("p3.receipt/v1", r)
		}
		amount, other := r.Paid.Decimal(), r.Payer
		if r.Transfer && r.Paid == 0 {
			amount = r.Locked.Decimal()
		}
		if r.Payer == me {
			amount, other = "-"+amount, r.Payee
		}
		state := r.State
		if r.Transfer {
			state = "sent, " + state
			if r.Payer != me {
				state = "received"
			} else if r.Paid == 0 && r.State == ledger.StateSettled {
				state = "came back"
			}
		}
		check := "ok"
		if !r.Verified {
			check = "BAD: " + r.Problem
		}
		rows = append(rows, []string{r.ID.Short(), r.Time.Local().Format(time.DateTime), other.Short(), amount, fmt.Sprint(r.Units), showFuel(uint64(r.Fuel)), state, check})
		return nil
	})
	if err != nil {
		return err
	}
	if err := granted(time.Time{}); err != nil {
		return err
	}
	if !a.json && len(rows) == 0 {
		a.say("no receipts yet")
	}
	return table(a.out, "RECEIPT TIME WITH CR UNITS FUEL STATE SIGNATURES", rows)
}

func (a *app) creditShow(ctx context.Context, cl *node.Client, args []string) error {
	b, err := cl.ReceiptBytes(ctx, args[0])
	if err != nil {
		return err
	}
	if isTerminal(a.out) {
		return a.verdict(args[0], b)
	}
	_, err = a.out.Write(b)
	return err
}

// verify needs no node for files: a receipt proves itself.
func (a *app) verify(ctx context.Context, args []string) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	cl := a.client()
	bad, good := 0, 0
	check := func(name string, b []byte) {
		if err := a.verdict(name, b); err != nil {
			bad++
		} else {
			good++
		}
	}
	if len(args) == 0 {
		var ids []string
		if err := cl.Receipts(ctx, func(r node.Receipt) error { ids = append(ids, r.ID.String()); return nil }); err != nil {
			return err
		}
		args = ids
	}
	for _, arg := range args {
		b, err := os.ReadFile(arg)
		if errors.Is(err, fs.ErrNotExist) && isHex(arg) {
			b, err = cl.ReceiptBytes(ctx, arg)
		}
		if err != nil {
			if p := (*node.Problem)(nil); errors.As(err, &p) {
				return err
			}
			return &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "name a file with a receipt or a balance proof, or the ID of a receipt of this node"}
		}
		check(arg, b)
	}
	a.say("%d verified, %d bad", good, bad)
	if bad > 0 {
		a.exit = exitError
	}
	return nil
}

func (a *app) verdict(name string, b []byte) error {
	if ledger.IsBalanceProof(b) {
		return a.proofVerdict(name, b)
	}
	r, err := ledger.ParseReceipt(b)
	var s ledger.Summary
	if err == nil {
		s, err = r.Verify()
	}
	witnesses, witnessed := 0, ""
	if err == nil {
		witnesses, witnessed, err = a.witnessed(r, s.Network)
	}
	if a.json {
		v := map[string]any{"schema": "p3.verify/v1", "receipt": name, "verified": err == nil}
		if err != nil {
			v["problem"] = err.Error()
		} else {
			v["id"], v["payer"], v["payee"], v["paid_ucr"], v["units"], v["fuel"], v["state"] = s.ID, s.Payer, s.Payee, s.Paid, s.Units, s.Fuel, s.State(time.Now())
			v["witnesses"] = witnesses
		}
		return errors.Join(err, a.print(v))
	}
	if err != nil {
		fmt.Fprintf(a.out, "BAD  %s: %v\n", printable(name), err)
		return err
	}
	fmt.Fprintf(a.out, "ok   %s  %s paid %s %s for %d units, %s, %s%s\n", s.ID.Short(), s.Payer.Short(), s.Payee.Short(), s.Paid, s.Units, showFuel(uint64(s.Fuel)), s.State(time.Now()), witnessed)
	return nil
}

// witnessed checks the witnesses' certificate of a receipt against the genesis in the data folder: how many signed, and
// what came of it in words; nothing where a network has no witnesses.
func (a *app) witnessed(r ledger.Receipt, network ledger.Network) (signed int, what string, err error) {
	m, err := daemon.LoadMembership(a.dataDir)
	if err != nil {
		return 0, "", err
	}
	here, err := m.Genesis.ID()
	switch {
	case err != nil:
		return 0, "", err
	case here != network && r.Certificate != nil:
		return 0, "; witnesses not checked: this data folder is of another network", nil
	case r.Certificate == nil && (here != network || len(m.Genesis.Witnesses) == 0):
		return 0, "", nil
	case r.Certificate == nil:
		return 0, "; the certificate of its witnesses is with the payee", nil
	}
	signed, err = r.VerifyWitnessed(m.Genesis)
	return signed, fmt.Sprintf("; final: %d of %d witnesses signed its lock", signed, len(m.Genesis.Witnesses)), err
}

func isHex(s string) bool {
	return len(s) >= 4 && len(s) <= 64 && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}
