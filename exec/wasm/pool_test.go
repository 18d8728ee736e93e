package wasm

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

func TestKilledWorkerCostsOneUnit(t *testing.T) {
	p := newPool(t, PoolOptions{})
	run(t, p, spec(t, "tasks.wasm", "exit", "0"))
	p.mu.Lock()
	c := p.idle[0]
	p.mu.Unlock()
	s := spec(t, "tasks.wasm", "loop")
	s.Limits.Fuel = 1 << 60
	ended := make(chan error, 1)
	go func() { _, err := p.Run(context.Background(), s); ended <- err }()
	waitUntilRunning(t)
	c.kill()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the worker died") {
		t.Errorf("error %v", err)
	}
	if res := run(t, p, spec(t, "noop.wasm")); !res.OK() {
		t.Errorf("afterwards: %+v", res)
	}
}

func TestNonsenseFromAWorkerIsAHostFault(t *testing.T) {
	frame := func(f fromWorker) string {
		b, err := encodeFrame(f, maxFromWorker)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	cache := t.TempDir()
	s := spec(t, "noop.wasm")
	good := newPool(t, PoolOptions{CacheDir: cache})
	run(t, good, s) // so that the program is compiled
	for name, says := range map[string]string{
		"text":         "GET / HTTP/1.1\r\n\r\n",
		"huge":         "\x7f\xff\xff\xff",
		"two messages": frame(fromWorker{Ready: &ready{}, Done: &done{Status: exec.Exited}}),
		"no message":   frame(fromWorker{}),
		"unknown end":  frame(fromWorker{Done: &done{Status: 99}}),
		"other's file": frame(fromWorker{Open: &openMsg{1 << 20}}),
		"no such file": frame(fromWorker{Open: &openMsg{-1}}),
		"too much":     frame(fromWorker{Chunk: &chunk{1, "", make([]byte, 4096)}}),
		"bad name":     frame(fromWorker{Chunk: &chunk{3, "../x", nil}}),
		"out of order": frame(fromWorker{Chunk: &chunk{3, "b", nil}}) + frame(fromWorker{Chunk: &chunk{3, "a", nil}}),
		"loaded":       frame(fromWorker{Loaded: true}) + frame(fromWorker{Loaded: true}),
		"out of place": frame(fromWorker{Ready: &ready{}}),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, PoolOptions{CacheDir: cache, Argv: []string{os.Args[0], "nonsense", hex.EncodeToString([]byte(says))}, Bare: true})
			s := s
			s.Limits.Output, s.OutDir = 1000, t.TempDir()
			if res, err := p.Run(context.Background(), s); err == nil || strings.Contains(err.Error(), "start a worker") {
				t.Errorf("believed, or never asked: %+v %v", res, err)
			}
			if p.Workers() != 0 {
				t.Error("the worker is kept")
			}
		})
	}
}

func TestSilentWorkerIsKilledAfterItsTime(t *testing.T) {
	cache := t.TempDir()
	s := spec(t, "noop.wasm")
	run(t, newPool(t, PoolOptions{CacheDir: cache}), s)
	p := newPool(t, PoolOptions{CacheDir: cache, Argv: []string{os.Args[0], "nonsense", ""}, Bare: true})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := p.Run(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestWorkerThatCannotStartIsReported(t *testing.T) {
	for _, argv := range [][]string{{os.Args[0], "nothing"}, {"/nonexistent"}} {
		p := newPool(t, PoolOptions{Argv: argv})
		if res, err := p.Run(context.Background(), spec(t, "noop.wasm")); err == nil || !strings.Contains(err.Error(), "start a worker") {
			t.Errorf("%v: %+v %v", argv, res, err)
		}
	}
}

func TestWorkersAreReusedAndRetire(t *testing.T) {
	p := newPool(t, PoolOptions{Slots: 2, Idle: 50 * time.Millisecond})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if res := run(t, p, spec(t, "tasks.wasm", "work", "1000")); !res.OK() {
				t.Errorf("%+v", res)
			}
		})
	}
	wg.Wait()
	p.mu.Lock()
	workers := append([]*child(nil), p.idle...)
	p.mu.Unlock()
	if len(workers) == 0 || len(workers) > 2 {
		t.Errorf("%d workers for 2 slots", len(workers))
	}
	for _, c := range workers {
		<-c.exited
	}
}

func TestWorkerForgetsTheOldestProgram(t *testing.T) {
	p := newPool(t, PoolOptions{})
	for round := range 2 {
		for i := range keepPrograms + 3 {
			s := spec(t, "noop.wasm")
			s.Limits.Memory = int64(i+1) << 20 // another limit is another program
			if res := run(t, p, s); !res.OK() {
				t.Fatalf("round %d, %d: %+v", round, i, res)
			}
		}
	}
	if n := len(p.idle[0].loaded); n != keepPrograms {
		t.Errorf("%d are loaded", n)
	}
}

func TestTamperedCacheEntryIsNotTrusted(t *testing.T) {
	engines := map[string]func(dir string) exec.Engine{
		"local": func(dir string) exec.Engine { return newLocal(t, LocalOptions{CacheDir: dir}) },
		"pool":  func(dir string) exec.Engine { return newPool(t, PoolOptions{CacheDir: dir}) },
	}
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			s := spec(t, "tasks.wasm", "echo", "hi")
			want := run(t, open(cache), s).Digest()
			entries, err := filepath.Glob(filepath.Join(cache, "modules", "*"))
			if err != nil || len(entries) != 1 {
				t.Fatal(entries, err)
			}
			var tampered int
			_ = filepath.Walk(entries[0], func(path string, info os.FileInfo, err error) error {
				if err != nil || !info.Mode().IsRegular() {
					return err
				}
				tampered++
				if info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has mode %s", path, info.Mode())
				}
				b, _ := os.ReadFile(path)
				b[len(b)/2] ^= 1
				return os.WriteFile(path, b, 0o600)
			})
			if tampered < 3 {
				t.Fatalf("%d files in an entry", tampered)
			}
			if got := run(t, open(cache), s).Digest(); got != want {
				t.Errorf("another result from a tampered entry")
			}
			c, err := openCache(cache)
			if err != nil {
				t.Fatal(err)
			}
			if !c.valid(entries[0], filepath.Base(entries[0])) {
				t.Error("the entry was not made anew")
			}
			if c.valid(entries[0], "another") {
				t.Error("an entry is good under another name")
			}
		})
	}
}

func TestCacheGivesUpTheOldest(t *testing.T) {
	c, err := openCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a", "b", "c"} {
		dir, err := c.get(context.Background(), name, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "x"), make([]byte, 1000), 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(i), 0)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	c.collect(2500)
	for name, want := range map[string]bool{"a": false, "b": true, "c": true} {
		if c.valid(filepath.Join(c.modules(), name), name) != want {
			t.Errorf("%s there: %v, want %v", name, !want, want)
		}
	}
}

// TestStreamsPassThroughWithTheSameFuel: what stdout is must not show in the fuel.
func TestStreamsPassThroughWithTheSameFuel(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "tty")
		kept := run(t, e, s)
		if !strings.HasPrefix(string(kept.Stdout), "000 -1\nline 0\n") {
			t.Errorf("stdout %q", kept.Stdout)
		}
		file, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		outs := map[string]*os.File{"file": file, "pipe": w, "nothing": nil}
		if tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err == nil {
			defer tty.Close()
			outs["terminal"] = tty
		}
		for name, out := range outs {
			s.Stdio = &exec.Stdio{Out: out}
			res := run(t, e, s)
			if !res.OK() || res.Fuel != kept.Fuel || len(res.Stdout) != 0 {
				t.Errorf("%s: %s, fuel %d, want %d", name, res.Status, res.Fuel, kept.Fuel)
			}
		}
		w.Close()
		b, err := os.ReadFile(file.Name())
		if err != nil || string(b) != string(kept.Stdout) {
			t.Errorf("file has %q %v", b, err)
		}
		b = make([]byte, len(kept.Stdout)+1)
		if n, _ := r.Read(b); string(b[:n]) != string(kept.Stdout) {
			t.Errorf("pipe has %q", b[:n])
		}
	})
}

func TestBlockedStreamsDoNotOutliveTheDeadline(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		s := spec(t, "tasks.wasm", "cat")
		run(t, e, s)
		s.Limits.WallMs = 100
		s.Stdio = &exec.Stdio{In: r}
		if res := run(t, e, s); res.Status != exec.Deadline {
			t.Errorf("%+v", res)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	both(t, func(t *testing.T, e exec.Engine) {
		s := spec(t, "tasks.wasm", "loop")
		s.Limits.Fuel, s.Limits.WallMs = 1<<60, 600_000
		run(t, e, spec(t, "tasks.wasm", "exit", "0"))
		ended := make(chan error, 1)
		go func() { _, err := e.Run(context.Background(), s); ended <- err }()
		waitUntilRunning(t)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err == nil {
			t.Error("the run went on")
		}
		if _, err := e.Run(context.Background(), s); err == nil {
			t.Error("a closed engine runs")
		}
	})
}

func FuzzReadFromWorker(f *testing.F) {
	for _, m := range []fromWorker{
		{Ready: &ready{[]Protection{{"a", true, ""}}}}, {Open: &openMsg{3}}, {Chunk: &chunk{3, "a", []byte("x")}},
		{Done: &done{Status: exec.Exited, Fuel: 1}}, {Built: &doneBuild{}},
	} {
		b, err := encodeFrame(m, maxFromWorker)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<20))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readFromWorker(strings.NewReader(string(b)))
		if err == nil && m.fields() != 1 {
			t.Errorf("%+v", m)
		}
		in := &receipt{room: 1000, dir: &outDir{}}
		if err == nil && m.Chunk != nil && in.take(m.Chunk) == nil && in.room < 0 {
			t.Error("more than the limit")
		}
	})
}
