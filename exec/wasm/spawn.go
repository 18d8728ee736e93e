package wasm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A spawner starts worker processes, all from one goroutine: on Linux the system kills a child
// when the thread that started it ends, so that thread must stay.
type spawner struct {
	jobs chan func()
	done chan struct{}
	// spaces is whether this machine lets us make namespaces; found out by the first start.
	spaces bool

	freezer *freezer
	pacer   *pacer

	grouping sync.Mutex  // guards what follows
	group    *guestGroup // of all workers that yield; made for the first
	groupErr error       // why there is none
}

func newSpawner() *spawner {
	f := newFreezer()
	s := &spawner{jobs: make(chan func()), done: make(chan struct{}), spaces: true, freezer: f, pacer: &pacer{f: f}}
	go func() {
		defer close(s.done)
		keepThread()
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

func (s *spawner) close() {
	s.pacer.set(100)
	close(s.jobs)
	<-s.done
	if s.group != nil {
		s.group.close()
	}
}

// house gives a worker that has no work yet its place in the workers' cgroup.
// The name is the cgroup's, "" for none.
func (s *spawner) house(c *child) (name string, err error) {
	s.grouping.Lock()
	defer s.grouping.Unlock()
	if s.group == nil && s.groupErr == nil {
		s.group, s.groupErr = openGuestGroup()
	}
	if s.groupErr != nil {
		return "", s.groupErr
	}
	if err := s.group.room(s.freezer.size()); err != nil {
		return "", err
	}
	return s.group.name(), s.group.add(c.cmd.Process.Pid)
}

// start starts a worker and waits for it to report. It gets files as its descriptors 3 and up.
func (s *spawner) start(ctx context.Context, argv []string, set setup, files ...*os.File) (c *child, err error) {
	started := make(chan struct{})
	s.jobs <- func() {
		defer close(started)
		set.Spaces = s.spaces && !set.Bare && haveSpaces
		set.Nobody = set.Compile && set.Spaces && os.Getuid() == 0
		c, err = launch(argv, workerAttr(set.Spaces, set.Nobody), files)
		if err != nil && set.Nobody {
			set.Nobody = false
			c, err = launch(argv, workerAttr(true, false), files)
		}
		if err != nil && set.Spaces {
			if c, err = launch(argv, workerAttr(false, false), files); err == nil {
				s.spaces, set.Spaces = false, false
			}
		}
	}
	<-started
	if err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	c.freezer, c.memory = s.freezer, set.Memory
	s.freezer.add(c)
	stop := context.AfterFunc(ctx, c.kill)
	late := s.freezer.after(startTime, c.kill)
	err = writeFrame(c.conn, toWorker{Setup: &set}, maxToWorker)
	var f fromWorker
	if err == nil {
		f, err = c.frame()
	}
	if err == nil && f.Ready == nil {
		err = errors.New("its first frame is not ready: is it the same version of p3?")
	}
	inTime := late.stop()
	switch {
	case !stop() && ctx.Err() != nil:
		c.end()
		return nil, context.Cause(ctx)
	case !inTime:
		c.end()
		return nil, fmt.Errorf("start a worker: no answer within %s%s", startTime, c.stderr)
	case err != nil:
		c.end()
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	c.shut = f.Ready.Protections
	var group string
	var grouped error
	if !set.Foreground { // from now on, as it could take long to start with no weight
		group, grouped = s.house(c)
	}
	c.walls = append(slices.Clip(c.shut), yield(c.cmd.Process.Pid, set.Foreground, group, grouped)...)
	return c, nil
}

// launch starts the process.
func launch(argv []string, attr *syscall.SysProcAttr, files []*os.File) (*child, error) {
	ours, in, out, err := connect()
	if err != nil {
		return nil, err
	}
	c := &child{conn: ours, stderr: &said{}, exited: make(chan struct{})}
	c.r = bufio.NewReaderSize(ours, 16<<10)
	c.cmd = osexec.Command(argv[0], argv[1:]...)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = in, out, c.stderr
	c.cmd.Env = append(workerEnv(), workerMark+"=1")
	c.cmd.SysProcAttr = attr
	c.cmd.ExtraFiles = files
	c.cmd.WaitDelay = time.Second
	defer out.Close()
	defer in.Close()
	if err := c.cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait() // how it ended is in ProcessState
		close(c.exited)
	}()
	return c, nil
}

// workerMark is set in a worker's environment, for executables that find out by it what they are.
const workerMark = "P3_WORKER"

// workerEnv is the little of our environment that a worker needs: nothing of the owner's.
func workerEnv() (env []string) {
	for _, name := range []string{"SystemRoot", "TEMP", "TMP", "GOCOVERDIR", "GOTRACEBACK"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
