package fraud_test

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node/fraud"
	"github.com/personal-power-plant/p3/node/p2p"
)

var spreadNodes = flag.Int("spread-nodes", 20, "of TestProofReachesEveryNode")

// TestProofReachesEveryNode puts -spread-nodes nodes on simulated links of 50 ms one way and
// 20 Mbit/s, each of which knows eight others at random. One of them finds a fork, and 99 % of all have
// frozen the account within 22 s. Time is simulated, so the machine does not matter.
func TestProofReachesEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := spread(t, *spreadNodes, min(8, *spreadNodes/4), 50*time.Millisecond)
		last := (99**spreadNodes + 99) / 100
		if len(took) < last {
			t.Fatalf("the proof reached %d of %d nodes", len(took), *spreadNodes)
		}
		t.Logf("%d nodes: half after %s, 99 %% after %s, %d after %s", *spreadNodes, took[len(took)/2], took[last-1], len(took), took[len(took)-1])
		if took[last-1] > 22*time.Second {
			t.Errorf("99 %% after %s, want within 22 s", took[last-1])
		}
	})
}

// spread returns, ascending, when each node that the proof reached froze the account.
func spread(t *testing.T, nodes, known int, latency time.Duration) (took []time.Duration) {
	rng := rand.New(rand.NewPCG(1, uint64(nodes)))
	net := &simnet.Simnet{LatencyFunc: simnet.StaticLatency(latency), Logger: slog.New(slog.DiscardHandler)}
	link := simnet.LinkSettings{BitsPerSecond: 20 * simlibp2p.OneMbps}
	net.Start()
	defer net.Close()
	all := make([]*node, nodes)
	hosts := make([]host.Host, nodes)
	for i := range hosts {
		h, err := libp2p.New(libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/1.0.%d.%d/udp/8000/quic-v1", i/250, i%250+1)),
			simlibp2p.QUICSimnet(net, simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link}), libp2p.DisableIdentifyAddressDiscovery(),
			libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics())
		if err != nil {
			t.Fatal(err)
		}
		hosts[i] = h
	}
	for i := range all {
		var others []peer.AddrInfo
		for _, j := range rng.Perm(nodes)[:known+1] {
			if j != i && len(others) < known {
				others = append(others, peer.AddrInfo{ID: hosts[j].ID(), Addrs: hosts[j].Addrs()})
			}
		}
		all[i] = startOn(t, hosts[i], others)
	}
	time.Sleep(30 * time.Second) // of simulated time: the gossip has formed its mesh
	begun := time.Now()
	cheat := ok(ledger.NewKey())(t)
	if _, _, err := all[0].book.Convict(t.Context(), proofAgainst(t, cheat).Encode()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range all {
		wg.Go(func() {
			select {
			case <-n.frozen:
				mu.Lock()
				took = append(took, time.Since(begun))
				mu.Unlock()
			case <-time.After(time.Minute):
			}
		})
	}
	wg.Wait()
	var closing sync.WaitGroup
	for _, n := range all {
		closing.Go(n.stop)
	}
	closing.Wait()
	slices.Sort(took)
	return took
}

func startOn(t testing.TB, h host.Host, others []peer.AddrInfo) *node {
	return start(t, func(c *p2p.Config, _ *fraud.Config) { c.Host, c.Bootstrap = h, others })
}
