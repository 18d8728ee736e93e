package p2p

import (
	kad "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kbucket/peerdiversity"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// How many peers of one group of addresses (an IPv4 /16, or the operator that announces an IPv6 address) the routing
// table takes: in a bucket, and in all. They are what IPFS uses (go-libp2p-kad-dht dual/dual.go): to fill a table, an
// attacker needs addresses all over the Internet, not thousands of keys on one machine.
const (
	perGroupAndBucket = 2
	perGroup          = 3
)

// A diverse filter bounds the peers of one public group of addresses. On a LAN or one machine all are of one group, and
// whoever got there is not kept out by addresses.
type diverse struct {
	peerdiversity.PeerIPGroupFilter
}

func newDiverse(h host.Host) diverse {
	return diverse{kad.NewRTPeerDiversityFilter(h, perGroupAndBucket, perGroup)}
}

// here stands for every private address: IPv6 ones have no group of their own.
var (
	here      = ma.StringCast("/ip4/127.0.0.1")
	hereGroup = peerdiversity.IPGroupKey([]byte{127, 0, 0, 1})
)

// PeerAddresses implements peerdiversity.PeerIPGroupFilter.
func (d diverse) PeerAddresses(p peer.ID) []ma.Multiaddr {
	addrs := d.PeerIPGroupFilter.PeerAddresses(p)
	for i, a := range addrs {
		if manet.IsPrivateAddr(a) {
			addrs[i] = here
		}
	}
	return addrs
}

// Allow implements peerdiversity.PeerIPGroupFilter.
func (d diverse) Allow(g peerdiversity.PeerGroupInfo) bool {
	return g.IPGroupKey == hereGroup || d.PeerIPGroupFilter.Allow(g)
}
