package p2p

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/personal-power-plant/p3/ledger"
)

// PeerInfo is what we know of somebody we are connected to.
type PeerInfo struct {
	ID      peer.ID
	Name    string         // what it calls itself, unverified
	Account ledger.Account // proven by its binding; zero if it showed none
	Office  bool           // it earns for Account and does not hold its key
	Addrs   []string       // of its connections
	Relayed bool           // no direct connection
	RTT     time.Duration  // smoothed; 0 = not measured yet
	Skew    time.Duration  // its clock minus ours when it said hello, within a round trip
	Agent   string
	Since   time.Time
}

// EventKind says what happened to a peer.
type EventKind uint8

// Kinds of Event.
const (
	PeerConnected    EventKind = 1 // a connection stands; no hello yet
	PeerGreeted      EventKind = 2 // both said hello: its protocols run from now
	PeerRefused      EventKind = 3 // one side turned the other away; Why says it
	PeerDisconnected EventKind = 4
)

// An Event is a change of the peers we are connected to.
type Event struct {
	Kind    EventKind
	Peer    peer.ID
	Name    string
	Account ledger.Account
	Why     string
	Skew    time.Duration // as in PeerInfo, of PeerGreeted
}

// peerState is a connected peer. Its fields are written once, before met is closed.
type peerState struct {
	since   time.Time
	met     chan struct{} // closed when the hello has ended, well or not
	once    sync.Once
	hello   hello
	account ledger.Account
	skew    time.Duration
	err     error
}

// Peers lists the peers that have said hello, by name and ID.
func (n *Node) Peers() []PeerInfo {
	n.mu.Lock()
	states := make(map[peer.ID]*peerState, len(n.peers))
	for id, s := range n.peers {
		states[id] = s
	}
	n.mu.Unlock()
	var out []PeerInfo
	for id, s := range states {
		if !s.ok() {
			continue
		}
		p := PeerInfo{ID: id, Name: s.hello.Name, Account: s.account, Office: earnsOnly(s.hello.Binding), Skew: s.skew, Since: s.since, Relayed: true, RTT: n.RTT(id)}
		if agent, err := n.host.Peerstore().Get(id, "AgentVersion"); err == nil {
			text, _ := agent.(string)
			p.Agent = printable(text[:min(len(text), 64)])
		}
		for _, c := range n.host.Network().ConnsToPeer(id) {
			p.Addrs = append(p.Addrs, c.RemoteMultiaddr().String())
			p.Relayed = p.Relayed && relayed(c)
		}
		if len(p.Addrs) > 0 {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b PeerInfo) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Account is the account that a connected peer has proven to act for; false if it has not
// said hello or showed no binding.
func (n *Node) Account(p peer.ID) (ledger.Account, bool) {
	n.mu.Lock()
	s := n.peers[p]
	n.mu.Unlock()
	if s == nil || !s.ok() || s.account.IsZero() {
		return ledger.Account{}, false
	}
	return s.account, true
}

// Name is what a connected peer has greeted us with; "" while it has not, or when it has none.
func (n *Node) Name(p peer.ID) string {
	n.mu.Lock()
	s := n.peers[p]
	n.mu.Unlock()
	if s == nil || !s.ok() {
		return ""
	}
	return s.hello.Name
}

// Greeted reports whether a peer is connected and has said hello.
func (n *Node) Greeted(p peer.ID) bool {
	n.mu.Lock()
	s := n.peers[p]
	n.mu.Unlock()
	return s != nil && s.ok()
}

// RTT is the smoothed round trip to a peer; 0 = not measured.
func (n *Node) RTT(p peer.ID) time.Duration { return n.host.Peerstore().LatencyEWMA(p) }

// Subscribe returns a channel of what happens to peers from now. Whoever lags more than 256
// events behind finds it closed and should look at Peers and subscribe anew; so it ends when
// the node closes. cancel closes it too.
func (n *Node) Subscribe() (events <-chan Event, cancel func()) {
	ch := make(chan Event, 256)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.subs[ch] = struct{}{}
	if n.closed {
		n.unsubscribe(ch)
	}
	return ch, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.unsubscribe(ch)
	}
}

func (n *Node) tell(e Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ch := range n.subs {
		select {
		case ch <- e:
		default:
			n.unsubscribe(ch)
		}
	}
}

func (n *Node) unsubscribe(ch chan Event) {
	if _, ok := n.subs[ch]; ok {
		delete(n.subs, ch)
		close(ch)
	}
}

func (s *peerState) ok() bool {
	select {
	case <-s.met:
		return s.err == nil
	default:
		return false
	}
}

// greeted waits until the peer has said hello.
func (n *Node) greeted(ctx context.Context, p peer.ID) error {
	n.mu.Lock()
	s := n.peers[p]
	n.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%s: connection lost", p)
	}
	select {
	case <-s.met:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("wait for hello of %s: %w", p, ctx.Err())
	}
}

// notifiee is the Node as libp2p's network sees it.
type notifiee Node

func (x *notifiee) Listen(network.Network, ma.Multiaddr)      {}
func (x *notifiee) ListenClose(network.Network, ma.Multiaddr) {}

// Connected runs before the connection carries any stream.
func (x *notifiee) Connected(_ network.Network, c network.Conn) {
	n, p := (*Node)(x), c.RemotePeer()
	n.mu.Lock()
	s, known := n.peers[p]
	if !known {
		s = &peerState{since: time.Now(), met: make(chan struct{})}
		n.peers[p] = s
	}
	n.mu.Unlock()
	if !known {
		n.tell(Event{Kind: PeerConnected, Peer: p})
	}
	dialler := c.Stat().Direction == network.DirOutbound
	if !known || dialler {
		n.spawn(func() { n.meet(p, s, dialler) })
	}
}

// Disconnected forgets a peer with its last connection.
func (x *notifiee) Disconnected(net network.Network, c network.Conn) {
	n, p := (*Node)(x), c.RemotePeer()
	n.mu.Lock()
	if len(n.host.Network().ConnsToPeer(p)) > 0 { // under the lock: a new one waits for it in Connected
		n.mu.Unlock()
		return
	}
	s := n.peers[p]
	delete(n.peers, p)
	n.mu.Unlock()
	if s == nil {
		return
	}
	s.end(hello{}, ledger.Account{}, errGone)
	n.tell(Event{Kind: PeerDisconnected, Peer: p, Name: s.hello.Name, Account: s.account})
}

var errGone = errors.New("peer disconnected before it said hello")

// end settles the hello; only the first call counts.
func (s *peerState) end(h hello, account ledger.Account, err error) (first bool) {
	s.once.Do(func() {
		s.hello, s.account, s.err = h, account, err
		if h.Time != 0 {
			s.skew = time.Until(time.UnixMilli(h.Time))
		}
		close(s.met)
		first = true
	})
	return first
}

// meet sees to it that a new peer says hello in time or goes.
func (n *Node) meet(p peer.ID, s *peerState, dialler bool) {
	ctx, cancel := context.WithTimeout(n.ctx, helloTimeout)
	defer cancel()
	if dialler {
		h, account, err := n.greet(ctx, p)
		n.met(p, s, h, account, err)
		return
	}
	select {
	case <-s.met:
	case <-ctx.Done():
		n.met(p, s, hello{}, ledger.Account{}, ctx.Err())
	}
}

// onHello serves the listener's side of the hello.
func (n *Node) onHello(st network.Stream) {
	p := st.Conn().RemotePeer()
	n.mu.Lock()
	s := n.peers[p]
	n.mu.Unlock()
	if s == nil || !n.spawn(func() {
		c := newConn(st, p, helloLimit)
		defer c.Close()
		h, account, err := n.answer(c)
		n.met(p, s, h, account, err)
	}) {
		st.Reset()
	}
}

// met settles a hello: the peer stays or goes.
func (n *Node) met(p peer.ID, s *peerState, h hello, account ledger.Account, err error) {
	var refused *RefusedError
	if err != nil && !errors.As(err, &refused) {
		err = fmt.Errorf("%w: %w", &RefusedError{p, NotP3, false}, err)
	}
	if !s.end(h, account, err) {
		return
	}
	if err == nil {
		n.tell(Event{Kind: PeerGreeted, Peer: p, Name: h.Name, Account: account, Skew: s.skew})
		n.ping(n.ctx, p)
		return
	}
	if n.ctx.Err() != nil {
		return
	}
	n.log.Info("peer refused", "peer", p, "err", err)
	n.tell(Event{Kind: PeerRefused, Peer: p, Name: h.Name, Why: err.Error()})
	n.farewell(p)
}

// farewell closes the connections to a peer, after a moment in which the verdict arrives.
func (n *Node) farewell(p peer.ID) {
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-n.ctx.Done():
	}
	n.host.Network().ClosePeer(p)
}

// pingEvery is how often each peer's round trip is measured.
const pingEvery = 15 * time.Second

func (n *Node) pingPeers() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-t.C:
		}
		var wg sync.WaitGroup
		slots := make(chan struct{}, 8)
		for _, p := range n.Peers() {
			slots <- struct{}{}
			wg.Go(func() { n.ping(n.ctx, p.ID); <-slots })
		}
		wg.Wait()
	}
}

// ping measures once; the ping service notes the round trip in the peerstore.
func (n *Node) ping(ctx context.Context, p peer.ID) {
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(ctx, "p3 ping"), 5*time.Second)
	defer cancel()
	<-ping.Ping(ctx, n.host, p)
}

// relayed reports whether a connection runs through a relay.
func relayed(c network.Conn) bool {
	_, err := c.RemoteMultiaddr().ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}
