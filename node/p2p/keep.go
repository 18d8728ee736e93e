package p2p

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/personal-power-plant/p3/exec/canon"
)

// Bounds of the list of remembered peers.
const (
	maxRemembered = 64
	maxPeerAddrs  = 8
	maxRemember   = 16 << 10 // bytes
)

// fewPeers is below how many peers we dial those we know of.
const fewPeers = 4

// keepPeers dials bootstrap and remembered peers while we know few, at once and then at
// growing intervals, so that a node finds back after sleep or a change of network.
func (n *Node) keepPeers() {
	known := n.recall()
	wait, saved := time.Second, time.Now()
	for {
		if len(n.Peers()) < fewPeers {
			n.dialAll(append(slices.Clone(n.cfg.Bootstrap), known...))
		}
		peers := len(n.Peers())
		if peers == 0 {
			wait = min(2*wait, time.Minute)
		} else {
			wait = 30 * time.Second
		}
		t := time.NewTimer(wait)
		select {
		case <-n.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		if now := time.Now(); now.Sub(saved) >= time.Minute && peers > 0 {
			n.remember()
			saved = now
		}
	}
}

// rememberFirst saves the first peers of this life as soon as their addresses are known. A node
// that others joined by its own invite would find nobody again if it were killed before the
// first minute is over.
func (n *Node) rememberFirst() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for !n.remember() {
		select {
		case <-n.ctx.Done():
			return
		case <-t.C:
		}
	}
}

// dialAll dials those we are not connected to, eight at a time.
func (n *Node) dialAll(peers []peer.AddrInfo) {
	slots := make(chan struct{}, 8)
	for _, p := range peers {
		if p.ID == n.ID() || n.host.Network().Connectedness(p.ID) == network.Connected {
			continue
		}
		slots <- struct{}{}
		if !n.spawn(func() { n.dial(p); <-slots }) {
			return
		}
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
}

func (n *Node) dial(p peer.AddrInfo) {
	ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
	defer cancel()
	if err := n.Connect(ctx, p); err != nil && n.ctx.Err() == nil {
		n.log.Debug("peer not reached", "peer", p.ID, "err", err)
	}
}

type rememberedPeer struct {
	Peer  peer.ID  `cbor:"1,keyasint"`
	Addrs [][]byte `cbor:"2,keyasint"`
}

// remember saves the direct addresses of connected peers. It reports whether there were any.
func (n *Node) remember() bool {
	if n.cfg.Save == nil || n.host == nil {
		return false
	}
	var list []rememberedPeer
	for _, p := range n.Peers() {
		if p.Relayed || len(list) == maxRemembered {
			continue
		}
		r := rememberedPeer{Peer: p.ID}
		for _, a := range n.host.Peerstore().Addrs(p.ID) {
			if _, err := a.ValueForProtocol(ma.P_CIRCUIT); err != nil && len(r.Addrs) < maxPeerAddrs {
				r.Addrs = append(r.Addrs, a.Bytes())
			}
		}
		if len(r.Addrs) > 0 { // a peer that dialled us tells its addresses a moment later
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return false // better old friends than none
	}
	b, err := canon.Marshal(list)
	for ; err == nil && len(b) > maxRemember; b, err = canon.Marshal(list) {
		list = list[:len(list)/2]
	}
	if err == nil {
		err = n.cfg.Save(b)
	}
	if err != nil {
		n.log.Warn("peers not remembered", "err", err)
	}
	return true
}

func (n *Node) recall() []peer.AddrInfo {
	if n.cfg.Load == nil {
		return nil
	}
	b, err := n.cfg.Load()
	if err != nil {
		n.log.Warn("remembered peers not read; going on without", "err", err)
		return nil
	}
	return decodeRemembered(b)
}

// decodeRemembered drops whatever it cannot read.
func decodeRemembered(b []byte) (out []peer.AddrInfo) {
	var list []rememberedPeer
	if len(b) > maxRemember || canon.Unmarshal(b, &list) != nil {
		return nil
	}
	for _, r := range list[:min(len(list), maxRemembered)] {
		info := peer.AddrInfo{ID: r.Peer, Addrs: decodeAddrs(r.Addrs)}
		if info.ID.Validate() == nil && len(info.Addrs) > 0 {
			out = append(out, info)
		}
	}
	return out
}

// decodeAddrs keeps the first addresses that parse.
func decodeAddrs(raw [][]byte) (out []ma.Multiaddr) {
	for _, b := range raw[:min(len(raw), maxPeerAddrs)] {
		if a, err := ma.NewMultiaddrBytes(b); err == nil {
			out = append(out, a)
		}
	}
	return out
}
