package p2p

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	kad "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kbucket/peerdiversity"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
	ma "github.com/multiformats/go-multiaddr"
)

// TestAttack29EclipseOfTheTable: one attacker with 20 identities of one network of addresses is there first. It gets
// perGroup places in the routing table; honest nodes of other networks that come later find theirs. On a LAN, where all
// are of one network, everybody does.
func TestAttack29EclipseOfTheTable(t *testing.T) {
	const identities = 20
	for name, c := range map[string]struct {
		from string
		want int // of the identities, at most
	}{"public addresses": {"185.1.%d.1", perGroup}, "a LAN": {"10.0.%d.1", identities}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := &simnet.Simnet{LatencyFunc: simnet.StaticLatency(10 * time.Millisecond)}
				link := simnet.NodeBiDiLinkSettings{Downlink: simnet.LinkSettings{BitsPerSecond: 20 * simlibp2p.OneMbps}, Uplink: simnet.LinkSettings{BitsPerSecond: 20 * simlibp2p.OneMbps}}
				newHost := func(ip string) host.Host {
					return simlibp2p.MustNewHost(t, libp2p.ListenAddrStrings("/ip4/"+ip+"/udp/8000/quic-v1"), simlibp2p.QUICSimnet(net, link),
						libp2p.DisableIdentifyAddressDiscovery(), libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics())
				}
				net.Start()
				defer net.Close()
				victim := newHost("186.0.0.1")
				v := startNode(t, func(c *Config) { c.Host = victim })
				defer v.Close()
				var others []*Node
				defer func() { // before the links
					for _, n := range others {
						n.Close()
					}
				}()
				join := func(ip string) peer.ID {
					h := newHost(ip)
					n := startNode(t, func(c *Config) {
						c.Host, c.Bootstrap = h, []peer.AddrInfo{{ID: victim.ID(), Addrs: victim.Addrs()}}
					})
					others = append(others, n)
					return h.ID()
				}
				attacker := map[peer.ID]bool{}
				for i := range identities {
					attacker[join(fmt.Sprintf(c.from, i))] = true
				}
				time.Sleep(10 * time.Second) // of fake time
				honest := map[peer.ID]bool{}
				for i := range 3 {
					honest[join(fmt.Sprintf("19%d.7.0.1", i))] = true
				}
				time.Sleep(10 * time.Second)
				bad, good := 0, 0
				for _, p := range v.dht.RoutingTable().ListPeers() {
					if attacker[p] {
						bad++
					}
					if honest[p] {
						good++
					}
				}
				t.Logf("%d of %d identities and %d of 3 others are in the table", bad, identities, good)
				if bad > c.want || bad < min(c.want, perGroupAndBucket) || good != 3 {
					t.Errorf("%d of %d identities, want at most %d, and %d of 3 honest nodes", bad, identities, c.want, good)
				}
			})
		})
	}
}

// A settled filter knows where peers are without a connection.
type settled struct {
	peerdiversity.PeerIPGroupFilter
	at string
}

func (s settled) PeerAddresses(p peer.ID) []ma.Multiaddr {
	return []ma.Multiaddr{ma.StringCast(fmt.Sprintf(s.at, p[0]))}
}

func TestOnlyPublicAddressesAreBounded(t *testing.T) {
	const peers = 9
	for at, want := range map[string]int{
		"/ip4/127.0.0.1/tcp/400%d": peers, "/ip4/192.168.0.%d/tcp/4001": peers, "/ip4/10.0.0.%d/tcp/4001": peers, "/ip6/::1/tcp/400%d": peers,
		"/ip6/fd00::%d/tcp/4001": peers, "/ip6/fe80::%d/tcp/4001": peers,
		"/ip4/185.1.%d.1/tcp/4001": perGroupAndBucket, "/ip6/2a00:1450:4001::%d/tcp/4001": perGroupAndBucket, // announced
		"/ip4/18%d.1.0.1/tcp/4001": peers,
	} {
		inner := settled{kad.NewRTPeerDiversityFilter(nil, perGroupAndBucket, perGroup), at}
		f, err := peerdiversity.NewFilter(diverse{inner}, "test", func(peer.ID) int { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		have := 0
		for i := range peers {
			if f.TryAdd(peer.ID([]byte{byte(i + 1)})) {
				have++
			}
		}
		if have != want {
			t.Errorf("%d of %d peers at %s, want %d", have, peers, at, want)
		}
	}
}
