package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// The second tier: a program compiled to machine code (nativebuild_linux.go) runs in a process
// of its own (native/runner.c), shut in more tightly than a worker, and asks its worker for
// everything that it imports. The worker answers with the same host calls as for wazero, over
// the same memory, so that both engines share one WASI, one accounting and one digest.
//
// On the socket, little-endian, each side waiting for the other:
//
//	process → worker   what, pages (4 bytes each), fuel, nine arguments (8 bytes each)
//	worker → process   stop, result (4 bytes each), fuel (8 bytes)
//
// The worker trusts nothing of it: the process is the guest.
const (
	askSize    = 88
	answerSize = 16
	askArgs    = 9

	askRefuel = 0x100 // arguments: left. Answered with fuel alone
	askExit   = 0x101 // exit code
	askReady  = 0x102 // waits for a unit
	askDone   = 0x103 // _start returned
	askTrap   = 0x104 // kind, depth left, whether _start had been called
	askFault  = 0x105 // kind: this host's failure

	noMemory = 1<<32 - 1 // as pages
)

// nativeTraps are the traps of wasm_rt_trap_t, in the words of the engine that is the reference.
var nativeTraps = [...]string{
	1: "out of bounds memory access",
	2: "integer overflow",
	3: "integer divide by zero",
	4: "invalid conversion to integer",
	5: "unreachable",
	6: "invalid table access or indirect call type mismatch",
}

var nativeFaults = [...]string{
	1: "memory for a guest: lend less memory",
	2: "the engine's call stack ended before the depth limit",
	3: "the program crashed",
}

// A nativeFault is the second tier's failure: the program belongs back on the first.
type nativeFault struct{ err error }

func (e *nativeFault) Error() string { return e.err.Error() }
func (e *nativeFault) Unwrap() error { return e.err }

func badNative(format string, a ...any) error { return &nativeFault{fmt.Errorf(format, a...)} }

// A nativeLink is a worker's hold on a native process. It is the guest's memory and fuel.
type nativeLink struct {
	id    uint64
	sock  *os.File
	all   []byte // the memory file, as long as the limit
	pages uint32 // of it, the guest has
	fuel  uint64
	ready bool // it waits for a unit, and memory is zero
	lost  bool // it must not be used again
}

// newNativeLink takes over both files.
func newNativeLink(id uint64, sock, mem *os.File) (*nativeLink, error) {
	defer mem.Close()
	n := &nativeLink{id: id, sock: sock}
	size, err := fileLength(mem)
	if err == nil && size > 0 {
		n.all, err = unix.Mmap(int(mem.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		sock.Close()
		return nil, badNative("map the guest's memory: %w", err)
	}
	return n, nil
}

func fileLength(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (n *nativeLink) close() {
	n.sock.Close()
	if n.all != nil {
		_ = unix.Munmap(n.all)
		n.all = nil
	}
}

// Get and Set make it the guest's counter of fuel.
func (n *nativeLink) Get() uint64  { return n.fuel }
func (n *nativeLink) Set(v uint64) { n.fuel = v }

// Read lends guest memory to host calls.
func (n *nativeLink) Read(p, size uint32) ([]byte, bool) {
	end := uint64(p) + uint64(size)
	if end > uint64(n.pages)*pageSize || end > uint64(len(n.all)) {
		return nil, false
	}
	return n.all[p:end:end], true
}

type nativeAsk struct {
	what, pages uint32
	fuel        uint64
	args        [askArgs]uint64
}

func (n *nativeLink) hear() (a nativeAsk, err error) {
	var b [askSize]byte
	if _, err := io.ReadFull(n.sock, b[:]); err != nil {
		return a, badNative("the process died")
	}
	le := binary.LittleEndian
	a.what, a.pages, a.fuel = le.Uint32(b[0:]), le.Uint32(b[4:]), le.Uint64(b[8:])
	for i := range a.args {
		a.args[i] = le.Uint64(b[16+8*i:])
	}
	return a, nil
}

func (n *nativeLink) answer(stop bool, result uint32) error {
	var b [answerSize]byte
	le := binary.LittleEndian
	if stop {
		le.PutUint32(b[0:], 1)
	}
	le.PutUint32(b[4:], result)
	le.PutUint64(b[8:], n.fuel)
	if _, err := n.sock.Write(b[:]); err != nil {
		return badNative("the process died")
	}
	return nil
}

// settle waits until the process waits for a unit, and makes its memory zero.
func (n *nativeLink) settle() error {
	a, err := n.hear()
	if err == nil && a.what != askReady {
		err = badNative("message %#x while starting", a.what)
	}
	if err == nil && n.all != nil {
		if e := unix.Madvise(n.all, unix.MADV_REMOVE); e != nil {
			err = badNative("clear the guest's memory: %w", e)
		}
	}
	n.ready = err == nil
	return err
}

// run runs a unit to its end, as program.run does. An error that is a nativeFault says nothing
// of the guest; after it, or when lost is set, the process is to be ended.
func (n *nativeLink) run(g *guest) (res exec.Result, err error) {
	// Reads end when the time is up or nobody waits: the socket is shut down, and the process with it.
	shut := func() {
		if c, err := n.sock.SyscallConn(); err == nil {
			_ = c.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
		}
	}
	timer := time.AfterFunc(time.Until(g.deadline), shut)
	unhook := context.AfterFunc(g.ctx, shut)
	g.slice = nativeSlice
	end := &nativeEnd{}
	err = n.serve(g, end)
	if err == nil {
		err = n.settle() // the memory goes back to the system now
	}
	if !timer.Stop() || !unhook() || err != nil {
		n.lost = true
	}
	if end.known {
		res, err = g.outcome(end.err)
		if res.Status == exec.Trap && end.exhausted {
			res.Message = "call stack exhausted"
		}
		return res, err
	}
	var fault *nativeFault
	switch {
	case g.ctx.Err() != nil:
		err = errCancelled
	case !time.Now().Before(g.deadline):
		err = errDeadline
	case errors.As(err, &fault):
		return res, err
	}
	return g.outcome(err)
}

// A nativeEnd is how a unit ended, once that is known.
type nativeEnd struct {
	known     bool
	err       error // for guest.outcome
	exhausted bool
}

// serve answers what the guest asks until the unit has ended.
func (n *nativeLink) serve(g *guest, end *nativeEnd) error {
	if !n.ready {
		if err := n.settle(); err != nil {
			return err
		}
	}
	n.ready, n.fuel = false, 0
	if err := n.answer(false, 0); err != nil {
		return err
	}
	for {
		a, err := n.hear()
		if err != nil {
			return err
		}
		n.fuel, n.pages = a.fuel, a.pages
		m := memory{n}
		if a.pages == noMemory {
			n.pages, m = 0, memory{}
		}
		var result uint32
		switch {
		case a.what < uint32(len(hostFuncs)):
			end.err = guard(func() {
				g.enter(n)
				result = uint32(hostFuncs[a.what].call(g, m, a.args[:]))
			})
		case a.what == askRefuel:
			end.err = guard(func() { n.fuel = uint64(g.refuel(int64(a.args[0]))) })
		case a.what == askExit:
			end.err = guard(func() { g.enter(n); panic(sys.NewExitError(uint32(a.args[0]))) })
		case a.what == askDone:
			g.global, end.known = n, true
			return nil
		case a.what == askTrap && a.args[0] < uint64(len(nativeTraps)) && a.args[0] > 0:
			end.known, end.err = true, errors.New("wasm error: "+nativeTraps[a.args[0]])
			if a.args[2] != 0 { // before that, wazero's caller does not learn of the module either
				g.global, end.exhausted = n, int64(a.args[1]) < 0
			}
			return nil
		case a.what == askFault && a.args[0] < uint64(len(nativeFaults)):
			return badNative("%s", nativeFaults[a.args[0]])
		default:
			return badNative("message %#x", a.what)
		}
		if end.err != nil {
			end.known = true
			return n.answer(true, 0)
		}
		if err := n.answer(false, result); err != nil {
			return err
		}
	}
}

// guard runs a host call and returns what it panicked with, as an engine does.
func guard(call func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case error:
			err = r
		default:
			err = fmt.Errorf("%v", r)
		}
	}()
	call()
	return nil
}
