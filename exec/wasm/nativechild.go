package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// A nativeProgram is a program that the second tier has compiled: a verified cache entry.
type nativeProgram struct {
	entry string // of the cache
	pages uint32
}

func (n *nativeProgram) name() string {
	if n == nil {
		return ""
	}
	return n.entry
}

// A native is a process of the second tier: one program, for one worker.
type native struct {
	*child
	id      uint64
	program *nativeProgram
	ends    [2]*os.File // the worker's
}

// nativeIDs tells native processes apart.
var nativeIDs atomic.Uint64

func (n *native) name() string {
	if n == nil {
		return ""
	}
	return n.program.entry
}

// file is one of the worker's ends, by the number that the worker asks with; nil for others.
func (n *native) file(number int) *os.File {
	switch {
	case n == nil:
		return nil
	case number == nativeSocket:
		return n.ends[0]
	case number == nativeMemory:
		return n.ends[1]
	}
	return nil
}

func (n *native) end() {
	if n == nil {
		return
	}
	n.child.end()
	for _, f := range n.ends {
		f.Close()
	}
}

// epitaph says how the process ended, and what it left on its stderr. It is asked of one that
// has closed its socket, so that it is about to end if it has not.
func (n *native) epitaph() string {
	select {
	case <-n.exited:
		return fmt.Sprintf(" (%s)%s", n.cmd.ProcessState, n.stderr)
	case <-time.After(time.Second):
		return ""
	}
}

// attach gives a worker a native process for a program, and makes the worker if there is none.
// The worker comes back also with an error, if it is there.
func (p *Pool) attach(ctx context.Context, c *child, program *nativeProgram) (*child, error) {
	if c == nil {
		var err error
		if c, err = p.start(ctx, p.workerSetup(), nil); err != nil {
			return nil, err
		}
	}
	if c.native.name() == program.entry {
		return c, nil
	}
	c.native.end()
	c.native = nil
	worker, theirs, err := nativeEnds(int64(program.pages) * pageSize)
	if err != nil {
		return c, err
	}
	defer theirs[0].Close()
	n := &native{id: nativeIDs.Add(1), program: program, ends: worker}
	n.child, err = p.start(ctx, setup{Modules: filepath.Join(p.cache.modules(), program.entry), Native: true}, nil, theirs[:]...)
	if err == nil { // its threads have their priority now: it may start
		err = writeFrame(n.conn, toWorker{Task: &task{}}, maxToWorker)
	}
	if err != nil {
		if n.child != nil {
			n.child.end()
		}
		for _, f := range worker {
			f.Close()
		}
		return c, err
	}
	c.native = n
	return c, nil
}

// compile has a sandboxed worker compile the unit's program natively into a folder.
func (c *child) compile(ctx context.Context, u *unit, dir string) error {
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	path := filepath.Join(dir, nativeFile)
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	defer out.Close()
	room := maxNative
	t := task{Hash: u.task.Hash, Pages: u.task.Pages}
	err = writeFrame(c.conn, toWorker{Task: &t}, maxToWorker)
	for err == nil {
		var f fromWorker
		f, err = c.frame()
		switch {
		case err != nil:
		case f.Open != nil:
			err = c.answer(f.Open.File, []string{u.spec.Program})
		case f.Chunk != nil && f.Chunk.Stream == 3 && f.Chunk.Name == nativeFile && len(f.Chunk.Data) <= room:
			room -= len(f.Chunk.Data)
			_, err = out.Write(f.Chunk.Data)
		case f.Built != nil && f.Built.Fault != "":
			return errors.New(f.Built.Fault)
		case f.Built != nil && f.Built.Status == 0 && room < maxNative:
			return out.Close()
		default:
			err = errors.New("the compiler's sandbox sent a frame out of place")
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
