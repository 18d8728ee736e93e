package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

func (a *app) proofCmd() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "proof [-o FILE]", Short: "Write a proof of your balance, which anyone can check with `p3 credit verify`", Args: cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error { return a.proof(ctx, cl, file) }),
	}
	c.Flags().StringVarP(&file, "out", "o", "", "write to this file (default: stdout)")
	return c
}

func (a *app) proof(ctx context.Context, cl *node.Client, file string) error {
	b, err := cl.BalanceProof(ctx)
	if err != nil {
		return err
	}
	if file != "" {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			return &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "choose another file"}
		}
		return a.proofVerdict(file, b)
	}
	if isTerminal(a.out) {
		return a.proofVerdict("balance proof", b)
	}
	_, err = a.out.Write(b)
	return err
}

func (a *app) proofVerdict(name string, b []byte) error {
	p, err := ledger.ParseBalanceProof(b)
	var s ledger.Position
	if err == nil {
		s, err = p.Verify()
	}
	h := s.Head
	if a.json {
		v := map[string]any{"schema": "p3.verify-proof/v1", "proof": name, "verified": err == nil, "bytes": len(b)}
		if err != nil {
			v["problem"] = err.Error()
		} else {
			v["network"], v["network_name"], v["account"], v["epoch"], v["entries"], v["head"] = s.Network, s.Name, h.Account, h.Epoch, h.Len, h.Digest
			v["granted_ucr"], v["earned_ucr"], v["spent_ucr"], v["locked_ucr"], v["net_ucr"], v["floor_ucr"] = h.Granted, h.Earned, h.Spent, h.Locked, h.Net(), s.Floor
			v["backed_ucr"] = s.Backed
			v["open_locks"], v["earned_locks"], v["checkpoint"], v["tail"], v["sampled"], v["time"] = s.Open, s.Earned, s.Base, s.Tail, s.Audits, s.Time.UTC()
		}
		return errors.Join(err, a.print(v))
	}
	if err != nil {
		fmt.Fprintf(a.out, "BAD  %s: %v\n", printable(name), err)
		return err
	}
	fmt.Fprintf(a.out, "ok   %s  had %s in network %s at %s\n", h.Account, h.Net(), printable(s.Name), s.Time.Local().Format(time.DateTime))
	fmt.Fprintf(a.out, "     earned %s, spent %s, %s locked for %d open leases%s\n", h.Earned, h.Spent, h.Locked, s.Open, downTo(s.Floor))
	if h.Granted > 0 {
		fmt.Fprintf(a.out, "     granted %s, %s of it shown to be signed by a mint of the network\n", h.Granted, s.Backed)
	}
	if s.Base == 0 {
		fmt.Fprintf(a.out, "     all %d entries of its chain shown and checked\n", h.Len)
	} else {
		fmt.Fprintf(a.out, "     %d entries: the last %d and %d earlier checkpoints shown and checked\n", h.Len, s.Tail+1, s.Audits)
	}
	return nil
}

// downTo says how far a balance may fall, where it may.
func downTo(floor ledger.Credits) string {
	if floor == 0 {
		return ""
	}
	return fmt.Sprintf(", may go down to -%s", floor)
}
