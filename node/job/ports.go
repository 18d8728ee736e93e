package job

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// A Stream carries frames both ways. One goroutine may read while another writes.
type Stream interface {
	// ReadFrame returns the next frame, valid until the next call. It fails at the deadline
	// set by SetIdle, when the frame is longer than the protocol's limit, or when the peer is gone.
	ReadFrame() ([]byte, error)
	// WriteFrame writes each payload as a frame, or fails within a deadline of its own.
	WriteFrame(payloads ...[]byte) error
	// SetIdle bounds how long ReadFrame waits for a frame to begin.
	SetIdle(d time.Duration)
	Peer() peer.ID
	// Close ends the stream in order; Reset tears it down, failing reads on both sides.
	Close() error
	Reset() error
}

// A Network opens and serves streams.
type Network interface {
	Self() peer.ID
	// Open dials p if need be. The context bounds the dialling only.
	Open(ctx context.Context, p peer.ID, protocol string, maxFrame int) (Stream, error)
	// Handle serves a protocol until the node stops. The stream is reset when serve returns.
	Handle(protocol string, maxFrame int, serve func(ctx context.Context, s Stream))
	// RTT is the last measured round trip to p, or 0.
	RTT(p peer.ID) time.Duration
	// Name is what p calls itself, or a short form of its ID.
	Name(p peer.ID) string
}

// ErrNoRoom is what Put and Receive wrap when this machine's disk, or the owner's quota, is full:
// no fault of whoever sent the bytes.
var ErrNoRoom = errors.New("no room for data here")

// What Create and Incoming.Commit wrap.
var (
	ErrArriving  = errors.New("another transfer of the blob is under way")
	ErrWrongBlob = errors.New("the bytes are not those of the blob")
)

// Blobs keeps bytes by SHA-256. It is safe for concurrent use.
type Blobs interface {
	Has(hash ledger.Digest) bool
	// Path is where a blob lies on this disk; only for reading.
	Path(hash ledger.Digest) (string, error)
	Open(hash ledger.Digest) (io.ReadSeekCloser, int64, error)
	// Put stores what r yields and pins it for owner.
	Put(r io.Reader, owner string) (exec.File, error)
	// Receive stores what r yields only if it is exactly f's bytes, and pins it for owner ("" = nobody).
	Receive(f exec.File, owner string, r io.Reader) error
	// Create begins or resumes the transfer of a blob that is not here. ErrArriving, ErrNoRoom.
	Create(f exec.File) (Incoming, error)
	// Pin keeps a blob from collection as long as owner holds it.
	Pin(hash ledger.Digest, owner string)
	Unpin(owner string)
	// TempDir makes an empty folder on the same disk; the caller removes it.
	TempDir() (string, error)
}

// An Incoming is a blob on its way here. What was written and not committed is kept for the next Create, also across
// a crash. It is not safe for concurrent use.
type Incoming interface {
	io.Writer
	Offset() int64 // bytes that are here
	Rewind() error // throws them away
	// Commit verifies the whole and makes it a blob that nobody pins. ErrWrongBlob, after which nothing is kept.
	Commit() error
	Close() error
}

// Groups makes job peer groups. May be nil: then members get everything from the requester.
type Groups interface {
	// Lead starts the group of one of our jobs.
	Lead(job exec.JobID) (Group, error)
	// Join enters the group of a job, whose membership its requester signed.
	Join(requester peer.ID, job exec.JobID, membership []byte) (Group, error)
}

// A Group is a job's peer group as one member sees it.
type Group interface {
	// Membership is the newest signed member list.
	Membership() []byte
	// Has reports whether p belongs to the group now, as a member or as its requester.
	Has(p peer.ID) bool
	Members() []peer.ID
	// SetMembers signs and spreads a new list; only the leader may.
	SetMembers([]peer.ID) error
	// Publish sends to all members, best effort.
	Publish(b []byte) error
	// Next waits for what another member publishes; it fails when ctx ends or the group is left.
	Next(ctx context.Context) (Message, error)
	Leave()
}

// A Message is what one member published.
type Message struct {
	From peer.ID
	Data []byte
}

// An Env is what Requester and Provider stand on. All fields but Groups, Accepted, Find, Moved, Who and
// Witnesses are set.
type Env struct {
	Net      Network
	Groups   Groups
	Book     *ledger.Book
	Store    ledger.Store
	Blobs    Blobs
	Engine   exec.Engine
	Costs    ledger.Digest // the cost table that Engine counts fuel by; jobs with another are declined
	Binding  func() []byte // our signed NodeBinding
	Log      *slog.Logger
	Emit     func(level, kind, text string, with ...any) // one line of the node's diary; with: job, peer
	Tell     func()                                      // something that Status shows has changed
	Accepted func(lock, certificate []byte)              // a payer's LOCK was accepted; may be nil
	Find     func(ledger.Account) (peer.ID, bool)        // a connected peer that acts for an account; may be nil
	Moved    func(bytes int64)                           // about so much has crossed the network for a guest; may be nil
	Who      func(ledger.Account) string                 // how people know an account, "" = nobody does; may be nil

	Witnesses Witnesses // nil in a network that has none
}

// Witnesses sign LOCKs, in a network that has them: witness.Client.
type Witnesses interface {
	// Ready fails when a LOCK would not be signed: too few answer, or they hold entries of ours that this disk lost.
	Ready(ctx context.Context) error
	// Certify brings a LOCK of ours before the witnesses and returns their certificate.
	Certify(ctx context.Context, lock []byte) ([]byte, error)
}

// ready fails if a LOCK that is signed now would get no certificate.
func (e *Env) ready(ctx context.Context) error {
	switch {
	case len(e.Book.Genesis().Witnesses) == 0:
		return nil
	case e.Witnesses == nil:
		return ledger.ErrUnwitnessed
	}
	return e.Witnesses.Ready(ctx)
}

// vouched reports whether a quorum of witnesses vouches for the balance that a LOCK claims. In a mutual network it does
// too, but there anybody may earn from accounts of his own.
func (e *Env) vouched() bool {
	g := e.Book.Genesis()
	return !g.Mutual() && len(g.Witnesses) > 0
}

// certify gets the certificate of a LOCK of ours from the witnesses, nil in a network that has none.
func (e *Env) certify(ctx context.Context, lock []byte) ([]byte, error) {
	switch {
	case len(e.Book.Genesis().Witnesses) == 0:
		return nil, nil
	case e.Witnesses == nil:
		return nil, ledger.ErrUnwitnessed
	}
	return e.Witnesses.Certify(ctx, lock)
}

func (e *Env) moved(bytes int64) {
	if e.Moved != nil {
		e.Moved(bytes)
	}
}
