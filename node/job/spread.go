package job

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
)

// How the data of a job spreads. The requester gives a blob to the first few of its hosts and sends the others to
// them; a host gives it to as many at a time and sends those who come then to whom it has given it. So the blob runs
// down a tree that grows as it goes, nobody has to be told who has what, and the requester's line is free for results.

// fanout is how many peers are given a blob of a group at a time, and how many holders relieve the requester.
const fanout = 2

// spreadSize is the size in bytes from which blobs of a group are given so; smaller ones are not worth a second question.
const spreadSize = 64 << 10

// queueTime is how long a request waits for its turn before it is sent away to ask again.
const queueTime = 5 * time.Second

// maxHolders bounds the holders that an answer names.
const maxHolders = 16

// A groupShare lets whoever is a member at the time fetch some blobs.
type groupShare struct {
	group  Group
	hashes []ledger.Digest
	origin bool // we are the job's requester
}

// A seed is a blob that we give to the members of groups.
type seed struct {
	active  int                  // peers that are given it now
	holders map[peer.ID]struct{} // who got all of it
	changed chan struct{}        // closed and replaced
}

func (s *seed) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// allowMembers lets the members of g, present and to come, fetch the blobs until the returned function is called.
func (x *Exchange) allowMembers(g Group, origin bool, hashes ...ledger.Digest) (revoke func()) {
	share := &groupShare{g, hashes, origin}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.groups[share] = struct{}{}
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.groups, share)
		for _, h := range hashes {
			if s := x.seeds[h]; s != nil && !x.inGroups(h) {
				delete(x.seeds, h)
				s.announce()
			}
		}
	}
}

// inGroups reports whether a group of ours shares the blob; mu is held.
func (x *Exchange) inGroups(h ledger.Digest) bool {
	for s := range x.groups {
		if slices.Contains(s.hashes, h) {
			return true
		}
	}
	return false
}

// admit waits for p's turn to be given a blob. It returns a function that ends the service, or nil and who else has it.
// A blob that no group shares is given at once, and so are peers that know of no turns.
func (x *Exchange) admit(ctx context.Context, p peer.ID, req blobRequest) (done func(whole bool), holders [][]byte) {
	failed := parsePeers(req.Failed)
	late := time.NewTimer(queueTime)
	defer late.Stop()
	for {
		x.mu.Lock()
		fellows, origin, shared := x.fellows(p, req.Hash)
		if !shared {
			x.mu.Unlock()
			return func(bool) {}, nil
		}
		s := x.seeds[req.Hash]
		if s == nil {
			s = &seed{holders: map[peer.ID]struct{}{}, changed: make(chan struct{})}
			x.seeds[req.Hash] = s
		}
		holders = nil
		for h := range s.holders {
			if h != p && fellows(h) && len(holders) < maxHolders && !slices.Contains(failed, h) {
				holders = append(holders, []byte(h))
			}
		}
		most, enough := fanout, fanout
		if len(failed) > 0 { // it comes again: one more who is sound relieves us of all who come so
			most, enough = 1, 1
		}
		if s.active < most && !(origin && len(holders) >= enough) || !req.Refer {
			s.active++
			x.mu.Unlock()
			return func(whole bool) { x.served(s, p, whole) }, nil
		}
		changed := s.changed
		x.mu.Unlock()
		if len(holders) > 0 {
			return nil, holders
		}
		select {
		case <-changed:
		case <-late.C:
			return nil, nil
		case <-ctx.Done():
			return nil, nil
		}
	}
}

func (x *Exchange) served(s *seed, p peer.ID, whole bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.active--
	if whole && len(s.holders) < 1<<10 {
		s.holders[p] = struct{}{}
	}
	s.announce()
}

// fellows tells who belongs with p to a group that shares the blob, and whether we lead one of these; mu is held.
func (x *Exchange) fellows(p peer.ID, h ledger.Digest) (is func(peer.ID) bool, origin, shared bool) {
	var groups []Group
	for s := range x.groups {
		if slices.Contains(s.hashes, h) && s.group.Has(p) {
			groups = append(groups, s.group)
			origin = origin || s.origin
		}
	}
	return func(q peer.ID) bool {
		return slices.ContainsFunc(groups, func(g Group) bool { return g.Has(q) })
	}, origin, len(groups) > 0
}

// parsePeers reads peers out of a frame; what is none is passed over.
func parsePeers(list [][]byte) (out []peer.ID) {
	for _, b := range list[:min(len(list), maxHolders)] {
		if p, err := peer.IDFromBytes(b); err == nil {
			out = append(out, p)
		}
	}
	return out
}
