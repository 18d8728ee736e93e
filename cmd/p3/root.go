package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/node"
)

// Exit codes. They are listed in the help and never change.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitUnitsFailed = 3
	exitDenied      = 4
	exitNoNode      = 5
	exitNoCredit    = 6
	exitNoOffers    = 7
	exitTimeout     = 8
	exitUnbalanced  = 9
	exitInterrupted = 130
)

const exitHelp = `Exit codes:
  0 ok   1 error   2 usage or bad spec   3 some units failed   4 not allowed   5 node not running
  6 not enough credit   7 no matching offers   8 timed out   9 credit not conserved   130 interrupted`

// An app is one call of the command: its streams and the global flags.
type app struct {
	in       io.Reader
	out, err io.Writer

	json, quiet, verbose, noInput, yes bool
	color, dataDir, socket             string
	timeout                            time.Duration

	exit int // what run returns when no error says otherwise
}

// run is the whole command. It returns the exit code.
func run(args []string, in io.Reader, out, errw io.Writer) int {
	if len(args) > 0 && args[0] == "worker" { // the sandboxed child: nothing else of p3 runs in it
		return wasm.WorkerMain(os.Stdin, os.Stdout)
	}
	a := &app{in: in, out: out, err: errw}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	if c, err := root.ExecuteContextC(ctx); err != nil {
		if strings.Contains(err.Error(), "arg(s)") { // cobra's own
			err = &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "usage: " + strings.TrimSuffix(c.UseLine(), " [flags]") + "; see: " + c.CommandPath() + " --help"}
		}
		return a.fail(err)
	}
	return a.exit
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "p3",
		Short: "Personal Power Plant: lend idle CPU for credits, spend credits on other people's CPU",
		Long: `Personal Power Plant: lend idle CPU for credits, spend credits on other people's CPU.

  p3 demo                      watch a whole small network at work
  p3 up --donate               earn: take other people's units while the machine is yours
  p3 map app.wasm inputs.txt   spend: run a program over many inputs on other machines
  p3 tui                       browse offers, jobs and receipts

Global flags and those of p3 up can be given as variables: --data-dir as P3_DATA_DIR, --no-lan as P3_NO_LAN=true.

` + exitHelp,
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              cobra.NoArgs,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return fromEnvironment(c) },
		RunE: func(c *cobra.Command, _ []string) error {
			if a.terminal() {
				return a.tui(c.Context(), false, false)
			}
			return c.Help()
		},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "see: " + c.CommandPath() + " --help"}
	})
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "machine-readable output on stdout")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress on stderr")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "more on stderr")
	f.BoolVar(&a.noInput, "no-input", false, "never ask")
	f.BoolVarP(&a.yes, "yes", "y", false, "answer yes to what would be asked")
	f.StringVar(&a.color, "color", "auto", "auto, always or never")
	f.StringVar(&a.dataDir, "data-dir", node.DefaultDir(), "keys, ledger and blobs ($P3_DATA_DIR)")
	f.StringVar(&a.socket, "socket", "", "local API ($P3_SOCKET; default: beside the data)")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this long (0 = never)")
	root.AddCommand(
		a.upCmd(), a.downCmd(), a.statusCmd(), a.mapCmd(), a.sweepCmd(), a.farmCmd(), a.schemaCmd(), a.runCmd(), a.publishCmd(), a.jobCmd(), a.offerCmd(), a.creditCmd(),
		a.peerCmd(), a.joinCmd(), a.inviteCmd(), a.orgCmd(), a.witnessCmd(), a.pauseCmd(), a.resumeCmd(), a.hostCmd(), a.doctorCmd(), a.demoCmd(), a.tuiCmd(), a.topCmd(), a.versionCmd(),
	)
	return root
}

// fromEnvironment sets flags that were not given from variables: --no-lan from P3_NO_LAN. The
// terms of a job are not among them: nobody should pay because of a forgotten variable.
func fromEnvironment(c *cobra.Command) (err error) {
	flags := c.InheritedFlags()
	if c.Name() == "up" {
		flags = c.Flags()
	}
	flags.VisitAll(func(f *pflag.Flag) {
		name := "P3_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v := os.Getenv(name); v != "" && !f.Changed && err == nil {
			if e := c.Flags().Set(f.Name, v); e != nil {
				err = usage("$%s: %v", name, e)
			}
		}
	})
	return err
}

// client speaks to the running node.
func (a *app) client() *node.Client { return node.NewClient(a.socketPath()) }

func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	return node.DefaultSocket(a.dataDir)
}

// bounded applies --timeout.
func (a *app) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout > 0 {
		return context.WithTimeout(ctx, a.timeout)
	}
	return context.WithCancel(ctx)
}

// terminal reports whether a person reads stdout.
func (a *app) terminal() bool { return isTerminal(a.out) }

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// say writes a line of talk to stderr.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// print writes one JSON value as a line.
func (a *app) print(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", b)
	return err
}

// printAs is print for an object that does not name its schema itself.
func (a *app) printAs(schema string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, `{"schema":%q,%s`+"\n", schema, b[1:])
	return err
}

// fail reports an error and returns its exit code.
func (a *app) fail(err error) int {
	p := problemOf(err)
	if a.json {
		b, _ := json.Marshal(map[string]*node.Problem{"error": p})
		fmt.Fprintf(a.err, "%s\n", b)
	} else {
		fmt.Fprintf(a.err, "p3: %s\n", p.Message)
		if p.Hint != "" {
			fmt.Fprintf(a.err, "    %s\n", p.Hint)
		}
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	return exitCode(p.Code)
}

func problemOf(err error) *node.Problem {
	var p *node.Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, context.Canceled):
		return &node.Problem{Code: "interrupted", Message: "interrupted"}
	case errors.Is(err, context.DeadlineExceeded):
		return &node.Problem{Code: node.CodeTimeout, Message: "timed out", Hint: "allow more with --timeout"}
	case strings.HasPrefix(err.Error(), "unknown command"):
		return &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "see: p3 --help"}
	}
	return &node.Problem{Code: node.CodeInternal, Message: err.Error()}
}

func exitCode(code string) int {
	switch code {
	case node.CodeUsage:
		return exitUsage
	case node.CodeDenied:
		return exitDenied
	case node.CodeNoNode:
		return exitNoNode
	case node.CodeNoCredit:
		return exitNoCredit
	case node.CodeNoOffers:
		return exitNoOffers
	case node.CodeTimeout:
		return exitTimeout
	}
	return exitError
}

func usage(format string, args ...any) error {
	return &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf(format, args...), Hint: "see --help"}
}
