//go:build linux

package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

// started runs a program until its worker is at work, and returns that worker and the end to come.
func started(t *testing.T, p *Pool, s exec.Spec) (*child, <-chan runEnd) {
	t.Helper()
	run(t, p, spec(t, "tasks.wasm", "exit", "0")) // compiled, and a worker is there
	p.mu.Lock()
	c := p.idle[0]
	p.mu.Unlock()
	before := userTicks(t, c)
	ended := make(chan runEnd, 1)
	go func() { res, err := p.Run(context.Background(), s); ended <- runEnd{res, err} }()
	until(t, func() bool { return userTicks(t, c) > before })
	return c, ended
}

type runEnd struct {
	res exec.Result
	err error
}

// until waits for what comes without an event.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}

// stat is one field of /proc/PID/stat, counted as proc_pid_stat(5) does, from 3 on.
func stat(t *testing.T, c *child, field int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])[field-3])
}

// userTicks is the user time of a worker in ticks.
func userTicks(t *testing.T, c *child) (ticks int) {
	t.Helper()
	if _, err := fmt.Sscan(stat(t, c, 14), &ticks); err != nil {
		t.Fatal(err)
	}
	return ticks
}

func stopped(t *testing.T, c *child) bool { return stat(t, c, 3) == "T" }

// A guest that is frozen for longer than its wall time goes on when thawed, and comes to its own end.
func TestFrozenTimeIsNotTheGuests(t *testing.T) {
	p := newPool(t, PoolOptions{})
	for work := 20_000_000; !frozenPastItsTime(t, p, work); work *= 4 {
		t.Logf("the guest ended before it was frozen: again with more to do")
	}
}

// frozenPastItsTime reports false when the guest had ended before it stood still.
func frozenPastItsTime(t *testing.T, p *Pool, work int) bool {
	t.Helper()
	s := spec(t, "tasks.wasm", "work", strconv.Itoa(work))
	s.Limits.Fuel, s.Limits.WallMs = 1<<60, 60_000
	want := run(t, p, s)
	s.Limits.WallMs = 500 + 5*want.WallMs // far more than it needs, on a busy machine too
	c, ended := started(t, p, s)
	if err := p.Freeze(true); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return stopped(t, c) })
	select {
	case <-ended:
		if err := p.Freeze(false); err != nil {
			t.Fatal(err)
		}
		return false
	default:
	}
	before := userTicks(t, c)
	time.Sleep(time.Duration(s.Limits.WallMs) * time.Millisecond)
	if now := userTicks(t, c); now != before {
		t.Errorf("it burnt %d ticks while frozen", now-before)
	}
	if err := p.Freeze(false); err != nil {
		t.Fatal(err)
	}
	e := <-ended
	if e.err != nil || e.res.Status != exec.Exited || e.res.Digest() != want.Digest() {
		t.Errorf("%+v, %v, want %+v", e.res, e.err, want)
	}
	return true
}

// Whether a run that was frozen had its time is uncertain: it never ends with Deadline.
func TestDeadlineOfAFrozenRunIsNoResult(t *testing.T) {
	p := newPool(t, PoolOptions{})
	s := spec(t, "tasks.wasm", "loop")
	s.Limits.Fuel, s.Limits.WallMs = 1<<60, 300
	c, ended := started(t, p, s)
	if err := p.Freeze(true); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return stopped(t, c) })
	if err := p.Freeze(false); err != nil {
		t.Fatal(err)
	}
	if e := <-ended; !errors.Is(e.err, exec.ErrFrozen) {
		t.Errorf("it ended with %+v, %v", e.res, e.err)
	}
	if res := run(t, p, spec(t, "noop.wasm")); !res.OK() {
		t.Errorf("afterwards: %+v", res)
	}
}

// What is cancelled while frozen is gone at once, and its worker with it.
func TestFrozenRunCanBeCancelled(t *testing.T) {
	p := newPool(t, PoolOptions{})
	run(t, p, spec(t, "tasks.wasm", "exit", "0"))
	p.mu.Lock()
	c := p.idle[0]
	p.mu.Unlock()
	if err := p.Freeze(true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { _, err := p.Run(ctx, spec(t, "tasks.wasm", "loop")); ended <- err }()
	until(t, func() bool { return p.Workers() == 0 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-c.exited
}

// A worker that starts while all is frozen waits, and its start is not late.
func TestNoWorkerStartsWhileFrozen(t *testing.T) {
	p := newPool(t, PoolOptions{})
	if err := p.Freeze(true); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := p.Run(context.Background(), spec(t, "noop.wasm")); ended <- err }()
	waitUntilRunning(t)
	p.spawn.freezer.mu.Lock()
	n := len(p.spawn.freezer.children)
	p.spawn.freezer.mu.Unlock()
	if n > 0 {
		t.Errorf("%d processes were started", n)
	}
	if err := p.Freeze(false); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A closed pool leaves no stopped process behind.
func TestFrozenPoolCloses(t *testing.T) {
	p := newPool(t, PoolOptions{})
	s := spec(t, "tasks.wasm", "loop")
	s.Limits.Fuel = 1 << 60
	c, ended := started(t, p, s)
	if err := p.Freeze(true); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	<-c.exited
	if e := <-ended; e.err == nil {
		t.Errorf("%+v", e.res)
	}
}

// A share is kept by the clock, whatever the guest does; with all of it again the guest has it at once.
func TestShareIsKept(t *testing.T) {
	p := newPool(t, PoolOptions{})
	s := spec(t, "tasks.wasm", "loop")
	s.Limits.Fuel, s.Limits.WallMs = 1<<60, 60_000
	c, _ := started(t, p, s)
	p.Lend(256<<20, 20)
	const spans = 20 // on a busy machine whoever paces comes late, too: one second in time must be among these
	for i := 1; ; i++ {
		start, before := time.Now(), userTicks(t, c)
		time.Sleep(time.Second)
		used, took := time.Duration(userTicks(t, c)-before)*10*time.Millisecond, time.Since(start)
		share := float64(used) / float64(took)
		if share > 0 && share <= 0.35 {
			break
		}
		if i == spans {
			t.Fatalf("it had %.0f%% of a CPU, allowed are 20%%", 100*share)
		}
	}
	before := userTicks(t, c)
	p.Lend(256<<20, 100)
	until(t, func() bool { return userTicks(t, c) > before+20 })
	if err := p.Freeze(true); err != nil { // both together
		t.Fatal(err)
	}
	p.Lend(256<<20, 20)
	until(t, func() bool { return stopped(t, c) })
	before = userTicks(t, c)
	time.Sleep(5 * paceEvery)
	if now := userTicks(t, c); now != before {
		t.Errorf("paced while frozen it burnt %d ticks", now-before)
	}
}

// Workers made for less memory than the owner lends now are not used any more.
func TestMemoryLentChangesWhileItRuns(t *testing.T) {
	p := newPool(t, PoolOptions{Memory: 32 << 20})
	run(t, p, spec(t, "noop.wasm"))
	s := spec(t, "noop.wasm")
	s.Limits.Memory = 64 << 20
	if _, err := p.Run(t.Context(), s); err == nil {
		t.Error("more than was lent")
	}
	p.Lend(128<<20, 100)
	if p.Workers() != 0 {
		t.Error("the old worker waits on")
	}
	if res := run(t, p, s); !res.OK() {
		t.Errorf("%+v", res)
	}
}
