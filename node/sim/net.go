package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/marcopolo/simnet"

	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
)

// Price is what a node of a Net asks if nothing else is said: 1 µcr for 1,000 fuel, so that even the units of
// a scenario cost something.
var Price = ledger.Price{Num: 1, Den: 1000}

// A Net is some nodes of one credit network and the links between them.
type Net struct {
	// Log gets what the nodes log; discarded until set.
	Log io.Writer

	t       testing.TB
	seed    uint64
	wires   *wires
	links   *simnet.Simnet
	engine  *wasm.Local
	genesis ledger.Genesis
	nodes   []*Node
}

// New makes a Net without nodes. It must be called inside a synctest bubble, and is torn down at
// the test's end. A failed test prints the seed.
func New(t testing.TB, seed uint64, link Link) *Net {
	t.Helper()
	w := newWires(seed, link)
	engine, err := wasm.NewLocal(wasm.LocalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := &Net{
		Log: io.Discard, t: t, seed: seed, wires: w, engine: engine, genesis: ledger.MutualGenesis("sim", ledger.DefaultFloor),
		links: &simnet.Simnet{LatencyFunc: w.latency, Logger: slog.New(slog.DiscardHandler)},
	}
	n.links.Start()
	t.Cleanup(n.close)
	return n
}

// Witnesses makes the nodes of these names, once they are added, the witnesses of the network. Call it before Add.
func (n *Net) Witnesses(names ...string) {
	n.t.Helper()
	var all []ledger.Account
	for _, name := range names {
		k, err := ledger.ParseKey(n.secret(name, "witness"))
		if err != nil {
			n.t.Fatal(err)
		}
		all = append(all, k.Account())
	}
	n.genesis = n.genesis.Witnessed(all...)
}

func (n *Net) close() {
	if n.t.Failed() {
		n.t.Logf("seed %d", n.seed)
	}
	for _, x := range n.nodes {
		x.stop()
	}
	n.links.Close()
	n.engine.Close()
}

// secret is 32 bytes that belong to a node of this seed.
func (n *Net) secret(name, use string) []byte {
	s := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("p3 sim "+use+" "+name+" "), n.seed))
	return s[:]
}

// addr is the address of the i-th node: each in a network of its own, as machines all over the Internet are.
func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{byte(185 + i>>8), byte(i), 0, 1}) }

// others are the addresses of all nodes but x: what an invite would name.
func (n *Net) others(x *Node) (out []peer.AddrInfo) {
	for _, y := range n.nodes {
		if y != x {
			out = append(out, y.info)
		}
	}
	return out
}

// Node returns the node of that name; a name nobody has ends the test.
func (n *Net) Node(name string) *Node {
	n.t.Helper()
	for _, x := range n.nodes {
		if x.Name == name {
			return x
		}
	}
	n.t.Fatalf("no node %q", name)
	return nil
}
