package localapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// writeTimeout is how long a reader of a stream may leave it unread. Someone who fetches
// results slowly is normal; someone suspended for an hour holds a connection for nothing.
const writeTimeout = time.Hour

// inputs reads lines of exec.Input. Only the backend's demand moves it, so a full window
// in the node holds back the sender through the socket.
func (h handler) inputs(r *http.Request) (any, error) {
	at, err := number(r, "at")
	if err != nil {
		return nil, err
	}
	var bad error
	lines, unit := newLines(r.Body), at
	next := func() (exec.Input, error) {
		var in exec.Input
		if bad == nil {
			in, bad = nextInput(lines, unit)
			unit++
		}
		return in, bad
	}
	units, err := h.b.AddInputs(r.Context(), r.PathValue("id"), at, next)
	if bad != nil && bad != io.EOF {
		err = bad // says more than what the backend makes of it
	}
	return node.Units{Units: units}, err
}

func newLines(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), node.MaxInput)
	return s
}

func nextInput(lines *bufio.Scanner, unit uint64) (in exec.Input, err error) {
	if !lines.Scan() {
		switch err := lines.Err(); {
		case err == nil:
			return in, io.EOF
		case errors.Is(err, bufio.ErrTooLong):
			return in, usage("unit %d: input line longer than %d MiB: put the bytes into a blob", unit, node.MaxInput>>20)
		default:
			return in, usage("unit %d: the stream of inputs broke off: %v", unit, err)
		}
	}
	if err := decodeStrict(lines.Bytes(), &in); err != nil {
		return exec.Input{}, usage("unit %d: %v", unit, err)
	}
	if len(in.Stdin) > exec.MaxInline {
		return exec.Input{}, usage("unit %d: %d bytes of stdin, at most %d: use stdin_file", unit, len(in.Stdin), exec.MaxInline)
	}
	files := in.Files
	if in.StdinFile != nil {
		if in.StdinFile.Size < 0 {
			return exec.Input{}, usage("unit %d: stdin_file of negative size", unit)
		}
		if in.Stdin != nil {
			return exec.Input{}, usage("unit %d: both stdin and stdin_file", unit)
		}
	}
	if err := exec.ValidFiles(files); err != nil {
		return exec.Input{}, usage("unit %d: %v", unit, err)
	}
	return in, nil
}

func (h handler) results(w http.ResponseWriter, r *http.Request) error {
	from, err := optional(r, "from", 0)
	if err != nil {
		return err
	}
	order := node.InOrder
	if q := r.URL.Query(); q.Has("order") {
		order = node.Order(q.Get("order"))
	}
	if order != node.InOrder && order != node.AsEnded {
		return usage("order=%.40q: give %s or %s", order, node.InOrder, node.AsEnded)
	}
	return writeLines(w, r.Context(), func(ctx context.Context, yield func(node.UnitResult) error) error {
		return h.b.Results(ctx, r.PathValue("id"), from, order, yield)
	})
}

func (h handler) receipts(w http.ResponseWriter, r *http.Request) error {
	return writeLines(w, r.Context(), h.b.Receipts)
}

func (h handler) export(w http.ResponseWriter, r *http.Request) error {
	ms, err := optional(r, "since", 0)
	if err == nil && ms > math.MaxInt64/2 {
		err = usage("since=%d: give Unix milliseconds", ms)
	}
	if err != nil {
		return err
	}
	var since time.Time
	if ms > 0 {
		since = time.UnixMilli(int64(ms))
	}
	return writeLines(w, r.Context(), func(ctx context.Context, yield func(ledger.Row) error) error { return h.b.Export(ctx, since, yield) })
}

// What may wait for a slow reader: so many lines, and of bytes so many or one line.
const (
	aheadLines = 16
	aheadBytes = 1 << 20
)

// writeLines streams values as JSON lines, each at once, since the next may be long in coming; those that
// come faster than a write takes share the next one. What goes wrong before the first line is an ordinary
// error; afterwards it travels in the trailer.
func writeLines[T any](w http.ResponseWriter, ctx context.Context, source func(context.Context, func(T) error) error) error {
	rc, begun := http.NewResponseController(w), false
	begin := func() {
		begun = true
		w.Header().Set("Content-Type", "application/jsonl")
		w.Header().Set("Trailer", node.ProblemTrailer)
		_ = rc.Flush() // the caller learns that its request is accepted
	}
	gone := errors.New("reader has gone")
	lines, ended := make(chan []byte, aheadLines), make(chan struct{})
	room := semaphore.NewWeighted(aheadBytes)
	weight := func(b []byte) int64 { return int64(min(len(b), aheadBytes)) }
	reading, stop := context.WithCancel(ctx)
	defer stop()
	write := func() {
		defer close(ended)
		defer stop()
		for b := range lines {
			_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := w.Write(b); err != nil {
				return
			}
			if len(lines) == 0 && rc.Flush() != nil {
				return
			}
			room.Release(weight(b))
		}
	}
	err := source(ctx, func(v T) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if !begun {
			begin()
			go write()
		}
		b = append(b, '\n')
		if room.Acquire(reading, weight(b)) != nil {
			return gone
		}
		select {
		case lines <- b:
			return nil
		case <-ended:
			return gone
		}
	})
	close(lines)
	if begun {
		<-ended
	}
	switch {
	case err == nil && !begun:
		begin()
	case err == nil || errors.Is(err, gone):
	case !begun:
		return err
	default:
		b, _ := json.Marshal(problemOf(err)) // three strings cannot fail
		w.Header().Set(node.ProblemTrailer, string(b))
	}
	return nil
}
