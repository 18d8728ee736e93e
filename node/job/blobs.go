package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
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

// sizeOf is how many bytes files have together.
func sizeOf(files []exec.File) (n int64) {
	for _, f := range files {
		if n += min(f.Size, math.MaxInt64-n); f.Size < 0 {
			return math.MaxInt64
		}
	}
	return n
}

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
	Hash   ledger.Digest `cbor:"1,keyasint"`
	Offset int64         `cbor:"2,keyasint,omitempty"` // bytes that the asker has: the rest is enough
	Refer  bool          `cbor:"3,keyasint,omitempty"` // the asker may be told to ask others, or again; unset by older peers
	Failed [][]byte      `cbor:"4,keyasint,omitempty"` // holders who were of no use to it: at most maxHolders
}

// blobHeader answers a request; the bytes from Start to Size follow in frames when Found.
type blobHeader struct {
	Found   bool     `cbor:"1,keyasint"`
	Size    int64    `cbor:"2,keyasint"`
	Start   int64    `cbor:"3,keyasint,omitempty"` // 0, or the Offset asked for; older peers know only 0
	Busy    bool     `cbor:"4,keyasint,omitempty"` // with Found unset: it is here, but others are served; ask again, or
	Holders [][]byte `cbor:"5,keyasint,omitempty"` // these peers, who have it by now: at most maxHolders
}

// An Exchange serves blobs to the peers of our jobs and leases, and fetches them.
// A peer gets a blob only while something we share with it names that blob.
type Exchange struct {
	net   Network
	blobs Blobs

	mu       sync.Mutex // guards what follows
	shared   map[peer.ID]map[ledger.Digest]int
	groups   map[*groupShare]struct{}
	seeds    map[ledger.Digest]*seed // of what groupShares name
	marks    map[peer.ID]mark        // who is not asked for now
	fetching map[ledger.Digest]*fetch
	foreign  map[ledger.Digest]bool // came from a peer: no secret of this node
}

// NewExchange serves the blob protocol on net.
func NewExchange(net Network, blobs Blobs) *Exchange {
	x := &Exchange{
		net: net, blobs: blobs, shared: map[peer.ID]map[ledger.Digest]int{}, groups: map[*groupShare]struct{}{}, seeds: map[ledger.Digest]*seed{},
		marks: map[peer.ID]mark{}, fetching: map[ledger.Digest]*fetch{}, foreign: map[ledger.Digest]bool{},
	}
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
	head, r, done := x.answer(ctx, s.Peer(), req)
	if r != nil {
		defer r.Close()
	}
	whole := false
	defer func() { done(whole) }()
	if b, err = canon.Marshal(head); err != nil || s.WriteFrame(b) != nil || !head.Found {
		s.Close()
		return
	}
	buf := make([]byte, min(head.Size, blobChunk))
	for left := head.Size - head.Start; left > 0; {
		n, err := io.ReadFull(r, buf[:min(left, blobChunk)])
		if err != nil || ctx.Err() != nil || s.WriteFrame(buf[:n]) != nil {
			return
		}
		left -= int64(n)
	}
	whole = true
	s.Close()
}

// answer decides what a peer gets: the bytes, a place to ask, or nothing. done, which is not nil, ends the service.
func (x *Exchange) answer(ctx context.Context, p peer.ID, req blobRequest) (head blobHeader, r io.ReadSeekCloser, done func(whole bool)) {
	done = func(bool) {}
	if !x.allowed(p, req.Hash) {
		return head, nil, done
	}
	r, size, err := x.blobs.Open(req.Hash)
	if err != nil {
		return head, nil, done
	}
	if size >= spreadSize {
		var holders [][]byte
		if done, holders = x.admit(ctx, p, req); done == nil {
			return blobHeader{Size: size, Busy: true, Holders: holders}, r, func(bool) {}
		}
	}
	head = blobHeader{Found: true, Size: size}
	if req.Offset > 0 && req.Offset <= size {
		if _, err := r.Seek(req.Offset, io.SeekStart); err != nil {
			return blobHeader{}, r, done
		}
		head.Start = req.Offset
	}
	return head, r, done
}

// errNoBlob reports that a peer does not have, or does not give, a blob.
var errNoBlob = errors.New("peer does not have it")

// A busyError says that a peer serves others now, and who else has the blob, as far as it knows.
type busyError struct{ holders []peer.ID }

func (*busyError) Error() string { return "peer serves others" }

// An inquiry says how a blob is asked for.
type inquiry struct {
	offset int64
	refer  bool
	failed [][]byte
	idle   time.Duration // the longest pause between frames
}

// transfer asks p for the bytes of a blob, and hands to take those from start on, which is the offset or 0.
func (x *Exchange) transfer(ctx context.Context, f exec.File, p peer.ID, q inquiry, take func(r io.Reader, start int64) error) error {
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
	b, err := canon.Marshal(blobRequest{Hash: f.Hash, Offset: q.offset, Refer: q.refer, Failed: q.failed})
	if err == nil {
		err = s.WriteFrame(b)
	}
	if err != nil {
		return err
	}
	r := &frameReader{s: s, idle: q.idle + queueTime}
	b, err = r.next()
	if err != nil {
		return err
	}
	var head blobHeader
	if err := canon.Unmarshal(b, &head); err != nil {
		return err
	}
	switch {
	case !head.Found && head.Busy:
		return &busyError{parsePeers(head.Holders)}
	case !head.Found:
		return errNoBlob
	case head.Size != f.Size:
		return fmt.Errorf("peer has %d bytes, the job says %d", head.Size, f.Size)
	case head.Start != 0 && head.Start != q.offset:
		return fmt.Errorf("peer begins at byte %d, asked for %d", head.Start, q.offset)
	}
	r.idle = q.idle
	return take(io.LimitReader(r, f.Size-head.Start), head.Start)
}

// A frameReader reads a run of frames as one stream of bytes; each frame must come within idle.
type frameReader struct {
	s    Stream
	idle time.Duration
	rest []byte
}

func (r *frameReader) next() ([]byte, error) {
	r.s.SetIdle(r.idle)
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
