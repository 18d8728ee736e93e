package wasm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

// WorkerMain is the whole life of a worker process: `p3 worker` calls it with its stdin and
// stdout and exits with what it returns. It shuts the process in as its node tells it, then
// runs units one after the other until r ends.
func WorkerMain(r io.Reader, w io.Writer) int {
	runtime.GOMAXPROCS(2) // one for the guest, one to hear the node
	debug.SetGCPercent(50)
	child := &worker{r: r, w: w}
	if f, ok := r.(*os.File); ok {
		if c := wrapFile(f); c != nil {
			c.keeps = true
			child.r, child.w, child.files = c, c, c
		}
	}
	child.r = bufio.NewReaderSize(child.r, 16<<10)
	if err := child.serve(); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "p3 worker:", err)
		return 1
	}
	return 0
}

// worker is the child's side. One goroutine reads frames; units run on another.
type worker struct {
	r     io.Reader
	w     io.Writer
	files *fdConn // nil where open files cannot travel

	setup    setup
	mu       sync.Mutex // guards cancel
	cancel   context.CancelCauseFunc
	opened   chan fileMsg        // answers; one file is asked for at a time
	stood    chan int64          // answers to frozen, one at a time
	programs map[string]*program // loaded; the node says what to drop
	streams  *exec.Stdio
	native   *nativeLink // the process that runs tasks of the second tier, or nil
	walls    []Protection
}

func (c *worker) send(f fromWorker) error { return writeFrame(c.w, f, maxFromWorker) }

func (c *worker) serve() error {
	var first toWorker
	if err := readFrame(c.r, &first, maxToWorker); err != nil {
		return err
	}
	if first.Setup == nil {
		return errors.New("no setup: workers are started by a node, not by hand")
	}
	c.setup = *first.Setup
	if c.setup.Streams {
		c.streams = &exec.Stdio{In: os.NewFile(3, "stdin"), Out: os.NewFile(4, "stdout"), Err: os.NewFile(5, "stderr"), Live: c.setup.Live}
	}
	if !c.setup.Bare {
		c.walls = shutIn(&c.setup)
	}
	if c.setup.Probe {
		c.walls = append(c.walls, attack()...)
	}
	if err := c.send(fromWorker{Ready: &ready{c.walls}}); err != nil {
		return err
	}
	if c.setup.Native {
		return c.become()
	}
	c.opened, c.stood = make(chan fileMsg, 1), make(chan int64, 1)
	c.programs = map[string]*program{}
	tasks := make(chan *task)
	ended := make(chan error, 1)
	go func() {
		for t := range tasks {
			if err := c.unit(t); err != nil {
				ended <- err
				return
			}
		}
	}()
	frames := make(chan error, 1)
	go func() { frames <- c.listen(tasks) }()
	select {
	case err := <-ended:
		return err
	case err := <-frames: // the node is gone: whatever runs ends with the process
		return err
	}
}

// listen reads frames until the node ends. What runs then has nobody left to ask.
func (c *worker) listen(tasks chan<- *task) error {
	defer c.stop()
	defer close(c.opened)
	for {
		var f toWorker
		if err := readFrame(c.r, &f, maxToWorker); err != nil {
			return err
		}
		switch {
		case f.Task != nil:
			tasks <- f.Task
		case f.File != nil:
			select {
			case c.opened <- *f.File:
			default:
				return errors.New("the node sent a file that nobody asked for")
			}
		case f.Stood != nil:
			select {
			case c.stood <- *f.Stood:
			default:
				return errors.New("the node answered what nobody asked")
			}
		case f.Cancel:
			c.stop()
		}
	}
}

// stop ends the unit that runs, if one does.
func (c *worker) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel(errCancelled)
	}
}

// open asks the node for a file of the task.
func (c *worker) open(number int) (readerAtCloser, error) {
	if err := c.send(fromWorker{Open: &openMsg{number}}); err != nil {
		return nil, err
	}
	m, ok := <-c.opened
	switch {
	case !ok:
		return nil, errors.New("the node is gone")
	case m.Error != "":
		return nil, errors.New(m.Error)
	case c.files != nil:
		if f := c.files.take(); f != nil {
			return f, nil
		}
		return nil, errors.New("the node sent no file")
	}
	return openHostFile(m.Path)
}

// frozen asks the node how long this run has stood still so far. What the process slept through
// it cannot know itself.
func (c *worker) frozen() time.Duration {
	if c.send(fromWorker{Late: true}) != nil {
		return 0 // the node is gone
	}
	return time.Duration(<-c.stood) * time.Millisecond
}

// unit runs one task and reports it. An error means that the node cannot be reached.
func (c *worker) unit(t *task) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	c.mu.Lock()
	c.cancel = cancel
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.cancel = nil
		c.mu.Unlock()
		cancel(nil)
	}()
	switch {
	case c.setup.Build != "":
		return c.send(fromWorker{Built: c.build(ctx, t)})
	case c.setup.Compile:
		return c.send(fromWorker{Built: c.compile(ctx, t)})
	}
	d, err := c.run(ctx, t)
	if err != nil {
		var native *nativeFault
		d = &done{Fault: clip(err.Error()), Reload: errors.Is(err, errReload), Native: errors.As(err, &native)}
	}
	if t.Native != 0 && (d.Native || c.native != nil && c.native.lost) {
		d.Lost = true
		c.detach()
	}
	return c.send(fromWorker{Done: d})
}

// attach takes over the worker's ends of a native process.
func (c *worker) attach(id uint64) (*nativeLink, error) {
	if c.native != nil && c.native.id == id {
		return c.native, nil
	}
	c.detach()
	var files [2]*os.File
	for i, number := range []int{nativeSocket, nativeMemory} {
		f, err := c.open(number)
		if err != nil {
			return nil, &nativeFault{err}
		}
		files[i], _ = f.(*os.File)
	}
	var err error
	c.native, err = newNativeLink(id, files[0], files[1])
	return c.native, err
}

func (c *worker) detach() {
	if c.native != nil {
		c.native.close()
		c.native = nil
	}
}

// build compiles file 0 into the folder this worker may write to.
func (c *worker) build(ctx context.Context, t *task) *doneBuild {
	f, err := c.open(0)
	if err != nil {
		return &doneBuild{Fault: clip(err.Error())}
	}
	defer f.Close()
	module, err := readModule(io.NewSectionReader(f, 0, exec.MaxProgram+1), t.Hash)
	if err == nil {
		if module, err = instrument(module, t.Pages); err == nil {
			err = fillEntry(ctx, module, c.setup.Build)
		}
	}
	var worse *badProgram
	switch {
	case errors.As(err, &worse):
		return &doneBuild{Status: worse.status, Why: clip(worse.why)}
	case err != nil:
		return &doneBuild{Fault: clip(err.Error())}
	}
	return &doneBuild{}
}

// errReload marks a cache entry that this worker cannot load.
var errReload = errors.New("the cache entry cannot be loaded")

func (c *worker) load(ctx context.Context, t *task) (*program, error) {
	for _, name := range t.Drop {
		if old := c.programs[name]; old != nil {
			old.close()
			delete(c.programs, name)
		}
	}
	if p := c.programs[t.Entry]; p != nil {
		return p, nil
	}
	if !filepath.IsLocal(t.Entry) {
		return nil, fmt.Errorf("cache entry %q is not a name", t.Entry)
	}
	p, err := loadEntry(ctx, filepath.Join(c.setup.Modules, t.Entry))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errReload, err)
	}
	c.programs[t.Entry] = p
	return p, c.send(fromWorker{Loaded: true})
}

// engine returns what runs a task's guest.
func (c *worker) engine(ctx context.Context, t *task) (func(*guest) (exec.Result, error), error) {
	if t.Native != 0 {
		n, err := c.attach(t.Native)
		if err != nil {
			return nil, err
		}
		return n.run, nil
	}
	p, err := c.load(ctx, t)
	if err != nil {
		return nil, err
	}
	return p.run, nil
}

func (c *worker) run(ctx context.Context, t *task) (*done, error) {
	spec := exec.Spec{Args: t.Args, Env: t.Env, Limits: t.Limits, Seed: t.Seed}
	if err := check(spec); err != nil {
		return nil, err
	}
	run, err := c.engine(ctx, t)
	if err != nil {
		return nil, err
	}
	files := func(mounts []mount, from int) map[string]*hostFile {
		all := make(map[string]*hostFile, len(mounts))
		for i, m := range mounts {
			all[m.Name] = &hostFile{size: m.Size, open: func() (readerAtCloser, error) { return c.open(from + i) }}
		}
		return all
	}
	var stdin io.Reader = bytes.NewReader(t.Stdin)
	if t.Input {
		f, err := c.open(0)
		if err != nil {
			return nil, fmt.Errorf("stdin: %w", err)
		}
		defer f.Close()
		stdin = io.NewSectionReader(f, 0, 1<<62)
	}
	g, err := newGuest(ctx, spec, files(t.In, 1), files(t.Data, 1+len(t.In)), stdin)
	if err != nil {
		return nil, err
	}
	defer g.closeAll()
	g.frozen = c.frozen
	if c.streams != nil {
		g.passThrough(c.streams)
	}
	start := time.Now()
	res, err := run(g)
	if err != nil {
		return nil, err
	}
	d := &done{Status: res.Status, Exit: res.ExitCode, Message: res.Message, Fuel: res.Fuel, WallMs: time.Since(start).Milliseconds()}
	if err := c.stream(1, "", res.Stdout); err != nil {
		return nil, err
	}
	if err := c.stream(2, "", res.Stderr); err != nil {
		return nil, err
	}
	if d.Status == exec.Exited {
		err = g.tree.out.files("", func(name string, data []byte) error { return c.stream(3, name, data) })
	}
	return d, err
}

// stream sends bytes in pieces; an empty file is one empty piece.
func (c *worker) stream(stream uint8, name string, data []byte) error {
	for first := true; len(data) > 0 || first && stream == 3; first = false {
		n := min(len(data), chunkSize)
		if err := c.send(fromWorker{Chunk: &chunk{stream, name, data[:n]}}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
