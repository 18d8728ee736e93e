package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// publicationEnd is what the name of a program's publication has after the program's.
const publicationEnd = ".p3pub"

func (a *app) publishCmd() *cobra.Command {
	check := false
	c := &cobra.Command{
		Use: "publish [--check] APP...", Short: "Sign programs as their publisher, so that owners can trust you rather than each program",
		Long: `Sign programs with your account, as their publisher: APP` + publicationEnd + ` beside each. Give it away with the program. Jobs that run APP take it
along by themselves, and owners may allow or deny whatever you publish: p3 host policy allow=+publisher:0x…
A job without it counts as published by who pays. It ends never: what turns out bad is denied by its hash.

` + exitHelp,
		Example: "  p3 publish app.wasm\n  p3 publish --check app.wasm",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if check {
				return a.checkPublished(args)
			}
			return a.with(a.publish)(c, args)
		},
	}
	c.Flags().BoolVar(&check, "check", false, "only say who published them; needs no node")
	return c
}

func (a *app) publish(ctx context.Context, cl *node.Client, apps []string) error {
	for _, app := range apps {
		b, err := readProgram(app)
		if err != nil {
			return err
		}
		raw, err := cl.Publish(ctx, sha256.Sum256(b))
		if err != nil {
			return err
		}
		if err := os.WriteFile(app+publicationEnd, raw, 0o644); err != nil {
			return &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "sign a copy of the program in a folder of yours"}
		}
	}
	return a.checkPublished(apps)
}

func (a *app) checkPublished(apps []string) error {
	for _, app := range apps {
		b, err := readProgram(app)
		if err != nil {
			return err
		}
		hash := ledger.Digest(sha256.Sum256(b))
		raw, err := publication(app, hash)
		if err == nil && raw == nil {
			err = &node.Problem{Code: node.CodeNotFound, Message: fmt.Sprintf("nobody published %s: there is no %s", app, app+publicationEnd), Hint: "`p3 publish` signs it as you"}
		}
		if err != nil {
			return err
		}
		p, err := ledger.ParsePublication(raw)
		if err != nil {
			return err
		}
		if a.json {
			err = a.printAs("p3.publication/v1", struct {
				File      string         `json:"file"`
				Program   ledger.Digest  `json:"program"`
				Publisher ledger.Account `json:"publisher"`
				Network   ledger.Network `json:"network"`
			}{app, hash, p.Account, p.Network})
		} else {
			_, err = fmt.Fprintf(a.out, "%s  program:%s  publisher:%s\n", app, hash, p.Account)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// publication reads the publication beside a program, and checks it as far as its own network goes; nil if there is none.
func publication(app string, program ledger.Digest) ([]byte, error) {
	raw, err := os.ReadFile(app + publicationEnd)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil:
		var p ledger.Publication
		if p, err = ledger.ParsePublication(raw); err == nil {
			_, err = ledger.VerifyPublication(raw, p.Network, program)
		}
	}
	if err != nil {
		return nil, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%s: %v", app+publicationEnd, err), Hint: "publish the program again, or delete that file"}
	}
	return raw, nil
}
