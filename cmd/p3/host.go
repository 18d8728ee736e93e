package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

func (a *app) hostCmd() *cobra.Command {
	c := &cobra.Command{Use: "host", Short: "How this machine is lent: policy, pause, resume, finish, why"}
	finish := &cobra.Command{Use: "finish", Short: "Let running units end and take nothing new, until resume", Args: cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, cl *node.Client, _ []string) error {
			on := true
			return a.setHost(ctx, cl, node.HostChange{Finish: &on})
		})}
	why := &cobra.Command{Use: "why", Short: "Why this machine does or does not take work now: every signal, and which one decided", Args: cobra.NoArgs, RunE: a.with(a.hostWhy)}
	c.AddCommand(a.policyCmd(), a.pauseCmd(), a.resumeCmd(), finish, why)
	return c
}

func (a *app) setHost(ctx context.Context, cl *node.Client, change node.HostChange) error {
	h, err := cl.SetHost(ctx, change)
	if err != nil {
		return err
	}
	if a.json {
		return a.printAs("p3.host/v1", h)
	}
	fmt.Fprintln(a.out, hostLine(h))
	return nil
}

func (a *app) policyCmd() *cobra.Command {
	var preset string
	var schema, edit bool
	var text strings.Builder
	text.WriteString("Show or change when, how much and to whom this machine is lent. A change applies to the running node at once,\nand to its next starts; without a node it waits in the file. Editing the file does the same (--edit).\n\nPresets:\n")
	for _, p := range node.Presets {
		fmt.Fprintf(&text, "  %-16s %s\n", p.Name, p.For)
	}
	text.WriteString("\nKeys:\n")
	for _, k := range node.PolicyKeys {
		fmt.Fprintf(&text, "  %-16s %s: %s\n", k.Name, k.Help, k.Form)
	}
	c := &cobra.Command{
		Use: "policy [--edit | --preset NAME] [KEY=VALUE]...", Short: "Show or change when, how much and to whom this machine is lent",
		Long: text.String() + "\n" + exitHelp,
		Example: `  p3 host policy --preset laptop
  p3 host policy idle_after=10m hours=22:00-07:00 days=mon-fri
  p3 host policy deny=+account:0x…
  p3 host policy --edit`,
		RunE: func(c *cobra.Command, args []string) error {
			if schema {
				return a.print(node.PolicySchema())
			}
			if edit {
				if preset != "" || len(args) > 0 {
					return usage("--edit takes the whole policy: give no preset and no key with it")
				}
				return a.editPolicy(c.Context())
			}
			change := node.PolicyChange{Preset: preset, Set: map[string]string{}}
			for _, kv := range args {
				k, v, ok := strings.Cut(kv, "=")
				if _, twice := change.Set[k]; !ok || twice {
					return usage("%q: write each KEY=VALUE once", kv)
				}
				change.Set[k] = v
			}
			ctx, cancel := a.bounded(c.Context())
			defer cancel()
			return a.policy(ctx, change)
		},
	}
	c.Flags().StringVar(&preset, "preset", "", "begin with desktop, laptop or server; keys that follow change it")
	c.Flags().BoolVar(&edit, "edit", false, "open the policy's file in $VISUAL or $EDITOR; what is wrong in it is shown with line and column, and not taken")
	c.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of the policy's file")
	return c
}

// policy shows and changes the policy of the running node, or of the file when none runs.
func (a *app) policy(ctx context.Context, change node.PolicyChange) (err error) {
	changes := change.Preset != "" || len(change.Set) > 0
	cl := a.client()
	var w node.HostWhy
	if changes {
		w, err = cl.SetPolicy(ctx, change)
	} else {
		w, err = cl.HostWhy(ctx)
	}
	running := true
	if p := (*node.Problem)(nil); errors.As(err, &p) && p.Code == node.CodeNoNode {
		running = false
		w, err = daemon.Policy(a.dataDir, change)
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printAs("p3.policy/v1", struct {
			Policy  node.HostPolicy `json:"policy"`
			File    string          `json:"file"`
			Chosen  string          `json:"chosen,omitempty"`
			Problem string          `json:"problem,omitempty"`
			Running bool            `json:"running"`
		}{w.Policy, w.File, w.Chosen, w.Problem, running})
	}
	if w.Problem != "" {
		a.say("p3: %s\n    the policy below holds until that is correct", printable(w.Problem))
	}
	preset := w.Policy.Preset
	if preset == "" {
		preset = "none"
	}
	if w.Chosen != "" {
		preset += ", because " + w.Chosen
	}
	fmt.Fprintf(a.out, "%-16s %s\n", "preset", preset)
	for _, k := range node.PolicyKeys {
		fmt.Fprintf(a.out, "%-16s %-12s  %s\n", k.Name, k.Get(w.Policy), k.Help)
	}
	if running {
		fmt.Fprintf(a.out, "\nwould accept now: %s\n", accepts(w.Decision))
	}
	return nil
}

func accepts(d node.Decision) string {
	if d.Accepts {
		return "yes, " + d.Why
	}
	return "no, " + d.Why
}

func (a *app) hostWhy(ctx context.Context, cl *node.Client, _ []string) error {
	w, err := cl.HostWhy(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.print(w)
	}
	fmt.Fprintf(a.out, "would accept now: %s\n", printable(accepts(w.Decision)))
	fmt.Fprintf(a.out, "decided by        %s\n", printable(w.Decision.By))
	if !w.Decision.Frozen.IsZero() {
		does := "stand still"
		if w.Decision.HandBack {
			does = "are given up"
		}
		fmt.Fprintf(a.out, "guests            %s since %s\n", does, w.Decision.Frozen.Format("15:04:05"))
	}
	fmt.Fprintf(a.out, "policy            %s\n\n", printable(w.Policy.Summary()))
	if len(w.Decision.Reasons) > 0 {
		var rows [][]string
		for _, r := range w.Decision.Reasons {
			rows = append(rows, []string{printable(r.By), r.Then, printable(r.Why)})
		}
		if err := table(a.out, "AGAINST THEN BECAUSE", rows); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
	}
	var rows [][]string
	for _, s := range w.Signals.Layers {
		known := "knows"
		if !s.Known {
			known = "cannot say"
		}
		if s.Layer == w.Decision.By {
			known += " *"
		}
		rows = append(rows, []string{s.Layer, string(s.Kind), known, printable(s.Text)})
	}
	if err := table(a.out, "LAYER ABOUT STATE SAYS", rows); err != nil {
		return err
	}
	if g := w.Signals.Graphical; g != "" {
		fmt.Fprintf(a.out, "\ngraphical session: %s\n", printable(g))
	}
	if w.Native != "" {
		fmt.Fprintf(a.out, "\nprograms run natively: %s\n", printable(w.Native))
	}
	if len(w.Walls) > 0 {
		fmt.Fprintf(a.out, "\naround guests: %s\n", printable(walls(w)))
	}
	if w.Problem != "" {
		fmt.Fprintf(a.out, "\n%s\n", printable(w.Problem))
	}
	return nil
}

// walls says what stands between guests and this machine.
func walls(w node.HostWhy) string {
	if missing := w.Missing(); missing != "" {
		return "not all walls stand: " + missing
	}
	return fmt.Sprintf("all %d walls stand", len(w.Walls))
}
