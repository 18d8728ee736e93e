//go:build netns && linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/textstat"
	"github.com/personal-power-plant/p3/node"
)

// Two machines, each a network namespace of its own with a folder of its own: needs root.

// firstResult is how long a newcomer may wait; the target is ten seconds on a quiet machine.
const firstResult = time.Minute

func TestNetNSJourneysOnALANWithoutConfiguration(t *testing.T) {
	alice, bob := newMachines(t)
	alice.p3(t, "up", "--donate", "--name", "alice")
	start := time.Now()
	bob.p3(t, "up", "--name", "bob")
	bob.spend(t, start)
	bob.browse(t, "alice")
	accounts(t, alice, bob)
}

func TestNetNSJourneysByInvite(t *testing.T) {
	alice, bob := newMachines(t)
	alice.p3(t, "up", "--donate", "--name", "alice", "--no-lan")
	invite := strings.TrimSpace(alice.p3(t, "invite"))
	start := time.Now()
	bob.p3(t, "join", invite)
	bob.p3(t, "up", "--name", "bob", "--no-lan")
	bob.spend(t, start)
	bob.browse(t, "alice")
	accounts(t, alice, bob)

	for _, m := range []*machine{alice, bob} {
		if out, err := osexec.Command("ip", "netns", "exec", m.space, "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "10ms").CombinedOutput(); err != nil {
			t.Logf("no journey with 20 ms of round trip: tc: %v: %s", err, out)
			return
		}
	}
	bob.spend(t, time.Now())
	accounts(t, alice, bob)
}

// A machine is a network namespace with a home of its own.
type machine struct {
	space, home string
}

// newMachines joins two of them by a cable. Their nodes end with the test.
func newMachines(t *testing.T) (a, b *machine) {
	t.Helper()
	ip := func(args ...string) {
		t.Helper()
		if out, err := osexec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	var both [2]*machine
	for i := range both {
		home, err := os.MkdirTemp("", "p3-ns-") // short: a socket lies in it
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(home) })
		m := &machine{fmt.Sprintf("p3j%d-%d", os.Getpid(), i), home}
		ip("netns", "add", m.space)
		t.Cleanup(func() { osexec.Command("ip", "netns", "del", m.space).Run() })
		t.Cleanup(func() {
			if out, err := m.command("down", "--timeout", "1m").CombinedOutput(); err != nil {
				t.Errorf("p3 down: %v: %s", err, out)
			}
		})
		both[i] = m
	}
	a, b = both[0], both[1]
	ip("-n", a.space, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.space)
	for i, m := range both {
		ip("-n", m.space, "addr", "add", fmt.Sprintf("10.78.0.%d/24", i+1), "dev", "eth0")
		ip("-n", m.space, "link", "set", "lo", "up")
		ip("-n", m.space, "link", "set", "eth0", "up")
		ip("-n", m.space, "route", "add", "default", "dev", "eth0")
	}
	return a, b
}

func (m *machine) command(args ...string) *osexec.Cmd {
	exe, err := os.Executable() // TestMain makes it p3
	if err != nil {
		panic(err)
	}
	verb, rest := args[0], args[1:]
	c := osexec.Command("ip", append([]string{"netns", "exec", m.space, exe, verb}, rest...)...)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + m.home, "TMPDIR=" + os.TempDir(), "P3_PRESET=server"}
	return c
}

// p3 runs one command there and returns its output.
func (m *machine) p3(t *testing.T, args ...string) string {
	t.Helper()
	c := m.command(args...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(m.home, ".local/state/p3/p3.log"))
		t.Fatalf("p3 %s: %v\n%s\nlog:\n%s", strings.Join(args, " "), err, errs.Bytes(), log[max(0, len(log)-4000):])
	}
	return string(out)
}

// spend maps a program over some lines and checks what comes back.
func (m *machine) spend(t *testing.T, start time.Time) {
	t.Helper()
	app, input := filepath.Join(m.home, "textstat.wasm"), filepath.Join(m.home, "lines.txt")
	var units []exec.Input
	var text []byte
	for i := range 20 {
		line := fmt.Appendf(nil, "line %d of a text\n", i)
		units, text = append(units, exec.Input{Stdin: line}), append(text, line...)
	}
	for path, b := range map[string][]byte{app: textstat.Wasm, input: text} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*firstResult)
	defer cancel()
	c := m.command("map", "--wait", firstResult.String(), app, input)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { c.Process.Kill() })
	defer stop()
	var got []string
	for s := bufio.NewScanner(out); s.Scan(); {
		if len(got) == 0 {
			took := time.Since(start)
			t.Logf("first result %s after the start", took.Round(time.Millisecond))
			if took > firstResult {
				t.Errorf("first result after %s", took)
			}
		}
		got = append(got, s.Text()+"\n")
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("p3 map: %v\n%s", err, errs.Bytes())
	}
	want := runHere(t, textstat.Wasm, units)
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d\n%s", len(got), len(want), errs.Bytes())
	}
	for i := range want {
		if got[i] != string(want[i]) {
			t.Errorf("line %d is %q, want %q", i, got[i], want[i])
		}
	}
}

// browse finds the offer of a peer.
func (m *machine) browse(t *testing.T, name string) {
	t.Helper()
	if out := m.p3(t, "offer", "ls"); !strings.Contains(out, name) {
		t.Errorf("p3 offer ls does not show %s:\n%s", name, out)
	}
}

// accounts waits until both have settled and checks that credit only changed hands.
func accounts(t *testing.T, payee, payer *machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), firstResult)
	defer cancel()
	balance := func(m *machine) (b node.Balance) {
		t.Helper()
		if err := json.Unmarshal([]byte(m.p3(t, "credit", "balance", "--json")), &b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	var earned, spent node.Balance
	err := poll(ctx, func() (bool, error) {
		earned, spent = balance(payee), balance(payer)
		return spent.Locked == 0 && spent.Spent > 0 && earned.Earned == spent.Spent, nil
	})
	if err != nil || earned.Net+spent.Net != 0 {
		t.Errorf("earned %+v, spent %+v: %v", earned, spent, err)
	}
	for _, m := range []*machine{payee, payer} {
		m.p3(t, "credit", "verify")
	}
}
