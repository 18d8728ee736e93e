package sim

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/marcopolo/simnet"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"
)

// A Link says what every node's connection to the network is like. The zero value is a perfect
// one of 100 Mbit/s.
type Link struct {
	Latency time.Duration // one way
	Jitter  time.Duration // added to it, at random up to this
	Loss    float64       // share of packets lost, 0 to 1
	Mbps    int           // each way; 0 = 100
}

func (l Link) settings() simnet.NodeBiDiLinkSettings {
	bits := l.Mbps * 1_000_000
	if bits == 0 {
		bits = 100_000_000
	}
	one := simnet.LinkSettings{BitsPerSecond: bits}
	return simnet.NodeBiDiLinkSettings{Downlink: one, Uplink: one}
}

// wires are the links of a Net: which of them are cut, and their bad luck. Safe for concurrent use.
type wires struct {
	link Link

	mu  sync.Mutex // guards what follows
	rng *rand.Rand
	cut map[netip.Addr]bool
}

func newWires(seed uint64, link Link) *wires {
	return &wires{link: link, rng: rand.New(rand.NewPCG(seed, 1)), cut: map[netip.Addr]bool{}}
}

func (w *wires) set(a netip.Addr, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[a] = cut
}

func (w *wires) latency(*simnet.Packet) time.Duration {
	d := w.link.Latency
	if w.link.Jitter > 0 {
		w.mu.Lock()
		d += time.Duration(w.rng.Int64N(int64(w.link.Jitter)))
		w.mu.Unlock()
	}
	return d
}

// passes reports whether a packet that reaches a, or leaves it, gets through.
func (w *wires) passes(a netip.Addr, leaving bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.cut[a] && !(leaving && w.link.Loss > 0 && w.rng.Float64() < w.link.Loss)
}

// A cable is a node's socket. What passes it while it is cut is lost without a word, as when
// somebody pulls the plug.
type cable struct {
	*simnet.SimConn
	w    *wires
	addr netip.Addr
}

func (c *cable) WriteTo(p []byte, to net.Addr) (int, error) {
	if !c.w.passes(c.addr, true) {
		return len(p), nil
	}
	return c.SimConn.WriteTo(p, to)
}

func (c *cable) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.SimConn.ReadFrom(p)
		if err != nil || c.w.passes(c.addr, false) {
			return n, from, err
		}
	}
}

type sourceIP struct{ ip net.IP }

func (s sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) { return s.ip, nil }

// quicOver makes a host send its QUIC packets over the simulated network, as
// go-libp2p's x/simlibp2p does, through a cable that can be cut.
func quicOver(sn *simnet.Simnet, w *wires, addr netip.Addr) libp2p.Option {
	return libp2p.QUICReuse(
		func(life fx.Lifecycle, reset quic.StatelessResetKey, token quic.TokenGeneratorKey, opts ...quicreuse.Option) (*quicreuse.ConnManager, error) {
			cm, err := quicreuse.NewConnManager(reset, token, opts...)
			if err == nil {
				life.Append(fx.StopHook(cm.Close))
			}
			return cm, err
		},
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return sourceIP{addr.AsSlice()}, nil }),
		quicreuse.OverrideListenUDP(func(_ string, at *net.UDPAddr) (net.PacketConn, error) {
			return &cable{sn.NewEndpoint(at, w.link.settings()), w, addr}, nil
		}))
}
