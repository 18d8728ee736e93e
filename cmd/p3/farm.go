package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/master"
)

type farmOptions struct {
	spec   spec
	file   string
	master string
	window int
	dryRun bool
	outDir string
	wait   time.Duration
	eta    bool
}

func (a *app) farmCmd() *cobra.Command {
	o := farmOptions{spec: newSpec()}
	c := &cobra.Command{
		Use:   "farm APP [-- MASTER [ARGS...]]",
		Short: "Run a WebAssembly program over units that another program makes as it sees results",
		Long: `Run a WebAssembly program over units that another program, the master, makes as it sees results.

The master writes one JSON object a line for each unit and reads one for each that has ended, as they end:

  {"id": 7, "stdin": "3 4\n"}      a unit: what APP reads; "args": [...] its arguments; the id is yours, or left out
  {"unit": 0, "id": 7, "ok": true, "stdout": "12\n", ...}      how it ended; not ok: "error" says why
  {"output": "the answer is 12\n"}     no unit: text for the stdout of this command

MASTER is started with its stdin and stdout joined to the job. With --master it is a WebAssembly program
itself, which runs here in the sandbox and gets what follows -- as arguments. With neither, units come
from stdin and results go to stdout. When the master writes no more (it closes its stdout, or ends) the
job ends with the units that are out, if somebody is left to read their results: else they are cancelled,
and so is the job of a master that fails. How units are checked is said here, not by the master: --verify.

  p3 farm tile.wasm -- ./search.py --depth 9
  p3 farm --verify 2 --master search.wasm tile.wasm
  jq -c '{stdin: .line}' work.jsonl | p3 farm tile.wasm > results.jsonl

` + exitHelp,
		RunE: func(c *cobra.Command, args []string) error { return a.farmJob(c, &o, args) },
	}
	o.spec.flags(c)
	f := c.Flags()
	f.StringArrayVar(&o.spec.Args, "arg", nil, "argument of APP, for units without args of their own; {} in it stands for the unit's stdin; more than once")
	f.StringVar(&o.master, "master", "", "WebAssembly program that is the master")
	f.IntVar(&o.window, "window", master.DefaultWindow, "most units out: written and their results not yet read")
	f.StringVarP(&o.file, "file", "f", "", "read the job from a YAML or JSON file")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the job as it would be submitted, and do nothing")
	f.StringVarP(&o.outDir, "out", "o", "", "folder for what units leave in /out, one folder a unit")
	f.BoolVar(&o.eta, "eta", false, "say on stderr every second how far the job is")
	f.DurationVar(&o.wait, "wait", 30*time.Second, "give up when no provider can be had for so long (0 = never)")
	return c
}

// farmJob is the whole verb: check, submit, join the master to the job.
func (a *app) farmJob(c *cobra.Command, o *farmOptions, args []string) error {
	var behind []string
	if n := c.ArgsLenAtDash(); n >= 0 {
		args, behind = args[:n], args[n:]
	}
	ctx, cancel := a.bounded(c.Context())
	defer cancel()
	args, err := o.spec.begin(o.file, args, c.Use)
	if err != nil {
		return err
	}
	if e := o.spec.Each; e.Lines != "" || len(e.Files) > 0 || e.Range != "" || len(e.Params) > 0 {
		return usage("%s: each: the units of a farm come from its master; run it with p3 map", o.file)
	}
	if len(args) > 0 {
		return usage("%q follows the program: write the master and its arguments after --", args[0])
	}
	if o.window < 1 {
		return usage("--window %d: give 1 or more", o.window)
	}
	cl := a.client()
	m, err := a.manifest(ctx, &o.spec, cl, o.dryRun)
	if err != nil || o.dryRun {
		return err
	}
	who, err := a.newMaster(o, behind) // before anything is spent
	if err != nil {
		return err
	}
	defer who.stop()
	f, err := master.Start(ctx, cl, m, master.Options{Window: o.window, Notice: func(text string) { a.say("%s", text) }})
	if err != nil {
		return err
	}
	if !a.json {
		a.say("%s  %s  at most %s", f.Job().ID.Short(), f.Job().Name, f.Job().Budget)
	}
	return a.serveMaster(ctx, cl, f, o, who)
}

// serveMaster joins the master to the job and says how both ended. Whatever ends them early cancels the job.
func (a *app) serveMaster(ctx context.Context, cl *node.Client, f *master.Farm, o *farmOptions, who *farmMaster) error {
	j := f.Job()
	short := j.ID.Short()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	bar := a.newProgress(cl, j.ID.String(), o.eta)
	bounds := &feed{a: a, cl: cl, id: j.ID.String(), short: short, wait: o.wait}
	var watching sync.WaitGroup
	var noHope error
	watching.Go(func() { bar.run(watch) })
	if o.wait > 0 {
		watching.Go(func() {
			if noHope = bounds.giveUp(watch); noHope != nil {
				cancel(noHope)
			}
		})
	}
	failed := 0
	lines := master.Lines{Output: who.output, Result: func(ctx context.Context, u node.UnitResult) error {
		if u.Error != "" || !u.Result.OK() {
			failed++
			a.say("unit %d: %s", u.Unit, explainUnit(u))
		}
		if o.outDir == "" || len(u.Result.Files) == 0 {
			return nil
		}
		return saveFiles(ctx, cl, u.Result.Files, filepath.Join(o.outDir, fmt.Sprintf("%06d", u.Unit)))
	}}
	gone := who.start(ctx)
	if who.run != nil {
		lines.Gone = gone.closed
	}
	err := master.Serve(ctx, f, who.units, who.results, lines)
	if errors.Is(err, master.ErrHalted) {
		a.say("%s: %v", short, err)
		err = nil
	}
	left := f.Out()
	if err == nil {
		who.results.Close() // it sees that no result follows, and may take its time
	} else {
		who.close()
		cancel(err)
	}
	<-gone.closed
	switch unread := errors.Is(err, master.ErrUnread); {
	case gone.err != nil && (err == nil || unread):
		err = gone.err
	case unread && who.run != nil:
		a.say("%s is cancelled: the master has ended and left %d units whose results nobody would read", short, left)
		err = nil
	}
	stopWatch()
	watching.Wait()
	if noHope != nil { // its job was cancelled, which is not the news
		err = noHope
	}
	if e := f.Cancel(); e != nil && err == nil {
		err = e
	}
	if err != nil {
		if !a.json {
			a.say("%s has ended early: `p3 job output %s` has its results so far", short, short)
		}
		return err
	}
	if j, err = cl.Job(context.WithoutCancel(ctx), j.ID.String()); err != nil {
		return err
	}
	bar.done(j)
	if failed > 0 && who.run == nil { // a master knows what to make of it
		a.exit = exitUnitsFailed
		a.say("%d of %d units failed: `p3 job logs %s` shows why", failed, j.Units, short)
	}
	return nil
}
