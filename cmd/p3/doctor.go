package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/shirou/gopsutil/v4/disk"
	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

// A finding is one line of the doctor.
type finding struct {
	Name   string `json:"name"`
	State  string `json:"state"` // "ok", "warn", "bad"
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

func (a *app) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check this machine: data, sandbox, node and network, with what to do", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := a.bounded(c.Context())
			defer cancel()
			for f := range a.examine(ctx) {
				if f.State == "bad" {
					a.exit = exitError
				}
				if a.json {
					if err := a.printAs("p3.finding/v1", f); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintf(a.out, "%-4s %-22s %s\n", f.State, f.Name, printable(f.Detail))
				if f.Hint != "" {
					fmt.Fprintf(a.out, "     %-22s -> %s\n", "", f.Hint)
				}
			}
			return nil
		},
	}
}

// examine yields what is found, in order.
func (a *app) examine(ctx context.Context) func(yield func(finding) bool) {
	return func(yield func(finding) bool) {
		for _, check := range []func(context.Context) []finding{a.checkData, a.checkSandbox, a.checkNode} {
			for _, f := range check(ctx) {
				if !yield(f) {
					return
				}
			}
		}
	}
}

func (a *app) checkData(context.Context) []finding {
	dir := a.dataDir
	f := finding{Name: "data folder", State: "ok", Detail: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return []finding{{f.Name, "bad", err.Error(), "choose another folder with --data-dir or P3_DATA_DIR"}}
	}
	if t, err := os.CreateTemp(dir, ".doctor-*"); err != nil {
		f = finding{f.Name, "bad", err.Error(), "make it writable, or choose another with --data-dir"}
	} else {
		t.Close()
		os.Remove(t.Name())
	}
	out := []finding{f}
	if u, err := disk.Usage(dir); err == nil {
		d := finding{Name: "disk space", State: "ok", Detail: showSize(int64(u.Free)) + " free"}
		switch {
		case u.Free < badgerstore.MinFree:
			d.State, d.Hint = "bad", fmt.Sprintf("the ledger signs nothing with less than %s: free some", showSize(badgerstore.MinFree))
		case u.Free < 1<<30:
			d.State, d.Hint = "warn", "the ledger needs little, programs and data of jobs more: free some, or lower --disk"
		}
		out = append(out, d)
	}
	if info, err := os.Stat(filepath.Join(dir, "keys", "account")); err == nil && info.Mode().Perm()&0o077 != 0 {
		out = append(out, finding{"account key", "bad", fmt.Sprintf("others can read it (mode %o)", info.Mode().Perm()), "chmod 600 " + filepath.Join(dir, "keys", "*")})
	}
	if m, err := daemon.LoadMembership(dir); err != nil {
		out = append(out, finding{"network", "bad", err.Error(), "join again with `p3 join INVITE`, or `p3 join public`"})
	} else {
		out = append(out, finding{Name: "network", State: "ok", Detail: fmt.Sprintf("%s, %d bootstrap peers", m.Genesis.Name, len(m.Bootstrap))})
	}
	return out
}

func (a *app) checkSandbox(ctx context.Context) []finding {
	var out []finding
	for _, p := range wasm.Probe() {
		f := finding{Name: "sandbox: " + p.Name, State: "ok", Detail: p.Detail}
		if !p.OK {
			f.State = "warn"
		}
		out = append(out, f)
	}
	engine, err := wasm.NewPool(wasm.PoolOptions{CacheDir: filepath.Join(a.dataDir, "cache")})
	var speed uint64
	if err == nil {
		defer engine.Close()
		speed, err = engine.MeasureSpeed(ctx)
	}
	if err != nil {
		return append(out, finding{"engine", "bad", err.Error(), "programs cannot run here; see the sandbox lines above"})
	}
	out = append(out, finding{Name: "engine", State: "ok", Detail: fmt.Sprintf("%.2f Gfuel/s a slot", float64(speed)/1e9)})
	return append(out, checkSecondTier(ctx))
}

// checkSecondTier says whether allowing native programs does anything here. Nothing is wrong when it does not.
func checkSecondTier(ctx context.Context) finding {
	tools, err := wasm.SecondTier(ctx)
	if err != nil {
		return finding{Name: "second tier", State: "ok", Detail: "not here: " + err.Error()}
	}
	return finding{Name: "second tier", State: "ok", Detail: fmt.Sprintf("%s, %s: allow it with `p3 host policy native=yes`", tools.Wasm2c, tools.Compiler)}
}

func (a *app) checkNode(ctx context.Context) []finding {
	cl := a.client()
	start := time.Now()
	st, err := cl.Status(ctx)
	if err != nil {
		f := finding{"node", "bad", err.Error(), ""}
		if p := (*node.Problem)(nil); errors.As(err, &p) {
			f.Hint = p.Hint
			if p.Code == node.CodeNoNode {
				f.State = "warn"
			}
		}
		return []finding{f}
	}
	out := []finding{{Name: "node", State: "ok", Detail: fmt.Sprintf("answers in %s, up %s", time.Since(start).Round(time.Millisecond), showAge(time.Since(st.Started)))}}
	if st.ReadOnly != "" {
		out = append(out, finding{"ledger", "bad", st.ReadOnly, "restart the node; if it stays so, see docs/ledger.md"})
	}
	if o := st.Office; o != nil {
		f := finding{Name: "earns for", State: "ok", Detail: fmt.Sprintf("account %s, whose key is elsewhere; %s and %s wait for it", o.Account, plural(o.Waiting, "lease", "leases"), o.Amount)}
		switch {
		case !o.Expires.After(time.Now()):
			f.State, f.Hint = "bad", "the binding has ended: connect to the PC with the key, or `p3 credit bind` there and `p3 up --earn-for` here"
		case o.Refused > 0:
			f.State, f.Hint = "warn", fmt.Sprintf("%d of them are refused: %s", o.Refused, printable(o.Why))
		case !o.Home:
			f.State, f.Hint = "warn", "the PC with the key is not connected: start it (p3 up); what waits is lost if this machine is"
		}
		out = append(out, f)
	}
	f := finding{Name: "peers", State: "ok", Detail: fmt.Sprintf("%d connected, %d offers", st.Peers, st.Offers)}
	if st.Peers == 0 {
		f.State, f.Hint = "warn", "on another LAN: `p3 invite` on a machine of the network, `p3 join` here; on this LAN: does a firewall drop multicast (UDP 5353)?"
	}
	out = append(out, f)
	peers, err := cl.Peers(ctx)
	if err == nil {
		relayed := 0
		for _, p := range peers {
			if p.Relayed {
				relayed++
			}
		}
		if relayed > 0 {
			out = append(out, finding{"reachability", "warn", fmt.Sprintf("%d of %d peers only through a relay", relayed, len(peers)), "forward the node's port on your router, or allow UDP out"})
		}
	}
	if w, err := cl.HostWhy(ctx); err == nil && len(w.Walls) > 0 {
		f := finding{Name: "the node's workers", State: "ok", Detail: walls(w)}
		if w.Missing() != "" {
			f.State = "warn"
		}
		out = append(out, f)
	}
	d := finding{Name: "donating", State: "ok", Detail: st.Host.Why}
	return append(out, d)
}
