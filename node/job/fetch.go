package job

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// Bounds of one fetch.
const (
	fairRate  = 128 << 10              // bytes a second; a fellow that brings less is left for another …
	fairTime  = 3 * time.Second        // … after so long
	maxFails  = 3                      // of one peer in a row
	failPause = 200 * time.Millisecond // before a round of questions, doubled each time without news, at most
	maxPause  = 2 * time.Second
	pastFail  = 1 << 20 // bytes after which a peer's failures are forgotten
)

// Who gave wrong bytes is not asked for so long, who was slow only after all others.
const (
	liarTime = time.Hour
	slowTime = 5 * time.Minute
	maxMarks = 4096
)

// A mark is what a peer did in earlier fetches.
type mark struct {
	liar  bool
	until time.Time
}

// A fetch is one blob on its way here, which others may wait for.
type fetch struct {
	origin peer.ID       // for whose job
	got    atomic.Int64  // bytes that have arrived
	done   chan struct{} // closed at the end, after err is set
	err    error
}

// A circle is who may be asked for a blob: those named, the last of them surely has it, and the fellows
// of a group that they refer to.
type circle struct {
	from  []peer.ID
	group Group // nil = none
}

func (c circle) origin() (p peer.ID) {
	if n := len(c.from); n > 0 {
		p = c.from[n-1]
	}
	return p
}

// get makes sure that f is here, asking the peers of c. Concurrent calls for one blob share a transfer.
func (x *Exchange) get(ctx context.Context, f exec.File, from ...peer.ID) error {
	_, err := x.obtain(ctx, f, circle{from: from}, false)
	return err
}

// obtain is get and getFor; it reports whether one of these peers sent the blob to this call.
func (x *Exchange) obtain(ctx context.Context, f exec.File, c circle, foreign bool) (sent bool, err error) {
	for {
		if x.blobs.Has(f.Hash) {
			return false, nil
		}
		x.mu.Lock()
		other := x.fetching[f.Hash]
		if other == nil {
			mine := &fetch{origin: c.origin(), done: make(chan struct{})}
			x.fetching[f.Hash] = mine
			x.mu.Unlock()
			mine.err = x.download(ctx, f, c, mine)
			if mine.err == nil && foreign {
				x.markForeign(f.Hash) // before others look
			}
			x.mu.Lock()
			delete(x.fetching, f.Hash)
			x.mu.Unlock()
			close(mine.done)
			return mine.err == nil, mine.err
		}
		x.mu.Unlock()
		if err := other.wait(ctx, c.origin()); err != nil {
			if ctx.Err() != nil {
				return false, err
			}
			err := x.download(ctx, f, c, &fetch{})
			return err == nil, err
		}
		// Look again: its peers may not have been ours, or its job has ended.
	}
}

var errDripping = errors.New("the transfer of another job stands still")

// wait waits for the end of another's fetch, however that comes. For a job of the same requester the same peers would
// be asked; for others no longer than it goes on: whoever drips a blob must not hold up those who have better peers.
func (o *fetch) wait(ctx context.Context, origin peer.ID) error {
	look := time.NewTicker(blobStall)
	defer look.Stop()
	for seen := o.got.Load(); ; {
		select {
		case <-o.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
		now := o.got.Load()
		if origin != o.origin && now-seen < int64(fairRate*blobStall/time.Second) {
			return errDripping
		}
		seen = now
	}
}

// getFor is get on behalf of a stranger's program: what this node has for itself or for others is
// used only once one of c has shown that it has it too, or naming a hash would be reading.
func (x *Exchange) getFor(ctx context.Context, f exec.File, c circle) error {
	sent, err := x.obtain(ctx, f, c, true)
	if err == nil && !sent && !x.isForeign(f.Hash) {
		err = x.prove(ctx, f, c.from)
	}
	if err != nil {
		return err
	}
	x.markForeign(f.Hash)
	return nil
}

func (x *Exchange) isForeign(h ledger.Digest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.foreign[h]
}

func (x *Exchange) markForeign(h ledger.Digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.foreign) >= maxForeign {
		clear(x.foreign) // they prove it once more
	}
	x.foreign[h] = true
}

// prove has one of the peers send a blob that is here, and compares.
func (x *Exchange) prove(ctx context.Context, f exec.File, from []peer.ID) error {
	return x.each(ctx, f, from, func(r io.Reader, _ int64) error {
		h := sha256.New()
		if n, err := io.Copy(h, r); err != nil || n != f.Size || ledger.Digest(h.Sum(nil)) != f.Hash {
			return errNoBlob
		}
		return nil
	})
}

// each asks one peer after the other for the whole of a blob, until take is content.
func (x *Exchange) each(ctx context.Context, f exec.File, from []peer.ID, take func(r io.Reader, _ int64) error) error {
	errs := []error{errNoBlob}
	for _, p := range from {
		if p == x.net.Self() {
			continue
		}
		err := x.transfer(ctx, f, p, inquiry{idle: blobStall}, take)
		if err == nil || errors.Is(err, ErrNoRoom) {
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", x.net.Name(p), err))
	}
	return fmt.Errorf("blob %s: %w", f.Hash.Short(), errors.Join(errs...))
}

// download brings a blob here, from one peer after the other, each going on where the last one ended.
func (x *Exchange) download(ctx context.Context, f exec.File, c circle, o *fetch) error {
	in, err := x.blobs.Create(f)
	switch {
	case errors.Is(err, ErrArriving): // for another job, and it stands still
		return x.each(ctx, f, c.from, func(r io.Reader, _ int64) error { return x.blobs.Receive(f, "", r) })
	case err != nil && x.blobs.Has(f.Hash):
		return nil
	case err != nil:
		return fmt.Errorf("fetch %s (%d bytes): %w", f.Hash.Short(), f.Size, err)
	}
	d := &pull{x: x, f: f, c: c, o: o, in: in, givers: map[peer.ID]bool{}}
	defer func() { d.in.Close() }()
	if err := d.run(ctx); err != nil {
		return fmt.Errorf("fetch %s (%d bytes): %w", f.Hash.Short(), f.Size, err)
	}
	return nil
}
