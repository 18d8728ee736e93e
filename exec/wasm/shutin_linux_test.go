package wasm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"golang.org/x/sys/unix"
)

// TestWorkerCannotLeaveItsWalls attacks from inside a shut-in worker. What a kernel does not
// have may be missing; what an attack can do through it may not.
func TestWorkerCannotLeaveItsWalls(t *testing.T) {
	if !haveSpaces {
		t.Skip("built with cgo: see spaces_cgo.go")
	}
	attacks(t, Probe(selfWorker...))
}

// TestWorkerCannotLeaveItsWallsWithoutNamespaces is the same where the system allows none.
func TestWorkerCannotLeaveItsWallsWithoutNamespaces(t *testing.T) {
	if !haveSpaces {
		t.Skip("built with cgo: see spaces_cgo.go")
	}
	s := newSpawner()
	defer s.close()
	s.spaces = false
	c, err := s.start(context.Background(), selfWorker, setup{Modules: t.TempDir(), Memory: 64 << 20, Probe: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	for _, w := range c.walls {
		if strings.HasPrefix(w.Name, "namespaces") && w.OK {
			t.Error("it says that it has namespaces")
		}
		if w.Name == "Landlock" && !w.OK {
			t.Skip("this kernel has no Landlock: without namespaces files stay readable, and Probe says so")
		}
	}
	attacks(t, c.walls)
}

func attacks(t *testing.T, walls []Protection) {
	t.Helper()
	attacks := 0
	for _, w := range walls {
		t.Logf("%-5v %s: %s", w.OK, w.Name, w.Detail)
		if strings.HasPrefix(w.Name, "cannot ") {
			attacks++
			if !w.OK {
				t.Errorf("%s: %s", w.Name, w.Detail)
			}
		}
	}
	if attacks < 10 {
		t.Errorf("%d attacks were tried", attacks)
	}
}

// TestWorkerDiesWithItsNode kills a node that has a worker in the middle of a unit.
func TestWorkerDiesWithItsNode(t *testing.T) {
	node := osexec.Command(os.Args[0], "node", t.TempDir())
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscan(out, &pid)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := node.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = node.Wait()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	if n != 1 {
		t.Errorf("the worker lives on: %v", err)
	}
}

// nodeMain is the node of TestWorkerDiesWithItsNode: it says its worker's number and keeps it busy.
func nodeMain(cache string) int {
	p, err := NewPool(PoolOptions{Argv: selfWorker, CacheDir: cache, Memory: 64 << 20, Foreground: true, Bare: !haveSpaces})
	if err != nil {
		return 1
	}
	path, _ := filepath.Abs("testdata/tasks.wasm")
	module, err := os.ReadFile(path)
	if err != nil {
		return 1
	}
	s := exec.Spec{Program: path, Hash: sha256.Sum256(module), Args: []string{"exit", "0"},
		Limits: exec.Limits{Fuel: 1 << 60, Memory: 16 << 20, WallMs: 600_000, Output: 1000}}
	if _, err := p.Run(context.Background(), s); err != nil {
		return 1
	}
	pid := p.idle[0].cmd.Process.Pid
	s.Args = []string{"loop"}
	fmt.Println(pid)
	_, _ = p.Run(context.Background(), s)
	return 1
}

// TestWorkerThatSendsItsOwnSocket: a node that kept the file would keep the dead worker's end of
// their socket open, and wait for its last word for ever.
func TestWorkerThatSendsItsOwnSocket(t *testing.T) {
	cache := t.TempDir()
	s := spec(t, "noop.wasm")
	run(t, newPool(t, PoolOptions{CacheDir: cache}), s)
	p := newPool(t, PoolOptions{CacheDir: cache, Argv: []string{os.Args[0], "hoard"}, Bare: true})
	if res, err := p.Run(context.Background(), s); err == nil || !strings.Contains(err.Error(), "the worker died") {
		t.Errorf("%+v %v", res, err)
	}
}

// hoardMain is the worker of TestWorkerThatSendsItsOwnSocket: it gives its end away and goes.
func hoardMain() int {
	child := &worker{r: os.Stdin, w: os.Stdout}
	var f toWorker
	_ = readFrame(child.r, &f, maxToWorker)
	_ = child.send(fromWorker{Ready: &ready{}})
	_ = readFrame(child.r, &f, maxToWorker)
	b, _ := encodeFrame(fromWorker{Chunk: &chunk{1, "", []byte("x")}}, maxFromWorker)
	_ = unix.Sendmsg(1, b, unix.UnixRights(0, 1), nil, 0)
	return 1
}

// TestMemoryOfGuestsIsGivenBack: after several guests that took all they could, a worker has
// never had more than one guest's memory besides its own.
func TestMemoryOfGuestsIsGivenBack(t *testing.T) {
	if !haveSpaces {
		t.Skip("a build with the race detector is larger")
	}
	p := newPool(t, PoolOptions{})
	s := spec(t, "tasks.wasm", "bomb")
	s.Limits.Memory = 32 << 20
	for range 3 {
		if res := run(t, p, s); !res.OK() {
			t.Fatalf("%+v", res)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.idle[0].cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	var kb int
	if _, err := fmt.Sscan(peak, &kb); err != nil {
		t.Fatal(err)
	}
	t.Logf("peak %d kB", kb)
	if kb > 32<<10+40_000 {
		t.Errorf("a worker took up to %d kB for guests of 32 MiB", kb)
	}
}

// cpuTime is what this process has used, for benchmarks on busy machines.
func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
