package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/fractal"
	"github.com/personal-power-plant/p3/exec/examples/textstat"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// The demo's picture, in pixels. Watched on a screen it is larger, so that there is something to watch.
const (
	demoWidth  = 640
	demoHeight = 400
	demoTile   = 80
	demoLarger = 3
	demoChunk  = 4 << 10 // bytes of text a unit
)

type demoOptions struct {
	tui, keep bool
	picture   string
	file      string
}

func (a *app) demoCmd() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use: "demo [FILE]", Short: "Run a whole network here: you and three peers, two jobs, paid and checked",
		Long: `Start a private network of four node processes on this machine, in a temporary folder: you and three
peers. Two jobs run on it, each unit on two peers whose answers must agree: a ray-traced picture in
tiles, and counts over FILE (or a text of the demo's own). Then it shows who computed what, checks every
receipt and the sum of all balances, and stops everything. Nothing leaves this machine.

` + exitHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.file = args[0]
			}
			return a.demo(c.Context(), o)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.tui, "tui", false, "watch it live on a screen")
	f.BoolVar(&o.keep, "keep", false, "keep the temporary folder with logs and ledgers")
	f.StringVar(&o.picture, "picture", filepath.Join(os.TempDir(), "p3-demo.png"), "where the picture goes")
	return c
}

// demoResult is what `p3 demo --json` prints.
type demoResult struct {
	Schema   string                    `json:"schema"` // "p3.demo/v1"
	Picture  string                    `json:"picture"`
	Peers    int                       `json:"peers"`
	Units    uint64                    `json:"units"`
	Failed   uint64                    `json:"failed"`
	Receipts int                       `json:"receipts"`
	Verified int                       `json:"receipts_verified"`
	Sum      ledger.Credits            `json:"sum_ucr"`
	Balances map[string]ledger.Credits `json:"balances_ucr"`
	Elapsed  int64                     `json:"elapsed_ms"`
}

func (a *app) demo(ctx context.Context, o demoOptions) (err error) {
	start := time.Now()
	limit := a.timeout
	if limit == 0 {
		limit = 2 * time.Minute
	}
	if o.tui { // a person decides how long
		limit = 24 * time.Hour
		if !a.terminal() {
			return usage("--tui needs a terminal")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	text, err := demoText(o.file)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "p3-demo-")
	if err != nil {
		return err
	}
	net, err := newLocalNet(dir, "you", "maple", "oak", "birch")
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, net.stop())
		if o.keep {
			a.say("kept %s", dir)
		} else {
			os.RemoveAll(dir)
		}
	}()
	a.tell("starting four nodes on this machine: you, maple, oak, birch")
	if err := net.start(ctx); err != nil {
		return err
	}
	if err := net.offers(ctx); err != nil {
		return &node.Problem{Code: node.CodeNoOffers, Message: fmt.Sprintf("the peers made no offers: %v", err), Hint: "run p3 doctor: can programs run here?"}
	}
	d := &demo{a: a, net: net, you: net.nodes[0].client, start: start, scale: 1}
	if o.tui {
		return d.watched(ctx, text, o.picture)
	}
	if err := d.jobs(ctx, text, o.picture); err != nil {
		return err
	}
	return d.report(ctx, o.picture)
}

// demoText is what the second job reads.
func demoText(path string) ([]byte, error) {
	if path == "" {
		return []byte(strings.Repeat(exitHelp+"\n", 64)), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "name a text file, or none"}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<20+1))
	if err != nil || len(b) == 0 || len(b) > 64<<20 {
		return nil, usage("%s: give a file of 1 byte to 64 MiB (%v)", path, err)
	}
	return b, nil
}

type demo struct {
	a     *app
	net   *localNet
	you   *node.Client
	start time.Time
	scale int // of the picture
	done  []node.Job
}

// tell is talk that --json keeps off.
func (a *app) tell(format string, args ...any) {
	if !a.json {
		a.say(format, args...)
	}
}

// jobs runs both jobs one after the other.
func (d *demo) jobs(ctx context.Context, text []byte, picture string) error {
	var tiles []exec.Input
	for _, t := range fractal.Tiles(d.scale*demoWidth, d.scale*demoHeight, demoTile) {
		tiles = append(tiles, exec.Input{Text: t, Stdin: []byte(t + "\n")})
	}
	d.a.tell("job 1: a ray-traced picture in %d tiles, each computed by two peers that must agree", len(tiles))
	out, err := d.run(ctx, "picture", fractal.Wasm, tiles)
	if err != nil {
		return err
	}
	img, err := fractal.Assemble(out)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return err
	}
	if err := os.WriteFile(picture, b.Bytes(), 0o644); err != nil {
		return usage("--picture: %v", err)
	}
	var chunks []exec.Input
	for len(text) > 0 {
		n := len(text)
		if n > demoChunk {
			n = demoChunk
			if i := bytes.LastIndexByte(text[:n], '\n'); i > 0 {
				n = i + 1
			}
		}
		chunks = append(chunks, exec.Input{Stdin: text[:n]})
		text = text[n:]
	}
	d.a.tell("job 2: counting a text in %d pieces, each by two peers", len(chunks))
	if out, err = d.run(ctx, "textstat", textstat.Wasm, chunks); err != nil {
		return err
	}
	sums, err := addCounts(out)
	if err != nil {
		return err
	}
	d.a.tell("        %s", sums)
	return nil
}

// run is one job from its program to its results.
func (d *demo) run(ctx context.Context, name string, program []byte, inputs []exec.Input) ([][]byte, error) {
	f, err := d.you.PutBlob(ctx, bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	f.Name = name + ".wasm"
	m := exec.Manifest{Version: 1, Kind: exec.KindMap, Engine: exec.EngineWASM, Name: name, Program: f, Each: exec.EachLines,
		Limits: exec.DefaultLimits, Verify: 2, Budget: ledger.Credit, Retries: 3, Costs: wasm.CostTable()}
	j, err := d.you.SubmitJob(ctx, m)
	if err != nil {
		return nil, err
	}
	id := j.ID.String()
	next := 0
	if _, err := d.you.AddInputs(ctx, id, 0, func() (exec.Input, error) {
		if next == len(inputs) {
			return exec.Input{}, io.EOF
		}
		next++
		return inputs[next-1], nil
	}); err != nil {
		return nil, err
	}
	if _, err := d.you.CloseInputs(ctx, id, uint64(len(inputs))); err != nil {
		return nil, err
	}
	bar := d.a.newProgress(d.you, id, false)
	watching, stop := context.WithCancel(ctx)
	go bar.run(watching)
	out := make([][]byte, 0, len(inputs))
	err = d.you.Results(ctx, id, 0, node.InOrder, func(u node.UnitResult) error {
		if u.Error != "" || !u.Result.OK() {
			return fmt.Errorf("unit %d of %s: %s", u.Unit, name, explainUnit(u))
		}
		out = append(out, u.Result.Stdout)
		return nil
	})
	stop()
	if err == nil {
		j, err = d.you.Job(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	bar.done(j)
	if len(out) != len(inputs) {
		return nil, fmt.Errorf("%s ended with %d of %d results: %s", name, len(out), len(inputs), j.Why)
	}
	d.done = append(d.done, j)
	return out, nil
}

// addCounts adds up what textstat printed for each piece.
func addCounts(out [][]byte) (string, error) {
	var total struct{ bytes, lines, words int }
	for i, b := range out {
		var n struct{ bytes, lines, words int }
		if _, err := fmt.Sscanf(string(b), "bytes=%d lines=%d words=%d", &n.bytes, &n.lines, &n.words); err != nil {
			return "", fmt.Errorf("piece %d: %q: %w", i, b, err)
		}
		total.bytes += n.bytes
		total.lines += n.lines
		total.words += n.words
	}
	return fmt.Sprintf("%d bytes, %d lines, %d words", total.bytes, total.lines, total.words), nil
}

// report settles, checks everything and shows it.
func (d *demo) report(ctx context.Context, picture string) error {
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := d.net.settled(wait); err != nil {
		return fmt.Errorf("receipts wait for signatures: %w", err)
	}
	r := demoResult{Schema: "p3.demo/v1", Picture: picture, Peers: len(d.net.nodes) - 1, Balances: map[string]ledger.Credits{}}
	var bad []string
	for _, n := range d.net.nodes {
		b, err := n.client.Balance(ctx)
		if err != nil {
			return err
		}
		r.Balances[n.name] = b.Net
		r.Sum += b.Net
		var ids []string
		if err := n.client.Receipts(ctx, func(x node.Receipt) error { ids = append(ids, x.ID.String()); return nil }); err != nil {
			return err
		}
		for _, id := range ids { // from the bytes, here, not by the node's word
			raw, err := n.client.ReceiptBytes(ctx, id)
			if err != nil {
				return err
			}
			r.Receipts++
			if _, err := verifyReceipt(raw); err != nil {
				bad = append(bad, fmt.Sprintf("%s of %s: %v", id[:8], n.name, err))
			} else {
				r.Verified++
			}
		}
	}
	peers := map[string]node.JobPeer{}
	for _, j := range d.done {
		r.Units += j.Done
		r.Failed += j.Failed
		for _, p := range j.Peers {
			sum := peers[p.Name]
			sum.Done, sum.Paid = sum.Done+p.Done, sum.Paid+p.Paid
			peers[p.Name] = sum
		}
	}
	r.Elapsed = time.Since(d.start).Milliseconds()
	if d.a.json {
		if err := d.a.print(r); err != nil {
			return err
		}
	} else {
		d.show(r, peers)
	}
	switch {
	case len(bad) > 0:
		return fmt.Errorf("%d receipts do not verify: %s", len(bad), strings.Join(bad, "; "))
	case r.Sum != 0:
		return fmt.Errorf("the balances sum to %s, not zero", r.Sum)
	case r.Failed > 0:
		d.a.exit = exitUnitsFailed
	}
	return nil
}

func (d *demo) show(r demoResult, peers map[string]node.JobPeer) {
	w := bufio.NewWriter(d.a.out)
	defer w.Flush()
	fmt.Fprintf(w, "\nwho computed what\n")
	var rows [][]string
	for _, n := range d.net.nodes {
		p := peers[n.name]
		units, paid := "-", "-"
		if n.name != "you" {
			units, paid = fmt.Sprint(p.Done), p.Paid.String()
		}
		rows = append(rows, []string{n.name, units, paid, "0.00 cr", r.Balances[n.name].String()})
	}
	slices.SortStableFunc(rows[1:], func(a, b []string) int { return strings.Compare(b[1], a[1]) })
	table(w, "NODE UNITS PAID BEFORE AFTER", rows)
	fmt.Fprintf(w, "\npicture   %s\n", r.Picture)
	fmt.Fprintf(w, "units     %d done, %d failed, each agreed on by two peers\n", r.Units, r.Failed)
	fmt.Fprintf(w, "receipts  %d of %d verified from their bytes\n", r.Verified, r.Receipts)
	fmt.Fprintf(w, "sum       %s over all balances\n", r.Sum)
	fmt.Fprintf(w, "time      %.1f s on %s/%s\n", float64(r.Elapsed)/1e3, runtime.GOOS, runtime.GOARCH)
}

// watched runs the jobs behind the screens and reports when the person quits.
func (d *demo) watched(ctx context.Context, text []byte, picture string) error {
	ctx, cancel := context.WithCancel(ctx)
	quiet := &demo{a: &app{out: io.Discard, err: io.Discard, quiet: true, json: true}, net: d.net, you: d.you, start: d.start, scale: demoLarger}
	ended := make(chan error, 1)
	go func() { ended <- quiet.jobs(ctx, text, picture) }()
	err := d.a.screens(ctx, d.you, false, false)
	cancel()
	if jobs := <-ended; jobs != nil {
		if errors.Is(jobs, context.Canceled) {
			return err
		}
		return errors.Join(err, jobs)
	}
	if err != nil {
		return err
	}
	d.done = quiet.done
	return d.report(context.WithoutCancel(ctx), picture)
}
