package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

func (a *app) jobRaiseCmd() *cobra.Command {
	return &cobra.Command{
		Use: "raise ID CREDITS", Short: "Let a running job spend so much more", Args: cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, cl *node.Client, args []string) error {
			by, err := ledger.ParseCredits(args[1])
			if err != nil {
				return usage("%v", err)
			}
			j, err := cl.Job(ctx, args[0])
			if err != nil {
				return err
			}
			ok, err := a.confirm(fmt.Sprintf("Let %s (%s) spend up to %s, %s more than now? What is spent cannot be had back.", j.ID.Short(), printable(j.Name), j.Budget+by, by))
			if err != nil || !ok {
				return err
			}
			if j, err = cl.RaiseBudget(ctx, args[0], by); err != nil {
				return err
			}
			if a.json {
				return a.printAs("p3.job/v1", j)
			}
			a.say("%s may cost %s now; %s is spent", j.ID.Short(), j.Budget, j.Spent)
			return nil
		}),
	}
}

func (a *app) jobRmCmd() *cobra.Command {
	var ended bool
	c := &cobra.Command{
		Use: "rm ID...", Short: "Forget jobs that have ended, with their results; receipts stay",
		Long: "Forget jobs that have ended, with their inputs and results. What they cost stays in the ledger, with its receipts.",
		RunE: a.with(func(ctx context.Context, cl *node.Client, args []string) error {
			if ended == (len(args) > 0) {
				return usage("give the IDs of jobs, or --ended for all that have ended")
			}
			jobs, err := a.endedJobs(ctx, cl, args)
			if err != nil {
				return err
			}
			results := uint64(0)
			for _, j := range jobs {
				results += j.Done
			}
			ok, err := a.confirm(fmt.Sprintf("Forget %d jobs and %d results? They cannot be had back.", len(jobs), results))
			if err != nil || !ok {
				return err
			}
			for _, j := range jobs {
				if _, err := cl.RemoveJob(ctx, j.ID.String()); err != nil {
					return err
				}
				if a.json {
					if err := a.printAs("p3.job/v1", j); err != nil {
						return err
					}
				} else {
					a.say("%s (%s) is gone: %d results", j.ID.Short(), printable(j.Name), j.Done)
				}
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&ended, "ended", false, "all that have ended")
	return c
}

// endedJobs are those that are named, or without a name all that have ended.
func (a *app) endedJobs(ctx context.Context, cl *node.Client, ids []string) (jobs []node.Job, err error) {
	for _, id := range ids {
		j, err := cl.Job(ctx, id)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	if len(ids) > 0 {
		return jobs, nil
	}
	all, err := cl.Jobs(ctx)
	for _, j := range all {
		if j.State != node.JobRunning {
			jobs = append(jobs, j)
		}
	}
	return jobs, err
}
