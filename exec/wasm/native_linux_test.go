package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

// needToolchain skips a test where the second tier cannot be; CI must have it.
func needToolchain(t testing.TB) {
	t.Helper()
	if !haveSpaces {
		t.Skip("built with cgo: see spaces_cgo.go")
	}
	if _, err := FindToolchain(context.Background()); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("no second tier on this machine: %v", err)
	}
}

// nativeCache is a compile cache that tests share, so that each program is compiled once.
// TestMain removes it.
var nativeCache = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "p3-native-")
	if err != nil {
		panic(err)
	}
	testFolders = append(testFolders, dir)
	return dir
})

// newNativePool is a pool whose programs move to the second tier only when a test says so.
func newNativePool(t testing.TB, opt PoolOptions) *Pool {
	t.Helper()
	needToolchain(t)
	opt.Native = true
	if opt.NativeAfter == 0 {
		opt.NativeAfter = 1 << 60
	}
	if opt.CacheDir == "" {
		opt.CacheDir = nativeCache()
	}
	return newPool(t, opt)
}

// move compiles a program and moves it to the second tier.
func move(t testing.TB, p *Pool, s exec.Spec) {
	t.Helper()
	u, err := newUnit(s)
	if err != nil {
		t.Fatal(err)
	}
	n, err := p.tier.compile(context.Background(), u)
	if err != nil {
		t.Fatal(err)
	}
	p.tier.mu.Lock()
	defer p.tier.mu.Unlock()
	*p.tier.program(u) = tierProgram{state: tierNative, n: n}
}

// isNative reports whether a program is on the second tier.
func isNative(p *Pool, s exec.Spec) bool {
	u, err := newUnit(s)
	return err == nil && p.tier.ready(u) != nil
}

// kind is a trap's message without what the second tier does not know: the function, the
// segment, and what was wrong with a table. Messages are for people and not in the digest.
func kind(message string) string {
	message = regexp.MustCompile(` in .*$|^data\[\d+\]: `).ReplaceAllString(message, "")
	switch message {
	case "invalid table access", "indirect call type mismatch", nativeTraps[6]:
		return nativeTraps[1]
	}
	return message
}

// agree runs a unit on the first tier and natively, and compares everything that other hosts see.
// A native process runs one unit after the other.
func agree(t *testing.T, first exec.Engine, p *Pool, s exec.Spec) {
	t.Helper()
	want := run(t, first, s)
	move(t, p, s)
	got := run(t, p, s)
	if got.Digest() != want.Digest() || kind(got.Message) != kind(want.Message) {
		t.Errorf("%s %d fuel %d %q, want %s %d fuel %d %q\n%q %q, want %q", got.Status, got.ExitCode, got.Fuel, got.Message,
			want.Status, want.ExitCode, want.Fuel, want.Message, got.Stderr, got.Stdout, want.Stdout)
	}
	if !isNative(p, s) {
		t.Error("the program has left the second tier")
	}
}

func TestNativeTasksAgree(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	first := newLocal(t, LocalOptions{})
	for _, a := range [][]string{
		{"echo", "x"}, {"echo", "x"}, {"cat"}, {"exit", "3"}, {"work", "100000"}, {"escape"}, {"clock"}, {"random"}, {"files"}, {"tty"}, {"ls", "/in", "/out"}, {"copy"},
	} {
		t.Run(strings.Join(a, " "), func(t *testing.T) {
			s := spec(t, "tasks.wasm", a...)
			s.Limits.Fuel, s.Limits.WallMs = 20_000_000, 60_000
			s.Stdin = []byte("some input\n")
			s.In = []exec.Mount{{Name: "a.txt", Path: write(t, "in", "hello")}}
			s.Data = []exec.Mount{{Name: "deep/er/b.bin", Path: write(t, "data", "data")}}
			agree(t, first, p, s)
		})
	}
}

func TestNativeKernelsAgree(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	first := newLocal(t, LocalOptions{})
	for _, k := range []string{"nbody 500", "sha256 100", "matmul 2", "sieve 2", "mandelbrot 30", "hash 10000", "fib 18", "vm 3000"} {
		t.Run(k, func(t *testing.T) { agree(t, first, p, spec(t, "kernels.wasm", strings.Fields(k)...)) })
	}
}

func TestNativeExamplesAgree(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	first := newLocal(t, LocalOptions{})
	for _, e := range []struct{ name, stdin string }{
		{"noop", ""}, {"spin", ""}, {"spin", "m"}, {"spin", "r"}, {"spin", "o"},
	} {
		t.Run(e.name+" "+e.stdin, func(t *testing.T) {
			s := specOf(t, filepath.Join("..", "examples", e.name, e.name+".wasm"))
			s.Stdin, s.Limits.Fuel = []byte(e.stdin), 300_000_000
			agree(t, first, p, s)
		})
	}
}

// TestNativeEndsAgree goes through the functions of ends.wat, most of which trap.
func TestNativeEndsAgree(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	first := newLocal(t, LocalOptions{})
	const last = 31
	statuses := map[exec.Status]int{}
	for i := range last + 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s := spec(t, "ends.wasm")
			s.Limits.Memory = 4 * pageSize
			s.Stdin = []byte{byte(i)}
			agree(t, first, p, s)
			statuses[run(t, p, s).Status]++
		})
	}
	if statuses[exec.Trap] < 20 || statuses[exec.Exited] < 8 {
		t.Errorf("the ends were %v", statuses)
	}
}

// TestNativeCorpusAgrees goes through the hostile corpus, as far as it can be compiled.
func TestNativeCorpusAgrees(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	first := newLocal(t, LocalOptions{})
	native := 0
	for _, tt := range ends(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t, "tasks.wasm")
			s.Limits.Fuel = 100_000_000
			tt.change(&s)
			if tt.status == exec.BadProgram || tt.status == exec.OutOfMemory { // never runs
				if got := run(t, p, s); got.Status != tt.status {
					t.Errorf("%s, want %s", got.Status, tt.status)
				}
				return
			}
			native++
			if tt.status == exec.Deadline { // where it ends depends on the machine
				move(t, p, s)
				if got := run(t, p, s); got.Status != exec.Deadline {
					t.Errorf("%s %s", got.Status, got.Message)
				}
				s = spec(t, "tasks.wasm", "exit", "0")
				if got := run(t, p, s); !got.OK() || !isNative(p, s) {
					t.Errorf("afterwards: %+v", got)
				}
				return
			}
			agree(t, first, p, s)
		})
	}
	if native < 10 {
		t.Errorf("%d ran natively", native)
	}
}

// moves hears a pool's log: what moved to the second tier, and what did not.
type moves chan string

func (m moves) Write(b []byte) (int, error) {
	m <- string(b)
	return len(b), nil
}

func (m moves) log() *slog.Logger { return slog.New(slog.NewTextHandler(m, nil)) }

// TestProgramMovesWhenItHasRunLongEnough lets a pool decide by itself.
func TestProgramMovesWhenItHasRunLongEnough(t *testing.T) {
	heard := make(moves, 10)
	p := newNativePool(t, PoolOptions{NativeAfter: 1, Log: heard.log()})
	s := spec(t, "ends.wasm")
	s.Stdin = []byte{23}
	want := run(t, p, s)
	if said := <-heard; !strings.Contains(said, "natively from now on") {
		t.Fatal(said)
	}
	got := run(t, p, s)
	if got.Digest() != want.Digest() {
		t.Errorf("%+v, want %+v", got, want)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) != 1 || p.idle[0].native == nil {
		t.Error("it ran on the first tier")
	}
}

func TestProgramThatCannotBeCompiledStays(t *testing.T) {
	heard := make(moves, 10)
	p := newNativePool(t, PoolOptions{NativeAfter: 1, Log: heard.log()})
	simd := specOf(t, "../examples/fractal/fractal.wasm")
	simd.Stdin = []byte("40 30 4 3 160 90\n")
	if res := run(t, p, simd); !res.OK() {
		t.Errorf("%+v", res)
	}
	if said := <-heard; !strings.Contains(said, "could not be compiled") || !strings.Contains(said, "SIMD") {
		t.Error(said)
	}
	if res := run(t, p, simd); !res.OK() || isNative(p, simd) {
		t.Errorf("%+v", res)
	}
	p.tier.mu.Lock()
	defer p.tier.mu.Unlock()
	if p.tier.building || time.Until(p.tier.notBy) <= 0 {
		t.Error("the next compilation may start at once")
	}
}

func TestHostWithoutToolsSaysSoOnce(t *testing.T) {
	heard := make(moves, 10)
	p := newPool(t, PoolOptions{Native: true, NativeAfter: 1, Log: heard.log()})
	p.tier.tools = func(context.Context) (Toolchain, error) { return Toolchain{}, errors.New("wasm2c: install wabt") }
	s := spec(t, "noop.wasm")
	for range 3 {
		if res := run(t, p, s); !res.OK() {
			t.Errorf("%+v", res)
		}
	}
	if said := <-heard; !strings.Contains(said, "on this host") || !strings.Contains(said, "wabt") {
		t.Error(said)
	}
	p.Close()
	if len(heard) > 0 {
		t.Error("more than once: ", <-heard)
	}
}

// TestProgramThatIsSlowerNativelyGoesBack: two processes are no gain for a program that does
// nothing but call its host.
func TestProgramThatIsSlowerNativelyGoesBack(t *testing.T) {
	heard := make(moves, 10)
	p := newNativePool(t, PoolOptions{Log: heard.log()})
	u, err := newUnit(spec(t, "ends.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	p.tier.mu.Lock()
	*p.tier.program(u) = tierProgram{state: tierNative}
	p.tier.mu.Unlock()
	p.tier.ran(u, false, speed{time.Second, 2_000_000})
	p.tier.ran(u, true, speed{tierTrial / 2, 1_000_000})
	if !isNative(p, u.spec) {
		t.Error("it was not tried for long enough")
	}
	p.tier.ran(u, true, speed{tierTrial, 1_000_000})
	if isNative(p, u.spec) {
		t.Error("it stays")
	}
	if said := <-heard; !strings.Contains(said, "slower") {
		t.Error(said)
	}
}

func TestKilledNativeProcessCostsOneUnit(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	s := spec(t, "tasks.wasm", "exit", "0")
	move(t, p, s)
	run(t, p, s)
	p.mu.Lock()
	worker, process := p.idle[0], p.idle[0].native
	p.mu.Unlock()
	s.Args, s.Limits.Fuel = []string{"loop"}, 1<<60
	ended := make(chan error, 1)
	go func() { _, err := p.Run(context.Background(), s); ended <- err }()
	waitUntilRunning(t)
	process.kill()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the process died") {
		t.Errorf("error %v", err)
	}
	s = spec(t, "tasks.wasm", "exit", "3")
	if res := run(t, p, s); res.ExitCode != 3 || isNative(p, s) {
		t.Errorf("afterwards: %+v", res)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) != 1 || p.idle[0] != worker || worker.native != nil {
		t.Error("the worker went with it")
	}
}

func TestCancelEndsANativeGuestSoon(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	s := spec(t, "tasks.wasm", "exit", "0")
	move(t, p, s)
	run(t, p, s)
	s.Args, s.Limits.Fuel, s.Limits.WallMs = []string{"loop"}, 1<<60, 600_000
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { _, err := p.Run(ctx, s); ended <- err }()
	waitUntilRunning(t)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if s = spec(t, "tasks.wasm", "exit", "0"); !run(t, p, s).OK() || !isNative(p, s) {
		t.Error("the program has left the second tier")
	}
}

func TestTamperedNativeEntryIsNotTrusted(t *testing.T) {
	cache := t.TempDir()
	p := newNativePool(t, PoolOptions{CacheDir: cache})
	s := spec(t, "noop.wasm")
	move(t, p, s)
	if !run(t, p, s).OK() {
		t.Fatal("it does not run")
	}
	files, err := filepath.Glob(filepath.Join(cache, "modules", "*", nativeFile))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if err := os.WriteFile(files[0], []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p = newNativePool(t, PoolOptions{CacheDir: cache})
	move(t, p, s)
	if now, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(now, good) {
		t.Errorf("the entry was not made anew: %v", err)
	}
	if !run(t, p, s).OK() {
		t.Error("it does not run")
	}
}

// TestHostileModulesDoNotOutgrowTheCompilersSandbox compiles what makes compilers explode, with
// a second of CPU: each ends as a program that stays on the first tier, or as one that works.
func TestHostileModulesDoNotOutgrowTheCompilersSandbox(t *testing.T) {
	var loops, table strings.Builder
	for range 400 { // functions of 60 nested loops, the most that the meter lets through
		loops.WriteString("(func (param i32)")
		for range 60 {
			loops.WriteString("(loop (if (i32.eqz (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))) (then return))")
		}
		loops.WriteString(strings.Repeat("(br_if 0 (local.get 0)))", 60) + ")\n")
	}
	table.WriteString("(func (param i32)")
	for range 8 {
		table.WriteString("(block (block (br_table" + strings.Repeat(" 0 1", 2000) + " (local.get 0))))")
	}
	table.WriteString(")")
	for _, tt := range []struct {
		name, functions string
		hopeless        bool
	}{{"loops", loops.String(), true}, {"br_table", table.String(), false}} {
		t.Run(tt.name, func(t *testing.T) {
			p := newNativePool(t, PoolOptions{CacheDir: t.TempDir()})
			p.tier.cpu = time.Second
			s := specOf(t, wat(t, "(module (func (export \"_start\")) "+tt.functions+")"))
			u, err := newUnit(s)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = p.tier.compile(t.Context(), u); err == nil {
				if tt.hopeless {
					t.Error("a second was enough")
				}
				move(t, p, s)
			}
			t.Log(err)
			if res := run(t, p, s); !res.OK() {
				t.Errorf("%+v", res)
			}
		})
	}
}

// wat writes a module from its text.
func wat(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.wasm")
	if out, err := osexec.Command("wat2wasm", write(t, "m.wat", text), "-o", path).CombinedOutput(); err != nil {
		t.Fatalf("wat2wasm: %v %s", err, out)
	}
	return path
}

// TestNativeIsTheOwnersChoice turns the second tier off and on under a program that is on it.
func TestNativeIsTheOwnersChoice(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	s := spec(t, "ends.wasm")
	s.Stdin = []byte{23}
	want := run(t, p, s)
	move(t, p, s)
	natively := func() bool {
		t.Helper()
		if got := run(t, p, s); got.Digest() != want.Digest() {
			t.Errorf("%+v, want %+v", got, want)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.idle, func(c *child) bool { return c.native != nil })
	}
	if !natively() || p.Native() != "yes, 1 of 1 programs" {
		t.Error("it ran on the first tier: ", p.Native())
	}
	p.AllowNative(false)
	if p.Workers() != 0 {
		t.Error("a native process is left")
	}
	if natively() || p.Native() != "no" {
		t.Error("it ran natively, though it may not: ", p.Native())
	}
	p.AllowNative(true)
	if !natively() {
		t.Error("it ran on the first tier, though it may again")
	}
}

// TestNativeIsGivenUpWhileItCompiles: the owner's no goes before the compiler.
func TestNativeIsGivenUpWhileItCompiles(t *testing.T) {
	p := newNativePool(t, PoolOptions{NativeAfter: 1})
	begun := make(chan struct{})
	p.tier.tools = func(ctx context.Context) (Toolchain, error) {
		close(begun)
		<-ctx.Done()
		return Toolchain{}, ctx.Err()
	}
	s := spec(t, "noop.wasm")
	run(t, p, s)
	<-begun
	p.AllowNative(false)
	until(t, func() bool { p.tier.mu.Lock(); defer p.tier.mu.Unlock(); return !p.tier.building })
	u, err := newUnit(s)
	if err != nil {
		t.Fatal(err)
	}
	p.tier.mu.Lock()
	defer p.tier.mu.Unlock()
	if state := p.tier.program(u).state; state != tierFirst {
		t.Errorf("state %d: it would never be tried again", state)
	}
}

// TestFreezeStopsNativePrograms looks at the process that computes, not at the worker that waits for it.
func TestFreezeStopsNativePrograms(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	s := spec(t, "tasks.wasm", "loop")
	s.Limits.Fuel, s.Limits.WallMs = 1<<60, 600_000
	move(t, p, s)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _, _ = p.Run(ctx, s); close(ended) }()
	defer func() { cancel(); <-ended }()
	var native *child
	until(t, func() bool {
		p.spawn.freezer.mu.Lock()
		defer p.spawn.freezer.mu.Unlock()
		for c := range p.spawn.freezer.children {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.cmd.Process.Pid))
			if strings.HasPrefix(string(line), "p3-native") {
				native = c
			}
		}
		return native != nil && userTicks(t, native) > 0
	})
	if err := p.Freeze(true); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return stopped(t, native) })
	before := userTicks(t, native)
	if err := p.Freeze(false); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return userTicks(t, native) > before })
}
