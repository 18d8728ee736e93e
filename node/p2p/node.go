package p2p

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	kad "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	routedhost "github.com/libp2p/go-libp2p/p2p/host/routed"

	"github.com/personal-power-plant/p3/ledger"
)

// Reach says whether others can dial this machine.
type Reach string

// Ways to be reached.
const (
	ReachAuto    Reach = ""        // find out; serve the DHT meanwhile
	ReachPublic  Reach = "public"  // a server, or any machine on a closed LAN
	ReachPrivate Reach = "private" // behind NAT: get a relay address at once, never serve the DHT
)

// DefaultListen are the addresses of a node that is told nothing: any free port, all interfaces.
var DefaultListen = []string{
	"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1",
	"/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1",
}

// A Config says what a Node is. Key and Network are required.
type Config struct {
	Key     crypto.PrivKey // node key, secp256k1; see NewKey
	Network ledger.Network
	Name    string // shown to others, at most 64 bytes
	Binding []byte // ledger.NodeBinding of this node's account; nil = none
	Agent   string // software and version, "p3/0.1.0"

	Listen    []string        // multiaddrs; nil = DefaultListen
	Bootstrap []peer.AddrInfo // dialled whenever we know nobody
	PSK       []byte          // 32 bytes: private network, TCP only; nil = open
	MDNS      bool            // find peers on the LAN
	Reach     Reach
	Relay     bool // relay for others
	MapPorts  bool // ask the router to forward our ports (UPnP, NAT-PMP)
	Small     bool // tests and simulations: few connections, no periodic table refresh

	Ready <-chan struct{} // closed when all protocols are served: until then nobody is greeted, as who was might ask for one that is not; nil = at once

	Validators map[string]record.Validator // of DHT values, by namespace

	Load func() ([]byte, error) // remembered peers, as Save got them; nil = none
	Save func([]byte) error     // at most 16 KiB, called with the first peers, then at most once a minute, and at Close; nil = forget

	Host host.Host    // a ready host, which the Node then owns; Key, Listen, PSK, Reach, Relay, MapPorts are not used for it
	Log  *slog.Logger // nil = slog.Default()
}

// A Node is this machine in the network.
type Node struct {
	cfg  Config
	log  *slog.Logger
	host host.Host
	dht  *kad.IpfsDHT
	ps   *pubsub.PubSub

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines and handlers
	lan    interface{ Close() error }

	binding atomic.Pointer[[]byte] // see SetBinding
	shunned shunList               // see Shun

	mu     sync.Mutex // guards what follows
	closed bool
	peers  map[peer.ID]*peerState
	limits map[protocol.ID]int
	subs   map[chan Event]struct{}
}

// NewKey makes a node key.
func NewKey() (crypto.PrivKey, error) {
	k, _, err := crypto.GenerateSecp256k1Key(nil)
	return k, err
}

// Prefix is what a network's own libp2p protocols and topics begin with: "/p3/" and 8 hex digits.
func Prefix(n ledger.Network) string { return "/p3/" + hex.EncodeToString(n[:4]) }

// Start joins the network and returns at once; peers come in the background, see Subscribe. ctx bounds
// the start only; Close ends the node. It fails when no address can be listened on.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if len(cfg.Name) > 64 {
		return nil, fmt.Errorf("node name %q: at most 64 bytes", cfg.Name)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, host: cfg.Host,
		peers: map[peer.ID]*peerState{}, limits: map[protocol.ID]int{}, subs: map[chan Event]struct{}{},
	}
	n.SetBinding(cfg.Binding)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.start(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Node) start() (err error) {
	if n.host == nil {
		if n.host, err = newHost(n.cfg, n.relays); err != nil {
			return fmt.Errorf("start libp2p: %w", err)
		}
	}
	if n.dht, err = newDHT(n.host, n.cfg); err != nil {
		return fmt.Errorf("start dht: %w", err)
	}
	n.host = routedhost.Wrap(n.host, n.dht)
	if n.ps, err = newGossip(n.ctx, n.host, n.cfg, &n.shunned); err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	n.host.SetStreamHandler(HelloProtocol, n.onHello)
	n.host.Network().Notify((*notifiee)(n))
	for _, c := range n.host.Network().Conns() {
		(*notifiee)(n).Connected(nil, c)
	}
	if n.cfg.MDNS {
		if n.lan, err = startMDNS(n); err != nil {
			n.log.Warn("no discovery on the LAN; others can still be joined by invite", "err", err)
		}
	}
	n.spawn(n.keepPeers)
	if n.cfg.Save != nil {
		n.spawn(n.rememberFirst)
	}
	n.spawn(n.pingPeers)
	return nil
}

// Close leaves the network and waits until every handler has returned.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	n.remember()
	n.cancel()
	var errs []error
	if n.lan != nil {
		errs = append(errs, n.lan.Close())
	}
	if n.dht != nil {
		errs = append(errs, n.dht.Close())
	}
	if n.host != nil {
		n.host.Network().StopNotify((*notifiee)(n))
		errs = append(errs, n.host.Close())
	}
	n.wg.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	for ch := range n.subs {
		n.unsubscribe(ch)
	}
	return errors.Join(errs...)
}

// spawn runs f until the node closes; it reports false when the node is closed already.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.wg.Go(f)
	return true
}

// SetBinding replaces Config.Binding for peers met from now on.
func (n *Node) SetBinding(b []byte) { n.binding.Store(&b) }

// ID is our peer ID.
func (n *Node) ID() peer.ID { return n.host.ID() }

// Host is the libp2p host, for packages that adapt it further. Only the Node closes it.
func (n *Node) Host() host.Host { return n.host }

// DHT is the network's Kademlia table.
func (n *Node) DHT() *kad.IpfsDHT { return n.dht }

// PubSub is the network's gossip.
func (n *Node) PubSub() *pubsub.PubSub { return n.ps }

// AddrInfo is where others can dial us at the moment.
func (n *Node) AddrInfo() peer.AddrInfo { return peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()} }

// Connect dials a peer and waits until both have said hello. It fails with *RefusedError
// when either turned the other away.
func (n *Node) Connect(ctx context.Context, p peer.AddrInfo) error {
	if err := n.host.Connect(network.WithAllowLimitedConn(ctx, "p3"), p); err != nil {
		return fmt.Errorf("dial %s: %w", p.ID, err)
	}
	return n.greeted(ctx, p.ID)
}

// openTimeout bounds Open when its context does not.
const openTimeout = 30 * time.Second

// Open starts a stream to a peer, which it finds and dials if need be. Frames are bounded as
// our own handler of the protocol has it, else by DefaultLimit.
func (n *Node) Open(ctx context.Context, p peer.ID, id protocol.ID) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := n.Connect(ctx, peer.AddrInfo{ID: p}); err != nil {
		return nil, err
	}
	s, err := n.host.NewStream(network.WithAllowLimitedConn(ctx, "p3"), p, id)
	if err != nil {
		return nil, fmt.Errorf("open %s to %s: %w", id, p, err)
	}
	n.mu.Lock()
	limit := n.limits[id]
	n.mu.Unlock()
	return newConn(s, p, limit), nil
}

// Handle serves a protocol: h runs once a stream, in a goroutine of its own, with frames of at most limit
// bytes (0 = DefaultLimit). When h returns the stream is closed in order; when it panics the
// stream is reset and the node lives on. ctx ends when the node closes. Peers that have not
// said hello wait; a second Handle of the same protocol replaces the first.
func (n *Node) Handle(id protocol.ID, limit int, h func(ctx context.Context, c *Conn)) {
	n.mu.Lock()
	n.limits[id] = limit
	n.mu.Unlock()
	n.host.SetStreamHandler(id, func(s network.Stream) {
		c := newConn(s, s.Conn().RemotePeer(), limit)
		if !n.spawn(func() { n.serve(id, c, h) }) {
			s.Reset()
		}
	})
}

func (n *Node) serve(id protocol.ID, c *Conn, h func(ctx context.Context, c *Conn)) {
	defer func() {
		if r := recover(); r != nil {
			c.Reset()
			n.log.Error("handler panicked; stream reset", "protocol", id, "peer", c.Peer(), "err", r, "stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	if err := n.greeted(ctx, c.Peer()); err != nil {
		c.Reset()
		return
	}
	h(ctx, c)
	c.Close()
}
