package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"crypto/sha256"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

type runOptions struct {
	in, env []string
	out     string
	limits  limitSpec
	seed    uint64
}

func (a *app) runCmd() *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run [--in FILE|DIR]... [--out DIR] APP [ARGS...]",
		Short: "Run a program once, here, in the sandbox that other people's units run in",
		Long: `Run a WebAssembly program (WASI preview 1 command) once, on this machine, in the same sandbox that other
people's units run in. It needs no node and no credit. Inputs appear under /in, stdin passes through,
what the program leaves in /out is saved to --out, and its exit code is this command's; what ends
otherwise exits with 1 and says how. --json keeps the streams and prints one object.

` + exitHelp,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.runOnce(c.Context(), o, args) },
	}
	c.Flags().SetInterspersed(false) // what follows APP is the program's
	f := c.Flags()
	f.StringArrayVar(&o.in, "in", nil, "file or folder that the program finds under /in")
	f.StringVar(&o.out, "out", "", "folder for what the program leaves in /out")
	f.StringVar(&o.limits.Fuel, "fuel", "", "most fuel (default 1T)")
	f.StringVar(&o.limits.Memory, "memory", "", "most memory (default 256MiB)")
	f.DurationVar(&o.limits.Time, "time-limit", 0, "most time (default 1h)")
	f.StringVar(&o.limits.Output, "output-limit", "", "most output (default 1GiB)")
	f.StringArrayVar(&o.env, "env", nil, "environment of the program, NAME=value")
	f.Uint64Var(&o.seed, "seed", 0, "of the program's random numbers")
	return c
}

// runResult is what `p3 run --json` prints.
type runResult struct {
	Schema   string        `json:"schema"` // "p3.run/v1"
	Status   exec.Status   `json:"status"`
	ExitCode uint32        `json:"exit_code"`
	Message  string        `json:"message,omitempty"`
	Fuel     ledger.Fuel   `json:"fuel"`
	Digest   ledger.Digest `json:"digest"`
	Stdout   string        `json:"stdout"`
	Stderr   string        `json:"stderr"`
	Files    []exec.File   `json:"files,omitempty"`
	WallMs   int64         `json:"wall_ms"`
}

func (a *app) runOnce(ctx context.Context, o runOptions, args []string) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	b, err := readProgram(args[0])
	if err != nil {
		return err
	}
	s := exec.Spec{
		Program: args[0], Hash: sha256.Sum256(b), Args: args[1:], Env: o.env, Seed: o.seed,
		Limits: exec.Limits{Fuel: 1_000_000_000_000, Memory: exec.DefaultLimits.Memory, WallMs: 3600_000, Output: exec.MaxOutput},
	}
	sp := spec{Limits: o.limits}
	if err := sp.limits(&s.Limits); err != nil {
		return err
	}
	if s.In, err = inputFiles(o.in); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "p3-run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if s.OutDir = o.out; s.OutDir == "" {
		s.OutDir = filepath.Join(temp, "out")
	}
	if err := os.MkdirAll(s.OutDir, 0o755); err != nil {
		return usage("--out: %v", err)
	}
	if err := a.streams(&s, temp); err != nil {
		return err
	}
	engine, err := wasm.NewPool(wasm.PoolOptions{Slots: 1, Foreground: true, CacheDir: filepath.Join(a.dataDir, "cache")})
	if err != nil {
		return err
	}
	defer engine.Close()
	r, err := engine.Run(ctx, s)
	if err != nil {
		return err
	}
	if a.json {
		a.exit = runExit(r)
		return a.print(runResult{"p3.run/v1", r.Status, r.ExitCode, r.Message, r.Fuel, r.Digest(), string(r.Stdout), string(r.Stderr), r.Files, r.WallMs})
	}
	a.exit = runExit(r)
	if r.Status == exec.BadProgram {
		return badProgram(args[0], r.Message)
	}
	if r.Status != exec.Exited {
		a.say("p3: %s ended: %s after %s", args[0], explainUnit(node.UnitResult{Result: r}), showFuel(uint64(r.Fuel)))
	} else if a.verbose {
		a.say("p3: %s, %d ms, digest %s", showFuel(uint64(r.Fuel)), r.WallMs, r.Digest())
	}
	return nil
}

func runExit(r exec.Result) int {
	switch r.Status {
	case exec.Exited:
		return int(r.ExitCode & 0xff)
	case exec.BadProgram:
		return exitUsage
	}
	return exitError
}

// streams passes ours through; with --json, or when they are no files, they are kept.
func (a *app) streams(s *exec.Spec, temp string) error {
	in, ok1 := a.in.(*os.File)
	out, ok2 := a.out.(*os.File)
	errs, ok3 := a.err.(*os.File)
	if !a.json && ok1 && ok2 && ok3 {
		s.Stdio = &exec.Stdio{In: in, Out: out, Err: errs}
		return nil
	}
	if a.in == nil || isTerminal(a.in) {
		return nil
	}
	f, err := os.Create(filepath.Join(temp, "stdin"))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, a.in)
	s.StdinPath = f.Name()
	return errors.Join(err, f.Close())
}

// inputFiles lists what --in names: a file by its name, a folder with all below it.
func inputFiles(in []string) ([]exec.Mount, error) {
	var out []exec.Mount
	for _, p := range in {
		info, err := os.Stat(p)
		if err != nil {
			return nil, usage("--in: %v", err)
		}
		if !info.IsDir() {
			out = append(out, exec.Mount{Name: filepath.Base(p), Path: p})
			continue
		}
		err = filepath.WalkDir(p, func(full string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(p, full)
			if err != nil {
				return err
			}
			out = append(out, exec.Mount{Name: path.Clean(filepath.ToSlash(rel)), Path: full})
			return nil
		})
		if err != nil {
			return nil, usage("--in: %v", err)
		}
	}
	return out, nil
}

// hashFile is what PutBlob would return.
func hashFile(r io.Reader) (exec.File, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return exec.File{Hash: ledger.Digest(h.Sum(nil)), Size: n}, err
}
