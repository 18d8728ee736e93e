package main

import (
	_ "embed"

	"github.com/spf13/cobra"
)

// jobSchema is made of the spec type by TestJobSchema, which says how to renew it.
//
//go:embed job.schema.json
var jobSchema []byte

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use: "schema job", Short: "Print the JSON Schema of job files, for editors and checkers", ValidArgs: []string{"job"},
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if args[0] != "job" {
				return usage("no schema of %q: there is one of job", args[0])
			}
			_, err := a.out.Write(jobSchema)
			return err
		},
	}
}
