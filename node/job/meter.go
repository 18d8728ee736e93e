package job

import (
	"maps"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

// Signatures checked for others. One costs about 60 µs, and whoever sends it may not have made it: so a peer
// gets a few percent of a core, all strangers together a quarter of one, with room for what an honest node
// sends at once after it was away.
const (
	peerChecks      = 512 // a second
	peerChecksBurst = 1024
	allChecks       = 4096
	allChecksBurst  = 4096

	maxMetered = 4096 // peers with a bucket of their own; the others share one
)

// A meter bounds the signature checks that peers can cause, by token buckets. Safe for concurrent use.
type meter struct {
	mu        sync.Mutex // guards what follows
	strangers *rate.Limiter
	peers     map[peer.ID]*metered
	others    *metered
	spent     uint64 // checks allowed since the start
}

type metered struct {
	bucket *rate.Limiter
	known  bool // it had a lease here: strangers cannot take its turn
}

func newMeter() *meter {
	return &meter{strangers: rate.NewLimiter(allChecks, allChecksBurst), peers: map[peer.ID]*metered{}, others: newMetered()}
}

func newMetered() *metered { return &metered{bucket: rate.NewLimiter(peerChecks, peerChecksBurst)} }

// take asks for n checks of what p sent. When it says no none may be made.
func (m *meter) take(p peer.ID, n int, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.of(p, now)
	if !b.known && m.strangers.TokensAt(now) < float64(n) || !b.bucket.AllowN(now, n) {
		return false
	}
	if !b.known {
		m.strangers.AllowN(now, n)
	}
	m.spent += uint64(n)
	return true
}

// know notes that p has a lease here.
func (m *meter) know(p peer.ID, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.of(p, now); b != m.others {
		b.known = true
	}
}

// of is the bucket of p; mu is held.
func (m *meter) of(p peer.ID, now time.Time) *metered {
	if b := m.peers[p]; b != nil {
		return b
	}
	if len(m.peers) >= maxMetered { // a full bucket remembers nothing
		maps.DeleteFunc(m.peers, func(_ peer.ID, b *metered) bool { return b.bucket.TokensAt(now) >= peerChecksBurst })
	}
	if len(m.peers) >= maxMetered {
		return m.others
	}
	b := newMetered()
	m.peers[p] = b
	return b
}
