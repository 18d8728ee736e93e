package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"go.uber.org/goleak"
)

// TestMain makes the test's own executable the worker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "worker":
			os.Exit(WorkerMain(os.Stdin, os.Stdout))
		case "nonsense": // a worker that has been taken over: it starts well
			child := &worker{r: os.Stdin, w: os.Stdout}
			var first, next toWorker
			_ = readFrame(child.r, &first, maxToWorker)
			_ = child.send(fromWorker{Ready: &ready{}})
			_ = readFrame(child.r, &next, maxToWorker)
			io.WriteString(os.Stdout, unhex(os.Args[2]))
			time.Sleep(time.Hour)
		case "flood": // one that says the same for ever
			child := &worker{r: os.Stdin, w: os.Stdout}
			var first toWorker
			_ = readFrame(child.r, &first, maxToWorker)
			_ = child.send(fromWorker{Ready: &ready{}})
			says := unhex(os.Args[2])
			for {
				if _, err := io.WriteString(os.Stdout, says); err != nil {
					os.Exit(1)
				}
			}
		case "hoard":
			os.Exit(hoardMain())
		case "node":
			os.Exit(nodeMain(os.Args[2]))
		case "nothing":
			os.Exit(3)
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		for _, dir := range testFolders {
			os.RemoveAll(dir)
		}
		os.Exit(code)
	}))
}

// testFolders are removed at the end.
var testFolders []string

// unhex is what an argument says: frames have zeros, which arguments cannot have.
func unhex(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

var selfWorker = []string{os.Args[0], "worker"}

// spec is a run of a program in testdata, with limits that suit tests.
func spec(t testing.TB, program string, args ...string) exec.Spec {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", program))
	if err != nil {
		t.Fatal(err)
	}
	return specOf(t, path, args...)
}

func specOf(t testing.TB, path string, args ...string) exec.Spec {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return exec.Spec{
		Program: path, Hash: sha256.Sum256(b), Args: args,
		Limits: exec.Limits{Fuel: 1_000_000_000, Memory: 16 << 20, WallMs: 10_000, Output: 1 << 20},
	}
}

func newLocal(t testing.TB, opt LocalOptions) *Local {
	t.Helper()
	l, err := NewLocal(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func newPool(t testing.TB, opt PoolOptions) *Pool {
	t.Helper()
	if opt.Argv == nil {
		opt.Argv = selfWorker
	}
	opt.Bare = opt.Bare || !haveSpaces // with cgo, for the race detector: see spaces_cgo.go
	opt.Foreground = true              // tests of other packages run beside these
	if opt.Memory == 0 {
		opt.Memory = 256 << 20
	}
	if opt.CacheDir == "" {
		opt.CacheDir = t.TempDir()
	}
	p, err := NewPool(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// both runs a test on both engines.
func both(t *testing.T, test func(t *testing.T, e exec.Engine)) {
	t.Run("local", func(t *testing.T) { test(t, newLocal(t, LocalOptions{})) })
	t.Run("pool", func(t *testing.T) { test(t, newPool(t, PoolOptions{})) })
}

func run(t testing.TB, e exec.Engine, s exec.Spec) exec.Result {
	t.Helper()
	res, err := e.Run(context.Background(), s)
	if err != nil {
		t.Fatalf("run %v: %v", s.Args, err)
	}
	return res
}

// waitUntilRunning gives a run that was just started the time to reach its guest: there is no
// event for that, and a run cancelled earlier must end as soon.
func waitUntilRunning(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-t.Context().Done():
	}
}
