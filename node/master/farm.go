package master

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// Bounds of what is out: submitted and not yet taken.
const (
	DefaultWindow = 8192     // units
	windowBytes   = 64 << 20 // of their inputs, which are kept in case the node has to be sent them again
)

// Options of a Farm. The zero value will do.
type Options struct {
	Window int               // most units out; 0 = DefaultWindow
	Notice func(text string) // told what a person may want to know, such as that the node is gone; nil = nobody
}

// A Farm is an open job: it takes units until Close.
type Farm struct {
	cl      *node.Client
	job     node.Job
	args    []string
	o       Options
	stop    context.CancelFunc
	results chan node.UnitResult // one at a time: what nobody takes stays with the node
	over    chan struct{}        // closed when no more results come; end says why

	mu      sync.Mutex // guards what follows
	out     map[uint64]unit
	bytes   int    // of the inputs of out
	units   uint64 // submitted
	low     uint64 // all units below were taken
	closed  bool
	end     error         // io.EOF = the job is done
	changed chan struct{} // closed and replaced when one of these has changed
}

type unit struct {
	in   exec.Input
	size int
	tag  any
}

// ErrClosed is what Submit returns after Close.
var ErrClosed = errors.New("no unit follows the last")

// ErrHalted is in the error of Next when the job ended before its units had, as its manifest's Halt says.
var ErrHalted = errors.New("the job ended early")

// Text is the input of a unit that reads s from its stdin, and has it for "{}" in its arguments.
func Text(s string) exec.Input {
	in := exec.Input{Stdin: []byte(s)}
	if text := strings.TrimRight(s, "\r\n"); len(text) <= 4096 {
		in.Text = strings.ToValidUTF8(text, "�")
	}
	return in
}

// Open starts a farm of the WebAssembly module at path. Of the manifest, fields left zero get what p3 farm would give
// them: the default limits, a budget of one credit, three retries, no voting.
func Open(ctx context.Context, cl *node.Client, path string, m exec.Manifest, o Options) (*Farm, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if m.Program, err = cl.PutBlob(ctx, r); err != nil {
		return nil, err
	}
	m.Program.Name = filepath.Base(path)
	if m.Name == "" {
		m.Name = strings.TrimSuffix(m.Program.Name, ".wasm")
		m.Name = m.Name[:min(len(m.Name), 64)]
	}
	if m.Limits == (exec.Limits{}) {
		m.Limits = exec.DefaultLimits
	}
	if m.Budget == 0 {
		m.Budget = ledger.Credit
	}
	if m.Retries == 0 {
		m.Retries = 3
	}
	if m.Verify == 0 {
		m.Verify = 1
	}
	m.Version, m.Engine = 1, exec.EngineWASM
	return Start(ctx, cl, m, o)
}

// Start starts a farm of a program that the node has. Its kind is that of a map over lines, for a provider sees no
// difference: a unit is a unit, wherever it comes from. When ctx ends the farm stops; the job does with Cancel.
func Start(ctx context.Context, cl *node.Client, m exec.Manifest, o Options) (*Farm, error) {
	m.Kind, m.Each = exec.KindMap, exec.EachLines
	j, err := cl.SubmitJob(ctx, m)
	if err != nil {
		return nil, err
	}
	if o.Window <= 0 {
		o.Window = DefaultWindow
	}
	f := &Farm{cl: cl, job: j, args: m.Args, o: o, results: make(chan node.UnitResult), over: make(chan struct{}), out: map[uint64]unit{}, changed: make(chan struct{})}
	ctx, f.stop = context.WithCancel(ctx)
	go func() {
		defer f.stop()
		var sending sync.WaitGroup
		var sent error
		sending.Go(func() {
			if sent = f.send(ctx); sent != nil {
				f.stop()
			}
		})
		err := f.receive(ctx)
		f.stop()
		sending.Wait()
		if sent != nil && !errors.Is(sent, context.Canceled) {
			err = sent
		}
		f.change(func() { f.end = err })
		close(f.over)
	}()
	return f, nil
}

// Job is the job as it was submitted; node.Client.Job tells how it stands.
func (f *Farm) Job() node.Job { return f.job }

func (f *Farm) change(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
	close(f.changed)
	f.changed = make(chan struct{})
}

// Submit gives the job one more unit and returns its number: 0, 1, …. It waits while Options.Window units are out. A
// stdin beyond exec.MaxInline is stored in the node first. The input is checked: one that cannot be right is refused
// here and harms no other. After the end of the job it returns why that ended, after Close ErrClosed.
func (f *Farm) Submit(ctx context.Context, in exec.Input) (uint64, error) {
	return f.submit(ctx, in, nil)
}

// submit has next return tag with the unit's result.
func (f *Farm) submit(ctx context.Context, in exec.Input, tag any) (uint64, error) {
	if len(in.Stdin) > exec.MaxInline {
		err := f.again(ctx, func() error {
			file, err := f.cl.PutBlob(ctx, bytes.NewReader(in.Stdin))
			in.StdinFile = &file
			return err
		})
		if err != nil {
			return 0, err
		}
		in.Stdin = nil
	}
	if err := errors.Join(exec.CheckArgs(f.args, in), exec.ValidFiles(in.Files)); err != nil {
		return 0, &node.Problem{Code: node.CodeUsage, Message: err.Error()}
	}
	u := unit{in: in, size: len(in.Stdin) + len(in.Text), tag: tag}
	for _, a := range in.Args {
		u.size += len(a)
	}
	for {
		f.mu.Lock()
		end, closed, changed := f.end, f.closed, f.changed
		if end == nil && !closed && f.room(u.size) {
			defer f.mu.Unlock()
			n := f.units
			f.out[n] = u
			f.units, f.bytes = n+1, f.bytes+u.size
			close(f.changed)
			f.changed = make(chan struct{})
			return n, nil
		}
		f.mu.Unlock()
		switch {
		case end == io.EOF, closed:
			return 0, ErrClosed
		case end != nil:
			return 0, end
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (f *Farm) room(size int) bool {
	return len(f.out) == 0 || len(f.out) < f.o.Window && f.bytes+size <= windowBytes
}

// Next waits for the next unit to end, whichever that is, and returns its result, which may be that it failed. Once
// the job has ended it returns io.EOF, or why it ended otherwise.
func (f *Farm) Next(ctx context.Context) (node.UnitResult, error) {
	r, _, err := f.next(ctx)
	return r, err
}

func (f *Farm) next(ctx context.Context) (node.UnitResult, any, error) {
	for {
		select {
		case r := <-f.results:
			var u unit
			was := false
			f.change(func() {
				if u, was = f.out[r.Unit]; was {
					delete(f.out, r.Unit)
					f.bytes -= u.size
				}
				for ; f.low < f.units; f.low++ {
					if _, out := f.out[f.low]; out {
						break
					}
				}
			})
			if was {
				return r, u.tag, nil
			}
		case <-f.over:
			f.mu.Lock()
			defer f.mu.Unlock()
			return node.UnitResult{}, nil, f.end
		case <-ctx.Done():
			return node.UnitResult{}, nil, ctx.Err()
		}
	}
}

// Out is how many units were submitted whose results were not yet taken.
func (f *Farm) Out() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.out)
}

// Close says that no unit follows. Results still come.
func (f *Farm) Close() { f.change(func() { f.closed = true }) }

// Cancel gives up what is out and ends the job, unless it has ended. Results that were there stay with the node, and
// what was computed is paid. It waits until the farm has stopped; an error means that the node could not be told.
func (f *Farm) Cancel() error {
	var err error
	select {
	case <-f.over:
		f.mu.Lock()
		done := f.end == io.EOF
		f.mu.Unlock()
		if done {
			return nil
		}
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if j, e := f.cl.Job(ctx, f.job.ID.String()); e != nil || j.Ended.IsZero() {
		_, err = f.cl.CancelJob(ctx, f.job.ID.String())
	}
	f.stop()
	<-f.over
	return err
}

// send gives the node the units, and after a restart again those that it did not keep.
func (f *Farm) send(ctx context.Context) error {
	id := f.job.ID.String()
	err := f.again(ctx, func() error {
		j, err := f.cl.Job(ctx, id)
		if err != nil || !j.Ended.IsZero() {
			return err
		}
		_, err = f.cl.AddInputs(ctx, id, j.Units, f.from(ctx, j.Units))
		return err
	})
	f.mu.Lock()
	units, closed := f.units, f.closed
	f.mu.Unlock()
	if err == nil && closed {
		err = f.again(ctx, func() error { _, err := f.cl.CloseInputs(ctx, id, units); return err })
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	if j, e := f.cl.Job(ctx, id); e == nil && !j.Ended.IsZero() {
		return nil // it takes no more since it is over: receive tells why
	}
	return err
}

// from yields the units from at on as they are submitted. The node has none of these, so none was taken.
func (f *Farm) from(ctx context.Context, at uint64) func() (exec.Input, error) {
	return func() (exec.Input, error) {
		for {
			f.mu.Lock()
			u, ok := f.out[at]
			units, closed, changed := f.units, f.closed, f.changed
			f.mu.Unlock()
			switch {
			case ok:
				at++
				return u.in, nil
			case at < units:
				return exec.Input{}, fmt.Errorf("the node lost unit %d, whose result it had given", at)
			case closed:
				return exec.Input{}, io.EOF
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return exec.Input{}, ctx.Err()
			}
		}
	}
}

// receive hands out results until the job has ended, and returns io.EOF if that is done.
func (f *Farm) receive(ctx context.Context) error {
	id := f.job.ID.String()
	err := f.again(ctx, func() error {
		f.mu.Lock()
		low := f.low
		f.mu.Unlock()
		return f.cl.Results(ctx, id, low, node.AsEnded, func(r node.UnitResult) error {
			f.mu.Lock()
			_, out := f.out[r.Unit]
			f.mu.Unlock()
			if !out { // taken before the node was restarted
				return nil
			}
			select {
			case f.results <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	var j node.Job
	if err == nil {
		err = f.again(ctx, func() (err error) { j, err = f.cl.Job(ctx, id); return err })
	}
	switch {
	case err != nil:
		return err
	case j.State == node.JobCancelled:
		return &node.Problem{Code: node.CodeInternal, Message: j.ID.Short() + " was cancelled", Hint: "its results so far: p3 job output " + j.ID.Short()}
	case j.Halted != "":
		return fmt.Errorf("%w: %s", ErrHalted, j.Halted)
	}
	return io.EOF
}

// again retries op across a restart of the node.
func (f *Farm) again(ctx context.Context, op func() error) error {
	return node.Outlast(ctx, f.job.ID.Short(), func(text string) { f.notice("%s", text) }, op)
}

func (f *Farm) notice(format string, args ...any) {
	if f.o.Notice != nil {
		f.o.Notice(fmt.Sprintf(format, args...))
	}
}
