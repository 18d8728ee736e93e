package p2p

import (
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// lanFinder connects to whoever answers on the LAN.
type lanFinder struct {
	n     *Node
	slots chan struct{} // dials at a time; a flood of answers is dropped
}

// startMDNS announces us under a service name of the network's own and dials who does the same.
func startMDNS(n *Node) (interface{ Close() error }, error) {
	s := mdns.NewMdnsService(n.host, "_p3-"+Prefix(n.cfg.Network)[4:]+"._udp", &lanFinder{n, make(chan struct{}, 16)})
	return s, s.Start()
}

// HandlePeerFound is called by mDNS.
func (f *lanFinder) HandlePeerFound(p peer.AddrInfo) {
	if p.ID == f.n.ID() || f.n.host.Network().Connectedness(p.ID) == network.Connected {
		return
	}
	select {
	case f.slots <- struct{}{}:
		if !f.n.spawn(func() { f.n.dial(p); <-f.slots }) {
			<-f.slots
		}
	default:
	}
}
