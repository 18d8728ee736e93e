package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/blob"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node/job"
	"github.com/personal-power-plant/p3/node/p2p"
)

// What node/job needs, in terms of what the adapters have.

// network is p2p.Node as job.Network.
type network struct {
	binding atomic.Pointer[[]byte] // our NodeBinding
	p2p     *p2p.Node

	mu    sync.Mutex // guards names, which outlive connections
	names map[peer.ID]string
}

func (n *network) Self() peer.ID               { return n.p2p.ID() }
func (n *network) RTT(p peer.ID) time.Duration { return n.p2p.RTT(p) }

func (n *network) Open(ctx context.Context, p peer.ID, id string, maxFrame int) (job.Stream, error) {
	c, err := n.p2p.Open(ctx, p, protocol.ID(id))
	if err != nil {
		return nil, err
	}
	c.SetLimit(maxFrame)
	return c, nil
}

func (n *network) Handle(id string, maxFrame int, serve func(ctx context.Context, s job.Stream)) {
	n.p2p.Handle(protocol.ID(id), maxFrame, func(ctx context.Context, c *p2p.Conn) { serve(ctx, c) })
}

// Name is the name that p greeted us with, now or before, or the end of its ID.
func (n *network) Name(p peer.ID) string {
	if s := n.p2p.Name(p); s != "" {
		return s
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.names[p]; s != "" {
		return s
	}
	s := p.String()
	return "…" + s[max(0, len(s)-6):]
}

func (n *network) named(p peer.ID, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.names) > 4096 { // strangers choose how many there are
		clear(n.names)
	}
	if name != "" {
		n.names[p] = name
	}
}

// bazaar is the market as job.Market.
type bazaar struct{ d *Daemon }

func (b bazaar) Offers() []market.Offer { return b.d.market.Directory().Snapshot(time.Now()) }

func (b bazaar) Advertise(id exec.JobID, m exec.Manifest, waiting uint64) {
	ad := market.Advert{Job: id, Kind: m.Kind, Engine: m.Engine, Need: m.Need, Ceiling: m.Ceiling, Memory: m.Limits.Memory, Waiting: waiting}
	ad.Name, ad.Account, ad.Binding = b.d.cfg.Name, b.d.book.Account(), b.d.binding()
	if err := b.d.market.Advertise(ad); err != nil {
		b.d.log.Warn("advertise job", "job", id.Short(), "err", err)
	}
}

func (b bazaar) Retract(id exec.JobID) { b.d.market.Retract(id) }

func (b bazaar) Changes() (<-chan struct{}, func()) {
	_, in, cancel := b.d.market.Directory().Subscribe(time.Now())
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for range in {
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out, cancel
}

// groups is p2p's groups as job.Groups.
type groups struct {
	p2p *p2p.Node
	key crypto.PrivKey
}

func (g groups) Lead(id exec.JobID) (job.Group, error) {
	m := p2p.Membership{Job: id, Seq: 1}
	raw, err := p2p.SignMembership(m, g.key)
	if err != nil {
		return nil, err
	}
	in, err := g.p2p.JoinGroup(g.p2p.ID(), raw)
	if err != nil {
		return nil, err
	}
	return &group{Group: in, g: g, raw: raw}, nil
}

func (g groups) Join(requester peer.ID, id exec.JobID, membership []byte) (job.Group, error) {
	if m, err := p2p.ParseMembership(membership, requester); err != nil || m.Job != id {
		return nil, errors.Join(err, p2p.ErrMembership) // of another job: its group is not this requester's to open
	}
	in, err := g.p2p.JoinGroup(requester, membership)
	if err != nil {
		return nil, err
	}
	return &group{Group: in, g: g, raw: membership}, nil
}

// group is p2p.Group as job.Group.
type group struct {
	*p2p.Group
	g groups

	mu  sync.Mutex // guards raw
	raw []byte
}

func (g *group) Membership() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.raw
}

func (g *group) Has(p peer.ID) bool { return g.Group.Members().Has(p) }

func (g *group) Members() []peer.ID {
	m := g.Group.Members()
	out := make([]peer.ID, 0, len(m.Members)+1)
	out = append(out, m.Requester)
	for _, x := range m.Members {
		out = append(out, x.Peer)
	}
	return out
}

func (g *group) SetMembers(list []peer.ID) error {
	old := g.Group.Members()
	m := p2p.Membership{Job: old.Job, Seq: old.Seq + 1}
	for i, p := range list {
		m.Members = append(m.Members, p2p.Member{Peer: p, Rank: i})
	}
	raw, err := p2p.SignMembership(m, g.g.key)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.raw = raw
	g.mu.Unlock()
	return g.Group.Update(context.Background(), raw)
}

func (g *group) Publish(b []byte) error { return g.Group.Publish(context.Background(), b) }

func (g *group) Next(ctx context.Context) (job.Message, error) {
	m, err := g.Group.Next(ctx)
	return job.Message{From: m.From, Data: m.Data}, err
}

func (g *group) Leave() { g.Group.Leave() }

// blobs is a blob store as job.Blobs.
type blobs struct {
	*blob.Store
	temp string // folder on the same disk for what guests leave in /out
}

func (b blobs) Open(hash ledger.Digest) (io.ReadSeekCloser, int64, error) {
	f, err := b.Store.Open(hash)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (b blobs) Put(r io.Reader, owner string) (exec.File, error) {
	f, err := b.Store.Put(r, owner)
	return f, noRoom(err)
}

func (b blobs) Receive(f exec.File, owner string, r io.Reader) error {
	return noRoom(b.receive(f, owner, r))
}

// noRoom tells what a full disk does from what a sender does.
func noRoom(err error) error {
	if errors.Is(err, blob.ErrFull) {
		return fmt.Errorf("%w: %w", job.ErrNoRoom, err)
	}
	return err
}

func (b blobs) receive(f exec.File, owner string, r io.Reader) error {
	if owner != "" {
		b.Pin(f.Hash, owner) // before it is here, so that it cannot be collected in between
	}
	in, err := b.Store.Create(f.Hash, f.Size)
	switch {
	case errors.Is(err, blob.ErrExists):
		return nil
	case errors.Is(err, blob.ErrBusy): // another unit made the same file at the same time
		got, err := b.Put(r, owner)
		if err == nil && got.Hash != f.Hash {
			err = blob.ErrCorrupt
		}
		return err
	case err != nil:
		return err
	}
	defer in.Close()
	// The sender begins at the first byte, and what an earlier one left may be wrong.
	if err := in.Rewind(); err != nil {
		return err
	}
	if _, err := io.Copy(in, r); err != nil {
		return err
	}
	_, err = in.Commit(owner)
	return err
}

func (b blobs) Create(f exec.File) (job.Incoming, error) {
	in, err := b.Store.Create(f.Hash, f.Size)
	switch {
	case errors.Is(err, blob.ErrBusy):
		return nil, fmt.Errorf("%w: %w", job.ErrArriving, err)
	case err != nil:
		return nil, noRoom(err)
	}
	return incoming{in}, nil
}

// incoming is blob.Incoming as job.Incoming.
type incoming struct{ *blob.Incoming }

func (in incoming) Write(p []byte) (int, error) {
	n, err := in.Incoming.Write(p)
	return n, noRoom(err)
}

func (in incoming) Commit() error {
	_, err := in.Incoming.Commit("")
	if errors.Is(err, blob.ErrCorrupt) {
		return fmt.Errorf("%w: %w", job.ErrWrongBlob, err)
	}
	return noRoom(err)
}

func (b blobs) TempDir() (string, error) { return os.MkdirTemp(b.temp, "unit-") }
