package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// Beat is how often a node shows on the watch stream that it is alive, and Silence is
// how long a watcher waits for that before it holds the node for lost.
const (
	Beat    = 2500 * time.Millisecond
	Silence = 4 * Beat
)

// Watch calls yield with the full state and the latest events, then with changes, at most
// four times a second, until ctx ends, yield fails or the node is lost. It does not
// reconnect; a second Watch starts with the full state again.
func (c *Client) Watch(ctx context.Context, yield func(Update) error) error {
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := &Problem{Code: CodeNoNode, Message: fmt.Sprintf("the node has been silent for %s", Silence), Hint: "restart it with: p3 down; p3 up"}
	alive := time.AfterFunc(Silence, func() { cancel(silent) })
	defer alive.Stop()

	resp, err := c.open(ctx, CallWatch, nil, nil, nil)
	if err == nil {
		defer resp.Body.Close()
		err = readEvents(resp.Body, func() { alive.Reset(Silence) }, func(data []byte) error {
			var u Update
			if err := decodeReply(data, &u); err != nil {
				return err
			}
			return callback(yield(u))
		})
	}
	if mine := (callbackError{}); errors.As(err, &mine) {
		return mine.error
	}
	if outer.Err() == nil && context.Cause(ctx) == silent {
		return silent
	}
	return c.streamEnd(outer, err)
}

// readEvents reads server-sent events (HTML Living Standard, 9.2) that consist of data
// alone. It calls alive for every line.
func readEvents(r io.Reader, alive func(), yield func(data []byte) error) error {
	lines := newLines(r, MaxReply)
	var data []byte
	for lines.Scan() {
		alive()
		line := lines.Bytes()
		if len(line) == 0 {
			if len(data) > 0 {
				if err := yield(data); err != nil {
					return err
				}
			}
			data = data[:0]
			continue
		}
		if more, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if len(data)+len(more) > MaxReply {
				return bufio.ErrTooLong
			}
			data = append(data, bytes.TrimPrefix(more, []byte(" "))...)
		}
	}
	return lines.Err()
}

// Results calls yield with every result from unit from on, waiting for those to come, until the job
// has ended or yield fails. Being called with unit n acknowledges all units before n: the node may
// forget their bytes. Called again with another order or from, it yields again what lies behind from.
func (c *Client) Results(ctx context.Context, id string, from uint64, order Order, yield func(UnitResult) error) error {
	q := num("from", from)
	q.Set("order", string(order))
	return readLines(c, ctx, CallResults, []string{id}, q, MaxResult, yield)
}

// Receipts calls yield with every receipt, newest first, until yield fails.
func (c *Client) Receipts(ctx context.Context, yield func(Receipt) error) error {
	return readLines(c, ctx, CallReceipts, nil, nil, MaxReply, yield)
}

// Export calls yield with the rows of the account's ledger that are not older than since (zero: all),
// until yield fails.
func (c *Client) Export(ctx context.Context, since time.Time, yield func(ledger.Row) error) error {
	var q url.Values
	if !since.IsZero() {
		q = num("since", uint64(max(since.UnixMilli(), 0)))
	}
	return readLines(c, ctx, CallExport, nil, q, MaxReply, yield)
}

func readLines[T any](c *Client, ctx context.Context, call Call, args []string, q url.Values, limit int, yield func(T) error) error {
	resp, err := c.open(ctx, call, args, q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := newLines(resp.Body, limit)
	for lines.Scan() {
		var v T
		if err := decodeReply(lines.Bytes(), &v); err != nil {
			return err
		}
		if err := yield(v); err != nil {
			return err
		}
	}
	if lines.Err() != nil {
		return c.streamEnd(ctx, lines.Err())
	}
	return trailerProblem(resp)
}

// trailerProblem is why a stream ended early; nil when it is complete.
func trailerProblem(resp *http.Response) error {
	text := resp.Trailer.Get(ProblemTrailer)
	if text == "" {
		return nil
	}
	var p Problem
	if json.Unmarshal([]byte(text), &p) != nil {
		return &Problem{Code: CodeInternal, Message: "the node ended the stream early"}
	}
	return &p
}

// AddInputs sends units at, at+1, … to a job as next yields them, until next returns
// io.EOF, and returns how many units the job has then. The node takes inputs no faster
// than results are fetched, so somebody has to fetch these meanwhile. An error of next
// ends the call and is returned. When the node ends the call first, next may still be
// running in another goroutine for one last time.
func (c *Client) AddInputs(ctx context.Context, id string, at uint64, next func() (exec.Input, error)) (uint64, error) {
	body := &inputBody{next: next, failed: make(chan error, 1)}
	r, err := fetchQuery[Units](c, ctx, CallInputs, []string{id}, num("at", at), body)
	select {
	case mine := <-body.failed:
		return 0, mine
	default:
		return r.Units, err
	}
}

// inputBody turns inputs into lines of JSON as the transport asks for them.
type inputBody struct {
	next   func() (exec.Input, error)
	rest   []byte
	failed chan error // holds next's error, once
}

func (b *inputBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		in, err := b.next()
		if err == nil {
			b.rest, err = json.Marshal(in)
			b.rest = append(b.rest, '\n')
		}
		if err != nil {
			if err != io.EOF {
				select {
				case b.failed <- err:
				default:
				}
			}
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func newLines(r io.Reader, limit int) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), limit)
	return s
}

// streamEnd says why a stream that should still go has ended.
func (c *Client) streamEnd(ctx context.Context, err error) error {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, bufio.ErrTooLong):
		return &Problem{Code: CodeInternal, Message: "the node sent a line longer than this p3 accepts"}
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF):
		if ctx.Err() == nil {
			return &Problem{Code: CodeNoNode, Message: "the node has stopped", Hint: "start it with: p3 up"}
		}
	}
	return c.problem(ctx, err)
}

// callbackError keeps a caller's own error apart from those of the stream.
type callbackError struct{ error }

func callback(err error) error {
	if err == nil {
		return nil
	}
	return callbackError{err}
}
