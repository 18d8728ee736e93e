package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/node"
)

func (a *app) jobCmd() *cobra.Command {
	c := &cobra.Command{Use: "job", Short: "Your jobs: ls, show, why, watch, logs, output, cancel, raise, rm"}
	c.AddCommand(
		&cobra.Command{Use: "ls", Short: "List jobs, newest first", Args: cobra.NoArgs, RunE: a.with(a.jobLs)},
		&cobra.Command{Use: "show ID", Short: "Show one job with its peers and units", Args: cobra.ExactArgs(1), RunE: a.with(a.jobShow)},
		&cobra.Command{Use: "why ID", Short: "Say step by step which offers match a job, and what holds it up", Args: cobra.ExactArgs(1), RunE: a.with(a.jobWhy)},
		&cobra.Command{Use: "watch ID", Short: "Follow a job; its results come to stdout in order", Args: cobra.ExactArgs(1), RunE: a.with(a.jobWatch)},
		&cobra.Command{Use: "output ID", Short: "Print the results that are there, in order", Args: cobra.ExactArgs(1), RunE: a.with(a.jobOutput)},
		&cobra.Command{Use: "logs ID [UNIT]", Short: "Show how units ended: the failed ones, or one with its stderr", Args: cobra.RangeArgs(1, 2), RunE: a.with(a.jobLogs)},
		a.jobCancelCmd(),
		a.jobRaiseCmd(),
		a.jobRmCmd(),
	)
	return c
}

// with makes a verb of a function that needs a client.
func (a *app) with(f func(ctx context.Context, cl *node.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		ctx, cancel := a.bounded(c.Context())
		defer cancel()
		return f(ctx, a.client(), args)
	}
}

func (a *app) jobLs(ctx context.Context, cl *node.Client, _ []string) error {
	jobs, err := cl.Jobs(ctx)
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		a.say("no jobs yet; start one with: p3 map APP FILE")
	}
	var rows [][]string
	for _, j := range jobs {
		if a.json {
			if err := a.printAs("p3.job/v1", j); err != nil {
				return err
			}
			continue
		}
		total := fmt.Sprint(j.Units)
		if !j.Closed {
			total += "+"
		}
		rows = append(rows, []string{j.ID.Short(), j.Name, string(j.State), fmt.Sprintf("%d/%s", j.Done, total), fmt.Sprint(j.Failed), j.Spent.String(), showAge(time.Since(j.Created))})
	}
	return table(a.out, "ID NAME STATE DONE FAILED SPENT AGE", rows)
}

func (a *app) jobShow(ctx context.Context, cl *node.Client, args []string) error {
	j, err := cl.Job(ctx, args[0])
	if err != nil {
		return err
	}
	if a.json {
		return a.printAs("p3.job/v1", j)
	}
	fmt.Fprintf(a.out, "%s  %s  %s  %d of %d done, %d failed, %s of %s spent, verify %s, %d outvoted\n",
		j.ID.Short(), printable(j.Name), j.State, j.Done, j.Units, j.Failed, j.Spent, j.Budget, j.Verify, j.Disputes)
	if j.Doubtful > 0 {
		fmt.Fprintf(a.out, "%d results were accepted unchecked from hosts that gave a wrong one later\n", j.Doubtful)
	}
	if j.Why != "" {
		fmt.Fprintf(a.out, "why: %s\n", printable(j.Why))
	}
	if !j.Deadline.IsZero() {
		fmt.Fprintf(a.out, "deadline: %s\n", j.Deadline.Local().Format(time.DateTime))
	}
	if j.Estimate != nil {
		fmt.Fprintf(a.out, "estimate: %s\n", j.Estimate)
	}
	if j.Halted != "" {
		fmt.Fprintf(a.out, "ended early: %s\n", j.Halted)
	}
	var rows [][]string
	for _, p := range j.Peers {
		rows = append(rows, []string{p.Name, p.State, fmt.Sprint(p.Done), fmt.Sprint(p.Running), p.Paid.String(), fmt.Sprintf("%.1fms", p.RTTMs), p.Why})
	}
	if err := table(a.out, "PEER STATE DONE RUNNING PAID RTT WHY", rows); err != nil {
		return err
	}
	const width = 60
	states, err := cl.UnitStates(ctx, args[0], 0, 20*width)
	if err != nil {
		return err
	}
	for i := 0; i < len(states); i += width {
		fmt.Fprintf(a.out, "%6d %s\n", i, states[i:min(i+width, len(states))])
	}
	if n := uint64(len(states)); n < j.Units {
		fmt.Fprintf(a.out, "       … %d more units\n", j.Units-n)
	}
	return nil
}

func (a *app) jobWhy(ctx context.Context, cl *node.Client, args []string) error {
	w, err := cl.JobWhy(ctx, args[0])
	if err != nil {
		return err
	}
	if a.json {
		return a.print(w)
	}
	why := w.Why
	switch {
	case w.State != node.JobRunning && w.State != node.JobWaiting:
		fmt.Fprintf(a.out, "%s  %s  %s: nothing holds it up; `p3 job logs %s` shows units that failed\n", w.Job.Short(), printable(w.Name), w.State, w.Job.Short())
		return nil
	case why == "":
		why = "it goes on"
	}
	fmt.Fprintf(a.out, "%s  %s  %s: %s\n", w.Job.Short(), printable(w.Name), w.State, printable(why))
	fmt.Fprintf(a.out, "%5d offers known here\n%5d hired, %d being asked\n", w.Offers, w.Hired, w.Asking)
	a.steps("refused", w.Refused)
	fmt.Fprintf(a.out, "%5d would do as well\n", w.Fit)
	if w.Plan != "" {
		fmt.Fprintf(a.out, "plan: %s\n", printable(w.Plan))
	}
	a.steps("given nothing", w.Kept)
	return nil
}

// steps prints what was done to some, a line each reason.
func (a *app) steps(done string, list []node.WhyStep) {
	for _, s := range list {
		line := fmt.Sprintf("%5d %s: %s", s.Count, done, s.Why)
		if s.Detail != "" {
			line += " (" + s.Detail + ")"
		}
		if line += ", such as " + s.Such; s.Fix != "" {
			line += "; " + s.Fix
		}
		fmt.Fprintln(a.out, printable(line))
	}
}

func (a *app) jobWatch(ctx context.Context, cl *node.Client, args []string) error {
	j, err := cl.Job(ctx, args[0])
	if err != nil {
		return err
	}
	f := &feed{a: a, cl: cl, id: j.ID.String(), short: j.ID.Short(), order: node.InOrder, src: &replay{}}
	bar := a.newProgress(cl, f.id, false)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go bar.run(watching)
	if err := f.receive(ctx); err != nil {
		return err
	}
	stop()
	if j, err = cl.Job(ctx, f.id); err != nil {
		return err
	}
	bar.done(j)
	if j.Halted != "" {
		a.say("%s ended early: %s", f.short, j.Halted)
	}
	if j.Failed > 0 {
		a.exit = exitUnitsFailed
	}
	return nil
}

func (a *app) jobOutput(ctx context.Context, cl *node.Client, args []string) error {
	j, err := cl.Job(ctx, args[0])
	if err != nil {
		return err
	}
	f := &feed{a: a, cl: cl, id: j.ID.String(), short: j.ID.Short(), order: node.InOrder, src: &replay{}}
	for u := uint64(0); u < j.Units; u++ {
		r, err := cl.Unit(ctx, f.id, u)
		if p := (*node.Problem)(nil); errors.As(err, &p) && p.Code == node.CodeNotFound {
			a.say("unit %d has no result yet", u)
			a.exit = exitUnitsFailed
			continue
		}
		if err != nil {
			return err
		}
		if err := f.print(ctx, r); err != nil {
			return err
		}
	}
	if f.failed > 0 {
		a.exit = exitUnitsFailed
	}
	return nil
}

func (a *app) jobLogs(ctx context.Context, cl *node.Client, args []string) error {
	if len(args) == 2 {
		var u uint64
		if _, err := fmt.Sscan(strings.TrimPrefix(args[1], "u-"), &u); err != nil {
			return usage("%q is not the number of a unit", args[1])
		}
		r, err := cl.Unit(ctx, args[0], u)
		if err != nil {
			return err
		}
		return a.unitLog(r, true)
	}
	j, err := cl.Job(ctx, args[0])
	if err != nil {
		return err
	}
	const page = 65536
	shown := 0
	for from := uint64(0); from < j.Units; from += page {
		states, err := cl.UnitStates(ctx, args[0], from, page)
		if err != nil {
			return err
		}
		for i := range len(states) {
			if states[i] != byte(node.UnitFailed) {
				continue
			}
			r, err := cl.Unit(ctx, args[0], from+uint64(i))
			if err != nil {
				return err
			}
			if err := a.unitLog(r, false); err != nil {
				return err
			}
			shown++
		}
	}
	if shown == 0 {
		a.say("no unit of %s has failed; `p3 job logs %s UNIT` shows one", j.ID.Short(), j.ID.Short())
	}
	return nil
}

func (a *app) unitLog(r node.UnitResult, full bool) error {
	if a.json {
		return a.printAs("p3.unit/v1", r)
	}
	fmt.Fprintf(a.out, "u-%d  %s  on %s  %s  %s  %d ms\n", r.Unit, explainUnit(r), printable(strings.Join(r.Hosts, ", ")), showFuel(uint64(r.Result.Fuel)), r.Cost, r.Result.WallMs)
	if full || !r.Result.OK() {
		for line := range strings.Lines(string(r.Result.Stderr)) {
			fmt.Fprintf(a.out, "    %s\n", printable(line))
		}
	}
	return nil
}

func (a *app) jobCancelCmd() *cobra.Command {
	return &cobra.Command{
		Use: "cancel ID", Short: "End a job; results stay, running units are dropped", Args: cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, cl *node.Client, args []string) error {
			j, err := cl.Job(ctx, args[0])
			if err != nil {
				return err
			}
			ok, err := a.confirm(fmt.Sprintf("Cancel %s (%s)? %d units stop; %d results kept; %s is spent.", j.ID.Short(), printable(j.Name), j.Units-j.Done, j.Done, j.Spent))
			if err != nil || !ok {
				return err
			}
			if j, err = cl.CancelJob(ctx, args[0]); err != nil {
				return err
			}
			if a.json {
				return a.printAs("p3.job/v1", j)
			}
			a.say("%s is %s", j.ID.Short(), j.State)
			return nil
		}),
	}
}

// confirm asks a person; where none can answer, -y must have been given.
func (a *app) confirm(question string) (bool, error) {
	if a.yes {
		return true, nil
	}
	if a.noInput || !isTerminal(a.in) {
		return false, &node.Problem{Code: node.CodeUsage, Message: question, Hint: "nobody can be asked here: confirm with -y"}
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	var answer string
	fmt.Fscanln(a.in, &answer)
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), nil
}
