//go:build linux

package daemon

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sys/unix"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/idle"
	"github.com/personal-power-plant/p3/node/p2p"
)

// TestMain makes the test's own executable the worker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(wasm.WorkerMain(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// display is an X server of the test's own, and a key to press on it.
func display(t *testing.T) (name string, press func()) {
	t.Helper()
	tools := map[string]string{}
	for _, tool := range []string{"Xvfb", "xdotool"} {
		path, err := osexec.LookPath(tool)
		if err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("needs the Debian packages xvfb and xdotool: %v", err)
		}
		tools[tool] = path
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	server := osexec.Command(tools["Xvfb"], "-displayfd", "3", "-screen", "0", "64x64x8", "-nolisten", "tcp", "-noreset")
	server.ExtraFiles = []*os.File{w}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Signal(unix.SIGTERM); server.Wait() })
	w.Close()
	line, err := bufio.NewReader(r).ReadString('\n') // it is ready
	if err != nil {
		t.Fatal(err)
	}
	name = ":" + strings.TrimSpace(line)
	return name, func() {
		t.Helper()
		cmd := osexec.CommandContext(t.Context(), tools["xdotool"], "key", "a")
		cmd.Env = append(os.Environ(), "DISPLAY="+name)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("xdotool: %v %s", err, out)
		}
	}
}

// startNode starts a node on loopback, on the network of its invite.
func startNode(t *testing.T, cfg Config, invite string) *Daemon {
	t.Helper()
	cfg.Dir, cfg.Socket, cfg.NoLAN, cfg.Reach = t.TempDir(), "none", true, p2p.ReachPublic
	cfg.Listen, cfg.Worker, cfg.Eager = []string{"/ip4/127.0.0.1/tcp/0"}, []string{os.Args[0], "worker"}, true
	cfg.Log = slog.New(slog.DiscardHandler)
	if invite != "" {
		inv, err := p2p.ParseInvite(invite)
		if err != nil {
			t.Fatal(err)
		}
		if err := SaveMembership(cfg.Dir, inv); err != nil {
			t.Fatal(err)
		}
	} else {
		cfg.Network = &Membership{Genesis: ledger.MutualGenesis("test", ledger.DefaultFloor), Bootstrap: []peer.AddrInfo{}}
	}
	d, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// eventually waits for what has no event; it is generous, as machines are busy.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to: %s", what)
		}
	}
}

// workers are the states (proc_pid_stat(5)) and user times of this process's workers.
func workers() (states string, ticks int) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		for _, pid := range strings.Fields(string(b)) {
			line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if !bytes.Contains(line, []byte("\x00worker\x00")) {
				continue
			}
			stat, _ := os.ReadFile("/proc/" + pid + "/stat")
			f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
			if len(f) > 12 {
				var n int
				fmt.Sscan(f[11], &n)
				states, ticks = states+f[0], ticks+n
			}
		}
	}
	return states, ticks
}

// An owner who presses a key has the machine back: guests stand still, go on when the owner has left
// again, and are somebody else's when the owner stays. All parts are real: X server, key, worker.
func TestOwnersKeyFreezesGuests(t *testing.T) {
	if testing.Short() {
		t.Skip("an X server and real workers beside everything else that runs")
	}
	screen, press := display(t)
	you := startNode(t, Config{Name: "you", Preset: "server"}, "")
	invite, err := you.Invite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// At normal priority and without measuring, so that other tests cannot starve the guests.
	desk := Config{Name: "desk", Donate: true, Slots: 1, Memory: 256 << 20, Eager: true, Speed: 1e9, Preset: "desktop", Idle: idle.Options{
		Root: t.TempDir(), // other people's terminals are none of this test
		Getenv: func(name string) string {
			if name == "DISPLAY" {
				return screen
			}
			return ""
		},
	}}
	pc := startNode(t, desk, invite)
	set := func(kv ...string) {
		t.Helper()
		c := node.PolicyChange{Set: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			c.Set[kv[i]] = kv[i+1]
		}
		if _, err := pc.SetPolicy(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	set("max_load", "0", "idle_after", "1s", "resume_after", "1s", "hand_back_after", "1h")
	eventually(t, "an idle PC accepts", func() bool { return pc.host.status().Accepts })

	program, err := os.Open(filepath.Join("..", "..", "exec", "wasm", "testdata", "tasks.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	f, err := you.PutBlob(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	f.Name = "tasks.wasm"
	m := exec.Manifest{
		Version: 1, Kind: exec.KindMap, Engine: exec.EngineWASM, Name: "loop", Program: f, Args: []string{"loop"}, Each: exec.EachLines, Verify: 1,
		Limits: exec.Limits{Fuel: 1 << 42, Memory: 16 << 20, WallMs: 120_000, Output: 1 << 10}, Budget: ledger.Credit, Retries: 3, Costs: wasm.CostTable(),
	}
	j, err := you.SubmitJob(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	id := j.ID.String()
	inputs := []exec.Input{{Stdin: []byte("x\n")}}
	if _, err := you.AddInputs(t.Context(), id, 0, func() (exec.Input, error) {
		if len(inputs) == 0 {
			return exec.Input{}, io.EOF
		}
		in := inputs[0]
		inputs = inputs[1:]
		return in, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := you.CloseInputs(t.Context(), id, 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the guest runs", func() bool { return len(pc.provider.Guests()) == 1 })
	_, before := workers()
	eventually(t, "the guest burns time", func() bool { _, now := workers(); return now > before+5 })

	press()
	pressed := time.Now()
	eventually(t, "all workers stand still", func() bool {
		if time.Since(pressed) > time.Second/2 { // the owner types on: a busy machine may have looked away until the guest went on
			press()
		}
		s, _ := workers()
		return s != "" && strings.Trim(s, "T") == ""
	})
	t.Logf("frozen %s after the first key", time.Since(pressed).Round(time.Millisecond))
	if h := pc.host.status(); h.Accepts || !h.Frozen || h.By != "x11" || !strings.Contains(h.Why, "in use") {
		t.Errorf("%+v", h)
	}
	_, before = workers()
	eventually(t, "the owner has left and the guest goes on", func() bool { _, now := workers(); return now > before+5 })

	set("hand_back_after", "0s")
	press()
	eventually(t, "the guest is given up", func() bool { return len(pc.provider.Guests()) == 0 })
	eventually(t, "the requester knows why", func() bool {
		j, err := you.Job(context.Background(), id)
		return err == nil && len(j.Peers) == 1 && j.Peers[0].State == "refused" && strings.Contains(j.Peers[0].Why, "the owner uses the machine")
	})
	eventually(t, "and tries again when the PC is idle", func() bool { return len(pc.provider.Guests()) == 1 })
	if _, err := you.CancelJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// The file is the policy: it holds from the next start on, flags go before it, a change goes before flags.
func TestFlagsHoldUntilTheirKeyIsChanged(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Preset: "server", Slots: 2}
	r, err := openRules(cfg)
	if err != nil || r.policy().Slots != 2 || r.file.Slots != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	if err := r.change(node.PolicyChange{Set: map[string]string{"price": "0.5"}}); err != nil || r.policy().Slots != 2 {
		t.Fatalf("%+v %v", r, err)
	}
	if err := r.change(node.PolicyChange{Set: map[string]string{"slots": "5"}}); err != nil || r.policy().Slots != 5 {
		t.Fatalf("%+v %v", r, err)
	}
	if r, err = openRules(Config{Dir: dir}); err != nil || r.policy().Slots != 5 || r.policy().Price.Num != 500_000 {
		t.Fatalf("%+v %v", r, err)
	}
	if err := os.WriteFile(r.path, []byte("slots: 5\nprice: 1\nnonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := r.reload(); changed || err == nil || !strings.Contains(err.Error(), "nonsense") || r.policy().Price.Num != 500_000 {
		t.Errorf("changed %v, %v, %+v", changed, err, r.policy())
	}
	if changed, err := r.reload(); changed || err != nil {
		t.Errorf("told twice: %v %v", changed, err)
	}
	if err := r.change(node.PolicyChange{Preset: "desktop"}); err == nil {
		t.Error("a broken file was overwritten")
	}
	if _, err := openRules(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), r.path) {
		t.Errorf("a broken file starts: %v", err)
	}
}

func TestTrafficBeginsAnewEachDay(t *testing.T) {
	var x traffic
	day := time.Date(2026, 3, 1, 23, 59, 0, 0, time.Local)
	if x.today(day); x.bytes != 0 {
		t.Error(x)
	}
	x.bytes = 7
	if got := x.today(day.Add(30 * time.Second)); got != 7 {
		t.Errorf("%d", got)
	}
	if got := x.today(day.Add(2 * time.Minute)); got != 0 {
		t.Errorf("%d on the next day", got)
	}
}
