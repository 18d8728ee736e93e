//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/fractal"
	"github.com/personal-power-plant/p3/exec/examples/textstat"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// patience bounds a wait for an event, however busy the machine is.
const patience = 4 * time.Minute

// TestKillAnyProcessDuringAJob kills one process at random while jobs run, brings it back, and
// holds results and books against what they must be. What holds for the books of one round:
//
//   - each unit is paid at most once to each provider whose result was accepted;
//   - while only workers die, exactly once;
//   - when a provider dies, what is missing is at most its own units': those whose result came
//     but was decided too late for a last voucher;
//   - when the requester dies, what is missing are units whose results it had saved and not
//     yet vouched for. It keeps those results and nobody is paid for them.
func TestKillAnyProcessDuringAJob(t *testing.T) {
	t.Parallel()
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	seed := rand.Uint64()
	if s := os.Getenv("P3_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("P3_TEST_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	net := startNet(t)
	texts, tiles := textUnits(120), tileUnits()
	wantTexts, wantTiles := runHere(t, textstat.Wasm, texts), runHere(t, fractal.Wasm, tiles)

	bk := books{}
	for round := range rounds + 1 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		start := time.Now()
		jobs := []*killJob{
			submitJob(t, ctx, net, "texts", textstat.Wasm, texts),
			submitJob(t, ctx, net, "picture", fractal.Wasm, tiles),
		}
		at := rnd.Int64N(int64(len(texts) + len(tiles) + 1)) // results, so that all moments are as likely on any machine
		var seen atomic.Int64
		reached := make(chan struct{})
		if at == 0 {
			close(reached)
		}
		var g errgroup.Group
		for _, j := range jobs {
			j.seen = func(int) {
				if seen.Add(1) == at {
					close(reached)
				}
			}
			g.Go(func() error { return j.collect(ctx) })
		}
		victim := "nobody"
		if round > 0 {
			pause := time.Duration(rnd.Int64N(int64(1500 * time.Millisecond)))
			pick, worker := net.nodes[1+rnd.IntN(len(net.nodes)-1)], rnd.IntN(3) == 0
			if round%4 == 1 { // chance alone may spare the requester
				pick, worker = net.nodes[0], false
			}
			select {
			case <-reached:
			case <-ctx.Done():
				net.dump(t)
				t.Fatalf("round %d: %d results, want %d: %v", round, seen.Load(), at, g.Wait())
			}
			victim = killOne(t, ctx, pick, worker, pause)
			victim += fmt.Sprintf(" after %d results, gone for %s", at, pause.Round(time.Millisecond))
		}
		if err := g.Wait(); err != nil {
			net.dump(t)
			t.Fatalf("round %d, killed %s: %v", round, victim, err)
		}
		took := time.Since(start)
		jobs[0].check(t, wantTexts)
		jobs[1].check(t, wantTiles)
		if err := net.settled(ctx); err != nil {
			net.dump(t)
			t.Fatalf("round %d, killed %s: books not settled: %v", round, victim, err)
		}
		bk.check(t, ctx, net, strings.Fields(victim)[0], jobs)
		t.Logf("round %d: %s done, %s settled; killed %s", round, took.Round(time.Millisecond), time.Since(start).Round(time.Millisecond), victim)
		cancel()
		if t.Failed() {
			net.dump(t)
			t.FailNow()
		}
	}
}

// TestStoppedProviderDoesNotHoldAJob stops a provider in the middle of its work: it keeps its
// connections and says nothing.
func TestStoppedProviderDoesNotHoldAJob(t *testing.T) {
	t.Parallel()
	net := startNet(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	texts := textUnits(200)
	want := runHere(t, textstat.Wasm, texts)
	j := submitJob(t, ctx, net, "texts", textstat.Wasm, texts)
	stopped := make(chan struct{})
	j.seen = func(n int) {
		if n == 20 {
			net.nodes[1].signal(t, syscall.SIGSTOP)
			close(stopped)
		}
	}
	start := time.Now()
	err := j.collect(ctx)
	took := time.Since(start)
	<-stopped
	net.nodes[1].signal(t, syscall.SIGCONT)
	if err != nil {
		net.dump(t)
		t.Fatal(err)
	}
	t.Logf("200 units took %s with a provider stopped after the first 20", took.Round(time.Millisecond))
	j.check(t, want)
	if err := net.settled(ctx); err != nil {
		net.dump(t)
		t.Fatalf("books not settled: %v", err)
	}
	books{}.check(t, ctx, net, net.nodes[1].name, []*killJob{j})
}

// TestMapOutlivesItsNode kills the node under a running `p3 map` twice: once while inputs come
// and once while results go.
func TestMapOutlivesItsNode(t *testing.T) {
	t.Parallel()
	net := startNet(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	units := textUnits(300)
	want := runHere(t, textstat.Wasm, units)
	m := startMap(t, ctx, net, textstat.Wasm, "--verify", "2")
	you := net.nodes[0]
	for i, u := range units {
		if _, err := m.in.Write(u.Stdin); err != nil {
			t.Fatalf("p3 map: %v\n%s", err, m.err.String())
		}
		switch i {
		case 99, 199: // input is still to come, so that p3 map waits for some in vain as it loses the node
			for len(m.out) < i/2 {
				m.line(t, ctx)
			}
			if err := you.kill(); err != nil {
				t.Fatal(err)
			}
			if err := you.start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.in.Close()
	for len(m.out) < len(want) {
		m.line(t, ctx)
	}
	if err := m.cmd.Wait(); err != nil {
		t.Fatalf("p3 map: %v\n%s", err, m.err.String())
	}
	for i, w := range want {
		if m.out[i]+"\n" != string(w) {
			t.Fatalf("line %d is %q, want %q", i, m.out[i], w)
		}
	}
	if !strings.Contains(m.err.String(), "the node is gone") {
		t.Errorf("p3 map did not tell of the node's end:\n%s", m.err.String())
	}
	if err := net.settled(ctx); err != nil {
		t.Fatalf("books not settled: %v", err)
	}
}

// TestMapOfEndlessInputNeedsBoundedMemory looks at the memory of p3 map and of its node while
// far more units pass through than either may keep.
func TestMapOfEndlessInputNeedsBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("4,500 units")
	}
	t.Parallel()
	const units, first, size = 4_500, 1_500, 16_000 // 48 MB between the two looks
	net := startNet(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	m := startMap(t, ctx, net, textstat.Wasm, "--verify", "1", "--fuel", "50000000", "--wait", "0")
	go func() {
		defer m.in.Close()
		line := append(bytes.Repeat([]byte("x"), size-1), '\n')
		for range units {
			if _, err := m.in.Write(line); err != nil {
				return
			}
		}
	}()
	pids := map[string]int{"p3 map": m.cmd.Process.Pid, "node": net.nodes[0].cmd.Process.Pid}
	early := map[string]int{}
	start := time.Now()
	for n := range units {
		m.line(t, ctx)
		m.out = m.out[:0]
		if n == first {
			for who, pid := range pids {
				early[who] = ownKiB(t, pid)
			}
		}
		if n == units-1 {
			for who, pid := range pids {
				now := ownKiB(t, pid)
				t.Logf("%s: %d MiB after %d units, %d MiB after %d", who, early[who]>>10, first, now>>10, units)
				if now > early[who]+(units-first)*size>>11 { // half of what came
					t.Errorf("%s grew from %d KiB to %d KiB", who, early[who], now)
				}
			}
		}
	}
	t.Logf("%.0f units/s", units/time.Since(start).Seconds())
	if err := m.cmd.Wait(); err != nil {
		t.Fatalf("p3 map: %v\n%s", err, m.err.String())
	}
}

// What is remembered of the input is bounded in bytes: no more is read until results have released some.
func TestReplayWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := 0
		r := &replay{most: 100, next: func() (exec.Input, error) {
			read++
			return exec.Input{Text: strings.Repeat("x", 40)}, nil
		}}
		got := make(chan exec.Input)
		go func() {
			for next := r.from(0); ; {
				in, err := next()
				if err != nil {
					return
				}
				select {
				case got <- in:
				case <-t.Context().Done():
					return
				}
			}
		}()
		for n := uint64(1); n <= 10; n++ {
			<-got
			synctest.Wait()
			if n < 3 {
				continue // three fit, the last of them beyond
			}
			if read != int(n) {
				t.Fatalf("after %d inputs %d were read", n, read)
			}
			r.release(n - 2)
			synctest.Wait()
		}
		r.keep(exec.Input{}, io.EOF)
		r.release(10)
		<-got
	})
}

// TestInputOfALostCallGoesToTheNext: a call to a node that is gone may still wait for the next line.
func TestInputOfALostCallGoesToTheNext(t *testing.T) {
	typed := make(chan string)
	asked := make(chan struct{}, 8)
	r := &replay{next: func() (exec.Input, error) {
		asked <- struct{}{}
		s, ok := <-typed
		if !ok {
			return exec.Input{}, io.EOF
		}
		return exec.Input{Text: s}, nil
	}}
	lost := make(chan exec.Input)
	go func() { in, _ := r.from(0)(); lost <- in }()
	<-asked
	type got struct {
		in  exec.Input
		err error
	}
	again, results := r.from(0), make(chan got)
	go func() {
		for range 3 {
			in, err := again()
			results <- got{in, err}
		}
	}()
	typed <- "first"
	if in := <-lost; in.Text != "first" {
		t.Errorf("the lost call got %q", in.Text)
	}
	if g := <-results; g.in.Text != "first" {
		t.Errorf("unit 0 is %q", g.in.Text)
	}
	typed <- "second"
	if g := <-results; g.in.Text != "second" {
		t.Errorf("unit 1 is %q", g.in.Text)
	}
	close(typed)
	if g := <-results; g.err != io.EOF {
		t.Errorf("the end is %v", g.err)
	}
	if n, ended := r.total(); n != 2 || !ended {
		t.Errorf("%d units, ended: %t", n, ended)
	}
}

// startNet starts you and some providers, three if none is named, and waits for their offers.
func startNet(t *testing.T, providers ...string) *localNet {
	t.Helper()
	if len(providers) == 0 {
		providers = []string{"maple", "oak", "birch"}
	}
	net, err := newLocalNet(t.TempDir(), append([]string{"you"}, providers...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := net.stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := net.start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := net.offers(ctx); err != nil {
		net.dump(t)
		t.Fatalf("no offers: %v", err)
	}
	return net
}

func textUnits(n int) (in []exec.Input) {
	for i := range n {
		in = append(in, exec.Input{Stdin: fmt.Appendf(nil, "unit %d %s\n", i, strings.Repeat("lorem ipsum ", 20+i))})
	}
	return in
}

func tileUnits() (in []exec.Input) {
	for _, t := range fractal.Tiles(320, 200, 40) {
		in = append(in, exec.Input{Text: t, Stdin: []byte(t + "\n")})
	}
	return in
}

// runHere is what the units print when they run in this process.
func runHere(t *testing.T, program []byte, in []exec.Input) (out [][]byte) {
	t.Helper()
	e, err := wasm.NewLocal(wasm.LocalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	path := filepath.Join(t.TempDir(), "program.wasm")
	if err := os.WriteFile(path, program, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, x := range in {
		r, err := e.Run(t.Context(), exec.Spec{Program: path, Hash: sha256.Sum256(program), Stdin: x.Stdin, Limits: exec.DefaultLimits})
		if err != nil || !r.OK() {
			t.Fatalf("unit %d: %v, %v", i, r.Status, err)
		}
		out = append(out, r.Stdout)
	}
	return out
}

// A killJob is a job whose owner meets its node again when that is restarted.
type killJob struct {
	you  *node.Client
	id   string
	out  []node.UnitResult
	seen func(n int) // after each result; may be nil
}

func submitJob(t *testing.T, ctx context.Context, net *localNet, name string, program []byte, in []exec.Input) *killJob {
	t.Helper()
	you := net.nodes[0].client
	f, err := you.PutBlob(ctx, bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	f.Name = name + ".wasm"
	limits := exec.DefaultLimits
	limits.Fuel = 1_000_000_000 // keeps locks small, so that many fit into one balance
	j, err := you.SubmitJob(ctx, exec.Manifest{Version: 1, Kind: exec.KindMap, Engine: exec.EngineWASM, Name: name, Program: f, Each: exec.EachLines,
		Limits: limits, Verify: 2, Budget: ledger.Credit, Retries: 10, Costs: wasm.CostTable()})
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	if _, err := you.AddInputs(ctx, j.ID.String(), 0, func() (exec.Input, error) {
		if next == len(in) {
			return exec.Input{}, io.EOF
		}
		next++
		return in[next-1], nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := you.CloseInputs(ctx, j.ID.String(), uint64(len(in))); err != nil {
		t.Fatal(err)
	}
	return &killJob{you: you, id: j.ID.String()}
}

// collect reads all results, going on where it was when the node comes back.
func (j *killJob) collect(ctx context.Context) error {
	for {
		err := j.you.Results(ctx, j.id, uint64(len(j.out)), node.InOrder, func(u node.UnitResult) error {
			j.out = append(j.out, u)
			if j.seen != nil {
				j.seen(len(j.out))
			}
			return nil
		})
		var p *node.Problem
		if !errors.As(err, &p) || p.Code != node.CodeNoNode {
			if err != nil {
				err = fmt.Errorf("after %d results: %w", len(j.out), err)
			}
			return err
		}
		if err := poll(ctx, func() (bool, error) { _, err := j.you.Status(ctx); return err == nil, nil }); err != nil {
			return fmt.Errorf("after %d results: node does not come back: %w", len(j.out), err)
		}
	}
}

func (j *killJob) check(t *testing.T, want [][]byte) {
	t.Helper()
	if len(j.out) != len(want) {
		t.Fatalf("%d results, want %d", len(j.out), len(want))
	}
	for i, u := range j.out {
		switch {
		case u.Unit != uint64(i):
			t.Fatalf("result %d is of unit %d", i, u.Unit)
		case u.Error != "" || !u.Result.OK():
			t.Fatalf("unit %d: %s", i, explainUnit(u))
		case !bytes.Equal(u.Result.Stdout, want[i]):
			t.Fatalf("unit %d printed %.80q, want %.80q", i, u.Result.Stdout, want[i])
		case len(u.Hosts) != 2 || u.Hosts[0] == u.Hosts[1]:
			t.Fatalf("unit %d was agreed on by %q", i, u.Hosts)
		}
	}
}

// killOne kills a node, or a worker of it if it has one, and starts the node again after a pause.
func killOne(t *testing.T, ctx context.Context, n *localNode, worker bool, pause time.Duration) string {
	t.Helper()
	if worker {
		if pids := children(n.cmd.Process.Pid); len(pids) > 0 {
			syscall.Kill(pids[0], syscall.SIGKILL) // it may have ended by itself: no matter
			return "worker of " + n.name
		}
	}
	if err := n.kill(); err != nil {
		t.Fatal(err)
	}
	<-time.After(pause)
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	if err := n.ready(ctx); err != nil {
		t.Fatal(err)
	}
	return n.name
}

// children lists the processes that have this parent.
func children(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // state, parent, …
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// ownKiB is the memory of a process that is its own: without files that it has mapped, such as the tables of its ledger.
func ownKiB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var n int
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no RssAnon of %d", pid)
	return 0
}

func (p *localNode) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Error(err)
	}
}

// dump shows the ends of the nodes' logs.
func (n *localNet) dump(t *testing.T) {
	for _, p := range n.nodes {
		b, _ := os.ReadFile(p.logPath())
		t.Logf("log of %s:\n%s", p.name, b[max(0, len(b)-6000):])
	}
}

// books are what receipts say that were verified from their bytes and cannot change any more,
// by node and receipt.
type books map[string]ledger.Summary

func (bk books) summary(ctx context.Context, p *localNode, id ledger.Digest) (s ledger.Summary, err error) {
	key := p.name + id.String()
	if s, known := bk[key]; known {
		return s, nil
	}
	raw, err := p.client.ReceiptBytes(ctx, id.String())
	if err != nil {
		return s, err
	}
	r, err := ledger.ParseReceipt(raw)
	if err == nil {
		s, err = r.Verify()
	}
	if err == nil && s.Settled && s.Earned {
		bk[key] = s
	}
	return s, err
}

// check holds every receipt and balance of all nodes against each other and against the
// results; killed is the name of the node that died, or "nobody" or "worker".
func (bk books) check(t *testing.T, ctx context.Context, n *localNet, killed string, jobs []*killJob) {
	t.Helper()
	names := map[ledger.Account]string{}
	balances := map[string]node.Balance{}
	var sum ledger.Credits
	for _, p := range n.nodes {
		st, err := p.client.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names[st.Account], balances[p.name] = p.name, st.Balance
		sum += st.Balance.Net
		if st.Balance.Locked != 0 {
			t.Errorf("%s still has %s locked", p.name, st.Balance.Locked)
		}
		if st.ReadOnly != "" {
			t.Errorf("%s signs nothing: %s", p.name, st.ReadOnly)
		}
	}
	if sum != 0 {
		t.Errorf("balances sum to %d µcr: %+v", sum, balances)
	}
	type sides struct{ payer, payee ledger.Credits }
	paid := map[ledger.Digest]sides{}
	perJob := map[string]map[string]ledger.Credits{} // job → provider
	for _, p := range n.nodes {
		var in, out ledger.Credits
		err := p.client.Receipts(ctx, func(r node.Receipt) error {
			s, err := bk.summary(ctx, p, r.ID)
			if err != nil {
				return fmt.Errorf("receipt %s of %s: %w", r.ID.Short(), p.name, err)
			}
			x := paid[s.ID]
			if names[s.Payer] == p.name {
				out += s.Paid
				x.payer = s.Paid
				if job := s.Job.String(); perJob[job] == nil {
					perJob[job] = map[string]ledger.Credits{}
				}
				perJob[s.Job.String()][names[s.Payee]] += s.Paid
				if !s.Settled {
					t.Errorf("receipt %s: %s has not settled", s.ID.Short(), p.name)
				}
			} else {
				in += s.Paid
				x.payee = s.Paid
			}
			paid[s.ID] = x
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if b := balances[p.name]; b.Spent != out || b.Earned != in {
			t.Errorf("%s spent %d and earned %d, its receipts say %d and %d", p.name, b.Spent, b.Earned, out, in)
		}
	}
	for id, s := range paid {
		if s.payer != s.payee {
			t.Errorf("receipt %s: payer says %d, payee %d", id.Short(), s.payer, s.payee)
		}
	}
	for _, j := range jobs {
		due := map[string]ledger.Credits{}
		for _, u := range j.out {
			for _, h := range u.Hosts { // both ask the same price
				due[h] += u.Cost / ledger.Credits(len(u.Hosts))
			}
		}
		for _, p := range n.nodes[1:] {
			got, want := perJob[j.id][p.name], due[p.name]
			if got > want || got < want && killed != n.nodes[0].name && killed != p.name {
				t.Errorf("job %s, killed %s: %s got %d µcr for units of %d", j.id[:8], killed, p.name, got, want)
			}
		}
	}
}

// A mapProcess is a running `p3 map` that reads lines from in.
type mapProcess struct {
	cmd   *osexec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	out   []string
	err   bytes.Buffer
}

func startMap(t *testing.T, ctx context.Context, net *localNet, program []byte, flags ...string) *mapProcess {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.wasm")
	if err := os.WriteFile(path, program, 0o600); err != nil {
		t.Fatal(err)
	}
	you := net.nodes[0]
	args := append([]string{"--data-dir", you.dir, "--socket", filepath.Join(you.dir, "s"), "map"}, flags...)
	m := &mapProcess{cmd: osexec.CommandContext(ctx, net.exe, append(args, path, "-")...)}
	m.cmd.Stderr = &m.err
	m.cmd.SysProcAttr = child()
	var err error
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.lines = bufio.NewScanner(out)
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return m
}

// line waits for one more line of output.
func (m *mapProcess) line(t *testing.T, ctx context.Context) {
	t.Helper()
	if !m.lines.Scan() {
		m.cmd.Wait()
		t.Fatalf("p3 map ended after %d lines: %v, %v\n%s", len(m.out), m.lines.Err(), ctx.Err(), m.err.String())
	}
	m.out = append(m.out, m.lines.Text())
}
