package ledger

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// treeHash is the definition in RFC 6962 section 2.1, word for word but for the hash function.
func treeHash(leaves []Digest) Digest {
	switch len(leaves) {
	case 0:
		return Digest{}
	case 1:
		return leafHash(leaves[0])
	}
	k := 1 << (bits.Len(uint(len(leaves)-1)) - 1) // the largest power of two below n
	return nodeHash(treeHash(leaves[:k]), treeHash(leaves[k:]))
}

func numbered(n int) []Digest {
	leaves := make([]Digest, n)
	for i := range leaves {
		binary.BigEndian.PutUint64(leaves[i][:], uint64(i)+1)
	}
	return leaves
}

// pathOf is the path of one leaf, from the definition.
func pathOf(leaves []Digest, index uint64) (path []Digest) {
	peak, height := mountain(uint64(len(leaves)), index)
	start := 0
	for rest := len(leaves); peak > 0; peak-- {
		top := 1 << (bits.Len(uint(rest)) - 1)
		start, rest = start+top, rest-top
	}
	for level := range height {
		sibling := (int(index)-start)>>level ^ 1
		path = append(path, treeHash(leaves[start+sibling<<level:start+(sibling+1)<<level]))
	}
	return path
}

func TestRangeIsTheTreeOfRFC6962(t *testing.T) {
	leaves := numbered(70)
	var m mmr
	for n := range leaves {
		if m.root() != treeHash(leaves[:n]) || len(m.peaks) != bits.OnesCount(uint(n)) {
			t.Fatalf("root over %d leaves differs from the definition", n)
		}
		m.push(leafHash(leaves[n]))
	}
}

// Whatever the range and the leaf, its path leads to its peak and shows the range as it was
// before the leaf; and no changed path does either.
func TestPathsProveLeafAndPast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := numbered(rapid.IntRange(1, 300).Draw(t, "leaves"))
		index := uint64(rapid.IntRange(0, len(leaves)-1).Draw(t, "index"))
		var m mmr
		for _, l := range leaves {
			m.push(leafHash(l))
		}
		path := pathOf(leaves, index)
		at, height := mountain(m.size, index)
		if len(path) != height {
			t.Fatalf("path of %d, want %d", len(path), height)
		}
		peak, left := climb(leafHash(leaves[index]), index, path)
		if peak != m.peaks[at] {
			t.Fatal("the path does not lead to the peak")
		}
		if bag(append(slices.Clone(m.peaks[:at]), left...)) != treeHash(leaves[:index]) {
			t.Fatal("the path does not show the range before the leaf")
		}
		if height == 0 {
			return
		}
		bad := slices.Clone(path)
		bad[rapid.IntRange(0, height-1).Draw(t, "level")][rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1
		if peak, _ := climb(leafHash(leaves[index]), index, bad); peak == m.peaks[at] {
			t.Fatal("a changed path leads to the peak")
		}
		other := index ^ 1<<rapid.IntRange(0, height-1).Draw(t, "bit")
		if peak, _ := climb(leafHash(leaves[index]), other, path); peak == m.peaks[at] {
			t.Fatal("the path proves another place")
		}
	})
}

func TestEdgeIsThePathOfTheFirstLeaf(t *testing.T) {
	for _, n := range []int{1, 2, 8, 256} {
		leaves := numbered(n)
		var m mmr
		hashed := make([]Digest, n)
		for i, l := range leaves {
			hashed[i] = leafHash(l)
			m.push(hashed[i])
		}
		path, root := edge(hashed)
		if root != m.root() || !slices.Equal(path, pathOf(leaves, 0)) {
			t.Errorf("%d leaves: another root or path", n)
		}
	}
}

func TestLeavesAndNodesHaveTheirOwnDomains(t *testing.T) {
	a, b := Digest{1}, Digest{2}
	if leafHash(a) == a || nodeHash(a, b) == nodeHash(b, a) || nodeHash(a, Digest{}) == leafHash(a) {
		t.Error("domains collide")
	}
}
