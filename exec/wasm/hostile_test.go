package wasm

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/exec"
)

// noSlotStuck fails when the pool's one slot is not free again.
func noSlotStuck(t *testing.T, p *Pool) {
	t.Helper()
	if res := run(t, p, spec(t, "noop.wasm")); !res.OK() {
		t.Errorf("afterwards: %+v", res)
	}
}

func TestGuestRunsOutOfDescriptors(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "hostile.wasm", "descriptors")
		s.In = []exec.Mount{{Name: "a", Path: write(t, "a", "x")}}
		if got, want := string(run(t, e, s).Stdout), "252: No file descriptors available\n4\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestGuestClaimsSizesThatAreNotThere(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		res := run(t, e, spec(t, "hostile.wasm", "sizes"))
		want := "-1 Bad address\n-1 Is a directory\n9223372036854775807\n-1 File too large\n"
		if string(res.Stdout) != want || !res.OK() {
			t.Errorf("%+v: %q", res.Status, res.Stdout)
		}
	})
}

// TestDeadlineEndsAnOperatorThatTakesLong: memory.fill over 2 GiB is one operator, so the guest
// sees no end of a slice before it; its worker is ended from outside.
func TestDeadlineEndsAnOperatorThatTakesLong(t *testing.T) {
	p := newPool(t, PoolOptions{Memory: 2 << 30})
	s := spec(t, "hostile.wasm", "fill")
	s.Limits = exec.Limits{Fuel: 1 << 50, Memory: 2 << 30, WallMs: 20, Output: 1000}
	res := run(t, p, s)
	for res.Status == exec.Deadline && !strings.Contains(res.Message, "killed") {
		s.Limits.WallMs *= 2 // a busy machine did not come as far as the operator
		res = run(t, p, s)
	}
	if res.Status != exec.Deadline {
		t.Errorf("%+v", res)
	}
	noSlotStuck(t, p)
}

// TestTableBombEndsByItsLimit grows a table without a maximum until something says no.
func TestTableBombEndsByItsLimit(t *testing.T) {
	module := "\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x04\x04\x01\x70\x00\x01" +
		"\x07\x0a\x01\x06_start\x00\x00" +
		// loop: table.grow(null, 2^20) != -1: again; then memory-less exit
		"\x0a\x16\x01\x14\x00\x03\x40\xd0\x70\x41\x80\x80\xc0\x00\xfc\x0f\x00\x41\x7f\x47\x0d\x00\x0b\x0b"
	both(t, func(t *testing.T, e exec.Engine) {
		s := moduleSpec(t, []byte(module))
		s.Limits.Fuel = 1 << 40
		if res := run(t, e, s); !res.OK() {
			t.Errorf("%+v", res)
		}
	})
}

func TestGiantModulesAreRefusedByName(t *testing.T) {
	p := newPool(t, PoolOptions{})
	s := moduleSpec(t, nil)
	if err := os.Truncate(s.Program, exec.MaxProgram+1); err != nil {
		t.Fatal(err)
	}
	if res := run(t, p, s); res.Status != exec.BadProgram || !strings.Contains(res.Message, "67108864") {
		t.Errorf("%+v", res)
	}
	noSlotStuck(t, p)
}

// TestCompileBombIsGivenUpOnce: what takes too much CPU time to compile is a failure of this host
// that names the reason, and no second try keeps the machine busy.
func TestCompileBombIsGivenUpOnce(t *testing.T) {
	if !haveSpaces || runtime.GOOS != "linux" {
		t.Skip("only Linux limits the CPU time of a compilation; see also spaces_cgo.go")
	}
	p := newPool(t, PoolOptions{})
	p.compileCPU = 1e9
	s := moduleSpec(t, largeModule(8<<20)) // four seconds
	if res, err := p.Run(context.Background(), s); !errors.Is(err, errTooLong) {
		t.Errorf("%+v %v", res, err)
	}
	noSlotStuck(t, p)
	p.opt.Argv = []string{"/nonexistent"} // nothing can be started now
	if res, err := p.Run(context.Background(), s); !errors.Is(err, errTooLong) {
		t.Errorf("the second time: %+v %v", res, err)
	}
}

// TestMalformedModulesThroughAWorker takes modules that the specification calls malformed or
// invalid the whole way; package meter sees all of them.
func TestMalformedModulesThroughAWorker(t *testing.T) {
	dir := filepath.Join(engineDir(t), "internal/integration_test/spectest/v2/testdata")
	p := newPool(t, PoolOptions{})
	tried := 0
	for _, name := range []string{"binary", "binary-leb128", "custom", "data", "elem", "global", "memory", "table", "start", "imports", "func", "br_table"} {
		b, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Commands []struct {
				Type       string
				Filename   string
				ModuleType string `json:"module_type"`
			}
		}
		if err := json.Unmarshal(b, &file); err != nil {
			t.Fatal(err)
		}
		each := 0
		for _, c := range file.Commands {
			if c.Type != "assert_malformed" && c.Type != "assert_invalid" || c.ModuleType != "binary" || each == 2 {
				continue
			}
			module, err := os.ReadFile(filepath.Join(dir, c.Filename))
			if err != nil {
				t.Fatal(err)
			}
			each++
			tried++
			if res := run(t, p, moduleSpec(t, module)); res.Status != exec.BadProgram || res.Message == "" {
				t.Errorf("%s: %+v", c.Filename, res)
			}
		}
	}
	if tried < 15 {
		t.Errorf("%d modules tried", tried)
	}
	noSlotStuck(t, p)
}

// TestEntryOfAnotherCacheIsNotTrusted: the engine's own checksum is right in what somebody else
// compiled, or in another program's code; only the MAC tells that it is not ours.
func TestEntryOfAnotherCacheIsNotTrusted(t *testing.T) {
	s := spec(t, "tasks.wasm", "exit", "3")
	other := s
	other.Limits.Memory *= 2
	ours, entry := filled(t, s)
	theirs, theirEntry := filled(t, other)
	dir := filepath.Join(ours.modules(), entry)
	if !ours.valid(dir, entry) {
		t.Fatal("our own entry is not valid")
	}
	replace := func(from string) {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		p, err := loadEntry(context.Background(), dir)
		if err != nil {
			t.Fatalf("the engine itself would refuse it: %v", err)
		}
		p.close()
		if ours.valid(dir, entry) {
			t.Error("it is trusted")
		}
	}
	replace(filepath.Join(theirs.modules(), theirEntry)) // under another key
	renamed, _ := filled(t, other)
	if err := os.Rename(filepath.Join(renamed.modules(), theirEntry), filepath.Join(renamed.modules(), entry)); err != nil {
		t.Fatal(err)
	}
	replace(filepath.Join(renamed.modules(), entry))
	res := run(t, newPool(t, PoolOptions{CacheDir: ours.root}), s)
	if res.Status != exec.Exited || res.ExitCode != 3 {
		t.Errorf("%+v", res)
	}
}

// TestOutlineRunsAsTheModule: an entry's outline and the code beside it are the whole program.
func TestOutlineRunsAsTheModule(t *testing.T) {
	for _, s := range []exec.Spec{spec(t, "tasks.wasm", "files"), spec(t, "tasks.wasm", "trap"), moduleSpec(t, largeModule(100<<10))} {
		want := run(t, newLocal(t, LocalOptions{}), s)
		cached := newLocal(t, LocalOptions{CacheDir: t.TempDir()})
		got := run(t, cached, s)
		if got.Digest() != want.Digest() || got.Message != want.Message {
			t.Errorf("%+v, want %+v", got, want)
		}
		c, entry := filled(t, s)
		b, err := os.ReadFile(filepath.Join(c.modules(), entry, moduleFile))
		if err != nil {
			t.Fatal(err)
		}
		if whole, err := os.Stat(s.Program); err != nil || int64(len(b)) >= whole.Size() {
			t.Errorf("an outline of %d bytes", len(b))
		}
	}
}

// TestCollectorIsNotHeldUp: code of a guest cannot be preempted, so a collection waits for the end
// of its slice, and no longer.
func TestCollectorIsNotHeldUp(t *testing.T) {
	e := newLocal(t, LocalOptions{})
	s := spec(t, "tasks.wasm", "loop")
	s.Limits.Fuel, s.Limits.WallMs = 1<<60, 600_000
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { _, err := e.Run(ctx, s); ended <- err }()
	waitUntilRunning(t)
	for range 3 {
		runtime.GC()
	}
	select {
	case err := <-ended:
		t.Errorf("the collector waited for the guest's end: %v", err)
	default:
	}
	cancel()
	<-ended
}

// TestOutputStaysInItsFolder plants a link where a guest's file will go.
func TestOutputStaysInItsFolder(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "copy")
		s.In = []exec.Mount{{Name: "a.txt", Path: write(t, "in", "hello")}}
		s.Data = []exec.Mount{{Name: "deep/er/b.bin", Path: write(t, "data", "bytes")}}
		s.OutDir = t.TempDir()
		outside := t.TempDir()
		if err := os.Symlink(outside, filepath.Join(s.OutDir, "sub")); err != nil {
			t.Skip("no symbolic links here:", err)
		}
		if res, err := e.Run(context.Background(), s); err == nil {
			t.Errorf("it wrote through the link: %+v", res)
		}
		if left, _ := os.ReadDir(outside); len(left) != 0 {
			t.Errorf("outside there is %v", left)
		}
	})
}

// TestFloodingWorkerIsEndedInTime: a worker that was taken over and sends for ever what the
// protocol allows has no more time than its unit.
func TestFloodingWorkerIsEndedInTime(t *testing.T) {
	cache := t.TempDir()
	s := spec(t, "noop.wasm")
	run(t, newPool(t, PoolOptions{CacheDir: cache}), s)
	s.In = []exec.Mount{{Name: "a", Path: s.Program}}
	s.Limits.WallMs = 50
	for name, says := range map[string]fromWorker{
		"asks for files": {Open: &openMsg{1}},
		"sends nothings": {Chunk: &chunk{1, "", nil}},
		"is loaded":      {Loaded: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, PoolOptions{CacheDir: cache, Argv: []string{os.Args[0], "flood", hex.EncodeToString(frames(t, says))}, Bare: true})
			if name != "is loaded" {
				c := idleWorker(t, p)
				c.loaded = []loaded{{entryName(s.Hash, pages(s.Limits)), 1}} // so that no time to load is given
				p.give(c)
			}
			res, err := p.Run(context.Background(), s)
			if err == nil && res.Status != exec.Deadline {
				t.Errorf("believed: %+v", res)
			}
			if p.Workers() != 0 {
				t.Error("the worker is kept")
			}
		})
	}
}

func idleWorker(t *testing.T, p *Pool) *child {
	t.Helper()
	c, err := p.start(context.Background(), setup{Modules: p.cache.modules(), Memory: p.opt.Memory}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// engineDir is the folder of wazero's module, which carries test programs and the specification's tests.
func engineDir(t *testing.T) string {
	t.Helper()
	out, err := osexec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestProgramsOfOtherCompilers runs what Rust, TinyGo and Zig made of "cat".
func TestProgramsOfOtherCompilers(t *testing.T) {
	dir := filepath.Join(engineDir(t), "imports/wasi_snapshot_preview1/example/testdata")
	p := newPool(t, PoolOptions{})
	for _, compiler := range []string{"cargo-wasi", "tinygo", "zig", "zig-cc"} {
		t.Run(compiler, func(t *testing.T) {
			s := specOf(t, filepath.Join(dir, compiler, "cat.wasm"), "in/a.txt") // as Zig names files from its first folder on
			s.Limits.Memory = 64 << 20
			s.In = []exec.Mount{{Name: "a.txt", Path: write(t, "a", "hello\n")}}
			if res := run(t, p, s); !res.OK() || string(res.Stdout) != "hello\n" {
				t.Errorf("%+v %q %q", res, res.Stdout, res.Stderr)
			}
		})
	}
}
