package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"golang.org/x/sys/unix"
)

// compileC compiles a file of testdata as it is, outside of every sandbox.
func compileC(t *testing.T, out string, args ...string) {
	t.Helper()
	if msg, err := osexec.Command(compilerPath, append([]string{"-O1", "-w", "-static", "-o", out}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
}

// TestNativeProcessCannotLeaveItsWalls puts an attacker in the place of a compiled program.
func TestNativeProcessCannotLeaveItsWalls(t *testing.T) {
	needToolchain(t)
	dir := t.TempDir()
	compileC(t, filepath.Join(dir, nativeFile), "testdata/attack.c")
	s := newSpawner()
	defer s.close()
	worker, native, err := nativeEnds(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer worker[0].Close()
	defer worker[1].Close()
	c, err := s.start(context.Background(), selfWorker, setup{Modules: dir, Native: true}, native[:]...)
	native[0].Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	for _, w := range c.walls {
		if !w.OK {
			t.Errorf("%s: %s", w.Name, w.Detail)
		}
	}
	if err := writeFrame(c.conn, toWorker{Task: &task{}}, maxToWorker); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(worker[0])
	if err != nil {
		t.Fatal(err)
	}
	attempts := 0
	for line := range strings.Lines(string(said)) {
		var name string
		var errno int
		if _, err := fmt.Sscan(line, &name, &errno); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		attempts++
		t.Logf("%-30s %v", name, syscall.Errno(errno))
		if (errno == 0) != (name == "control") {
			t.Errorf("%s: %v", name, syscall.Errno(errno))
		}
	}
	if attempts != 25 {
		t.Errorf("%d attempts: %s%s", attempts, said, c.stderr)
	}
}

// TestCompilerCannotLeaveItsWalls is the same for the sandbox of the compiler, which may start programs.
func TestCompilerCannotLeaveItsWalls(t *testing.T) {
	needToolchain(t)
	s := newSpawner()
	defer s.close()
	c, err := s.start(context.Background(), selfWorker, setup{Compile: true, CPU: 10, Probe: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	for _, w := range c.walls {
		may := w.Name == "cannot start a process" || w.Name == "cannot start a program"
		t.Logf("%-5v %s: %s", w.OK, w.Name, w.Detail)
		if w.OK == may {
			t.Errorf("%s: %s", w.Name, w.Detail)
		}
	}
}

// TestNativeProgramLocksItselfIn tries what the program itself gives up before it runs a guest:
// the system kills it for that.
func TestNativeProgramLocksItselfIn(t *testing.T) {
	needToolchain(t)
	dir := t.TempDir()
	header := `#include "wasm-rt.h"
typedef uint32_t u32;
typedef uint64_t u64;
typedef struct { volatile u64 w2c_p3_fuel; u64 w2c_p3_depth; } Z_m_instance_t;
struct Z_p3_instance_t;
void Z_m_init_module(void);
void Z_mZ__start(Z_m_instance_t *);
`
	if err := writeFiles(dir, map[string][]byte{"m.h": []byte(header), "stubs.h": nativeStubs()}); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(dir, "locked")
	compileC(t, locked, "-DP3_DEPTH=0", "-DP3_INSTANTIATE=Z_m_init_module()", "-I"+dir, "-Inative", "testdata/locked.c")
	for what := range 14 {
		mine, theirs, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := osexec.Command(locked, fmt.Sprint(what))
		cmd.ExtraFiles = []*os.File{theirs}
		_ = cmd.Run()
		theirs.Close()
		mine.Close()
		state := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if what == 0 && state.ExitStatus() != 42 {
			t.Errorf("what it may do: %s", cmd.ProcessState)
		}
		if what > 0 && (!state.Signaled() || state.Signal() != unix.SIGSYS) {
			t.Errorf("attempt %d: %s", what, cmd.ProcessState)
		}
	}
}

// TestNonsenseFromANativeProcess plays a program that has been taken over. None of it may panic,
// reach beyond the memory file, or hang.
func TestNonsenseFromANativeProcess(t *testing.T) {
	ask := func(what, pages uint32, args ...uint64) []byte {
		b := make([]byte, askSize)
		binary.LittleEndian.PutUint32(b, what)
		binary.LittleEndian.PutUint32(b[4:], pages)
		for i, a := range args {
			binary.LittleEndian.PutUint64(b[16+8*i:], a)
		}
		return b
	}
	call := func(name string) uint32 {
		for i, f := range hostFuncs {
			if f.name == name {
				return uint32(i)
			}
		}
		t.Fatal(name)
		return 0
	}
	left := int64(math.MinInt64)
	for name, says := range map[string][]byte{
		"unknown":          ask(0x7777, 1),
		"ready in between": ask(askReady, 1),
		"trap 0":           ask(askTrap, 1, 0),
		"trap 99":          ask(askTrap, 1, 99),
		"fault 99":         ask(askFault, 1, 99),
		"fault":            ask(askFault, 1, 3),
		"half":             ask(askDone, 1)[:40],
		"nothing":          nil,
		"least fuel":       ask(askRefuel, 1, uint64(left)),
		"exit":             ask(askExit, 1, 1<<40),
		"far memory":       ask(call("fd_write"), 1<<31, 1, 1<<20, 1, 0),
		"many vectors":     ask(call("fd_write"), 1, 1, 0, 1<<31, 0),
		"random":           ask(call("random_get"), math.MaxUint32-1, 0, math.MaxUint32),
	} {
		t.Run(name, func(t *testing.T) {
			worker, native, err := nativeEnds(pageSize)
			if err != nil {
				t.Fatal(err)
			}
			link, err := newNativeLink(1, worker[0], worker[1])
			if err != nil {
				t.Fatal(err)
			}
			defer link.close()
			peer, err := net.FileConn(native[0])
			native[0].Close()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				defer peer.Close()
				answer := make([]byte, answerSize)
				_, _ = peer.Write(ask(askReady, 0))
				_, _ = io.ReadFull(peer, answer)
				_, _ = peer.Write(says)
				_ = peer.(*net.UnixConn).CloseWrite()
				_, _ = io.Copy(io.Discard, peer)
			}()
			s := exec.Spec{Limits: exec.Limits{Fuel: 1000, Memory: pageSize, WallMs: 60_000, Output: 1000}}
			g, err := newGuest(context.Background(), s, nil, nil, strings.NewReader(""))
			if err != nil {
				t.Fatal(err)
			}
			res, err := link.run(g)
			var fault *nativeFault
			if err != nil && !errors.As(err, &fault) {
				t.Errorf("%v", err)
			}
			if uint64(res.Fuel) > 1000 || len(res.Stdout) > 1000 || !link.lost {
				t.Errorf("%+v", res)
			}
		})
	}
}

// Go ends a program that is refused a thread, and the filter of a native process refuses all.
func TestThreadsAreStartedAhead(t *testing.T) {
	const n = 50
	startThreads(n)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil || len(threads) < n {
		t.Errorf("%d threads, %v; want %d", len(threads), err, n)
	}
}
