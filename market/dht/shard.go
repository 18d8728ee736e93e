package dht

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/personal-power-plant/p3/ledger"
)

// Class keys. A provider announces itself under H(class ‖ epoch ‖ level ‖ shard): level is
// the log2 of the number of shards, chosen from the estimated size of the network such that a
// key holds about perShard providers; epochs keep dead providers out, as provider records outlive them.
const (
	perShard = 256
	maxLevel = 16
	epochMs  = int64(time.Hour / time.Millisecond)
)

func epoch(now time.Time) int64 { return now.UnixMilli() / epochMs }

// level is how often the class is halved in a network of n nodes.
func level(n int) int {
	if n <= perShard {
		return 0
	}
	return min(maxLevel, bits.Len(uint(n-1)/perShard))
}

// shardOf is the shard of a peer: always the same at one level, so that renewing reaches the
// nodes that know it already.
func shardOf(p peer.ID, level int) uint32 {
	h := sha256.Sum256([]byte(p))
	return binary.BigEndian.Uint32(h[:]) & (1<<level - 1)
}

// classKey is the CID of one shard.
func classKey(network ledger.Network, class string, epoch int64, level int, shard uint32) cid.Cid {
	b := append([]byte("p3 class 1"), network[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(epoch))
	b = append(b, byte(level))
	b = binary.BigEndian.AppendUint32(b, shard)
	h := sha256.Sum256(append(b, class...))
	mh, err := multihash.Encode(h[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // 32 bytes always are a SHA-256
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// searchKeys are up to n keys to ask, random shards first of our own estimate of the level,
// then of its neighbours, as other nodes may estimate differently; of the epoch before too, while the new one is young.
func searchKeys(network ledger.Network, class string, at int, now time.Time, n int) (keys []cid.Cid) {
	epochs := []int64{epoch(now)}
	if now.UnixMilli()%epochMs < epochMs/4 {
		epochs = append(epochs, epochs[0]-1)
	}
	for _, l := range []int{at, at + 1, at - 1} {
		if l < 0 || l > maxLevel {
			continue
		}
		shards := rand.Perm(1 << l)
		for _, s := range shards[:min(len(shards), max(1, n/2))] {
			for _, e := range epochs {
				keys = append(keys, classKey(network, class, e, l, uint32(s)))
			}
		}
	}
	return keys[:min(len(keys), n)]
}
