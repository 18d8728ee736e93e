package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Who is shunned is not spoken to for shunTime. A new peer ID costs nothing, so this only
// stops a peer from doing again and again what costs us work.
const (
	shunTime   = 10 * time.Minute
	maxShunned = 4096
)

// A shunList remembers peers that sent what no honest peer sends. It is pubsub's blacklist too.
// Safe for concurrent use.
type shunList struct {
	mu    sync.Mutex // guards until
	until map[peer.ID]time.Time
}

// Add implements pubsub.Blacklist.
func (l *shunList) Add(p peer.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if len(l.until) >= maxShunned {
		for q, end := range l.until {
			if now.After(end) || len(l.until) >= maxShunned {
				delete(l.until, q)
			}
		}
	}
	if l.until == nil {
		l.until = map[peer.ID]time.Time{}
	}
	l.until[p] = now.Add(shunTime)
	return true
}

// Contains implements pubsub.Blacklist.
func (l *shunList) Contains(p peer.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	end, ok := l.until[p]
	return ok && time.Now().Before(end)
}

// Shun ends all dealings with a peer for ten minutes: its connections are closed, it is told so when
// it greets again, and nothing that it gossips is read.
func (n *Node) Shun(p peer.ID, why string) {
	if p == n.ID() || n.shunned.Contains(p) {
		return
	}
	n.log.Warn("peer shunned", "peer", p, "err", why)
	n.shunned.Add(p)
	n.spawn(func() {
		n.ps.BlacklistPeer(p)
		n.tell(Event{Kind: PeerRefused, Peer: p, Why: why})
		n.host.Network().ClosePeer(p)
	})
}
