package p2p

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
)

// Ready hosts on simulated links, in fake time: two nodes 100 ms apart greet each
// other in time, measure it, and notice when one leaves.
func TestNodesOnSimulatedLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &simnet.Simnet{LatencyFunc: simnet.StaticLatency(50 * time.Millisecond)}
		link := simnet.NodeBiDiLinkSettings{Downlink: simnet.LinkSettings{BitsPerSecond: 20 * simlibp2p.OneMbps}, Uplink: simnet.LinkSettings{BitsPerSecond: 20 * simlibp2p.OneMbps}}
		newHost := func(i int) host.Host {
			return simlibp2p.MustNewHost(t, libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/1.0.0.%d/udp/8000/quic-v1", i)), simlibp2p.QUICSimnet(net, link),
				libp2p.DisableIdentifyAddressDiscovery(), libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics())
		}
		h1, h2 := newHost(1), newHost(2)
		net.Start()
		defer net.Close()
		a := startNode(t, func(c *Config) { c.Host = h1 })
		b := startNode(t, func(c *Config) {
			c.Host = h2
			c.Bootstrap = []peer.AddrInfo{{ID: h1.ID(), Addrs: h1.Addrs()}}
		})
		events, stop := b.Subscribe()
		defer stop()
		start := time.Now()
		if len(b.Peers()) == 0 {
			await(t, events, PeerGreeted)
		}
		if took := time.Since(start); took > 500*time.Millisecond { // in fake time, so on any machine
			t.Errorf("greeted after %s, want at most five round trips", took)
		}
		time.Sleep(pingEvery + time.Second) // fake time: the round trip is measured by then
		if rtt := b.RTT(a.ID()); rtt < 100*time.Millisecond || rtt > 200*time.Millisecond {
			t.Errorf("round trip %s, want about 100 ms", rtt)
		}
		a.Close()
		await(t, events, PeerDisconnected)
		b.Close()
		synctest.Wait()
	})
}
