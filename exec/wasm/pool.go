package wasm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

// PoolOptions configure a Pool. The zero value works.
type PoolOptions struct {
	// Slots is how many units run at a time; 0 means 1.
	Slots int
	// Memory is the most linear memory of one unit, in bytes; 0 means 4 GiB.
	Memory int64
	// CacheDir keeps compiled modules; it is made private to its owner. "" means a temporary
	// folder that Close removes.
	CacheDir string
	// Argv starts a worker, which must call WorkerMain; nil means this executable with "worker".
	Argv []string
	// Idle is how long a worker without work lives; 0 means 2 minutes.
	Idle time.Duration
	// Foreground lets workers run at normal priority: for machines that do nothing else. Otherwise
	// they get only the time that nobody else wants, which on a busy machine is next to none.
	Foreground bool
	// Bare starts workers that are not shut in. Only for machines where nothing else works.
	Bare bool
	// Native lets programs that run long or often be compiled by this host's C compiler, in the
	// background: see Pool, and Pool.AllowNative.
	Native bool
	// NativeAfter is how long a program must have run before it is compiled so; 0 means 10 seconds.
	NativeAfter time.Duration
	// Log hears when programs move to the second tier and why they do not; nil means nobody.
	Log *slog.Logger
}

const (
	// compileCPU bounds one compilation, in CPU time, so that a busy machine does not refuse what an
	// idle one compiles: Go's own compiler, 48 MB, takes 27 s. Longer ones are bombs.
	compileCPU = 2 * time.Minute
	// compileTime bounds it in wall time, where a bomb is not stopped by its CPU time and where
	// the machine has none to spare.
	compileTime = 5 * time.Minute
	// hopelessTime is for how long a program that took too long to compile is not tried again.
	hopelessTime = 10 * time.Minute
	// loadTime is what a worker may take, besides a unit's wall time, to load its program.
	loadTime = 10 * time.Second
	// sendTime is what the output of an ended unit may take to arrive.
	sendTime = 10 * time.Second
	// deadlineGrace is how long after its deadline a unit may end by itself.
	deadlineGrace = 30 * time.Millisecond
	// cancelGrace is how long a worker may take to end a unit when told to. Then it is killed.
	cancelGrace = 30 * time.Millisecond
	// startTime is how long a new worker may take to report.
	startTime = 10 * time.Second
	// keepPrograms is how many compiled modules a worker keeps loaded, and keepBytes how large
	// they may be together; the one that runs may be larger.
	keepPrograms = 8
	keepBytes    = 256 << 20
)

// Pool is the engine of a node: every unit runs in a worker process, one a slot, reused. What
// a guest does to its worker costs that unit at most.
//
// With PoolOptions.Native it has a second tier: a program that has used enough time is compiled
// with wasm2c and a C compiler, in a throwaway sandbox beside the units, and later units of it
// run in a native process that asks its worker for every import. Results and fuel are the same.
// No unit ever waits for the compiler, and a program that it fails on stays where it is.
type Pool struct {
	opt   PoolOptions
	cache *cache
	temp  string // cache folder to remove
	slots chan struct{}
	spawn *spawner
	// compileCPU is the constant of that name; tests have less time.
	compileCPU time.Duration
	tier       *tier

	ctx  context.Context // ends with Close
	stop context.CancelCauseFunc

	mu      sync.Mutex // guards the rest
	gone    bool
	idle    []*child // most recently used last
	failed  int      // starts in a row that failed
	notBy   time.Time
	walls   []Protection         // of the worker started last
	bombs   map[string]time.Time // entries that took too long to compile, and until when they are not tried
	running sync.WaitGroup
}

var _ exec.Engine = (*Pool)(nil)

// NewPool makes the engine; workers start with the first unit.
func NewPool(opt PoolOptions) (*Pool, error) {
	if opt.Slots <= 0 {
		opt.Slots = 1
	}
	if opt.Memory <= 0 || opt.Memory > exec.MaxMemory {
		opt.Memory = exec.MaxMemory
	}
	if opt.NativeAfter <= 0 {
		opt.NativeAfter = 10 * time.Second
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Idle <= 0 {
		opt.Idle = 2 * time.Minute
	}
	if len(opt.Argv) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the worker's executable: %w", err)
		}
		opt.Argv = []string{exe, "worker"}
	}
	p := &Pool{opt: opt, slots: make(chan struct{}, opt.Slots), bombs: map[string]time.Time{}, compileCPU: compileCPU}
	var err error
	if opt.CacheDir == "" {
		if p.temp, err = os.MkdirTemp("", "p3-cache-"); err != nil {
			return nil, fmt.Errorf("make compile cache: %w", err)
		}
		p.opt.CacheDir = p.temp
	}
	if p.opt.CacheDir, err = filepath.Abs(p.opt.CacheDir); err != nil {
		return nil, err
	}
	if p.cache, err = openCache(p.opt.CacheDir); err != nil {
		return nil, err
	}
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	p.spawn = newSpawner()
	p.tier = newTier(p)
	return p, nil
}

// Name is exec.EngineWASM.
func (p *Pool) Name() string { return exec.EngineWASM }

// Close ends all runs and all workers.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return nil
	}
	p.gone = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	p.stop(errClosed)
	for _, c := range idle {
		c.end()
	}
	p.running.Wait()
	p.spawn.close()
	if p.temp != "" {
		return os.RemoveAll(p.temp)
	}
	return nil
}

// Run implements exec.Engine. With more runs than slots it waits for one.
func (p *Pool) Run(ctx context.Context, spec exec.Spec) (exec.Result, error) {
	if !p.join() {
		return exec.Result{}, errClosed
	}
	defer p.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(errClosed) })()

	if err := check(spec); err != nil {
		return exec.Result{}, err
	}
	if most := p.lent(); spec.Limits.Memory > most {
		return exec.Result{}, fmt.Errorf("the unit may use %d MiB, this host lends %d MiB: lower the memory limit", spec.Limits.Memory>>20, most>>20)
	}
	u, err := newUnit(spec)
	if err != nil {
		return exec.Result{}, err
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return exec.Result{}, context.Cause(ctx)
	}
	defer func() { <-p.slots }()

	res, err := p.try(ctx, u)
	if errors.Is(err, errReload) { // damaged after it was verified, or from another CPU
		p.cache.drop(u.task.Entry)
		res, err = p.try(ctx, u)
	}
	var worse *badProgram
	if errors.As(err, &worse) {
		return exec.Result{Status: worse.status, Message: clip(worse.why)}, nil
	}
	return res, err
}

// join makes Close wait for something that runs, unless it has begun.
func (p *Pool) join() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return false
	}
	p.running.Add(1)
	return true
}

// try runs a unit on an idle worker, or on a new one.
func (p *Pool) try(ctx context.Context, u *unit) (exec.Result, error) {
	n := p.tier.ready(u)
	c := p.take(u.task.Entry, n.name())
	start := time.Now()
	if n != nil {
		var err error
		if c, err = p.attach(ctx, c, n); err != nil {
			if ctx.Err() != nil {
				p.give(c)
				return exec.Result{}, context.Cause(ctx)
			}
			p.tier.failed(u, err)
			n = nil
		}
	}
	if n == nil && (c == nil || !c.has(u.task.Entry)) {
		if err := p.prepare(ctx, u); err != nil {
			p.give(c)
			return exec.Result{}, err
		}
	}
	if c == nil || u.spec.Stdio != nil {
		p.give(c)
		var err error
		if c, err = p.start(ctx, p.workerSetup(), u.spec.Stdio); err != nil {
			return exec.Result{}, err
		}
	}
	if n == nil { // what it takes to start a native process counts, what it takes to compile does not
		start = time.Now()
	}
	ran := p.tier.runs(u, start)
	res, err := c.run(ctx, u, n != nil)
	ran(n, res, err)
	if c.broken || u.spec.Stdio != nil {
		c.end()
	} else {
		p.give(c)
	}
	return res, err
}

func (p *Pool) workerSetup() setup { return setup{Modules: p.cache.modules(), Memory: p.lent()} }

// errTooLong is a program that this machine gave up compiling.
var errTooLong = fmt.Errorf("compiling took longer than %s of CPU time, or %s: make the program smaller", compileCPU, compileTime)

// prepare makes sure that the cache holds the verified machine code of the unit's program.
func (p *Pool) prepare(ctx context.Context, u *unit) error {
	name := u.task.Entry
	p.mu.Lock()
	bomb := time.Now().Before(p.bombs[name])
	p.mu.Unlock()
	if bomb {
		return errTooLong
	}
	dir, err := p.cache.get(ctx, name, func(dir string) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer p.spawn.freezer.after(compileTime, func() { cancel(errTooLong) }).stop()
		c, err := p.start(ctx, setup{Build: dir, Memory: p.lent(), CPU: int64(p.compileCPU.Seconds())}, nil)
		if err != nil {
			return err
		}
		defer c.end()
		return c.build(ctx, u, p.compileCPU)
	})
	if errors.Is(err, errTooLong) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.bombs) >= maxVerified {
			clear(p.bombs)
		}
		p.bombs[name] = time.Now().Add(hopelessTime)
	}
	if err == nil {
		u.size = folderSize(dir)
	}
	return err
}

// take removes a worker from the idle ones: the last that has the program's native process, when
// there is one, or has the program loaded, or the last.
func (p *Pool) take(entry, native string) *child {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	at := len(p.idle) - 1
	for i := at; i >= 0; i-- {
		if c := p.idle[i]; native == "" && c.has(entry) || native != "" && c.native.name() == native {
			at = i
			break
		}
	}
	c := p.idle[at]
	p.idle = slices.Delete(p.idle, at, at+1)
	c.idle.Stop()
	return c
}

// give puts a worker back among the idle ones.
func (p *Pool) give(c *child) {
	if c == nil {
		return
	}
	unwanted := c.native != nil && !p.tier.allowed()
	p.mu.Lock()
	if !p.gone && c.memory == p.opt.Memory && !unwanted {
		p.idle = append(p.idle, c)
		if c.idle == nil {
			c.idle = time.AfterFunc(p.opt.Idle, func() { p.retire(c) })
		} else {
			c.idle.Reset(p.opt.Idle)
		}
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	c.end()
}

// retire ends a worker that had nothing to do for long.
func (p *Pool) retire(c *child) {
	p.mu.Lock()
	at := slices.Index(p.idle, c)
	if at >= 0 {
		p.idle = slices.Delete(p.idle, at, at+1)
	}
	p.mu.Unlock()
	if at >= 0 {
		c.end()
	}
}

// start starts a worker and waits until it has shut itself in. After failures it waits, 100 ms
// at first and at most 10 s, so that a machine that cannot start workers is not kept busy by trying.
func (p *Pool) start(ctx context.Context, s setup, streams *exec.Stdio, files ...*os.File) (*child, error) {
	p.mu.Lock()
	wait := time.Until(p.notBy)
	p.mu.Unlock()
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err := p.spawn.freezer.wait(ctx); err != nil {
		return nil, err
	}
	s.Bare, s.Streams, s.Foreground = p.opt.Bare, streams != nil, p.opt.Foreground || streams != nil
	if streams != nil {
		s.Live = streams.Live
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		defer null.Close()
		for _, f := range []*os.File{streams.In, streams.Out, streams.Err} {
			if f == nil {
				f = null
			}
			files = append(files, f)
		}
	}
	c, err := p.spawn.start(ctx, p.opt.Argv, s, files...)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.failed = 0
		if s.Modules != "" && !s.Native {
			p.walls = c.walls
		}
	case ctx.Err() == nil:
		p.failed++
		p.notBy = time.Now().Add(min(10*time.Second, 50*time.Millisecond<<min(p.failed, 10)))
	}
	return c, err
}

// lent is the most memory of one unit.
func (p *Pool) lent() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opt.Memory
}

// Lend changes what units may have from now on: memory in bytes, and the share of one CPU in percent.
// Workers that wait were made for another amount of memory and end; those at work end after their unit.
func (p *Pool) Lend(memory int64, share int) {
	if memory <= 0 || memory > exec.MaxMemory {
		memory = exec.MaxMemory
	}
	p.mu.Lock()
	var old []*child
	if p.opt.Memory != memory {
		old, p.idle = p.idle, nil
	}
	p.opt.Memory = memory
	p.mu.Unlock()
	p.spawn.pacer.set(share)
	for _, c := range old {
		c.end()
	}
}

// AllowNative turns the second tier on or off from now on. Off, a compilation that runs is given up, and
// units that run natively come to their end.
func (p *Pool) AllowNative(on bool) {
	if !p.tier.allow(on) || on {
		return
	}
	p.mu.Lock()
	var old []*child
	p.idle = slices.DeleteFunc(p.idle, func(c *child) bool {
		if c.native == nil {
			return false
		}
		old = append(old, c)
		return true
	})
	p.mu.Unlock()
	for _, c := range old {
		c.end()
	}
}

// Native says whether programs run natively here, in a few words.
func (p *Pool) Native() string { return p.tier.says() }

// MeasureSpeed measures what a slot of this machine does. It does so at normal priority: behind others, on a
// busy machine, it would take for ever. A worker that waits for work is left behind.
func (p *Pool) MeasureSpeed(ctx context.Context) (fuelPerSecond uint64, err error) {
	p.mu.Lock()
	opt := p.opt
	p.mu.Unlock()
	opt.Slots, opt.Foreground, opt.Native = 1, true, false
	q, err := NewPool(opt)
	if err != nil {
		return 0, fmt.Errorf("measure speed: %w", err)
	}
	defer q.Close()
	if fuelPerSecond, err = MeasureSpeed(ctx, q); err != nil {
		return 0, err
	}
	if !p.join() {
		return 0, errClosed
	}
	defer p.running.Done()
	c, err := p.start(ctx, p.workerSetup(), nil)
	if err != nil {
		return 0, fmt.Errorf("measure speed: %w", err)
	}
	p.give(c)
	return fuelPerSecond, nil
}

// Walls is what stands around the worker that was started last, in the order in which it was put up; nil
// before the first.
func (p *Pool) Walls() []Protection {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.walls)
}

// Workers is how many worker processes wait for work.
func (p *Pool) Workers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}
