package p2p

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"

	"github.com/personal-power-plant/p3/ledger"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

var netA, netB = ledger.Network{1}, ledger.Network{2}

func testKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// startNode starts a node on loopback that ends with the test.
func startNode(t testing.TB, change func(*Config)) *Node {
	t.Helper()
	cfg := Config{
		Key: testKey(t), Network: netA, Name: "node", Agent: "p3/test", Small: true, Reach: ReachPublic,
		Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	n, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func connect(t testing.TB, a, b *Node) {
	t.Helper()
	if err := a.Connect(t.Context(), b.AddrInfo()); err != nil {
		t.Fatal(err)
	}
}

// await returns the next event of a kind.
func await(t testing.TB, events <-chan Event, kind EventKind) Event {
	t.Helper()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("events ended")
			}
			if e.Kind == kind {
				return e
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no event of kind %d within 10 s", kind)
		}
	}
}

func TestFramesCrossBetweenNodes(t *testing.T) {
	a, b := startNode(t, nil), startNode(t, nil)
	b.Handle("/p3/echo/1.0.0", 100, func(_ context.Context, c *Conn) {
		for {
			f, err := c.ReadFrame()
			if err != nil {
				return
			}
			c.WriteFrame(f, []byte("!"))
		}
	})
	connect(t, a, b)
	c, err := a.Open(t.Context(), b.ID(), "/p3/echo/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	c.WriteFrame([]byte("hello"))
	for _, want := range []string{"hello", "!"} {
		if got, err := c.ReadFrame(); err != nil || string(got) != want {
			t.Fatalf("%q %v, want %q", got, err, want)
		}
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadFrame(); err != io.EOF {
		t.Fatalf("after the handler returned: %v", err)
	}
	c.Close()
}

func TestPanickingHandlerResetsOnlyItsStream(t *testing.T) {
	a, b := startNode(t, nil), startNode(t, nil)
	b.Handle("/p3/test/1.0.0", 0, func(_ context.Context, c *Conn) {
		f, err := c.ReadFrame()
		if err != nil {
			return
		}
		if string(f) == "panic" {
			panic("as asked")
		}
		c.WriteFrame(f)
	})
	connect(t, a, b)
	bad, err := a.Open(t.Context(), b.ID(), "/p3/test/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	good, err := a.Open(t.Context(), b.ID(), "/p3/test/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	bad.WriteFrame([]byte("panic"))
	if _, err := bad.ReadFrame(); !errors.Is(err, network.ErrReset) {
		t.Fatalf("stream of the panic: %v, want a reset", err)
	}
	good.WriteFrame([]byte("fine"))
	if f, err := good.ReadFrame(); err != nil || string(f) != "fine" {
		t.Fatalf("%q %v", f, err)
	}
	good.Close()
}

func TestPeerOfAnotherNetworkIsToldAndDisconnected(t *testing.T) {
	a := startNode(t, nil)
	b := startNode(t, func(c *Config) { c.Network = netB })
	eventsA, stopA := a.Subscribe()
	defer stopA()
	eventsB, stopB := b.Subscribe()
	defer stopB()
	err := a.Connect(t.Context(), b.AddrInfo())
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != WrongNetwork {
		t.Fatalf("got %v, want a refusal for the wrong network", err)
	}
	for _, events := range []<-chan Event{eventsA, eventsB} {
		if e := await(t, events, PeerRefused); !strings.Contains(e.Why, "another network") {
			t.Errorf("why %q", e.Why)
		}
		await(t, events, PeerDisconnected)
	}
	if len(a.Peers())+len(b.Peers()) != 0 {
		t.Error("still listed")
	}
	if _, err := a.Open(t.Context(), b.ID(), "/p3/test/1.0.0"); err == nil {
		t.Error("a protocol ran across networks")
	}
}

func TestHelloProvesTheAccount(t *testing.T) {
	key, err := ledger.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	bind := func(id peer.ID) []byte {
		raw, err := key.SignBinding(ledger.NodeBinding{Network: netA, Account: key.Account(), PeerID: []byte(id), Seq: 1, ExpiryMs: uint64(time.Now().Add(time.Hour).UnixMilli())})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	a := startNode(t, nil)
	b := startNode(t, func(c *Config) {
		id, _ := peer.IDFromPrivateKey(c.Key)
		c.Binding, c.Name = bind(id), "elm\x1b[31m"
	})
	connect(t, a, b)
	if got, ok := a.Account(b.ID()); !ok || got != key.Account() {
		t.Errorf("account %s %v", got, ok)
	}
	if _, ok := b.Account(a.ID()); ok {
		t.Error("account without a binding")
	}
	p := a.Peers()[0]
	if p.ID != b.ID() || p.Name != "elm[31m" || p.Relayed || len(p.Addrs) != 1 || !strings.Contains(p.Addrs[0], "/tcp/") {
		t.Errorf("peer %+v: want a direct TCP connection and a printable name", p)
	}
	thief := startNode(t, func(c *Config) { c.Binding = bind(b.ID()) })
	var refused *RefusedError
	if err := thief.Connect(t.Context(), a.AddrInfo()); !errors.As(err, &refused) || refused.Code != BadBinding || !refused.ByThem {
		t.Errorf("stolen binding: %v", err)
	}
}

// A peer that connects and never says hello is dropped, and its other streams never run.
// Whoever is told of a new peer may ask it for any protocol at once, so a node that still starts greets nobody.
func TestNobodyIsGreetedBeforeAllIsServed(t *testing.T) {
	for _, dialler := range []string{"the node that starts", "the other"} {
		t.Run(dialler, func(t *testing.T) {
			ready := make(chan struct{})
			a := startNode(t, func(c *Config) { c.Ready = ready })
			b := startNode(t, nil)
			events, cancel := b.Subscribe()
			defer cancel()
			from, to := a, b
			if dialler == "the other" {
				from, to = b, a
			}
			done := make(chan error, 1)
			go func() { done <- from.Connect(t.Context(), to.AddrInfo()) }()
			await(t, events, PeerConnected)
			if b.Greeted(a.ID()) {
				t.Error("greeted before it serves anything")
			}
			const late = "/p3/late/1.0.0"
			a.Handle(late, 1<<10, func(_ context.Context, c *Conn) { c.WriteFrame([]byte("served")) })
			close(ready)
			if got := await(t, events, PeerGreeted); b.Name(got.Peer) != "node" {
				t.Errorf("greeted by %q", b.Name(got.Peer))
			}
			c, err := b.Open(t.Context(), a.ID(), late)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got, err := c.ReadFrame(); err != nil || string(got) != "served" {
				t.Errorf("%q %v", got, err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSilentPeerRunsNoProtocol(t *testing.T) {
	a := startNode(t, nil)
	a.Handle("/p3/test/1.0.0", 0, func(context.Context, *Conn) { t.Error("handler ran for a peer without hello") })
	events, stop := a.Subscribe()
	defer stop()
	stranger, err := newHost(Config{Key: testKey(t), Small: true, Reach: ReachPublic, Listen: []string{"/ip4/127.0.0.1/tcp/0"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Connect(t.Context(), a.AddrInfo()); err != nil {
		t.Fatal(err)
	}
	s, err := stranger.NewStream(t.Context(), a.ID(), "/p3/test/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte{0, 0, 0, 1, 'x'})
	hello, err := stranger.NewStream(t.Context(), a.ID(), HelloProtocol)
	if err != nil {
		t.Fatal(err)
	}
	hello.Write([]byte{0, 0, 0, 3, 0xff, 0xff, 0xff}) // garbage
	if e := await(t, events, PeerRefused); !strings.Contains(e.Why, "does not speak p3") {
		t.Errorf("why %q", e.Why)
	}
	await(t, events, PeerDisconnected)
}

func TestPrivateNetworkKeepsStrangersOut(t *testing.T) {
	psk := make([]byte, 32)
	private := func(c *Config) { c.PSK = psk }
	a, b := startNode(t, private), startNode(t, private)
	connect(t, a, b)
	stranger := startNode(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the handshake gives up after five
	defer cancel()
	if err := stranger.Connect(ctx, a.AddrInfo()); err == nil || len(a.Host().Network().ConnsToPeer(stranger.ID())) > 0 {
		t.Error("connected without the key")
	}
}

func TestRememberedPeersAreDialledAgain(t *testing.T) {
	b := startNode(t, nil)
	saved := make(chan []byte, 8)
	a := startNode(t, func(c *Config) { c.Save = func(b []byte) error { saved <- b; return nil } })
	connect(t, b, a)  // whose addresses a learns a moment later
	memory := <-saved // without being closed: it may be killed
	again := startNode(t, func(c *Config) { c.Load = func() ([]byte, error) { return memory, nil } })
	events, stop := again.Subscribe()
	defer stop()
	if len(again.Peers()) == 0 {
		await(t, events, PeerGreeted)
	}
	if p := again.Peers(); len(p) != 1 || p[0].ID != b.ID() {
		t.Errorf("peers %v", p)
	}
}

func TestBootstrapPeerIsMet(t *testing.T) {
	b := startNode(t, nil)
	start := time.Now()
	a := startNode(t, func(c *Config) { c.Bootstrap = []peer.AddrInfo{b.AddrInfo()} })
	events, stop := a.Subscribe()
	defer stop()
	if len(a.Peers()) == 0 {
		await(t, events, PeerGreeted)
	}
	t.Logf("first peer after %s", time.Since(start).Round(time.Millisecond))
}

func FuzzRememberedPeers(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x80})
	f.Add([]byte{0x81, 0xa2, 1, 0x41, 0, 2, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range decodeRemembered(b) {
			if len(p.Addrs) == 0 || len(p.Addrs) > maxPeerAddrs {
				t.Fatalf("%v", p)
			}
		}
	})
}
