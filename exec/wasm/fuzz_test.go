package wasm

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// frames encodes frames one after the other.
func frames[T any](t testing.TB, all ...T) (b []byte) {
	t.Helper()
	for _, f := range all {
		one, err := encodeFrame(f, maxToWorker)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, one...)
	}
	return b
}

// FuzzConversation lets a worker say anything in answer to a task: the node ends with a result
// within the unit's limits, or with an error, and believes nothing else.
func FuzzConversation(f *testing.F) {
	// The process behind the conversation has ended; what it said before is what is fuzzed.
	dead := osexec.Command(os.Args[0], "nothing")
	_ = dead.Run()
	exited := make(chan struct{})
	close(exited)

	file := func(name, data string) fromWorker { return fromWorker{Chunk: &chunk{3, name, []byte(data)}} }
	ended := fromWorker{Done: &done{Status: exec.Exited, Fuel: 7}}
	f.Add(frames(f, fromWorker{Open: &openMsg{1}}, fromWorker{Chunk: &chunk{1, "", []byte("hi")}}, ended))
	f.Add(frames(f, file("a", "x"), file("a", "y"), file("b/c", ""), ended))
	f.Add(frames(f, file("b", "x"), file("a", "y"), ended))
	f.Add(frames(f, fromWorker{Done: &done{Fault: "no", Reload: true}}))
	f.Add(frames(f, fromWorker{Built: &doneBuild{Status: exec.BadProgram, Why: "bad"}}))
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<20))
	s := spec(f, "noop.wasm")
	s.Limits.Output = 2000
	s.In = []exec.Mount{{Name: "noop", Path: s.Program}}
	f.Fuzz(func(t *testing.T, says []byte) {
		s := s
		s.OutDir = t.TempDir()
		u, err := newUnit(s)
		if err != nil {
			t.Fatal(err)
		}
		c := &child{cmd: dead, conn: heard{}, r: bufio.NewReader(bytes.NewReader(says)), stderr: &said{}, exited: exited, freezer: newFreezer()}
		res, err := c.run(context.Background(), u, false)
		if err != nil {
			if !c.broken && !errors.Is(err, errReload) && !strings.Contains(string(says), err.Error()) {
				t.Errorf("%v, and the worker is kept", err)
			}
			return
		}
		size := int64(len(res.Stdout) + len(res.Stderr))
		for i, file := range res.Files {
			size += file.Size
			if !exec.ValidName(file.Name) || i > 0 && file.Name <= res.Files[i-1].Name {
				t.Errorf("files %v", res.Files)
			}
		}
		if size > s.Limits.Output || res.Status.String() == "unknown" || len(res.Message) > 512 {
			t.Errorf("%d bytes, status %d, message %q", size, res.Status, res.Message)
		}
	})
}

// heard is a connection to a worker that listens to everything and reads nothing.
type heard struct{ io.Reader }

func (heard) Write(b []byte) (int, error) { return len(b), nil }
func (heard) Close() error                { return nil }

// FuzzListen feeds a worker frames. It answers each task and ends; it never hangs or panics.
func FuzzListen(f *testing.F) {
	s := spec(f, "noop.wasm")
	c, entry := filled(f, s)
	good := task{Entry: entry, Hash: s.Hash, Pages: pages(s.Limits), Limits: s.Limits, Args: []string{"a"}}
	f.Add(frames(f, toWorker{Task: &good}, toWorker{Cancel: true}))
	asks := good
	asks.Input, asks.In, asks.Data = true, []mount{{"x", 3}}, []mount{{"y/z", 0}}
	f.Add(frames(f, toWorker{Task: &asks}, toWorker{File: &fileMsg{Error: "no"}}, toWorker{Task: &good}))
	f.Add(frames(f, toWorker{Task: &task{Entry: "../key", Limits: s.Limits}}, toWorker{File: &fileMsg{Path: "/nonexistent"}}))
	f.Add(frames(f, toWorker{Task: &task{Entry: entry, Limits: exec.Limits{Fuel: 1, Memory: 1 << 62, WallMs: -1, Output: -1}}}))
	f.Fuzz(func(t *testing.T, hears []byte) {
		w := &worker{r: bytes.NewReader(hears), w: io.Discard, setup: setup{Modules: c.modules(), Bare: true},
			opened: make(chan fileMsg, 1), programs: map[string]*program{}}
		tasks, ended := make(chan *task), make(chan struct{})
		go func() {
			defer close(ended)
			for task := range tasks {
				if err := w.unit(task); err != nil {
					t.Errorf("a task without an answer: %v", err)
				}
			}
		}()
		if err := w.listen(tasks); err == nil {
			t.Error("it ends without the node")
		}
		close(tasks)
		<-ended
		for _, p := range w.programs {
			p.close()
		}
	})
}

// bareModule has a page of memory and a fuel counter, exported as the meter does, and no code.
const bareModule = "\x00asm\x01\x00\x00\x00" + "\x05\x03\x01\x00\x01" + "\x06\x06\x01\x7e\x01\x42\x00\x0b" +
	"\x07\x14\x02\x06memory\x02\x00\x07" + meter.FuelGlobal + "\x03\x00"

// FuzzHostCalls makes WASI calls with arguments and memory of a guest's choice. Whatever it does:
// it ends in one of the ways that a guest may end, within its quota and its fuel, with names that are
// safe on a host, and a second run does the same to the last byte.
func FuzzHostCalls(f *testing.F) {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	f.Cleanup(func() { rt.Close(ctx) })
	mod, err := rt.Instantiate(ctx, []byte(bareModule))
	if err != nil {
		f.Fatal(err)
	}
	call := func(name string, args ...byte) []byte {
		for i, h := range hostFuncs {
			if h.name == name {
				return append([]byte{byte(i)}, args...)
			}
		}
		f.Fatal(name)
		return nil
	}
	// Arguments below 128 stand for themselves: memory begins with paths and with two buffers.
	text := "out/a" + "tmp/../out/d" + "in/file" + "../../etc/passwd" // at 0, 5, 17, 24
	mem := append([]byte(text), make([]byte, 64-len(text))...)
	mem = binary.LittleEndian.AppendUint32(mem, 0)
	mem = binary.LittleEndian.AppendUint32(mem, 40)
	mem = binary.LittleEndian.AppendUint32(mem, 100)
	mem = binary.LittleEndian.AppendUint32(mem, 60_000)
	f.Add(bytes.Join([][]byte{
		call("path_open", 3, 0, 0, 5, 1, 0x7f, 0, 0, 120), call("fd_write", 4, 64, 2, 120), call("fd_seek", 4, 0, 0, 120),
		call("fd_read", 4, 64, 1, 120), call("fd_filestat_set_size", 4, 3), call("fd_close", 4),
	}, nil), mem)
	f.Add(bytes.Join([][]byte{
		call("path_create_directory", 3, 5, 12), call("path_rename", 3, 0, 5, 3, 5, 12), call("fd_readdir", 3, 127, 127, 0, 120),
		call("path_unlink_file", 3, 0, 5), call("path_remove_directory", 3, 5, 12), call("path_open", 3, 0, 24, 16, 0, 2, 0, 0, 120),
	}, nil), mem)
	f.Add(bytes.Join([][]byte{
		call("path_open", 3, 0, 17, 7, 0, 2, 0, 0, 120), call("fd_pread", 4, 64, 2, 1, 120), call("fd_renumber", 4, 1), call("fd_write", 2, 64, 2, 120),
		call("poll_oneoff", 127, 200, 3, 120), call("random_get", 0, 128+63), call("fd_allocate", 4, 9, 9), call("fd_filestat_get", 1, 0),
	}, nil), mem)
	const limit, output = 1 << 20, 100_000
	f.Fuzz(func(t *testing.T, calls, content []byte) {
		play := func() string {
			s := exec.Spec{Limits: exec.Limits{Fuel: limit, Memory: pageSize, WallMs: 3_600_000, Output: output}, Args: []string{"x"}}
			in := map[string]*hostFile{"file": {size: 5, open: func() (readerAtCloser, error) {
				return shut{strings.NewReader("bytes")}, nil
			}}}
			g, err := newGuest(ctx, s, in, nil, strings.NewReader("some input"))
			if err != nil {
				t.Fatal(err)
			}
			g.deadline = time.Now().Add(time.Hour)
			b, _ := mod.Memory().Read(0, pageSize)
			clear(b)
			copy(b, content)
			mod.ExportedGlobal(meter.FuelGlobal).(api.MutableGlobal).Set(0)
			end := g.play(t, mod, calls)
			g.verify(t)
			if spent := g.spent(); spent > limit {
				t.Errorf("%d fuel of %d", spent, limit)
			}
			state := fmt.Sprintf("%s %d %x %x", end, g.spent(), sha256.Sum256(b), sha256.Sum256(append(g.out.kept, g.err.kept...)))
			g.closeAll()
			if left := g.tree.kept(); g.quota.used != left+int64(len(g.out.kept)+len(g.err.kept)) {
				t.Errorf("%d bytes charged with all files closed, %d kept", g.quota.used, left)
			}
			return state
		}
		if a, b := play(), play(); a != b {
			t.Errorf("two runs differ:\n%s\n%s", a, b)
		}
	})
}

type shut struct{ *strings.Reader }

func (shut) Close() error { return nil }

// play makes the calls, one byte for the function and one for each argument, and says how it ended.
func (g *guest) play(t *testing.T, mod api.Module, calls []byte) (end string) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case error:
			if !errors.Is(r, errOutOfFuel) && !errors.Is(r, errOutputLimit) {
				panic(r)
			}
			end = r.Error()
		default:
			panic(r)
		}
	}()
	for range 200 {
		if len(calls) == 0 {
			break
		}
		h := hostFuncs[int(calls[0])%len(hostFuncs)]
		calls = calls[1:]
		stack := make([]uint64, max(1, len(h.params)))
		for i := range h.params {
			if len(calls) > 0 {
				stack[i], calls = argument(calls[0], h.params[i]), calls[1:]
			}
		}
		g.meet(mod)
		g.enter(g.global)
		if left := int64(g.global.Get()); left < 0 { // what the guest does at its next loop or call
			g.global.Set(uint64(g.refuel(left)))
		}
		end = fmt.Sprint(end, h.call(g, memory{mod.Memory()}, stack), " ")
	}
	return end
}

// argument makes a number of a byte: small ones, offsets of memory, and the edges.
func argument(b byte, kind byte) uint64 {
	edges := []uint64{0xffff, 0x10000, 0xffffffff, 0x80000000, 0x7fffffff, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1, 99_999, 100_001}
	v := uint64(b)
	switch {
	case b >= 192:
		v = edges[int(b-192)%len(edges)]
	case b >= 128:
		v = uint64(b-128) * 1000
	}
	if kind == 'i' {
		v &= 0xffffffff
	}
	return v
}

// verify checks what must hold of a guest's files at any time.
func (g *guest) verify(t *testing.T) {
	sum := g.tree.kept() + int64(len(g.out.kept)+len(g.err.kept))
	removed := map[*node]bool{}
	for _, d := range g.fds {
		if d != nil && d.node != nil && d.node.parent == nil && d.node != g.tree.root {
			removed[d.node] = true
		}
	}
	for n := range maps.Keys(removed) {
		sum += int64(len(n.data))
	}
	if sum != g.quota.used || sum > g.quota.limit {
		t.Errorf("%d bytes kept, %d charged, at most %d", sum, g.quota.used, g.quota.limit)
	}
	if len(g.fds) > maxFDs {
		t.Errorf("%d descriptors", len(g.fds))
	}
	if names := strings.Join(g.tree.root.names(), " "); names != "data in out tmp" {
		t.Errorf("the root has %s", names)
	}
	if err := g.tree.out.files("", func(name string, data []byte) error {
		if !exec.ValidName(name) {
			return fmt.Errorf("file %q", name)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// kept is how many bytes the guest has in files that have names.
func (t *tree) kept() (sum int64) {
	for _, top := range []string{"out", "tmp"} {
		_ = t.root.kids[top].files("", func(_ string, data []byte) error { sum += int64(len(data)); return nil })
	}
	return sum
}
