package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/node"
)

// A farmMaster is whoever makes the units: a program that is started here, or who is behind stdin and stdout.
type farmMaster struct {
	units   io.Reader
	results io.WriteCloser
	output  io.Writer                                 // of what it found; nil where results go to stdout
	run     func(ctx context.Context) (string, error) // how it ended, "" = well; nil = it is not ours to run
	theirs  []*os.File                                // the other ends of units and results
	cleanup func()
}

// newMaster prepares the master that the options name and checks what can be checked.
func (a *app) newMaster(o *farmOptions, behind []string) (*farmMaster, error) {
	if o.master == "" && len(behind) == 0 {
		if isTerminal(a.in) && !a.quiet {
			a.say(`reading units from the terminal, one JSON object a line, such as {"stdin": "3 4\n"}; end with Ctrl-D`)
		}
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // who reads no more is noticed, not died of
		return &farmMaster{units: a.in, results: unclosed{a.out}, cleanup: func() {}}, nil
	}
	var b []byte
	var err error
	if o.master != "" {
		if err = checkProgram(o.master); err == nil {
			b, err = readProgram(o.master)
		}
	} else if _, err = osexec.LookPath(behind[0]); err != nil {
		err = &node.Problem{Code: node.CodeUsage, Message: "the master: " + err.Error(), Hint: "name a program that can be run, such as ./search.py; a WebAssembly master goes to --master"}
	}
	if err != nil {
		return nil, err
	}
	w := &farmMaster{output: a.out, cleanup: func() {}}
	unitsOurs, unitsTheirs, err1 := os.Pipe()
	resultsTheirs, resultsOurs, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	w.units, w.results, w.theirs = unitsOurs, resultsOurs, []*os.File{resultsTheirs, unitsTheirs}
	errs, ok := a.err.(*os.File)
	if !ok {
		errs = os.Stderr
	}
	if o.master == "" {
		cmd := osexec.Command(behind[0], behind[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = resultsTheirs, unitsTheirs, errs
		w.run = func(ctx context.Context) (string, error) { return runMaster(ctx, cmd) }
		return w, nil
	}
	engine, err := wasm.NewPool(wasm.PoolOptions{Slots: 1, Foreground: true, CacheDir: filepath.Join(a.dataDir, "cache")})
	if err != nil {
		return nil, err
	}
	w.cleanup = func() { engine.Close() }
	s := exec.Spec{Program: o.master, Hash: sha256.Sum256(b), Args: behind, Limits: masterLimits, Seed: o.spec.Seed,
		Stdio: &exec.Stdio{In: resultsTheirs, Out: unitsTheirs, Err: errs, Live: true}}
	w.run = func(ctx context.Context) (string, error) {
		r, err := engine.Run(ctx, s)
		if err != nil || r.OK() {
			return "", err
		}
		return explainUnit(node.UnitResult{Result: r}), nil
	}
	return w, nil
}

// masterLimits are wide: a master costs nobody else anything.
var masterLimits = exec.Limits{Fuel: 1 << 60, Memory: 1 << 30, WallMs: (7 * 24 * time.Hour).Milliseconds(), Output: exec.MaxOutput}

// masterGrace is how long a master may take to end once its streams are closed.
const masterGrace = 5 * time.Second

// runMaster runs a native master. When ctx ends it is asked to end by the end of its stdin, and made to after a while.
func runMaster(ctx context.Context, cmd *osexec.Cmd) (string, error) {
	if err := cmd.Start(); err != nil {
		return "", &node.Problem{Code: node.CodeUsage, Message: "the master: " + err.Error(), Hint: "name a program that can be run, such as ./search.py"}
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		select {
		case <-ended:
		case <-time.After(masterGrace):
			cmd.Process.Kill()
		}
	}()
	err := cmd.Wait()
	if exit := (*osexec.ExitError)(nil); errors.As(err, &exit) {
		return exit.Error(), nil
	}
	return "", err
}

// A masterEnd tells that a master has ended.
type masterEnd struct {
	closed chan struct{}
	err    error // once closed: why it is not well
}

// start runs the master, if it is ours to run; nobody waits for the end of another.
func (w *farmMaster) start(ctx context.Context) *masterEnd {
	end := &masterEnd{closed: make(chan struct{})}
	if w.run == nil {
		close(end.closed)
		return end
	}
	go func() {
		defer close(end.closed)
		how, err := w.run(ctx)
		for _, f := range w.theirs {
			f.Close()
		}
		if end.err = err; err == nil && how != "" {
			end.err = &node.Problem{Code: node.CodeInternal, Message: "the master failed: " + how, Hint: "what it said is above; `p3 job ls` has its job"}
		}
	}()
	return end
}

func (w *farmMaster) close() {
	w.results.Close()
	if c, ok := w.units.(io.Closer); ok && w.run != nil {
		c.Close()
	}
}

func (w *farmMaster) stop() { w.close(); w.cleanup() }

// unclosed is a writer that is not ours to close.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
