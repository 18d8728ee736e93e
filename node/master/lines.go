package master

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// MaxLine is the longest line of a master, in bytes.
const MaxLine = 64 << 20

// A Line is what a master writes: a unit, or, where the master has a place for what it found, a piece of that.
type Line struct {
	ID     json.RawMessage `json:"id,omitempty"`           // a string or a number of the master's, which the unit's Answer carries
	Stdin  *string         `json:"stdin,omitempty"`        // of the unit, as it stands, without a newline added
	Bytes  []byte          `json:"stdin_base64,omitempty"` // instead of Stdin, for what is not UTF-8
	Args   []string        `json:"args,omitempty"`         // in place of the job's arguments
	Output *string         `json:"output,omitempty"`       // no unit: text for the stdout of p3 farm
}

var lineWords = []string{"id", "stdin", "stdin_base64", "args", "output"}

// An Answer is what a master reads: how one unit ended. Answers come in the order in which units end.
type Answer struct {
	Schema      string          `json:"schema"` // "p3.farm/v1"
	Unit        uint64          `json:"unit"`   // from 0, in the order in which units were written
	ID          json.RawMessage `json:"id,omitempty"`
	OK          bool            `json:"ok"` // it ended by itself with exit code 0
	Status      exec.Status     `json:"status"`
	ExitCode    uint32          `json:"exit_code"`
	Error       string          `json:"error,omitempty"` // why it is not OK, for people
	Stdout      string          `json:"stdout"`
	StdoutBytes []byte          `json:"stdout_base64,omitempty"` // instead of Stdout, when that is not UTF-8
	Stderr      string          `json:"stderr,omitempty"`        // what is not UTF-8 in it is replaced
	Files       []exec.File     `json:"files,omitempty"`         // what the unit left in /out
	Hosts       []string        `json:"hosts,omitempty"`
	Cost        ledger.Credits  `json:"cost_ucr"`
	Fuel        ledger.Fuel     `json:"fuel"`
	WallMs      int64           `json:"wall_ms"`
}

// ErrUnread is in the error of Serve when units are out and whoever was to read their results has gone.
var ErrUnread = errors.New("nobody reads the results any more")

// Lines says what Serve does besides.
type Lines struct {
	Gone   <-chan struct{}                                    // closed when the master has ended; nil = that is not known
	Output io.Writer                                          // where a master's output goes; nil = a line with one is an error
	Result func(ctx context.Context, r node.UnitResult) error // called with each result before the master sees it; nil = nothing
}

// stallAfter is how long nothing may move in either direction before the master is told that it waits for itself.
const stallAfter = time.Second

// Serve lets whoever is behind two streams be the master of f: it submits a unit for each Line of in and writes an
// Answer to out for each that ends, until in has ended and all units have, or until an error. A line that is not right
// is a *node.Problem that names it. in may still be read after Serve has returned, until it is closed.
func Serve(ctx context.Context, f *Farm, in io.Reader, out io.Writer, o Lines) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var full, unread atomic.Bool
	go func() {
		if err := f.readLines(ctx, in, o.Output, &full); err != nil {
			cancel(err)
			return
		}
		f.Close()
		select {
		case <-o.Gone:
			if n := f.Out(); n > 0 {
				cancel(fmt.Errorf("%w: %d units are out", ErrUnread, n))
			}
		case <-ctx.Done():
		}
	}()
	go f.watchStall(ctx, &full, &unread)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for {
		r, tag, err := f.next(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if o.Result != nil {
			if err := o.Result(ctx, r); err != nil {
				return err
			}
		}
		id, _ := tag.(json.RawMessage)
		unread.Store(true)
		if err := lines.Encode(answer(r, id)); err != nil {
			return fmt.Errorf("%w: %w", ErrUnread, err)
		}
		unread.Store(false)
	}
}

func answer(r node.UnitResult, id json.RawMessage) Answer {
	a := Answer{Schema: "p3.farm/v1", Unit: r.Unit, ID: id, OK: r.Error == "" && r.Result.OK(), Status: r.Result.Status, ExitCode: r.Result.ExitCode, Error: r.Error,
		Stderr: strings.ToValidUTF8(string(r.Result.Stderr), "�"), Files: r.Result.Files, Hosts: r.Hosts, Cost: r.Cost, Fuel: r.Result.Fuel, WallMs: r.Result.WallMs}
	if utf8.Valid(r.Result.Stdout) {
		a.Stdout = string(r.Result.Stdout)
	} else {
		a.StdoutBytes = r.Result.Stdout
	}
	switch {
	case a.OK || a.Error != "":
	case a.Status == exec.Exited:
		a.Error = fmt.Sprintf("exit code %d", a.ExitCode)
	default:
		a.Error = a.Status.String()
		if r.Result.Message != "" {
			a.Error += ": " + r.Result.Message
		}
	}
	return a
}

// readLines submits the units of in until it ends.
func (f *Farm) readLines(ctx context.Context, in io.Reader, output io.Writer, full *atomic.Bool) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), MaxLine)
	n := 0
	bad := func(format string, args ...any) error {
		return &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("line %d of the master: ", n) + fmt.Sprintf(format, args...),
			Hint: `write one JSON object a line, such as {"stdin": "3 4\n"}; docs/master-worker.md has the fields`}
	}
	for lines.Scan() {
		n++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		l, err := parseLine(lines.Bytes())
		if err != nil {
			return bad("%v", err)
		}
		if l.Output != nil {
			if output == nil {
				return bad("there is no place for output here: start the master with p3 farm APP -- MASTER")
			}
			if _, err := io.WriteString(output, *l.Output); err != nil {
				return fmt.Errorf("the master's output: %w", err)
			}
			continue
		}
		input := exec.Input{Stdin: l.Bytes, Args: l.Args}
		if l.Stdin != nil {
			input = Text(*l.Stdin)
			input.Args = l.Args
		}
		full.Store(true)
		_, err = f.submit(ctx, input, l.ID)
		full.Store(false)
		var p *node.Problem
		switch {
		case errors.As(err, &p) && p.Code == node.CodeUsage:
			return bad("%v", err)
		case errors.Is(err, ErrClosed), errors.Is(err, ErrHalted):
			return nil // Next says so
		case err != nil:
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		n++
		return bad("longer than %d MiB: let units read it as a file (--data)", MaxLine>>20)
	} else if err != nil && ctx.Err() == nil {
		return fmt.Errorf("read from the master: %w", err)
	}
	return ctx.Err()
}

// parseLine is strict: a misspelt field would be a unit without it.
func parseLine(b []byte) (l Line, err error) {
	if !utf8.Valid(b) {
		return l, errors.New("not UTF-8: send bytes as stdin_base64")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		if _, rest, ok := strings.Cut(err.Error(), "unknown field "); ok {
			word := strings.Trim(rest, `"`)
			if best := node.Nearest(word, lineWords); best != "" {
				return l, fmt.Errorf("unknown field %q; did you mean %q?", word, best)
			}
			return l, fmt.Errorf("unknown field %q; the fields are %s", word, strings.Join(lineWords, ", "))
		}
		return l, fmt.Errorf("not a JSON object of a unit: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if d.InputOffset() < int64(len(bytes.TrimRight(b, " \t\r\n"))) {
		return l, errors.New("more than one value")
	}
	unit := l.Stdin != nil || l.Bytes != nil || l.Args != nil
	switch {
	case len(l.ID) > 1024 || len(l.ID) > 0 && !bytes.ContainsAny(l.ID[:1], `"-0123456789`):
		return l, errors.New("id: give a string or a number, of at most 1024 bytes")
	case l.Stdin != nil && l.Bytes != nil:
		return l, errors.New("both stdin and stdin_base64")
	case l.Output != nil && (unit || l.ID != nil):
		return l, errors.New("output goes without the fields of a unit")
	case l.Output == nil && !unit:
		return l, errors.New("neither stdin, stdin_base64 nor args: a unit has one of these")
	}
	return l, nil
}

// watchStall tells, once, of a master that writes while all it may have out is out, and does not read meanwhile.
func (f *Farm) watchStall(ctx context.Context, full, unread *atomic.Bool) {
	tick := time.NewTicker(stallAfter)
	defer tick.Stop()
	type place struct {
		units uint64
		out   int
	}
	var last place
	for stalled := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.mu.Lock()
		here := place{f.units, len(f.out)}
		f.mu.Unlock()
		now := full.Load() && unread.Load()
		if now && stalled && here == last {
			f.notice("the master has %d units out and does not read: results wait for it, and it waits to write. It has to read results while it writes, or to have fewer units out", here.out)
			return
		}
		stalled, last = now, here
	}
}
