package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestArgumentsAndEnvironmentReachTheGuest(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "echo", "a b", "ü")
		s.Env = []string{"COLOUR=red"}
		res := run(t, e, s)
		if got, want := string(res.Stdout), "main\necho\na b\nü\nCOLOUR=red\n"; got != want || !res.OK() {
			t.Errorf("stdout %q, want %q; %+v", got, want, res)
		}
	})
}

func TestStdinReachesTheGuestFromMemoryAndFileAlike(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		text := strings.Repeat("0123456789abcdef\n", 10_000)
		s := spec(t, "tasks.wasm", "cat")
		s.Stdin = []byte(text)
		a := run(t, e, s)
		s.Stdin, s.StdinPath = nil, write(t, "stdin", text)
		b := run(t, e, s)
		if string(a.Stdout) != text {
			t.Errorf("%d bytes came back of %d: %+v", len(a.Stdout), len(text), a.Status)
		}
		if a.Digest() != b.Digest() {
			t.Errorf("fuel %d from memory, %d from a file", a.Fuel, b.Fuel)
		}
	})
}

func TestFilesGoInAndOut(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		big := strings.Repeat("x", 300_000)
		s := spec(t, "tasks.wasm", "copy")
		s.In = []exec.Mount{{Name: "a.txt", Path: write(t, "in", "hello")}}
		s.Data = []exec.Mount{{Name: "deep/er/b.bin", Path: write(t, "data", big)}}
		s.OutDir = t.TempDir()
		res := run(t, e, s)
		want := []exec.File{
			{Name: "b.bin", Hash: sha256.Sum256([]byte(big)), Size: 300_000},
			{Name: "c.txt", Hash: sha256.Sum256([]byte("hello")), Size: 5},
			{Name: "sub/a.txt", Hash: sha256.Sum256([]byte("hello")), Size: 5},
		}
		if d := cmp.Diff(want, res.Files); d != "" || !res.OK() {
			t.Errorf("%+v\n%s", res, d)
		}
		for _, f := range want {
			b, err := os.ReadFile(filepath.Join(s.OutDir, f.Name))
			if err != nil || ledger.Digest(sha256.Sum256(b)) != f.Hash {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
	})
}

func TestFileSystemBehavesAsPOSIXSays(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "files")
		s.OutDir = t.TempDir()
		res := run(t, e, s)
		want := "world\n0 0 -1\n0 -1\n0 -1\n-1\n/tmp/. 1 0 1577836800\n/tmp/.. 1 0 1577836800\n/tmp/t 0 4 1577836800\n/\n"
		if string(res.Stdout) != want {
			t.Errorf("got %s\nwant %s", res.Stdout, want)
		}
		b, err := os.ReadFile(filepath.Join(s.OutDir, "d/e/g"))
		if string(b) != "Jello" || len(res.Files) != 1 {
			t.Errorf("%q %v %v", b, err, res.Files)
		}
	})
}

func TestFoldersAreListedSorted(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "ls", "/", "/in")
		for _, name := range []string{"zebra", "ant", "m/n", "bee"} {
			s.In = append(s.In, exec.Mount{Name: name, Path: write(t, "f", name)})
		}
		got := string(run(t, e, s).Stdout)
		want := "//. 1 0 1577836800\n//.. 1 0 1577836800\n//data 1 0 1577836800\n//in 1 0 1577836800\n//out 1 0 1577836800\n//tmp 1 0 1577836800\n" +
			"/in/. 1 0 1577836800\n/in/.. 1 0 1577836800\n/in/ant 0 3 1577836800\n/in/bee 0 3 1577836800\n/in/m 1 0 1577836800\n/in/zebra 0 5 1577836800\n"
		if got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

// An end is a program of the hostile corpus and how it ends.
type end struct {
	name    string
	change  func(s *exec.Spec)
	status  exec.Status
	exit    uint32
	message string
}

// ends is the hostile corpus: every way to end, by name. t is for temporary files.
func ends(t *testing.T) []end {
	t.Setenv("TMPDIR", t.TempDir()) // for bytesOf
	return []end{
		{"exit", asks("exit", "7"), exec.Exited, 7, ""},
		{"trap", asks("trap"), exec.Trap, 0, "unreachable"},
		{"loop", asks("loop"), exec.OutOfFuel, 0, "out of fuel"},
		{"deadline", func(s *exec.Spec) { asks("loop")(s); s.Limits.Fuel = 1 << 60; s.Limits.WallMs = 100 }, exec.Deadline, 0, "wall time"},
		{"memory bomb", asks("bomb"), exec.Exited, 0, ""},
		{"output flood", asks("flood"), exec.OutputLimit, 0, "1048576"},
		{"file flood", asks("floodfile"), exec.OutputLimit, 0, "1048576"},
		{"many files", asks("many"), exec.OutputLimit, 0, "files"},
		{"removed open files keep their charge", asks("unlinked"), exec.OutputLimit, 0, ""},
		{"deep recursion", asks("deep"), exec.Trap, 0, ""},
		{"too little memory to start", func(s *exec.Spec) { s.Limits.Memory = 64 << 10 }, exec.OutOfMemory, 0, "memory"},
		{"foreign import", using("foreign.wasm"), exec.BadProgram, 0, "env.launch"},
		{"not a module", bytesOf("hello"), exec.BadProgram, 0, ""},
		{"cut off", bytesOf("\x00asm\x01\x00\x00\x00\x01\xff"), exec.BadProgram, 0, ""},
		{"no _start", bytesOf("\x00asm\x01\x00\x00\x00"), exec.BadProgram, 0, "_start"},
		// type () -> (); one function of it: unreachable; exported as _start, and the start function
		{"trap in start function", bytesOf("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00" +
			"\x07\x0a\x01\x06_start\x00\x00\x08\x01\x00\x0a\x05\x01\x03\x00\x00\x0b"), exec.Trap, 0, "unreachable"},
		// the same with an endless loop
		{"loop in start function", bytesOf("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00" +
			"\x07\x0a\x01\x06_start\x00\x00\x08\x01\x00\x0a\x09\x01\x07\x00\x03\x40\x0c\x00\x0b\x0b"), exec.OutOfFuel, 0, ""},
		// a data segment beyond the memory it goes to
		{"data out of bounds", bytesOf("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01" +
			"\x07\x0a\x01\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b\x0b\x0a\x01\x00\x41\xff\xff\x3f\x0b\x02hi"), exec.Trap, 0, ""},
	}
}

func TestEachEndHasItsOwnStatus(t *testing.T) {
	tests := ends(t)
	both(t, func(t *testing.T, e exec.Engine) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				s := spec(t, "tasks.wasm")
				s.Limits.Fuel = 100_000_000
				tt.change(&s)
				if s.Program == "" {
					t.Fatal("no program")
				}
				res := run(t, e, s)
				if res.Status != tt.status || res.ExitCode != tt.exit || !strings.Contains(res.Message, tt.message) {
					t.Errorf("got %s %d %q, want %s %d %q", res.Status, res.ExitCode, res.Message, tt.status, tt.exit, tt.message)
				}
				if res.Status == exec.OutOfFuel && res.Fuel != s.Limits.Fuel {
					t.Errorf("out of fuel after %d of %d", res.Fuel, s.Limits.Fuel)
				}
				if n := len(res.Stdout) + len(res.Stderr); int64(n) > s.Limits.Output {
					t.Errorf("%d bytes of output, limit %d", n, s.Limits.Output)
				}
				if ok := run(t, e, spec(t, "noop.wasm")); !ok.OK() {
					t.Errorf("afterwards: %+v", ok)
				}
			})
		}
	})
}

func asks(a ...string) func(*exec.Spec) { return func(s *exec.Spec) { s.Args = a } }

func using(name string) func(*exec.Spec) {
	return func(s *exec.Spec) {
		s.Program = filepath.Join(filepath.Dir(s.Program), name)
		b, _ := os.ReadFile(s.Program)
		s.Hash = sha256.Sum256(b)
	}
}

func bytesOf(module string) func(*exec.Spec) {
	return func(s *exec.Spec) {
		f, err := os.CreateTemp("", "p3-*.wasm")
		if err != nil {
			return
		}
		defer f.Close()
		f.WriteString(module)
		s.Program, s.Hash = f.Name(), sha256.Sum256([]byte(module))
	}
}

func TestNoPathLeadsOut(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "escape")
		s.In = []exec.Mount{{Name: "a.txt", Path: write(t, "in", "hello")}}
		s.OutDir = t.TempDir()
		res := run(t, e, s)
		lines := strings.Split(strings.TrimSpace(string(res.Stdout)), "\n")
		if len(lines) != 14 {
			t.Fatalf("%d answers: %s", len(lines), res.Stdout)
		}
		for i, l := range lines {
			opened := strings.HasSuffix(l, ": opened") || strings.HasSuffix(l, ": made") || strings.HasSuffix(l, ": moved")
			if last := i == len(lines)-1; opened != last {
				t.Errorf("%s", l)
			}
		}
		if len(res.Files) != 0 {
			t.Errorf("files %v", res.Files)
		}
	})
}

func TestClockStartsAtEpochAndSleepingTakesNoTime(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		start := time.Now()
		res := run(t, e, spec(t, "tasks.wasm", "clock"))
		if got := string(res.Stdout); !strings.HasPrefix(got, "3600 1577836800.") {
			t.Errorf("clock %q", got)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it really slept: %s", took)
		}
	})
}

func TestRandomNumbersFollowTheSeed(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "random")
		s.Seed = 1
		a, b := run(t, e, s), run(t, e, s)
		s.Seed = 2
		c := run(t, e, s)
		if string(a.Stdout) != string(b.Stdout) || string(a.Stdout) == string(c.Stdout) {
			t.Errorf("%s %s %s", a.Stdout, b.Stdout, c.Stdout)
		}
	})
}

// TestEnginesAgree runs many tasks on every engine: same digest, fuel included.
func TestEnginesAgree(t *testing.T) {
	engines := []exec.Engine{
		newLocal(t, LocalOptions{}), newLocal(t, LocalOptions{Interpret: true}),
		newLocal(t, LocalOptions{CacheDir: t.TempDir()}), newPool(t, PoolOptions{}),
	}
	for _, a := range [][]string{
		{"echo", "x"}, {"cat"}, {"exit", "3"}, {"trap"}, {"work", "100000"}, {"bomb"}, {"flood"}, {"many"}, {"deep"},
		{"escape"}, {"clock"}, {"random"}, {"files"}, {"tty"}, {"ls", "/in", "/out"}, {"loop"},
	} {
		s := spec(t, "tasks.wasm", a...)
		s.Limits.Fuel, s.Limits.WallMs = 20_000_000, 60_000
		s.Stdin = []byte("some input\n")
		s.In = []exec.Mount{{Name: "a.txt", Path: write(t, "in", "hello")}}
		first := run(t, engines[0], s)
		for i, e := range engines[1:] {
			res, err := e.Run(context.Background(), s)
			if a[0] == "deep" && i == 0 {
				if err == nil || !strings.Contains(err.Error(), "call stack") { // 2000 frames, whatever the meter allows
					t.Errorf("deep recursion in the interpreter: %+v %v", res, err)
				}
				continue
			}
			if err != nil || res.Digest() != first.Digest() {
				t.Errorf("%v: engine %d: %s %d fuel %d, want %s %d fuel %d", a, i+1, res.Status, res.ExitCode, res.Fuel, first.Status, first.ExitCode, first.Fuel)
			}
		}
	}
}

func TestCancelEndsAGuestSoon(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "loop")
		s.Limits.Fuel, s.Limits.WallMs = 1<<60, 600_000
		run(t, e, spec(t, "tasks.wasm", "exit", "0")) // compiled and warm
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { _, err := e.Run(ctx, s); ended <- err }()
		waitUntilRunning(t)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if res := run(t, e, spec(t, "noop.wasm")); !res.OK() {
			t.Errorf("afterwards: %+v", res)
		}
	})
}

// TestDeadlineStopsALoop has fuel for months; how soon it stops is told by BenchmarkDeadline.
func TestDeadlineStopsALoop(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "loop")
		s.Limits.Fuel, s.Limits.WallMs = 1<<60, 50
		run(t, e, spec(t, "tasks.wasm", "exit", "0"))
		if res := run(t, e, s); res.Status != exec.Deadline {
			t.Errorf("%+v", res)
		}
	})
}

func TestLimitsOfASpecAreChecked(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		for _, change := range []func(*exec.Spec){
			func(s *exec.Spec) { s.Limits.Fuel = 0 },
			func(s *exec.Spec) { s.Limits.Memory = 1 },
			func(s *exec.Spec) { s.Limits.WallMs = 0 },
			func(s *exec.Spec) { s.Limits.Output = 1 << 40 },
			func(s *exec.Spec) { s.Hash[0]++ },
			func(s *exec.Spec) { s.Program += ".missing"; s.Hash[0]++ },
			func(s *exec.Spec) { s.In = []exec.Mount{{Name: "../a", Path: s.Program}} },
			func(s *exec.Spec) { s.In = []exec.Mount{{Name: "a", Path: t.TempDir()}} },
			func(s *exec.Spec) {
				s.In = []exec.Mount{{Name: "a", Path: s.Program}, {Name: "a/b", Path: s.Program}}
			},
		} {
			s := spec(t, "noop.wasm")
			change(&s)
			if res, err := e.Run(context.Background(), s); err == nil {
				t.Errorf("accepted %+v: %+v", s, res)
			}
		}
	})
}

// TestNoRunIsFree: a program that executes next to nothing still takes an instance.
func TestNoRunIsFree(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		if res := run(t, e, spec(t, "noop.wasm")); !res.OK() || res.Fuel < costStart {
			t.Errorf("%s, fuel %d, a start costs %d", res.Status, res.Fuel, costStart)
		}
	})
}
