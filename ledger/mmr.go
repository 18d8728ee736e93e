package ledger

import (
	"encoding/binary"
	"math/bits"

	"github.com/ethereum/go-ethereum/crypto"
)

// Domains of the hashes in a tree (RFC 6962 section 2.1): without them an inner node could be
// shown as a leaf.
const (
	hashLeaf  = 0
	hashNode  = 1
	hashState = 2 // of a history, see history.evidence
)

// An mmr is a Merkle mountain range (Peter Todd, "Merkle Mountain Ranges", opentimestamps-server
// doc/merkle-mountain-range.md, 2012): the perfect binary trees, one for each set bit of size,
// that cover a list which only grows. Appending touches the smallest of them alone.
//
// Bagged from the right, its peaks give the Merkle tree hash of RFC 6962 section 2.1, with
// Keccak-256 in place of SHA-256. The zero mmr is empty; its root is zero. Copies share peaks;
// clone before both grow.
type mmr struct {
	size  uint64
	peaks []Digest // largest tree first
}

func leafHash(d Digest) Digest {
	return Digest(crypto.Keccak256Hash([]byte{hashLeaf}, d[:]))
}

func nodeHash(left, right Digest) Digest {
	return Digest(crypto.Keccak256Hash([]byte{hashNode}, left[:], right[:]))
}

// push appends a leaf's hash, or the root of a tree of the size that all earlier ones have. It
// returns the roots of the trees that this completed, smallest first, beginning with h.
func (m *mmr) push(h Digest) []Digest {
	made := append(make([]Digest, 0, 2), h)
	for n := m.size; n&1 == 1; n >>= 1 {
		h = nodeHash(m.peaks[len(m.peaks)-1], h)
		m.peaks = m.peaks[:len(m.peaks)-1]
		made = append(made, h)
	}
	m.peaks = append(m.peaks, h)
	m.size++
	return made
}

func (m mmr) clone() mmr { return mmr{m.size, append([]Digest(nil), m.peaks...)} }

func (m mmr) root() Digest { return bag(m.peaks) }

// bag folds peaks, largest tree first, into one root: zero for none.
func bag(peaks []Digest) (root Digest) {
	for i := len(peaks) - 1; i >= 0; i-- {
		if i == len(peaks)-1 {
			root = peaks[i]
		} else {
			root = nodeHash(peaks[i], root)
		}
	}
	return root
}

// mountain finds the tree that holds leaf index of a range of size leaves: which peak that is and
// how high the tree, so how long the path of the leaf. index is below size.
func mountain(size, index uint64) (peak, height int) {
	for {
		height = bits.Len64(size) - 1
		top := uint64(1) << height
		if index < top {
			return peak, height
		}
		size, index, peak = size-top, index-top, peak+1
	}
}

// climb hashes a leaf up its path of siblings, lowest first. It returns the peak it should meet
// and the siblings to its left, largest first: together with the peaks before, they are the
// peaks of the range as it was when it held the leaves before index.
func climb(leaf Digest, index uint64, path []Digest) (peak Digest, left []Digest) {
	peak = leaf
	for level, sibling := range path {
		if index>>level&1 == 0 {
			peak = nodeHash(peak, sibling)
		} else {
			peak = nodeHash(sibling, peak)
			left = append([]Digest{sibling}, left...)
		}
	}
	return peak, left
}

// edge is the path of the first of these leaf hashes in the perfect tree over all of them, and
// that tree's root. Their number is a power of two.
func edge(leaves []Digest) (path []Digest, root Digest) {
	level := append([]Digest(nil), leaves...)
	for len(level) > 1 {
		path = append(path, level[1])
		for i := range len(level) / 2 {
			level[i] = nodeHash(level[2*i], level[2*i+1])
		}
		level = level[:len(level)/2]
	}
	return path, level[0]
}

func appendDigests(b []byte, list []Digest) []byte {
	for _, d := range list {
		b = append(b, d[:]...)
	}
	return b
}

// encode is size u64 · peaks, whose number follows from the size.
func (m mmr) encode(b []byte) []byte {
	return appendDigests(binary.BigEndian.AppendUint64(b, m.size), m.peaks)
}
