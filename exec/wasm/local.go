package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// errClosed is what Run returns after Close.
var errClosed = errors.New("the engine is closed")

// LocalOptions configure a Local. The zero value works.
type LocalOptions struct {
	// CacheDir keeps compiled modules between runs; "" keeps them in memory only.
	CacheDir string
	// Interpret uses the engine's interpreter even where it could compile: slow, for comparisons.
	Interpret bool
	// Programs is how many compiled modules stay in memory; 0 means 8.
	Programs int
}

// Local runs guests in this process. It shuts nothing in: a fault of the engine is a fault of
// this process, and a guest's memory is this process's. For simulations, the emulator and tests.
type Local struct {
	opt      LocalOptions
	cache    *cache // nil without a folder
	programs *programs

	ctx  context.Context // ends with Close
	stop context.CancelCauseFunc
	mu   sync.Mutex // guards closed, and orders Add against Wait
	gone bool
	runs sync.WaitGroup
}

var _ exec.Engine = (*Local)(nil)

// NewLocal makes an engine in this process.
func NewLocal(opt LocalOptions) (*Local, error) {
	if opt.Programs <= 0 {
		opt.Programs = 8
	}
	l := &Local{opt: opt, programs: newPrograms(opt.Programs)}
	if opt.CacheDir != "" && !opt.Interpret {
		var err error
		if l.cache, err = openCache(opt.CacheDir); err != nil {
			return nil, err
		}
	}
	l.ctx, l.stop = context.WithCancelCause(context.Background())
	return l, nil
}

// Name is exec.EngineWASM.
func (l *Local) Name() string { return exec.EngineWASM }

// Close cancels all runs and waits for them.
func (l *Local) Close() error {
	l.mu.Lock()
	l.gone = true
	l.mu.Unlock()
	l.stop(errClosed)
	l.runs.Wait()
	l.programs.close()
	return nil
}

// Run implements exec.Engine.
func (l *Local) Run(ctx context.Context, spec exec.Spec) (exec.Result, error) {
	l.mu.Lock()
	if l.gone {
		l.mu.Unlock()
		return exec.Result{}, errClosed
	}
	l.runs.Add(1)
	l.mu.Unlock()
	defer l.runs.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.ctx, func() { cancel(errClosed) })()

	if err := check(spec); err != nil {
		return exec.Result{}, err
	}
	name := entryName(spec.Hash, pages(spec.Limits))
	p, release, err := l.programs.use(name, func() (*program, error) { return l.load(l.ctx, name, spec) })
	var bad *badProgram
	if errors.As(err, &bad) {
		return exec.Result{Status: bad.status, Message: clip(bad.why)}, nil
	}
	if err != nil {
		return exec.Result{}, err
	}
	defer release()
	return l.runProgram(ctx, p, spec)
}

// load makes a program ready, through the cache when there is one.
func (l *Local) load(ctx context.Context, name string, spec exec.Spec) (*program, error) {
	module := func() ([]byte, error) {
		b, err := readProgram(spec.Program, spec.Hash)
		if err != nil {
			return nil, err
		}
		return instrument(b, pages(spec.Limits))
	}
	if l.cache == nil {
		b, err := module()
		if err != nil {
			return nil, err
		}
		return compile(ctx, b, "", l.opt.Interpret)
	}
	dir, err := l.cache.get(ctx, name, func(dir string) error {
		b, err := module()
		if err != nil {
			return err
		}
		return fillEntry(ctx, b, dir)
	})
	if err != nil {
		return nil, err
	}
	return loadEntry(ctx, dir)
}

// loadEntry makes the program of a verified cache entry ready.
func loadEntry(ctx context.Context, dir string) (*program, error) {
	b, err := os.ReadFile(filepath.Join(dir, moduleFile))
	if err != nil {
		return nil, fmt.Errorf("compile cache: %w", err)
	}
	return load(ctx, b, dir, false)
}

func readProgram(path string, hash ledger.Digest) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	defer f.Close()
	return readModule(f, hash)
}

// readModule reads a module and refuses another than the one that was meant.
func readModule(r io.Reader, hash ledger.Digest) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, exec.MaxProgram+1))
	if err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	if len(b) > exec.MaxProgram {
		return nil, bad("module of more than %d bytes", exec.MaxProgram)
	}
	if sha256.Sum256(b) != hash {
		return nil, fmt.Errorf("program: its SHA-256 is not %s: fetch it again", hash)
	}
	return b, nil
}

func (l *Local) runProgram(ctx context.Context, p *program, spec exec.Spec) (exec.Result, error) {
	in, err := hostFiles(spec.In)
	if err != nil {
		return exec.Result{}, err
	}
	data, err := hostFiles(spec.Data)
	if err != nil {
		return exec.Result{}, err
	}
	var stdin io.Reader = bytes.NewReader(spec.Stdin)
	if spec.StdinPath != "" && spec.Stdio == nil {
		f, err := openHostFile(spec.StdinPath)
		if err != nil {
			return exec.Result{}, fmt.Errorf("stdin: %w", err)
		}
		defer f.Close()
		stdin = f
	}
	g, err := newGuest(ctx, spec, in, data, stdin)
	if err != nil {
		return exec.Result{}, err
	}
	defer g.closeAll()
	if s := spec.Stdio; s != nil {
		g.passThrough(s)
	}
	start := time.Now()
	res, err := p.run(g)
	res.WallMs = time.Since(start).Milliseconds()
	if err != nil || res.Status != exec.Exited {
		return res, err
	}
	res.Files, err = keepFiles(g.tree.out, spec.OutDir)
	return res, err
}

// passThrough connects the guest to streams of this host.
func (g *guest) passThrough(s *exec.Stdio) {
	g.blocks = true
	if g.stdin = io.Reader(bytes.NewReader(nil)); s.In != nil {
		g.stdin = s.In
		st, err := s.In.Stat()
		g.partial = s.Live || err == nil && st.Mode()&os.ModeCharDevice != 0
	}
	if g.out.to = io.Discard; s.Out != nil {
		g.out.to = s.Out
	}
	if g.err.to = io.Discard; s.Err != nil {
		g.err.to = s.Err
	}
}

// check refuses limits that no engine can hold.
func check(spec exec.Spec) error {
	l := spec.Limits
	switch {
	case l.Fuel == 0 || l.Fuel > 1<<60:
		return fmt.Errorf("fuel limit %d: give a number from 1 to 2^60", l.Fuel)
	case l.Memory < pageSize || l.Memory > exec.MaxMemory:
		return fmt.Errorf("memory limit %d bytes: give 64 KiB to 4 GiB", l.Memory)
	case l.WallMs <= 0:
		return fmt.Errorf("time limit %d ms: give 1 ms or more", l.WallMs)
	case l.Output < 0 || l.Output > exec.MaxOutput:
		return fmt.Errorf("output limit %d bytes: give at most 1 GiB", l.Output)
	case len(spec.In) > exec.MaxFiles || len(spec.Data) > exec.MaxFiles:
		return fmt.Errorf("more than %d files in /in or /data", exec.MaxFiles)
	}
	return nil
}

// hostFiles turns mounts into files that are opened when the guest opens them.
func hostFiles(mounts []exec.Mount) (map[string]*hostFile, error) {
	files := make(map[string]*hostFile, len(mounts))
	for _, m := range mounts {
		size, err := fileSize(m.Path)
		if err != nil {
			return nil, fmt.Errorf("input file %s: %w", m.Name, err)
		}
		if files[m.Name] != nil {
			return nil, fmt.Errorf("input file %s: named twice", m.Name)
		}
		files[m.Name] = &hostFile{size: size, open: func() (readerAtCloser, error) { return openHostFile(m.Path) }}
	}
	return files, nil
}

func fileSize(path string) (int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, errors.New("not a regular file")
	}
	return st.Size(), nil
}

func openHostFile(path string) (*os.File, error) {
	if _, err := fileSize(path); err != nil { // opening a pipe would block
		return nil, err
	}
	return os.Open(path)
}
