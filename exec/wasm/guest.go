package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

// What ends a guest from within a host call: panicked with, recovered by the engine and
// handed back by it from the call of _start.
var (
	errOutOfFuel   = errors.New("out of fuel")
	errOutputLimit = errors.New("output limit reached")
	errDeadline    = errors.New("wall time ran out")
	errCancelled   = errors.New("cancelled")
)

// A hostFault is a failure of this machine in the middle of a unit.
type hostFault struct{ err error }

func (e *hostFault) Error() string { return e.err.Error() }
func (e *hostFault) Unwrap() error { return e.err }

// Epoch is where a guest's clock starts: 2020-01-01T00:00:00Z, in ns since 1970. Every file
// has this time too.
const Epoch uint64 = 1_577_836_800_000_000_000

// Fuel of host calls; part of CostTable. Charged before the bytes move where their number is
// known before.
const (
	costHostCall  = 256 // every call
	costHostBytes = 4   // bytes moved, or looked at in a path, per unit of fuel
	costHostEntry = 32  // every directory entry, subscription or argument

	// costStart is the least a run costs, about what making an instance takes: work that is asked
	// for is never free.
	costStart = 100_000
)

// Fuel handed to a guest at a time. Between slices the deadline and cancellation are looked at
// and other goroutines run; totals do not depend on them.
const (
	slice       = 10_000_000 // about 1 to 5 ms
	nativeSlice = 1 << 30    // a native process can be stopped at any time
)

// guest is one run: what its host calls work on. Only the guest's goroutine uses it.
type guest struct {
	ctx      context.Context
	due      time.Time            // when its wall time is over
	deadline time.Time            // the same, moved on by what is known of frozen
	frozen   func() time.Duration // how long this process was made to stand still; nil = never

	args, env [][]byte
	tree      *tree
	fds       []*descriptor // by number; nil = free
	quota     quota
	out, err  *sink
	stdin     io.Reader
	blocks    bool // stdin, stdout and stderr are other people's pipes
	partial   bool // stdin may give less than was asked for: a person is typing, or a master reads results
	rng       *rand.ChaCha8
	slept     uint64 // ns the clock was moved on by sleeping

	limit   uint64 // fuel
	slice   uint64 // fuel handed out at a time
	granted uint64 // fuel handed out so far
	global  counter
	fault   error // this host failed; looked at when the guest has ended
}

// A counter is where an engine keeps what is left of a guest's slice of fuel, as the bits of an
// int64. An api.MutableGlobal is one.
type counter interface {
	Get() uint64
	Set(uint64)
}

// A sink keeps or passes on what the guest writes to stdout or stderr.
type sink struct {
	kept []byte
	to   io.Writer // nil = keep
}

type guestKey struct{}

func guestOf(ctx context.Context) *guest { return ctx.Value(guestKey{}).(*guest) }

// newGuest prepares a run. open turns a mount into a file; it is called when the guest opens
// the file, not before.
func newGuest(ctx context.Context, spec exec.Spec, in, data map[string]*hostFile, stdin io.Reader) (*guest, error) {
	g := &guest{
		ctx:     ctx,
		due:     time.Now().Add(time.Duration(spec.Limits.WallMs) * time.Millisecond),
		limit:   uint64(spec.Limits.Fuel),
		slice:   slice,
		granted: min(costStart, uint64(spec.Limits.Fuel)),
		stdin:   stdin,
		out:     &sink{},
		err:     &sink{},
	}
	g.deadline = g.due
	g.quota.limit = spec.Limits.Output
	g.args = append(g.args, []byte("main"))
	for _, a := range spec.Args {
		g.args = append(g.args, []byte(a))
	}
	for _, e := range spec.Env {
		g.env = append(g.env, []byte(e))
	}
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("p3 random 1"), spec.Seed))
	g.rng = rand.NewChaCha8(seed)
	var err error
	if g.tree, err = newTree(in, data, &g.quota); err != nil {
		return nil, err
	}
	g.fds = []*descriptor{{kind: fdStdin}, {kind: fdStdout}, {kind: fdStderr}, {kind: fdNode, node: g.tree.root, preopen: true}}
	return g, nil
}

// used is the fuel spent so far, given what is left of the slice.
func (g *guest) used(left int64) uint64 { return g.granted - uint64(left) }

// refuel answers the guest's call for more, made with left < 0: the new content of the slice,
// at least 0.
func (g *guest) refuel(left int64) int64 {
	runtime.Gosched() // guest code cannot be preempted
	g.check()
	want := g.slice
	if left < 0 {
		want += uint64(-left)
	}
	grant := min(want, g.limit-g.granted)
	g.granted += grant
	if left += int64(grant); left < 0 {
		panic(errOutOfFuel)
	}
	return left
}

// check ends the guest when its time is up or nobody waits for it.
func (g *guest) check() {
	switch {
	case g.fault != nil:
		panic(&hostFault{g.fault})
	case g.ctx.Err() != nil:
		panic(errCancelled)
	case g.late():
		panic(errDeadline)
	}
}

// late reports whether the guest's time is up. Time in which it stood still is given back.
func (g *guest) late() bool {
	if !time.Now().After(g.deadline) {
		return false
	}
	if g.frozen != nil {
		g.deadline = g.due.Add(g.frozen())
	}
	return time.Now().After(g.deadline)
}

// charge takes fuel for a host call. The slice may go below zero: the guest then calls for
// more at its next check. Beyond the limit it ends here.
func (g *guest) charge(n uint64) {
	left := int64(g.global.Get()) - int64(n)
	g.global.Set(uint64(left))
	if left < 0 && uint64(-left) > g.limit-g.granted {
		panic(errOutOfFuel)
	}
}

// chargeBytes charges for n bytes moved.
func (g *guest) chargeBytes(n uint64) { g.charge(n / costHostBytes) }

// spent is the fuel used so far, never more than the limit.
func (g *guest) spent() uint64 {
	if g.global == nil {
		return 0
	}
	return min(g.used(int64(g.global.Get())), g.limit)
}

// write gives bytes to stdout or stderr. What goes beyond the limit is cut off and ends the guest.
func (g *guest) write(s *sink, b []byte) {
	room := g.quota.limit - g.quota.used
	over := int64(len(b)) > room
	if over {
		b = b[:room]
	}
	g.quota.used += int64(len(b))
	if s.to == nil {
		s.kept = append(s.kept, b...)
	} else {
		b = bytes.Clone(b)
		if err := g.await(func() error { _, err := s.to.Write(b); return err }); err != nil {
			panic(&hostFault{fmt.Errorf("write the guest's output: %w", err)})
		}
	}
	if over {
		panic(errOutputLimit)
	}
}

// await runs a call that may block on somebody else's pipe, without outliving the deadline.
// The call gets no memory of the guest's: it may still run when the guest is gone.
func (g *guest) await(call func() error) error {
	if !g.blocks {
		return call()
	}
	done := make(chan error, 1)
	go func() { done <- call() }()
	for {
		timer := time.NewTimer(time.Until(g.deadline) + time.Millisecond)
		select {
		case err := <-done:
			timer.Stop()
			return err
		case <-g.ctx.Done():
			timer.Stop()
			panic(errCancelled)
		case <-timer.C:
			if g.late() {
				panic(errDeadline)
			}
		}
	}
}
