package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
)

// A source is a peer that a blob is asked of.
type source struct {
	peer   peer.ID
	fellow bool  // somebody said that it has the blob; else it is one of those who surely do
	asked  bool  // in this round
	fails  int   // in a row
	slow   bool  // it was left for another
	out    bool  // not asked any more
	err    error // of the last time
}

// A pull is one blob being fetched: from any of its sources, and from the next when one is busy, slow, gone or lying.
type pull struct {
	x       *Exchange
	f       exec.File
	c       circle
	o       *fetch
	in      Incoming
	sources []*source
	members bool             // those of the group were made sources
	givers  map[peer.ID]bool // whose bytes are in in; "" = of an earlier fetch
	pure    bool             // bytes of different peers are not mixed any more: they came to something wrong
}

var errSlow = errors.New("slow")

// A localError is this machine's own.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

func (d *pull) run(ctx context.Context) error {
	for _, p := range d.c.from {
		d.add(p, false)
	}
	if d.in.Offset() > 0 {
		d.givers[""] = true
	}
	for pause := failPause; ; {
		s := d.choose()
		if s == nil && !d.again() {
			return d.failure()
		}
		if s == nil {
			t := time.NewTimer(pause/2 + rand.N(pause/2))
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return ctx.Err()
			}
			pause = min(2*pause, maxPause)
			continue
		}
		before := d.o.got.Load()
		s.asked = true
		err := d.draw(ctx, s)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		got := d.o.got.Load() - before
		if got > 0 {
			pause = failPause
		}
		if got >= pastFail {
			s.fails = 0
		}
		if local := new(localError); errors.As(err, local) {
			return local.error
		}
		if err := d.note(s, err); err != nil {
			return err
		}
	}
}

func (d *pull) add(p peer.ID, fellow bool) {
	if p == d.x.net.Self() || slices.ContainsFunc(d.sources, func(s *source) bool { return s.peer == p }) {
		return
	}
	s := &source{peer: p, fellow: fellow}
	if fellow {
		m := d.x.marked(p)
		s.out, s.slow = m.liar, !m.until.IsZero()
	}
	d.sources = append(d.sources, s)
}

// choose returns whom to ask next in this round: any good fellow, then those who surely have it, then, where these
// are of no use, a slow one. nil = all were asked.
func (d *pull) choose() *source {
	var fellows []*source
	sure := false
	for _, s := range d.sources {
		if s.fellow && !s.slow && !s.out && !s.asked {
			fellows = append(fellows, s)
		}
		sure = sure || !s.fellow && !s.out
	}
	if n := len(fellows); n > 0 {
		return fellows[rand.IntN(n)]
	}
	for _, s := range d.sources {
		if !s.out && !s.asked && (!s.fellow || !sure) {
			return s
		}
	}
	return nil
}

// again begins another round; false = nobody is left.
func (d *pull) again() (any bool) {
	for _, s := range d.sources {
		s.asked = false
		any = any || !s.out
	}
	if !any && !d.members && d.c.group != nil { // some of them may have it
		d.members = true
		for _, p := range d.c.group.Members() {
			d.add(p, true)
		}
		return d.again()
	}
	return any
}

func (d *pull) failure() error {
	errs := []error{}
	for _, s := range d.sources {
		if s.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.x.net.Name(s.peer), s.err))
		}
	}
	if len(errs) == 0 {
		return errNoBlob
	}
	return errors.Join(errs...)
}

// failed lists the fellows who were of no use.
func (d *pull) failed() (out [][]byte) {
	for _, s := range d.sources {
		if s.fellow && (s.out || s.slow) && len(out) < maxHolders {
			out = append(out, []byte(s.peer))
		}
	}
	return out
}

// draw gets from a peer what is missing, and verifies the whole.
func (d *pull) draw(ctx context.Context, s *source) error {
	if d.pure && !d.givers[s.peer] {
		if err := d.rewind(); err != nil {
			return err
		}
	}
	hurry, q := d.hurries(s), inquiry{offset: d.in.Offset(), refer: d.c.group != nil, failed: d.failed(), idle: blobStall}
	if hurry {
		q.idle = fairTime
	}
	err := d.x.transfer(ctx, d.f, s.peer, q, func(r io.Reader, start int64) error {
		if start != d.in.Offset() { // an older peer begins at the first byte
			if err := d.rewind(); err != nil {
				return err
			}
		}
		d.givers[s.peer] = true
		return d.copy(r, hurry)
	})
	if err != nil {
		return err
	}
	err = d.in.Commit()
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, ErrWrongBlob):
		return localError{err}
	}
	if len(d.givers) > 1 {
		d.pure = true // somebody lies: from now on one sees who
	} else {
		s.out = true
		d.x.note(s.peer, mark{true, time.Now().Add(liarTime)})
	}
	d.givers = map[peer.ID]bool{}
	in, openErr := d.x.blobs.Create(d.f)
	if openErr != nil {
		return localError{openErr}
	}
	d.in = in
	return err
}

func (d *pull) rewind() error {
	clear(d.givers)
	if err := d.in.Rewind(); err != nil {
		return localError{err}
	}
	return nil
}

// hurries reports whether somebody else could be asked instead of a fellow.
func (d *pull) hurries(s *source) bool {
	return s.fellow && slices.ContainsFunc(d.sources, func(o *source) bool { return o != s && !o.out && !o.slow })
}

func (d *pull) copy(r io.Reader, hurry bool) error {
	buf := make([]byte, 64<<10)
	begun, from := time.Now(), d.in.Offset()
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := d.in.Write(buf[:n]); err != nil {
				return localError{err}
			}
			d.o.got.Add(int64(n))
		}
		took := time.Since(begun)
		switch {
		case d.in.Offset() == d.f.Size:
			return nil
		case hurry && took >= fairTime && d.in.Offset()-from < int64(fairRate*took.Seconds()):
			return errSlow
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case took >= fairTime:
			begun, from = time.Now(), d.in.Offset()
		}
	}
}

// note draws the conclusions from what a peer did; it fails with what no other peer can help.
func (d *pull) note(s *source, err error) error {
	s.err = err
	var busy *busyError
	switch {
	case errors.Is(err, ErrNoRoom):
		return err
	case errors.As(err, &busy):
		for _, p := range busy.holders {
			if d.c.group != nil && d.c.group.Has(p) { // a stranger would be somebody's to have dialled by us
				d.add(p, true)
			}
		}
		return nil
	case errors.Is(err, errSlow):
		s.slow = true
		d.x.note(s.peer, mark{false, time.Now().Add(slowTime)})
		return nil
	case errors.Is(err, ErrWrongBlob):
		return nil
	}
	if s.fails++; s.fails >= maxFails || d.c.group == nil && errors.Is(err, errNoBlob) {
		s.out = true
	}
	return nil
}

// marked is what is remembered of a peer.
func (x *Exchange) marked(p peer.ID) mark {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.marks[p]
	if time.Now().After(m.until) {
		return mark{}
	}
	return m
}

func (x *Exchange) note(p peer.ID, m mark) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.marks) >= maxMarks {
		now := time.Now()
		maps.DeleteFunc(x.marks, func(_ peer.ID, m mark) bool { return now.After(m.until) })
	}
	if x.marks[p].liar && !m.liar || len(x.marks) >= maxMarks {
		return
	}
	x.marks[p] = m
}
