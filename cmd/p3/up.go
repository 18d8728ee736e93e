package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/adrg/xdg"
	"github.com/lmittmann/tint"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
	"github.com/personal-power-plant/p3/node/p2p"
)

type upOptions struct {
	donate, foreground, noLAN, relay, native, witness bool
	name, memory, disk, price, reach                  string
	priority, preset                                  string
	slots                                             int
	listen                                            []string
	profile, passphrase, earnFor                      string
}

func (a *app) upCmd() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up [--donate]",
		Short: "Start this machine's node; with --donate it takes other people's units and earns",
		Long: `Start this machine's node in the background, or tell the running one to donate.

With --donate strangers' programs run here, one in each slot, shut in: no network, no files of yours,
lowest priority, bounded memory, and when the host policy says so: on a PC with a screen only while nobody uses it.
p3 host policy shows and changes that, p3 host why tells what decides now, p3 pause stops it, p3 down ends the node.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.earnFor != "" {
				if err := a.earnFor(o.earnFor); err != nil {
					return err
				}
			}
			if o.foreground {
				return a.serve(c.Context(), o)
			}
			return a.up(c, o)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.donate, "donate", false, "run other people's units for credit")
	f.BoolVar(&o.foreground, "foreground", false, "stay in the foreground and log to stderr")
	f.StringVar(&o.earnFor, "earn-for", "", "earn for an account whose key is elsewhere: the line that p3 credit bind printed there, or a file with it; from then on for this data folder")
	f.StringVar(&o.name, "name", "", "what others see (default: the host's name)")
	f.StringVar(&o.preset, "preset", "", "of the host policy: desktop, laptop or server (default: the saved policy, else what fits this machine)")
	f.IntVar(&o.slots, "slots", 0, "units at a time for others (default: the policy's)")
	f.StringVar(&o.memory, "memory", "", "memory for guests (default: the policy's)")
	f.StringVar(&o.disk, "disk", "", "disk for cached programs and data (default: the policy's)")
	f.StringVar(&o.price, "price", "", "credit asked per Tfuel (default: the policy's)")
	f.StringSliceVar(&o.listen, "listen", nil, "multiaddrs to listen on (default: any port, TCP and QUIC)")
	f.StringVar(&o.priority, "priority", "idle", "of guests: idle, or normal on a machine that does nothing else")
	f.BoolVar(&o.native, "native", false, "compile programs that run long with this machine's C compiler (needs wabt and gcc; default: the policy's)")
	f.BoolVar(&o.noLAN, "no-lan", false, "do not look for peers on the local network")
	f.StringVar(&o.reach, "reach", "", "public or private, if you know it (default: find out)")
	f.StringVar(&o.passphrase, "passphrase-file", "", "first line: the passphrase of the account key, if it has one; - is stdin (default: $P3_PASSPHRASE, or ask)")
	f.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile to this file while in the foreground")
	f.MarkHidden("cpuprofile")
	f.BoolVar(&o.witness, "witness", false, "be one of the network's witnesses, if its founder named this node's witness key (see p3 witness)")
	f.BoolVar(&o.relay, "relay", false, "relay for peers behind NAT")
	return c
}

func (o upOptions) config(a *app) (daemon.Config, error) {
	cfg := daemon.Config{
		Dir: a.dataDir, Socket: a.socketPath(), Name: o.name, Version: version(), Donate: o.donate, Slots: o.slots,
		Preset: o.preset, Listen: o.listen, NoLAN: o.noLAN, Reach: p2p.Reach(o.reach), Relay: o.relay, Native: o.native, Witness: o.witness,
		Passphrase: a.passphrase(o.passphrase),
	}
	for _, x := range []struct {
		text string
		dst  *int64
	}{{o.memory, &cfg.Memory}, {o.disk, &cfg.Disk}} {
		if x.text != "" {
			n, err := parseSize(x.text)
			if err != nil {
				return cfg, err
			}
			*x.dst = n
		}
	}
	if o.price != "" {
		p, err := ledger.ParseCredits(o.price)
		if err != nil || p < 0 {
			return cfg, usage("--price %q: write credits per Tfuel, such as 0.02", o.price)
		}
		cfg.Price = ledger.Price{Num: uint64(p), Den: ledger.PriceFuel}
	}
	switch o.priority {
	case "idle":
	case "normal":
		cfg.Eager = true
	default:
		return cfg, usage("--priority %q: write idle or normal", o.priority)
	}
	if o.preset != "" {
		if _, err := (node.HostPolicy{}).ApplyPreset(o.preset); err != nil {
			return cfg, err
		}
	}
	for _, addr := range o.listen {
		if _, err := ma.NewMultiaddr(addr); err != nil && addr != "" {
			return cfg, usage("--listen %q: write an address such as /ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/udp/4001/quic-v1", addr)
		}
	}
	if o.slots < 0 {
		return cfg, usage("--slots %d: give 1 or more", o.slots)
	}
	return cfg, nil
}

// serve is the node itself.
func (a *app) serve(ctx context.Context, o upOptions) error {
	cfg, err := o.config(a)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if a.verbose {
		level = slog.LevelDebug
	}
	cfg.Log = slog.New(tint.NewHandler(a.err, &tint.Options{Level: level, NoColor: !isTerminal(a.err) || os.Getenv("NO_COLOR") != "", TimeFormat: time.DateTime}))
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	d, err := daemon.Start(ctx, cfg)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-d.Stopping():
	}
	return d.Close()
}

// up starts the node in the background, or changes the running one.
func (a *app) up(c *cobra.Command, o upOptions) error {
	ctx := c.Context()
	if _, err := o.config(a); err != nil {
		return err
	}
	cl := a.client()
	if st, err := cl.Status(ctx); err == nil {
		if c.Flags().Changed("donate") && st.Host.Donating != o.donate {
			if _, err := cl.SetHost(ctx, node.HostChange{Donate: &o.donate}); err != nil {
				return err
			}
		}
		if o.witness {
			if _, err := cl.BeWitness(ctx); err != nil {
				return err
			}
		}
		return a.status(ctx)
	}
	secret, err := a.unlock(o)
	if err != nil {
		return err
	}
	log, path, err := openLog()
	if err != nil {
		return err
	}
	defer log.Close()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"--data-dir", a.dataDir, "--socket", a.socketPath()}, os.Args[1:]...)
	if a.verbose {
		args = append(args, "-v")
	}
	args = append(args, "--foreground", "--json") // so that its last word keeps its code
	if secret != "" {
		args = append(args, "--passphrase-file", "-")
	}
	cmd := osexec.Command(exe, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "P3_PASSPHRASE=") })
	if secret != "" {
		cmd.Stdin = strings.NewReader(secret + "\n") // arguments and variables of a process can be read by others
	}
	cmd.Stderr = log
	cmd.SysProcAttr = detached()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; {
		select {
		case <-ended:
			return startProblem(path)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if _, err := cl.Status(ctx); err == nil {
			return a.status(ctx)
		} else if p := (*node.Problem)(nil); errors.As(err, &p) && p.Code != node.CodeNoNode {
			return err
		}
		if time.Since(start) > time.Minute {
			return &node.Problem{Code: node.CodeTimeout, Message: "the node has not answered for a minute", Hint: "its log: " + path}
		}
	}
}

// unlock asks for the account key's passphrase here, where a person may be: the node in the background
// has no terminal. "" if there is none.
func (a *app) unlock(o upOptions) (string, error) {
	needed, err := daemon.NeedsPassphrase(a.dataDir)
	if err != nil || !needed {
		return "", err
	}
	return a.passphrase(o.passphrase)()
}

func openLog() (*os.File, string, error) {
	path := filepath.Join(xdg.StateHome, "p3", "p3.log")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", err
	}
	if info, err := os.Stat(path); err == nil && info.Size() > 16<<20 { // one old log is enough
		os.Rename(path, path+".1")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return f, path, err
}

// startProblem is why a node in the background did not start.
func startProblem(path string) *node.Problem {
	last := lastLog(path)
	var said struct{ Error *node.Problem }
	if json.Unmarshal([]byte(last), &said) != nil || said.Error == nil {
		said.Error = &node.Problem{Code: node.CodeInternal, Message: last}
	}
	p := said.Error
	p.Message = "the node did not start: " + p.Message
	if p.Hint == "" {
		p.Hint = "its log: " + path
	}
	return p
}

// lastLog is the last thing a node that failed to start had to say.
func lastLog(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b[max(0, len(b)-4096):])), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if s, ok := strings.CutPrefix(strings.TrimSpace(lines[i]), "p3: "); ok {
			return s
		}
	}
	return lines[len(lines)-1]
}

func (a *app) downCmd() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop this machine's node in order; its jobs go on when it is started again", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := a.bounded(c.Context())
			defer cancel()
			cl := a.client()
			st, err := cl.Status(ctx)
			if err == nil {
				err = cl.Shutdown(ctx)
			}
			if err != nil {
				return err
			}
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				if _, err := cl.Status(ctx); err != nil {
					// Only when the process is gone is its ledger closed and its folder free.
					if p := (*node.Problem)(nil); errors.As(err, &p) && p.Code == node.CodeNoNode && ended(st.PID) {
						a.say("stopped")
						return nil
					}
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		},
	}
}
