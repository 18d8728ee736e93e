package p2p

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/libp2p/go-libp2p"
	kad "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// newHost builds the libp2p host. The library's default yamux window, 16 MiB, is what a fast
// link over 100 ms needs; it stays.
func newHost(cfg Config, relays autorelay.PeerSource) (host.Host, error) {
	low, high := 128, 256
	if cfg.Small {
		low, high = 16, 32
	}
	cm, err := connmgr.NewConnManager(low, high, connmgr.WithGracePeriod(20*time.Second))
	if err != nil {
		return nil, err
	}
	limits, err := newLimits()
	if err != nil {
		return nil, err
	}
	listen := cfg.Listen
	if listen == nil {
		listen = DefaultListen
	}
	opts := []libp2p.Option{
		libp2p.Identity(cfg.Key),
		libp2p.UserAgent(cfg.Agent),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(tls.ID, tls.New),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ConnectionManager(cm),
		libp2p.ResourceManager(limits),
		libp2p.SwarmOpts(swarm.WithDialRanker(lanFirst)),
		libp2p.DisableMetrics(),
		libp2p.EnableRelay(),
		libp2p.EnableHolePunching(holepunch.DirectDialTimeout(1500 * time.Millisecond)), // 0.6 s to direct instead of 5.9
	}
	if cfg.PSK != nil {
		if len(cfg.PSK) != 32 {
			return nil, fmt.Errorf("network key of %d bytes, want 32", len(cfg.PSK))
		}
		opts = append(opts, libp2p.PrivateNetwork(pnet.PSK(cfg.PSK))) // QUIC has no such thing
		listen, err = onlyTCP(listen)
		if err != nil {
			return nil, err
		}
	} else {
		opts = append(opts, libp2p.Transport(quic.NewTransport))
	}
	if err := portsFree(listen); err != nil {
		limits.Close()
		return nil, err
	}
	opts = append(opts, libp2p.ListenAddrStrings(listen...))
	switch cfg.Reach {
	case ReachPublic:
		opts = append(opts, libp2p.ForceReachabilityPublic(), libp2p.EnableNATService())
	case ReachPrivate:
		opts = append(opts, libp2p.ForceReachabilityPrivate()) // relay address in 0.3 s instead of 17
	case ReachAuto:
		opts = append(opts, libp2p.EnableNATService())
	default:
		return nil, fmt.Errorf("reach %q: use %q, %q or nothing", cfg.Reach, ReachPublic, ReachPrivate)
	}
	if cfg.Reach != ReachPublic {
		opts = append(opts, libp2p.EnableAutoRelayWithPeerSource(relays, autorelay.WithBootDelay(0), autorelay.WithMinCandidates(1), autorelay.WithMinInterval(5*time.Second)))
	}
	if cfg.Relay {
		r := relay.DefaultResources()
		r.BufferSize = 64 << 10                                                 // 1.8 times the throughput of the default
		r.Limit = &relay.RelayLimit{Duration: 30 * time.Minute, Data: 64 << 20} // the default ends a job after 2 minutes
		opts = append(opts, libp2p.EnableRelayService(relay.WithResources(r)))
	}
	if cfg.MapPorts {
		opts = append(opts, libp2p.NATPortMap())
	}
	h, err := libp2p.New(opts...)
	if err != nil {
		limits.Close()
		return nil, err
	}
	return h, nil
}

// newLimits scales the default limits to this machine and lets a whole office behind one
// address in, where the default stops at 8 connections.
func newLimits() (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	const perAddress = 512
	often := rate.Limit{RPS: 5, Burst: 256}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(scaling.AutoScale()),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: perAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: perAddress}, {PrefixLength: 48, ConnCount: 4 * perAddress}},
		),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: []rate.PrefixLimit{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")}},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: often}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: often}},
				GracePeriod:      time.Minute,
			},
		}))
}

// lanFirst prefers TCP where it is near: there it carries three times QUIC's bytes per CPU second. Elsewhere
// the library's ranking stays, which prefers QUIC and so passes NATs.
func lanFirst(addrs []ma.Multiaddr) []network.AddrDelay {
	var tcp, other, far []ma.Multiaddr
	for _, a := range addrs {
		_, errTCP := a.ValueForProtocol(ma.P_TCP)
		_, errRelay := a.ValueForProtocol(ma.P_CIRCUIT)
		switch {
		case errRelay == nil || !manet.IsPrivateAddr(a):
			far = append(far, a)
		case errTCP == nil:
			tcp = append(tcp, a)
		default:
			other = append(other, a)
		}
	}
	const step = 100 * time.Millisecond // a LAN answers well within it
	ranked := make([]network.AddrDelay, 0, len(addrs))
	var delay time.Duration
	for _, group := range [][]ma.Multiaddr{tcp, other} {
		for _, a := range group {
			ranked = append(ranked, network.AddrDelay{Addr: a, Delay: delay})
		}
		if len(group) > 0 {
			delay += step
		}
	}
	for _, a := range swarm.DefaultDialRanker(far) {
		a.Delay += delay
		ranked = append(ranked, a)
	}
	return ranked
}

func onlyTCP(listen []string) (out []string, err error) {
	for _, s := range listen {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("listen address %q: %w", s, err)
		}
		if _, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("a private network needs a TCP listen address, such as /ip4/0.0.0.0/tcp/0")
	}
	return out, nil
}

// newDHT keeps the network's table apart from every other by its protocol prefix.
func newDHT(h host.Host, cfg Config) (*kad.IpfsDHT, error) {
	mode := map[Reach]kad.ModeOpt{ReachAuto: kad.ModeAutoServer, ReachPublic: kad.ModeServer, ReachPrivate: kad.ModeClient}[cfg.Reach]
	validator := record.NamespacedValidator{}
	for ns, v := range cfg.Validators {
		validator[ns] = v
	}
	opts := []kad.Option{
		kad.ProtocolPrefix(protocol.ID(Prefix(cfg.Network))),
		kad.Mode(mode),
		kad.Validator(validator),
		kad.BootstrapPeers(cfg.Bootstrap...),
		kad.RoutingTablePeerDiversityFilter(newDiverse(h)),
		kad.ValueDatastore(newBoundedStore(maxValues)),
		kad.ProviderDatastore(newBoundedStore(maxProviders)),
		kad.MaxRecordAge(maxRecordAge),
		kad.ValueGCInterval(maxRecordAge / 4),
	}
	if cfg.Small {
		opts = append(opts, kad.DisableAutoRefresh())
	}
	return kad.New(h, opts...)
}

// MaxGossip is the largest gossip message, in bytes of payload.
const MaxGossip = 64 << 10

const ourTopics = `^/p3/[0-9a-z/.-]{1,120}$`

// newGossip starts gossipsub under protocol IDs of the network's own.
func newGossip(ctx context.Context, h host.Host, cfg Config, shunned pubsub.Blacklist) (*pubsub.PubSub, error) {
	id := protocol.ID(Prefix(cfg.Network) + "/meshsub/1.2.0")
	feature := func(f pubsub.GossipSubFeature, p protocol.ID) bool {
		return p == id && f != pubsub.GossipSubFeaturePX && f != pubsub.GossipSubFeatureExtensions
	}
	return pubsub.NewGossipSub(ctx, h,
		pubsub.WithGossipSubProtocols([]protocol.ID{id}, feature),
		pubsub.WithMaxMessageSize(MaxGossip+4<<10), // with sender, signature and topic
		pubsub.WithBlacklist(shunned),
		pubsub.WithFloodPublish(true), // our own few messages reach every neighbour at once
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(pubsub.NewRegexpSubscriptionFilter(regexp.MustCompile(ourTopics)), 256)),
	)
}

// relays yields connected peers as candidates for relaying to us.
func (n *Node) relays(ctx context.Context, num int) <-chan peer.AddrInfo {
	out := make(chan peer.AddrInfo)
	go func() {
		defer close(out)
		for _, p := range n.Peers() {
			if num == 0 {
				return
			}
			select {
			case out <- n.host.Peerstore().PeerInfo(p.ID):
				num--
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
