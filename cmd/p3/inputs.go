package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// maxLine bounds a line of input, in bytes. Lines beyond exec.MaxInline travel as blobs.
const maxLine = 64 << 20

// A source yields the inputs of a job, unit by unit, until io.EOF.
type source func() (exec.Input, error)

type putBlob func(ctx context.Context, r io.Reader) (exec.File, error)

// lines yields one unit a line. The last may lack its newline.
func lines(ctx context.Context, r io.Reader, put putBlob) source {
	br := bufio.NewReaderSize(r, 256<<10)
	return func() (exec.Input, error) {
		var line []byte
		for {
			part, err := br.ReadSlice('\n')
			line = append(line, part...)
			if len(line) > maxLine {
				return exec.Input{}, usage("a line of input is longer than %s: use files instead (--files)", showSize(maxLine))
			}
			if err == nil {
				break
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != io.EOF || len(line) == 0 {
				return exec.Input{}, err
			}
			break
		}
		in := exec.Input{}
		if len(line) <= exec.MaxInline {
			in.Stdin = line
		} else {
			f, err := put(ctx, bytes.NewReader(line))
			if err != nil {
				return in, err
			}
			in.StdinFile = &f
		}
		if text := bytes.TrimRight(line, "\r\n"); len(text) <= 4096 {
			in.Text = string(bytes.ToValidUTF8(text, []byte("�")))
		}
		return in, nil
	}
}

// numbers yields one unit a number.
func numbers(from, step int64, n uint64) source {
	i := uint64(0)
	return func() (exec.Input, error) {
		if i == n {
			return exec.Input{}, io.EOF
		}
		s := strconv.FormatInt(from+int64(i)*step, 10)
		i++
		return exec.Input{Text: s, Stdin: []byte(s + "\n")}, nil
	}
}

// files yields one unit a file, which it finds at /in/NAME and on stdin.
func files(ctx context.Context, paths []string, put putBlob) source {
	i := 0
	return func() (exec.Input, error) {
		if i == len(paths) {
			return exec.Input{}, io.EOF
		}
		path := paths[i]
		i++
		r, err := os.Open(path)
		if err != nil {
			return exec.Input{}, &node.Problem{Code: node.CodeUsage, Message: err.Error()}
		}
		defer r.Close()
		f, err := put(ctx, r)
		if err != nil {
			return exec.Input{}, err
		}
		f.Name = filepath.Base(path)
		return exec.Input{Text: "/in/" + f.Name, Files: []exec.File{f}, StdinFile: &f}, nil
	}
}

// expandFiles resolves patterns; a name that is no pattern must exist.
func expandFiles(patterns []string) ([]string, error) {
	var out []string
	for _, p := range patterns {
		m, err := filepath.Glob(p)
		if err != nil || len(m) == 0 {
			return nil, usage("no file matches %q", p)
		}
		out = append(out, m...)
	}
	return out, nil
}

// A replay remembers what a source yielded until the node has surely kept it, so that
// a node that is restarted can be sent the rest again.
type replay struct {
	next source
	most int // bytes remembered, beyond which it waits for release; 0 = any

	reading sync.Mutex // held by whoever calls next

	mu   sync.Mutex // guards what follows
	base uint64     // unit of kept[0]
	kept []exec.Input
	size int // of kept, in bytes
	end  error
	room chan struct{} // closed by the next release; nil = nobody waits
}

// replayBytes is the most that a replay remembers where somebody fetches results: more than as many short inputs as the
// node takes ahead.
const replayBytes = 16 << 20

func inputSize(in exec.Input) (n int) {
	for _, a := range in.Args {
		n += len(a)
	}
	return n + len(in.Stdin) + len(in.Text)
}

// from returns a source that starts at unit at, which must not have been released. A source
// that was given up may still wait in next: what it gets is the following one's.
func (r *replay) from(at uint64) source {
	unit := at
	return func() (exec.Input, error) {
		in, ok, err := r.have(unit)
		if !ok && err == nil {
			r.reading.Lock()
			r.await()
			if in, ok, err = r.have(unit); !ok && err == nil {
				in, err = r.next()
				r.keep(in, err)
			}
			r.reading.Unlock()
		}
		if err == nil {
			unit++
		}
		return in, err
	}
}

// have returns a unit that next yielded before, or how next ended.
func (r *replay) have(unit uint64) (in exec.Input, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if unit < r.base {
		return in, false, fmt.Errorf("unit %d is gone from memory", unit)
	}
	if i := unit - r.base; i < uint64(len(r.kept)) {
		return r.kept[i], true, nil
	}
	return in, false, r.end
}

// await waits until there is room for one more.
func (r *replay) await() {
	for {
		r.mu.Lock()
		if r.most == 0 || r.size < r.most {
			r.mu.Unlock()
			return
		}
		if r.room == nil {
			r.room = make(chan struct{})
		}
		room := r.room
		r.mu.Unlock()
		<-room
	}
}

func (r *replay) keep(in exec.Input, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.end = err
		return
	}
	r.kept = append(r.kept, in)
	r.size += inputSize(in)
}

// release forgets the units before n: the node has them.
func (r *replay) release(n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > r.base {
		k := min(n-r.base, uint64(len(r.kept)))
		for i, in := range r.kept[:k] {
			r.size -= inputSize(in)
			r.kept[i] = exec.Input{} // its bytes go now, its place when kept grows into another array
		}
		if r.room != nil {
			close(r.room)
			r.room = nil
		}
		r.kept = r.kept[k:]
		r.base += k
	}
}

// total is how many units there are, once the source has ended well.
func (r *replay) total() (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.base + uint64(len(r.kept)), r.end == io.EOF
}
