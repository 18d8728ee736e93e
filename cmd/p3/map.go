package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// releaseEvery is how many results pass between two clean-ups of remembered input.
const releaseEvery = 256

type mapOptions struct {
	spec   spec
	file   string
	files  bool
	detach bool
	dryRun bool
	outDir string
	wait   time.Duration

	resultsDir           string
	logFile              string
	resume, resumeFailed bool
	unordered, keepOrder bool
	eta                  bool
}

func (a *app) mapCmd() *cobra.Command {
	o := mapOptions{spec: newSpec()}
	c := &cobra.Command{
		Use:   "map APP [FILE|-] [-- ARGS...]",
		Short: "Run a WebAssembly program over many inputs on other people's machines",
		Long: `Run a WebAssembly program (WASI preview 1 command) over many inputs on other people's machines.

Each line of FILE (or of stdin) is one unit: the program gets the line on its stdin, and "{}" in ARGS
stands for it. With --files the further arguments are files, one unit each, found at /in/NAME and on
stdin; with --range units are numbers. Results come to stdout in the order of the inputs, as soon as
they and all before them are there.

  p3 map upper.wasm lines.txt
  seq 1000 | p3 map square.wasm > squares.txt
  p3 map --files stat.wasm *.txt -- --verbose {}
  p3 map --colsep , fit.wasm points.csv -- --x {1} --y {2} --out {#}.txt
  p3 map --range 0:64 --verify 2 render.wasm > tiles

` + exitHelp,
		RunE: func(c *cobra.Command, args []string) error { return a.mapJob(c, &o, args) },
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.spec.Each.Range, "range", "", "one unit a number: FROM:TO[:STEP], TO excluded")
	f.StringVar(&o.spec.Each.Colsep, "colsep", "", "regular expression between columns of an input, {1}, {2}, … in ARGS")
	f.BoolVar(&o.files, "files", false, "the arguments after APP are files, one unit each")
	return c
}

func (a *app) sweepCmd() *cobra.Command {
	o := mapOptions{spec: newSpec()}
	c := &cobra.Command{
		Use:   "sweep APP --param NAME=FROM:TO:STEP... [-- ARGS...]",
		Short: "Run a program once for each combination of parameters",
		Long: `Run a WebAssembly program once for each combination of parameters, on other people's machines.

A parameter is a row of decimal numbers, TO included when a step meets it, or a list of words. Every
unit gets --NAME=VALUE for each, or ARGS with {NAME} replaced; the values, between tabs, are its stdin.
The last parameter changes fastest. Results come to stdout in that order.

  p3 sweep fit.wasm --param x=0:1:0.1 --param mode=fast,exact
  p3 sweep fit.wasm --param x=0:1:0.1 --dry-run -- --from {x} --seed 7

` + exitHelp,
		RunE: func(c *cobra.Command, args []string) error { return a.mapJob(c, &o, args) },
	}
	o.flags(c)
	c.Flags().StringArrayVar(&o.spec.Each.Params, "param", nil, "NAME=FROM:TO:STEP or NAME=WORD,WORD; more than once for a grid")
	return c
}

// flags are those of every way to give a job its units.
func (o *mapOptions) flags(c *cobra.Command) {
	o.spec.flags(c)
	f := c.Flags()
	f.StringVarP(&o.file, "file", "f", "", "read the job from a YAML or JSON file")
	f.BoolVarP(&o.detach, "detach", "d", false, "print the job's ID and leave; see p3 job watch")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the job as it would be submitted, and do nothing")
	f.StringVarP(&o.outDir, "out", "o", "", "folder for what units leave in /out, one folder a unit")
	f.StringVar(&o.resultsDir, "results", "", "folder for stdout and stderr of units too, one folder a unit")
	f.StringVar(&o.logFile, "joblog", "", "write a line for each unit that has ended, in the columns of GNU parallel")
	f.BoolVar(&o.resume, "resume", false, "leave out the inputs that the job log has")
	f.BoolVar(&o.resumeFailed, "resume-failed", false, "the same, but do again what failed")
	f.BoolVarP(&o.keepOrder, "keep-order", "k", false, "print results in the order of the inputs (the default)")
	f.BoolVar(&o.unordered, "unordered", false, "print each result as soon as its unit has ended")
	f.BoolVar(&o.eta, "eta", false, "say on stderr every second how far the job is and when it will have ended")
	f.DurationVar(&o.wait, "wait", 30*time.Second, "give up when no provider can be had for so long (0 = never)")
}

// mapJob is the whole verb: check, submit, feed, print.
func (a *app) mapJob(c *cobra.Command, o *mapOptions, args []string) error {
	if n := c.ArgsLenAtDash(); n >= 0 {
		o.spec.Args = append(o.spec.Args, args[n:]...)
		args = args[:n]
	}
	ctx, cancel := a.bounded(c.Context())
	defer cancel()
	args, err := o.spec.begin(o.file, args, c.Use)
	if err != nil {
		return err
	}
	if o.files {
		o.spec.Each.Files, args = args, nil
		if len(o.spec.Each.Files) == 0 {
			return usage("--files needs files after the program")
		}
	}
	if len(args) > 1 {
		return usage("%d inputs given, one file or - is taken; for one unit a file use --files, for arguments of the program write them after --", len(args))
	}
	if c.Name() == "sweep" && len(o.spec.Each.Params) == 0 {
		return usage("give at least one --param, such as --param x=0:1:0.1")
	}
	if len(args) == 1 {
		if len(o.spec.Each.Params) > 0 {
			return usage("%s: the units come from --param; write arguments of the program after --", args[0])
		}
		if o.spec.Each.Range != "" {
			return usage("inputs are either the numbers of --range or the lines of %s; write arguments of the program after --", args[0])
		}
		o.spec.Each.Lines = args[0]
	}
	f, err := o.attach(a)
	if err != nil {
		return err
	}
	defer f.close()
	cl := a.client()
	m, err := a.manifest(ctx, &o.spec, cl, o.dryRun)
	if err != nil {
		return err
	}
	if o.dryRun {
		return a.preview(ctx, &o.spec)
	}
	src, err := a.source(ctx, &o.spec, cl.PutBlob)
	if err != nil {
		return err
	}
	j, err := cl.SubmitJob(ctx, m)
	if err != nil {
		return err
	}
	if !a.json {
		a.say("%s  %s  at most %s", j.ID.Short(), j.Name, j.Budget)
	}
	f.cl, f.id, f.short, f.src = cl, j.ID.String(), j.ID.Short(), &replay{next: f.sieve.on(src)}
	if !o.detach { // else nobody says what the node has kept
		f.src.most = replayBytes
	}
	if o.detach {
		if err := f.send(ctx); err != nil && !f.ended(ctx) {
			return err
		}
		if a.json {
			return a.print(map[string]any{"schema": "p3.submitted/v1", "job": j.ID})
		}
		fmt.Fprintln(a.out, j.ID.Short())
		return nil
	}
	return f.run(ctx)
}

// attach prepares what becomes of the results.
func (o *mapOptions) attach(a *app) (*feed, error) {
	f := &feed{a: a, outDir: o.outDir, resultsDir: o.resultsDir, wait: o.wait, eta: o.eta, order: node.InOrder, sieve: &sieve{}}
	if o.unordered {
		f.order = node.AsEnded
	}
	if h, err := exec.ParseHalt(o.spec.Halt); err == nil { // checked with the rest of the spec
		f.success = h.Why == exec.HaltSuccess
	}
	switch {
	case o.unordered && o.keepOrder:
		return nil, usage("results come in the order of the inputs (-k) or as they end (--unordered), not both")
	case o.detach && (o.logFile != "" || o.resultsDir != "" || o.outDir != "" || o.unordered || o.eta):
		return nil, usage("--joblog, --results, --out, --unordered and --eta need somebody who stays: leave out --detach")
	case o.logFile == "" && (o.resume || o.resumeFailed):
		return nil, usage("--resume and --resume-failed read what is done from a job log: name it with --joblog FILE")
	case o.logFile == "" || o.dryRun:
		return f, nil
	}
	var err error
	if f.log, err = openJobLog(o.logFile, o.spec.App, o.spec.Args, o.resume, o.resumeFailed); err == nil {
		f.sieve.log = f.log
	}
	return f, err
}

// previewed is how many units a dry run shows.
const previewed = 5

// preview shows on stderr what the first units would run.
func (a *app) preview(ctx context.Context, s *spec) error {
	if isTerminal(a.in) && len(s.Each.Params)+len(s.Each.Files)+len(s.Each.Range) == 0 && (s.Each.Lines == "" || s.Each.Lines == "-") {
		return nil // nobody has typed anything
	}
	src, err := a.source(ctx, s, func(_ context.Context, r io.Reader) (exec.File, error) { return hashFile(r) })
	for n := 0; err == nil; n++ {
		var in exec.Input
		if in, err = src(); err == nil && n == previewed {
			a.say("…")
			return nil
		} else if err == nil {
			a.say("unit %d: %s", n, command(s.App, s.Args, in))
		}
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// source yields the job's units, with arguments of their own where providers cannot make them.
func (a *app) source(ctx context.Context, s *spec, put putBlob) (source, error) {
	if len(s.Each.Params) > 0 {
		params, err := parseParams(s.Each.Params)
		return grid(params, s.Args), err
	}
	t, err := newTemplate(s.Args, s.Each.Colsep)
	if err != nil {
		return nil, err
	}
	src, err := a.inputs(ctx, s, put)
	return t.on(src), err
}

func (a *app) inputs(ctx context.Context, s *spec, put putBlob) (source, error) {
	switch {
	case s.Each.Range != "":
		from, step, n, err := parseRange(s.Each.Range)
		return numbers(from, step, n), err
	case len(s.Each.Files) > 0:
		paths, err := expandFiles(s.Each.Files)
		return files(ctx, paths, put), err
	case s.Each.Lines == "" || s.Each.Lines == "-":
		if isTerminal(a.in) && !a.quiet {
			a.say("reading inputs from the terminal, one unit a line; end with Ctrl-D")
		}
		return lines(ctx, a.in, put), nil
	}
	r, err := os.Open(s.Each.Lines)
	if err != nil {
		return nil, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "name a file of inputs, one unit a line, or - for stdin"}
	}
	context.AfterFunc(ctx, func() { r.Close() })
	return lines(ctx, r, put), nil
}

// A feed is one attached job: inputs go in, results come out, and a node that is restarted
// meanwhile is met again.
type feed struct {
	a         *app
	cl        *node.Client
	id, short string
	src       *replay
	outDir    string
	wait      time.Duration
	eta       bool
	success   bool // an early end for units that went well is a success
	failed    uint64
	order     node.Order
	printed   numberSet // units

	resultsDir string
	log        *jobLog // nil = none
	sieve      *sieve  // nil = all inputs are units
}

func (f *feed) close() {
	if f.log != nil {
		f.log.w.Close()
	}
}

func (f *feed) run(ctx context.Context) error {
	// The first Ctrl-C stops feeding and says how to go on; the node keeps running the job.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	bar := f.a.newProgress(f.cl, f.id, f.eta)
	g, gctx := errgroup.WithContext(ctx)
	sending, stopSending := context.WithCancel(gctx)
	g.Go(func() error {
		err := f.send(sending)
		if sending.Err() != nil && gctx.Err() == nil || err != nil && f.ended(gctx) {
			return nil // the job ended before its input did
		}
		return err
	})
	g.Go(func() error {
		defer stopSending()
		return f.receive(gctx)
	})
	watch, stopWatch := context.WithCancel(gctx)
	if f.wait > 0 {
		g.Go(func() error { return f.giveUp(watch) })
	}
	g.Go(func() error { bar.run(watch); return nil })
	go func() { <-sending.Done(); stopWatch() }()
	err := g.Wait()
	stopWatch()
	if err != nil {
		if errors.Is(err, context.Canceled) || ctx.Err() != nil {
			f.a.say("\nleft %s running: `p3 job watch %s` shows it, `p3 job cancel %s` ends it", f.short, f.short, f.short)
			return context.Canceled
		}
		return err
	}
	var j node.Job
	err = f.again(ctx, func() (err error) {
		j, err = f.cl.Job(context.WithoutCancel(ctx), f.id)
		return err
	})
	if err != nil {
		return err
	}
	bar.done(j)
	if j.State == node.JobCancelled {
		return &node.Problem{Code: node.CodeInternal, Message: f.short + " was cancelled", Hint: "its results so far: p3 job output " + f.short}
	}
	if j.Doubtful > 0 {
		f.a.say("%d results were accepted unchecked from hosts that gave a wrong one later: run it again with --verify 2 if that matters", j.Doubtful)
	}
	if j.Halted != "" {
		f.a.say("%s ended early: %s", f.short, j.Halted)
	}
	if f.failed > 0 && !(f.success && j.Halted != "") {
		f.a.exit = exitUnitsFailed
		f.a.say("%d of %d units failed: `p3 job logs %s` shows why", f.failed, j.Units, f.short)
	}
	return nil
}

// again retries an operation across a restart of the node.
func (f *feed) again(ctx context.Context, op func() error) error {
	return node.Outlast(ctx, f.short, func(text string) { f.a.say("%s", text) }, op)
}

func (f *feed) send(ctx context.Context) error {
	err := f.again(ctx, func() error {
		j, err := f.cl.Job(ctx, f.id)
		if err != nil {
			return err
		}
		_, err = f.cl.AddInputs(ctx, f.id, j.Units, f.src.from(j.Units))
		return err
	})
	if err != nil {
		return err
	}
	n, ended := f.src.total()
	if !ended {
		return nil
	}
	return f.again(ctx, func() error {
		_, err := f.cl.CloseInputs(ctx, f.id, n)
		return err
	})
}

// ended reports whether the job takes no more input because it is over.
func (f *feed) ended(ctx context.Context) bool {
	j, err := f.cl.Job(ctx, f.id)
	return err == nil && !j.Ended.IsZero()
}

func (f *feed) receive(ctx context.Context) error {
	return f.again(ctx, func() error {
		return f.cl.Results(ctx, f.id, f.printed.below, f.order, func(u node.UnitResult) error {
			if f.printed.has(u.Unit) { // before the node was restarted
				return nil
			}
			if err := f.print(ctx, u); err != nil {
				return err
			}
			f.printed.add(u.Unit)
			f.src.release(f.printed.below) // at once: it may wait for room
			if f.printed.len()%releaseEvery == 0 {
				f.sieve.release(f.printed.below)
			}
			return nil
		})
	})
}

func (f *feed) print(ctx context.Context, u node.UnitResult) error {
	if u.Error != "" || !u.Result.OK() {
		f.failed++
		f.a.say("unit %d: %s", u.Unit, explainUnit(u))
	}
	seq := f.sieve.seq(u.Unit)
	name := fmt.Sprintf("%06d", seq-1)
	if f.outDir != "" && len(u.Result.Files) > 0 {
		if err := saveFiles(ctx, f.cl, u.Result.Files, filepath.Join(f.outDir, name)); err != nil {
			return err
		}
	}
	if f.resultsDir != "" {
		if err := saveStreams(filepath.Join(f.resultsDir, name), u.Result); err != nil {
			return err
		}
	}
	if f.log != nil {
		in, _, _ := f.src.have(u.Unit)
		if err := f.log.add(seq, in, u); err != nil {
			return fmt.Errorf("job log: %w", err)
		}
	}
	if f.a.json {
		return f.a.printAs("p3.unit/v1", u)
	}
	if len(u.Result.Stderr) > 0 && f.a.verbose {
		f.a.err.Write(u.Result.Stderr)
	}
	_, err := f.a.out.Write(u.Result.Stdout)
	return err
}

// giveUp ends the wait for a first provider.
func (f *feed) giveUp(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for waited := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		j, err := f.cl.Job(ctx, f.id)
		if err != nil {
			continue
		}
		if e := j.Estimate; e != nil && e.Over && j.State == node.JobWaiting {
			if waited += time.Second; waited > 2*time.Second { // cheaper ones may come
				f.cl.CancelJob(ctx, f.id)
				return &node.Problem{Code: node.CodeNoCredit, Message: fmt.Sprintf("%s of %s; %s is spent", e, j.Budget, j.Spent),
					Hint: fmt.Sprintf("give --max-cost %s or more; `p3 job output %s` has the results so far, and with --joblog and --resume they need not be paid again", (e.Cost + e.Cost/10).Decimal(), f.short)}
			}
			continue
		}
		if j.State != node.JobWaiting || j.Done > 0 {
			waited = 0
			continue
		}
		if waited += time.Second; j.Short > 0 && waited > time.Second { // once could be before the offers of all hosts are here
			f.cl.CancelJob(ctx, f.id)
			return node.TooDear(j.Budget, j.Short)
		}
		if waited >= f.wait {
			f.cl.CancelJob(ctx, f.id)
			return &node.Problem{Code: node.CodeNoOffers, Message: fmt.Sprintf("no provider for %s: %s", f.wait, j.Why),
				Hint: "see `p3 offer ls` and `p3 peer ls`; relax --need, --max-price or --verify, raise --max-cost, or allow more time with --wait"}
		}
	}
}

// explainUnit says in one line why a unit failed.
func explainUnit(u node.UnitResult) string {
	r := u.Result
	switch {
	case u.Error != "":
		return u.Error
	case r.Status == exec.Exited:
		return fmt.Sprintf("exit code %d%s", r.ExitCode, lastLine(r.Stderr))
	case r.Message != "":
		return fmt.Sprintf("%s: %s", r.Status, r.Message)
	}
	return r.Status.String()
}

func lastLine(b []byte) string {
	end := len(b)
	for end > 0 && b[end-1] == '\n' {
		end--
	}
	start := end
	for start > 0 && b[start-1] != '\n' && end-start < 200 {
		start--
	}
	if start == end {
		return ""
	}
	return ": " + printable(string(b[start:end]))
}

// saveFiles fetches the output files of a unit into dir.
func saveFiles(ctx context.Context, cl *node.Client, list []exec.File, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // names come from a guest: nothing lands outside
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range list {
		if !exec.ValidName(f.Name) {
			return fmt.Errorf("output name %q cannot be saved", f.Name)
		}
		if d := filepath.Dir(filepath.FromSlash(f.Name)); d != "." {
			if err := root.MkdirAll(d, 0o755); err != nil {
				return err
			}
		}
		if err := saveFile(ctx, cl, root, f); err != nil {
			return fmt.Errorf("save %s: %w", f.Name, err)
		}
	}
	return nil
}

// saveStreams keeps what a unit wrote to stdout and stderr.
func saveStreams(dir string, r exec.Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "stdout"), r.Stdout, 0o644), os.WriteFile(filepath.Join(dir, "stderr"), r.Stderr, 0o644))
}

func saveFile(ctx context.Context, cl *node.Client, root *os.Root, f exec.File) error {
	r, _, err := cl.GetBlob(ctx, f.Hash)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := root.Create(filepath.FromSlash(f.Name))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
