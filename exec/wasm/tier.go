package wasm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

// A tier decides which programs run natively: those that have used enough time, once they are
// compiled, as long as it pays and the owner allows it.
type tier struct {
	p     *Pool
	tools func(context.Context) (Toolchain, error)
	cpu   time.Duration // that each process of a compiler may compute

	mu       sync.Mutex // guards the rest
	on       bool
	programs map[string]*tierProgram
	building bool
	stop     context.CancelFunc // ends what is being built
	noTools  error              // of the last look, when there were none
	notBy    time.Time          // no compilation before
	failures int                // in a row
}

// tierProgram is what a tier knows of one program with one memory limit.
type tierProgram struct {
	state tierState
	n     nativeProgram
	used  [2]speed  // on the first tier, natively
	last  time.Time // used last
}

type speed struct {
	time time.Duration
	fuel uint64
}

// perSecond is fuel a second, 0 before anything ran.
func (s speed) perSecond() float64 {
	if s.time <= 0 {
		return 0
	}
	return float64(s.fuel) / s.time.Seconds()
}

type tierState uint8

const (
	tierFirst    tierState = iota // runs on the first tier, and is counted
	tierBuilding                  // being compiled; runs on the first
	tierNative                    // runs natively
	tierNever                     // it failed, or does not pay
)

const (
	// tierPrograms is how many programs are remembered; the longest unused are forgotten.
	tierPrograms = 256
	// tierTrial is how long a program must have run natively before its speed is compared.
	tierTrial = 2 * time.Second
	// tierPause is how long no compilation starts after one that failed, doubled for each in a
	// row up to tierMaxPause.
	tierPause    = time.Minute
	tierMaxPause = time.Hour
	// tierCPU and tierWall bound each process of a compiler, and all of a compilation.
	tierCPU  = 4 * time.Minute
	tierWall = 8 * time.Minute
	// maxNativePages is the largest memory of a native program: wasm2c counts bytes in 32 bits.
	maxNativePages = 65535
)

// errNoTools says that this host cannot compile natively.
var errNoTools = errors.New("no tool chain")

func newTier(p *Pool) *tier {
	return &tier{p: p, on: p.opt.Native, tools: once(FindToolchain), cpu: tierCPU, programs: map[string]*tierProgram{}}
}

// allow turns the tier on or off. What is compiled stays in the cache.
func (t *tier) allow(on bool) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed = t.on != on
	t.on = on
	if changed && on {
		t.notBy = time.Time{} // the owner may have installed what was missing
	}
	if !on && t.stop != nil {
		t.stop()
	}
	return changed
}

func (t *tier) allowed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.on
}

// says is what the tier does, in a few words.
func (t *tier) says() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, p := range t.programs {
		if p.state == tierNative {
			n++
		}
	}
	switch {
	case !t.on:
		return "no"
	case t.noTools != nil:
		return "yes, but not on this host: " + t.noTools.Error()
	case n > 0:
		return fmt.Sprintf("yes, %d of %d programs", n, len(t.programs))
	}
	return "yes, no program has run long enough"
}

// once remembers the first answer that is no error.
func once(find func(context.Context) (Toolchain, error)) func(context.Context) (Toolchain, error) {
	var mu sync.Mutex
	var found *Toolchain
	return func(ctx context.Context) (Toolchain, error) {
		mu.Lock()
		defer mu.Unlock()
		if found != nil {
			return *found, nil
		}
		t, err := find(ctx)
		if err == nil {
			found = &t
		}
		return t, err
	}
}

// ready returns the unit's program when it is to run natively, or nil.
func (t *tier) ready(u *unit) *nativeProgram {
	if u.spec.Stdio != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.programs[u.task.Entry]; t.on && p != nil && p.state == tierNative {
		n := p.n
		return &n
	}
	return nil
}

// runs is called when a unit is about to run, with the time from which it counts, and what it
// returns when it has ended: on a native process or, with nil, on the first tier.
func (t *tier) runs(u *unit, start time.Time) (ended func(n *nativeProgram, res exec.Result, err error)) {
	if !t.allowed() || u.spec.Stdio != nil || u.task.Pages > maxNativePages {
		return func(*nativeProgram, exec.Result, error) {}
	}
	// A unit that runs for long is reason enough before it has ended.
	timer := time.AfterFunc(max(0, t.p.opt.NativeAfter-t.spent(u)), func() { t.build(u) })
	return func(n *nativeProgram, res exec.Result, err error) {
		timer.Stop()
		var fault *nativeFault
		if errors.As(err, &fault) {
			t.failed(u, err)
			return
		}
		t.ran(u, n != nil, speed{time.Since(start), uint64(res.Fuel)})
	}
}

// program finds or makes what is known of a unit's program. mu is held.
func (t *tier) program(u *unit) *tierProgram {
	p := t.programs[u.task.Entry]
	if p == nil {
		if len(t.programs) >= tierPrograms {
			oldest := ""
			for name, other := range t.programs {
				if other.state != tierBuilding && (oldest == "" || other.last.Before(t.programs[oldest].last)) {
					oldest = name
				}
			}
			delete(t.programs, oldest)
		}
		p = &tierProgram{}
		t.programs[u.task.Entry] = p
	}
	p.last = time.Now()
	return p
}

// spent is how long a unit's program has run on the first tier.
func (t *tier) spent(u *unit) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.program(u).used[0].time
}

// ran accounts for a unit, and takes a program back that is slower than it was: one that calls
// its host all the time pays for two processes.
func (t *tier) ran(u *unit, natively bool, s speed) {
	t.mu.Lock()
	p := t.program(u)
	used := &p.used[0]
	if natively {
		used = &p.used[1]
	}
	used.time += s.time
	used.fuel += s.fuel
	due := p.state == tierFirst && p.used[0].time >= t.p.opt.NativeAfter
	slower := p.state == tierNative && p.used[1].time >= tierTrial && p.used[1].perSecond() < p.used[0].perSecond()
	if slower {
		p.state = tierNever
	}
	first, second := p.used[0].perSecond(), p.used[1].perSecond()
	t.mu.Unlock()
	if slower {
		t.p.opt.Log.Info("a program is slower natively and stays on wazero", "program", u.task.Hash, "wazero", first, "native", second)
	}
	if due {
		t.build(u)
	}
}

// failed takes a unit's program back to the first tier for good.
func (t *tier) failed(u *unit, err error) {
	t.mu.Lock()
	t.program(u).state = tierNever
	t.mu.Unlock()
	t.p.opt.Log.Warn("a program failed natively and stays on wazero", "program", u.task.Hash, "err", err)
}

// build starts to compile a unit's program, unless one is being compiled already, or one failed
// a short time ago.
func (t *tier) build(u *unit) {
	t.mu.Lock()
	p := t.program(u)
	if !t.on || p.state != tierFirst || t.building || time.Now().Before(t.notBy) {
		t.mu.Unlock()
		return
	}
	if !t.p.join() { // it is being closed
		t.mu.Unlock()
		return
	}
	ctx, stop := context.WithCancel(t.p.ctx)
	p.state, t.building, t.stop = tierBuilding, true, stop
	t.mu.Unlock()
	go func() {
		defer t.p.running.Done()
		defer stop()
		start := time.Now()
		n, err := t.compile(ctx, u)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.building = false
		switch {
		case err != nil && ctx.Err() != nil: // closed, or not allowed any more
			p.state = tierFirst
			return
		case errors.Is(err, errNoTools): // nothing that the program can do about
			p.state, t.notBy, t.noTools = tierFirst, time.Now().Add(tierMaxPause), err
			t.p.opt.Log.Warn("programs cannot be compiled natively on this host", "err", err)
			return
		case err != nil:
			p.state = tierNever
			t.failures++
			t.notBy = time.Now().Add(min(tierMaxPause, tierPause<<min(t.failures-1, 10)))
			t.p.opt.Log.Warn("a program could not be compiled natively and stays on wazero", "program", u.task.Hash, "err", err)
			return
		}
		p.state, p.n, t.failures, t.noTools = tierNative, n, 0, nil
		t.p.opt.Log.Info("a program runs natively from now on", "program", u.task.Hash, "compiled", time.Since(start).Round(time.Millisecond))
	}()
}

// compile makes sure that the cache holds the native program of a unit.
func (t *tier) compile(ctx context.Context, u *unit) (n nativeProgram, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tierWall, errors.New("it took too long"))
	defer cancel()
	tools, err := t.tools(ctx)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errNoTools, err)
	}
	n = nativeProgram{nativeEntryName(u.task.Entry, tools), u.task.Pages}
	_, err = t.p.cache.get(ctx, n.entry, func(dir string) error {
		c, err := t.p.start(ctx, setup{Compile: true, CPU: int64(t.cpu.Seconds())}, nil)
		if err != nil {
			return err
		}
		defer c.end()
		return c.compile(ctx, u, dir)
	})
	return n, err
}
