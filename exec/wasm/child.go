package wasm

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	osexec "os/exec"
	"slices"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// A unit is a Spec made ready to be sent: its task, and the files behind it.
type unit struct {
	spec  exec.Spec
	task  task
	paths []string // by number: stdin, then /in, then /data
	size  int64    // of its program's cache entry, once prepared
}

// maxStdin is the most of Spec.Stdin that travels in a task, in bytes.
const maxStdin = 4 << 20

func newUnit(spec exec.Spec) (*unit, error) {
	if len(spec.Stdin) > maxStdin {
		return nil, fmt.Errorf("stdin of %d bytes, at most %d: put it into a file and use StdinPath", len(spec.Stdin), maxStdin)
	}
	u := &unit{spec: spec, paths: []string{spec.StdinPath}}
	u.task = task{
		Entry: entryName(spec.Hash, pages(spec.Limits)),
		Hash:  spec.Hash, Pages: pages(spec.Limits),
		Args: spec.Args, Env: spec.Env, Stdin: spec.Stdin, Input: spec.StdinPath != "" && spec.Stdio == nil,
		Limits: spec.Limits, Seed: spec.Seed,
	}
	for _, list := range []struct {
		from []exec.Mount
		to   *[]mount
	}{{spec.In, &u.task.In}, {spec.Data, &u.task.Data}} {
		for _, m := range list.from {
			size, err := fileSize(m.Path)
			if err != nil {
				return nil, fmt.Errorf("input file %s: %w", m.Name, err)
			}
			*list.to = append(*list.to, mount{m.Name, size})
			u.paths = append(u.paths, m.Path)
		}
	}
	return u, nil
}

// child is a worker process as its node sees it. One goroutine uses it at a time; kill is for any.
type child struct {
	cmd    *osexec.Cmd
	conn   io.ReadWriteCloser
	r      *bufio.Reader
	stderr *said
	shut   []Protection // what it says of its walls
	walls  []Protection // these and how it yields
	loaded []loaded     // least recently used first
	broken bool         // it must not be used again
	native *native      // process of the second tier that it speaks with, or nil
	idle   *time.Timer  // ends it when it fires

	memory  int64    // that its guest may have
	freezer *freezer // stops it, and the clocks of its work

	once   sync.Once
	exited chan struct{}
}

// loaded is a cache entry that a worker has in memory, and its size there, in bytes.
type loaded struct {
	entry string
	size  int64
}

func (c *child) has(entry string) bool {
	return slices.ContainsFunc(c.loaded, func(l loaded) bool { return l.entry == entry })
}

// admit makes an entry the most recently used one and says which the worker has to forget for it.
func (c *child) admit(entry string, size int64) (drop []string) {
	if at := slices.IndexFunc(c.loaded, func(l loaded) bool { return l.entry == entry }); at >= 0 {
		size = c.loaded[at].size
		c.loaded = slices.Delete(c.loaded, at, at+1)
	}
	sum := size
	for _, l := range c.loaded {
		sum += l.size
	}
	for len(c.loaded) > 0 && (len(c.loaded) >= keepPrograms || sum > keepBytes) {
		sum -= c.loaded[0].size
		drop = append(drop, c.loaded[0].entry)
		c.loaded = slices.Delete(c.loaded, 0, 1)
	}
	c.loaded = append(c.loaded, loaded{entry, size})
	return drop
}

// kill ends the process at once.
func (c *child) kill() { _ = c.cmd.Process.Kill() }

// end kills the process and waits until it is gone.
func (c *child) end() {
	c.once.Do(func() {
		c.broken = true
		c.kill()
		c.conn.Close()
		c.native.end()
	})
	<-c.exited
}

// watch kills the child when ctx ends, a grace after telling it, or when deadline fires. stop ends
// the watch and reports whether it had fired.
func (c *child) watch(ctx context.Context, deadline *stopwatch) (stop func() (late bool)) {
	over, finished := make(chan struct{}), make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(finished)
		timer := time.AfterFunc(cancelGrace, c.kill)
		_ = writeFrame(c.conn, toWorker{Cancel: true}, maxToWorker) // ends when the child is killed
		<-over
		if !timer.Stop() {
			c.broken = true
		}
	})
	return func() bool {
		close(over)
		if !unhook() {
			<-finished
		}
		late := !deadline.stop()
		c.broken = c.broken || late
		return late
	}
}

// frame reads the next frame; an error says what the process left behind.
func (c *child) frame() (fromWorker, error) {
	f, err := readFromWorker(c.r)
	if err == nil {
		return f, nil
	}
	c.broken = true
	c.kill()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		<-c.exited
		return f, fmt.Errorf("the worker died (%s)%s", c.cmd.ProcessState, c.stderr)
	}
	return f, fmt.Errorf("the worker sent nonsense: %w%s", err, c.stderr)
}

// answer opens a file of the unit and sends it.
func (c *child) answer(number int, paths []string) error {
	if f := c.native.file(number); f != nil {
		b, err := encodeFrame(toWorker{File: &fileMsg{}}, maxToWorker)
		if err != nil {
			return err
		}
		return sendFile(c.conn, b, f)
	}
	if number < 0 || number >= len(paths) || paths[number] == "" {
		return fmt.Errorf("the worker asked for file %d of %d", number, len(paths))
	}
	f, err := openHostFile(paths[number])
	m := toWorker{File: &fileMsg{}}
	switch {
	case err != nil:
		m.File.Error = clip(err.Error())
		return writeFrame(c.conn, m, maxToWorker)
	case !carriesFiles(c.conn):
		f.Close()
		m.File.Path = paths[number]
		return writeFrame(c.conn, m, maxToWorker)
	}
	defer f.Close()
	b, err := encodeFrame(m, maxToWorker)
	if err != nil {
		return err
	}
	return sendFile(c.conn, b, f)
}

// run has the worker run a unit, itself or through its native process.
func (c *child) run(ctx context.Context, u *unit, native bool) (res exec.Result, err error) {
	in, err := newReceipt(u.spec)
	if err != nil {
		return res, err
	}
	defer in.close()
	since := c.freezer.stood()
	// A worker ends a unit at its deadline by itself, between two slices of fuel. One that cannot,
	// because one operator takes long or because it was taken over, is killed soon after.
	wall := time.Duration(u.spec.Limits.WallMs)*time.Millisecond + deadlineGrace
	if native || !c.has(u.task.Entry) {
		wall += loadTime
	}
	deadline := c.freezer.after(wall, c.kill)
	stop := c.watch(ctx, deadline)
	d, err := c.converse(u, in, deadline, since, native)
	late := stop()
	frozen := c.freezer.stood() > since
	if native && (err != nil || d.Lost) {
		if err == nil && d.Native {
			d.Fault += c.native.epitaph()
		}
		c.native.end()
		c.native = nil
	}
	switch {
	case err == nil && d.Status == exec.Deadline && frozen:
		return res, fmt.Errorf("its wall time ran out: %w", exec.ErrFrozen)
	case err == nil && ctx.Err() != nil && d.Fault != "":
		return res, context.Cause(ctx)
	case err == nil && d.Fault != "" && d.Reload:
		c.loaded = slices.DeleteFunc(c.loaded, func(l loaded) bool { return l.entry == u.task.Entry })
		return res, fmt.Errorf("%w: %s", errReload, d.Fault)
	case err == nil && d.Fault != "" && d.Native:
		return res, &nativeFault{errors.New(d.Fault)}
	case err == nil && d.Fault != "":
		return res, errors.New(d.Fault)
	case err == nil:
		return in.result(d)
	}
	c.broken = true
	c.kill()
	switch {
	case ctx.Err() != nil:
		return res, context.Cause(ctx)
	case late && frozen:
		return res, fmt.Errorf("its wall time ran out: %w", exec.ErrFrozen)
	case late:
		return exec.Result{Status: exec.Deadline, Message: errDeadline.Error() + ", and the worker had to be killed", WallMs: u.spec.Limits.WallMs}, nil
	}
	return res, err
}

// converse sends the task and takes what comes back until it is done. It moves the deadline on:
// the unit's time begins when its program is loaded and ends with its first output, which then
// has a time of its own to arrive. since is for how long the worker had stood still before.
func (c *child) converse(u *unit, in *receipt, deadline *stopwatch, since time.Duration, native bool) (*done, error) {
	t := u.task
	known := native || c.has(t.Entry)
	if native {
		t.Native = c.native.id
	} else {
		t.Drop = c.admit(t.Entry, u.size)
	}
	if err := writeFrame(c.conn, toWorker{Task: &t}, maxToWorker); err != nil {
		if _, read := c.frame(); read != nil { // what it left behind says more
			err = read
		}
		return nil, err
	}
	loading, sending := !known, false
	for {
		f, err := c.frame()
		switch {
		case err != nil:
			return nil, err
		case f.Loaded && loading:
			loading = false
			if deadline.stop() {
				deadline.reset(time.Duration(u.spec.Limits.WallMs)*time.Millisecond + deadlineGrace)
			}
		case f.Open != nil:
			err = c.answer(f.Open.File, u.paths)
		case f.Chunk != nil:
			if !sending && deadline.stop() {
				deadline.reset(sendTime)
			}
			sending = true
			err = in.take(f.Chunk)
		case f.Late:
			stood := (c.freezer.stood() - since).Milliseconds()
			err = writeFrame(c.conn, toWorker{Stood: &stood}, maxToWorker)
		case f.Done != nil:
			return f.Done, nil
		default:
			err = errors.New("the worker sent a frame out of place")
		}
		if err != nil {
			return nil, err
		}
	}
}

// build has a worker compile the unit's program, within its CPU time.
func (c *child) build(ctx context.Context, u *unit, most time.Duration) error {
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	t := task{Hash: u.task.Hash, Pages: u.task.Pages}
	err := writeFrame(c.conn, toWorker{Task: &t}, maxToWorker)
	for err == nil {
		var f fromWorker
		f, err = c.frame()
		switch b := f.Built; {
		case err != nil:
		case f.Open != nil:
			err = c.answer(f.Open.File, []string{u.spec.Program})
		case b == nil:
			err = errors.New("the worker sent a frame out of place")
		case b.Fault != "":
			return fmt.Errorf("compile: %s", b.Fault)
		case b.Status == exec.BadProgram || b.Status == exec.OutOfMemory:
			return &badProgram{b.Status, b.Why}
		case b.Status != 0:
			return fmt.Errorf("compile: status %d", b.Status)
		default:
			return nil
		}
	}
	c.end()
	st := c.cmd.ProcessState
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case st.UserTime()+st.SystemTime() > most/2: // killed by its limit, which counts ticks: on a busy machine more than this exact time
		return errTooLong
	}
	return fmt.Errorf("compile: %w", err)
}

// A receipt gathers what a worker sends back of one unit, within the unit's limits.
type receipt struct {
	res  exec.Result
	room int64
	dir  *outDir
	file *os.File // being written; nil when dropped
	sum  hash.Hash
}

func newReceipt(spec exec.Spec) (*receipt, error) {
	dir, err := openOutDir(spec.OutDir)
	if err != nil {
		return nil, err
	}
	return &receipt{room: spec.Limits.Output, dir: dir}, nil
}

func (r *receipt) take(c *chunk) error {
	if r.room -= int64(len(c.Data)); r.room < 0 {
		return errors.New("the worker sent more than the output limit")
	}
	switch c.Stream {
	case 1:
		r.res.Stdout = append(r.res.Stdout, c.Data...)
		return nil
	case 2:
		r.res.Stderr = append(r.res.Stderr, c.Data...)
		return nil
	}
	n := len(r.res.Files)
	if n == 0 || r.res.Files[n-1].Name != c.Name {
		if n > 0 && c.Name < r.res.Files[n-1].Name || n >= exec.MaxFiles {
			return fmt.Errorf("the worker sent file %q out of order, or too many", c.Name)
		}
		if err := r.finish(); err != nil {
			return err
		}
		var err error
		if r.file, err = r.dir.create(c.Name); err != nil {
			return err
		}
		r.sum = sha256.New()
		r.res.Files = append(r.res.Files, exec.File{Name: c.Name})
		n++
	}
	r.res.Files[n-1].Size += int64(len(c.Data))
	r.sum.Write(c.Data)
	if r.file == nil {
		return nil
	}
	_, err := r.file.Write(c.Data)
	return err
}

// finish closes the file being written.
func (r *receipt) finish() error {
	if n := len(r.res.Files); n > 0 {
		r.res.Files[n-1].Hash = ledger.Digest(r.sum.Sum(nil))
	}
	f := r.file
	r.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

func (r *receipt) result(d *done) (exec.Result, error) {
	r.res.Status, r.res.ExitCode, r.res.Message = d.Status, d.Exit, d.Message
	r.res.Fuel, r.res.WallMs = d.Fuel, d.WallMs
	return r.res, r.finish()
}

func (r *receipt) close() {
	if r.file != nil {
		r.file.Close()
	}
	r.dir.close()
}

// said keeps the first bytes that a process said: what a crash begins with is its reason.
type said struct {
	mu sync.Mutex // guards b
	b  []byte
}

func (s *said) Write(b []byte) (int, error) {
	const most = 2 << 10
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, b[:min(len(b), most-len(s.b))]...)
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.b) == 0 {
		return ""
	}
	return ": " + clip(string(s.b))
}
