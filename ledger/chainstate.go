package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/ethereum/go-ethereum/crypto"
)

// A history is what a checkpoint of a chain commits to: all entries before it, the locks still
// open, the locks earned, and the recovery key. It grows with the chain and is small: entries
// that fill a block of `every` leave one hash, and a record to keep.
//
// The first leaf of a block is a checkpoint, or the chain's first entry; those are what a
// balance proof samples, and all that pruning must keep of a block.
type history struct {
	every    uint64 // a power of two: a block is a perfect tree
	recovery Digest // commitment to the recovery key, zero without one
	blocks   mmr    // over the blocks' roots
	leaves   []Digest
	claimed  mmr // over earned locks and claimed grants, in the order of their entries
	open     map[Digest]openLock
}

// An openLock is what closing a lock of ours must agree with.
type openLock struct {
	peer   Account
	amount Credits
}

func newHistory(every uint64) *history {
	return &history{every: every, open: make(map[Digest]openLock)}
}

// due tells that the next entry must be a checkpoint.
func (s *history) due() bool { return s.blocks.size > 0 && len(s.leaves) == 0 }

// apply takes the chain's next entry. When it fills a block, the block's record is the path of
// its first leaf, its root and the roots of the trees completed with it, smallest first.
func (s *history) apply(e Entry, d Digest) (record []byte) {
	switch e.Type {
	case TypeGenesis, TypeRotate, TypeRecover:
		if !e.handsOver() {
			s.recovery = e.Evidence
		}
	case TypeLock:
		s.open[d] = openLock{e.Peer, e.Amount}
	case TypeSettle:
		delete(s.open, e.Ref)
	case TypeEarn, TypeGrant:
		s.claimed.push(leafHash(e.Ref))
	}
	if s.leaves = append(s.leaves, leafHash(d)); uint64(len(s.leaves)) < s.every {
		return nil
	}
	path, root := edge(s.leaves)
	s.leaves = s.leaves[:0]
	return appendDigests(appendDigests(nil, path), s.blocks.push(root))
}

// root is over all entries so far.
func (s *history) root() Digest {
	var rest mmr
	for _, l := range s.leaves {
		rest.push(l)
	}
	return bag(slices.Concat(s.blocks.peaks, rest.peaks))
}

// evidence commits to locks and recovery key: keccak256(2 ‖ number of open locks u64 ‖ tree hash
// over them by digest, each lock 32 ‖ peer 20 ‖ amount u64 hashed as a leaf ‖ number of locks
// earned and grants claimed u64 ‖ tree hash over them ‖ recovery).
func (s *history) evidence() Digest {
	be := binary.BigEndian
	var open mmr
	for _, id := range s.sorted() {
		l := s.open[id]
		leaf := append(append(append([]byte{hashLeaf}, id[:]...), l.peer[:]...), make([]byte, 8)...)
		be.PutUint64(leaf[len(leaf)-8:], uint64(l.amount))
		open.push(Digest(crypto.Keccak256Hash(leaf)))
	}
	root, claimed := open.root(), s.claimed.root()
	b := append(be.AppendUint64([]byte{hashState}, open.size), root[:]...)
	b = append(be.AppendUint64(b, s.claimed.size), claimed[:]...)
	return Digest(crypto.Keccak256Hash(append(b, s.recovery[:]...)))
}

// sorted lists the open locks in the order in which they are hashed.
func (s *history) sorted() []Digest {
	return slices.SortedFunc(maps.Keys(s.open), func(a, b Digest) int { return bytes.Compare(a[:], b[:]) })
}

// state is what a block leaves besides its record: recovery 32 · earned locks.
func (s *history) state() []byte { return s.claimed.encode(append([]byte(nil), s.recovery[:]...)) }

// parseState reads what state wrote.
func parseState(b []byte) (recovery Digest, claimed mmr, err error) {
	if len(b) < 40 {
		return recovery, claimed, fmt.Errorf("state of a block: %w", ErrMalformed)
	}
	r := reader{b: b}
	recovery, claimed.size = r.word(), r.u64()
	if len(r.b) != 32*bits.OnesCount64(claimed.size) {
		return recovery, claimed, fmt.Errorf("state of a block: %w", ErrMalformed)
	}
	for len(r.b) > 0 {
		claimed.peaks = append(claimed.peaks, r.word())
	}
	return recovery, claimed, nil
}

// checkpoint completes the draft of an entry that commits to the history before it.
func (s *history) checkpoint(e Entry) Entry {
	e.MMRRoot, e.Evidence = s.root(), s.evidence()
	return e
}
