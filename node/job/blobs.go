package job

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// blobChunk is how much of a blob one frame carries: large enough that framing costs
// nothing, small enough to share a connection with task frames.
const blobChunk = 256 << 10

const blobFrame = blobChunk + 64

// blobStall is how long a transfer may stand still before it is given up.
const blobStall = 15 * time.Second

// slowest is the least rate of a transfer, in bytes a second.
const slowest = 16 << 10

// maxForeign bounds how many blobs are remembered as shown by peers.
const maxForeign = 1 << 16

// transferTime is the most that fetching these files one after the other takes.
func transferTime(files []exec.File) (t time.Duration) {
	for _, f := range files {
		t += blobStall + time.Duration(f.Size/slowest)*time.Second
	}
	return t
}

func hashesOf(files []exec.File) []ledger.Digest {
	out := make([]ledger.Digest, len(files))
	for i, f := range files {
		out[i] = f.Hash
	}
	return out
}

type blobRequest struct {
	Hash ledger.Digest `cbor:"1,keyasint"`
}

// blobHeader answers a request; Size bytes follow in frames when Found.
type blobHeader struct {
	Found bool  `cbor:"1,keyasint"`
	Size  int64 `cbor:"2,keyasint"`
}

// An Exchange serves blobs to the peers of our jobs and leases, and fetches them.
// A peer gets a blob only while something we share with it names that blob.
type Exchange struct {
	net   Network
	blobs Blobs

	mu       sync.Mutex // guards what follows
	shared   map[peer.ID]map[ledger.Digest]int
	groups   map[*groupShare]struct{}
	fetching map[ledger.Digest]*fetch
	foreign  map[ledger.Digest]bool // came from a peer: no secret of this node
}

type fetch struct {
	done chan struct{}
	err  error
}

// NewExchange serves the blob protocol on net.
func NewExchange(net Network, blobs Blobs) *Exchange {
	x := &Exchange{net: net, blobs: blobs, shared: map[peer.ID]map[ledger.Digest]int{}, groups: map[*groupShare]struct{}{}, fetching: map[ledger.Digest]*fetch{}, foreign: map[ledger.Digest]bool{}}
	net.Handle(BlobProtocol, blobFrame, x.serve)
	return x
}

// allow lets p fetch the blobs until the returned function is called.
func (x *Exchange) allow(p peer.ID, hashes ...ledger.Digest) (revoke func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.shared[p]
	if m == nil {
		m = map[ledger.Digest]int{}
		x.shared[p] = m
	}
	for _, h := range hashes {
		m[h]++
	}
	return sync.OnceFunc(func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		m := x.shared[p]
		for _, h := range hashes {
			if m[h]--; m[h] <= 0 {
				delete(m, h)
			}
		}
		if len(m) == 0 {
			delete(x.shared, p)
		}
	})
}

// A groupShare lets whoever is a member at the time fetch some blobs.
type groupShare struct {
	group  Group
	hashes []ledger.Digest
}

// allowMembers lets the members of g, present and to come, fetch the blobs until the returned function is called.
func (x *Exchange) allowMembers(g Group, hashes ...ledger.Digest) (revoke func()) {
	s := &groupShare{g, hashes}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.groups[s] = struct{}{}
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.groups, s)
	}
}

func (x *Exchange) allowed(p peer.ID, h ledger.Digest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.shared[p][h] > 0 {
		return true
	}
	for s := range x.groups {
		if slices.Contains(s.hashes, h) && s.group.Has(p) {
			return true
		}
	}
	return false
}

func (x *Exchange) serve(ctx context.Context, s Stream) {
	s.SetIdle(blobStall)
	b, err := s.ReadFrame()
	var req blobRequest
	if err != nil || canon.Unmarshal(b, &req) != nil {
		return
	}
	var head blobHeader
	var r io.ReadCloser
	if x.allowed(s.Peer(), req.Hash) {
		if f, size, err := x.blobs.Open(req.Hash); err == nil {
			r, head = f, blobHeader{Found: true, Size: size}
			defer r.Close()
		}
	}
	if b, err = canon.Marshal(head); err != nil || s.WriteFrame(b) != nil || !head.Found {
		s.Close()
		return
	}
	buf := make([]byte, min(head.Size, blobChunk))
	for left := head.Size; left > 0 && ctx.Err() == nil; {
		n, err := io.ReadFull(r, buf[:min(left, blobChunk)])
		if err != nil || s.WriteFrame(buf[:n]) != nil {
			return
		}
		left -= int64(n)
	}
	s.Close()
}

// errNoBlob reports that a peer does not have, or does not give, a blob.
var errNoBlob = errors.New("peer does not have it")

// get makes sure that f is here, asking each of the peers in turn. Concurrent calls
// for one blob share a transfer.
func (x *Exchange) get(ctx context.Context, f exec.File, from ...peer.ID) error {
	_, err := x.obtain(ctx, f, from)
	return err
}

// obtain is get; it reports whether one of these peers sent the blob to this call.
func (x *Exchange) obtain(ctx context.Context, f exec.File, from []peer.ID) (sent bool, err error) {
	for {
		if x.blobs.Has(f.Hash) {
			return false, nil
		}
		x.mu.Lock()
		other := x.fetching[f.Hash]
		if other == nil {
			mine := &fetch{done: make(chan struct{})}
			x.fetching[f.Hash] = mine
			x.mu.Unlock()
			mine.err = x.fetchAny(ctx, f, from)
			x.mu.Lock()
			delete(x.fetching, f.Hash)
			x.mu.Unlock()
			close(mine.done)
			return mine.err == nil, mine.err
		}
		x.mu.Unlock()
		select {
		case <-other.done: // look again: its peers may not have been ours
			if other.err != nil {
				err := x.fetchAny(ctx, f, from)
				return err == nil, err
			}
		case <-time.After(blobStall): // whoever drips it must not hold up others
			err := x.fetchAny(ctx, f, from)
			return err == nil, err
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// getFor is get on behalf of a stranger's program: what this node has for itself or for others is
// used only once one of from has shown that it has it too, or naming a hash would be reading.
func (x *Exchange) getFor(ctx context.Context, f exec.File, from ...peer.ID) error {
	sent, err := x.obtain(ctx, f, from)
	if err == nil && !sent && !x.isForeign(f.Hash) {
		err = x.prove(ctx, f, from)
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
	for _, p := range from {
		if p == x.net.Self() {
			continue
		}
		err := x.transfer(ctx, f, p, func(r io.Reader) error {
			h := sha256.New()
			if n, err := io.Copy(h, r); err != nil || n != f.Size || ledger.Digest(h.Sum(nil)) != f.Hash {
				return errNoBlob
			}
			return nil
		})
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("blob %s: %w", f.Hash.Short(), errNoBlob)
}

func (x *Exchange) fetchAny(ctx context.Context, f exec.File, from []peer.ID) error {
	var errs []error
	for _, p := range from {
		if p == x.net.Self() {
			continue
		}
		err := x.fetch(ctx, f, p)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", x.net.Name(p), err))
	}
	if len(errs) == 0 {
		errs = append(errs, errNoBlob)
	}
	return fmt.Errorf("fetch %s (%d bytes): %w", f.Hash.Short(), f.Size, errors.Join(errs...))
}

func (x *Exchange) fetch(ctx context.Context, f exec.File, p peer.ID) error {
	return x.transfer(ctx, f, p, func(r io.Reader) error { return x.blobs.Receive(f, "", r) })
}

// transfer hands the bytes of a blob of p to take.
func (x *Exchange) transfer(ctx context.Context, f exec.File, p peer.ID, take func(io.Reader) error) error {
	// Slower than this is as good as not at all, and holds a lease.
	ctx, done := context.WithTimeout(ctx, transferTime([]exec.File{f}))
	defer done()
	dial, cancel := context.WithTimeout(ctx, blobStall)
	s, err := x.net.Open(dial, p, BlobProtocol, blobFrame)
	cancel()
	if err != nil {
		return err
	}
	defer s.Reset()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	b, err := canon.Marshal(blobRequest{Hash: f.Hash})
	if err == nil {
		err = s.WriteFrame(b)
	}
	if err != nil {
		return err
	}
	r := &frameReader{s: s}
	b, err = r.next()
	if err != nil {
		return err
	}
	var head blobHeader
	if err := canon.Unmarshal(b, &head); err != nil {
		return err
	}
	switch {
	case !head.Found:
		return errNoBlob
	case head.Size != f.Size:
		return fmt.Errorf("peer has %d bytes, the job says %d", head.Size, f.Size)
	}
	return take(io.LimitReader(r, f.Size))
}

// A frameReader reads a run of frames as one stream of bytes; each frame must come within blobStall.
type frameReader struct {
	s    Stream
	rest []byte
}

func (r *frameReader) next() ([]byte, error) {
	r.s.SetIdle(blobStall)
	return r.s.ReadFrame()
}

func (r *frameReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		b, err := r.next()
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return 0, errors.New("empty frame inside a blob")
		}
		r.rest = b
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
