package sim

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
	"github.com/personal-power-plant/p3/node/daemon"
)

// Options say what a node is like. The zero value only requests.
type Options struct {
	Donate  bool
	Slots   int          // 0 = 1
	Speed   uint64       // fuel per second; 0 = 1,000,000
	Price   ledger.Price // zero = Price
	Lies    bool         // every result it shows is wrong
	Witness bool         // one of those that the network was made with
	As      string       // the name of a node whose account key this one has too: with a disk of its own, it forks that account
}

// A Node is one machine: a daemon while it runs, and what is left of it on its disk while it does not.
type Node struct {
	Name   string
	Daemon *daemon.Daemon // nil while it does not run

	n      *Net
	opt    Options
	dir    string
	addr   netip.Addr
	info   peer.AddrInfo
	key    ledger.Key     // of its account
	peer   crypto.PrivKey // of the node
	disk   *disk
	buried chan struct{} // closed when nothing of a killed process runs any more
}

// Add starts a node that knows all nodes before it.
func (n *Net) Add(name string, opt Options) *Node {
	n.t.Helper()
	if opt.Slots == 0 {
		opt.Slots = 1
	}
	if opt.Price.Den == 0 {
		opt.Price = Price
	}
	if opt.Speed == 0 {
		opt.Speed = 1_000_000
	}
	x := &Node{Name: name, n: n, opt: opt, dir: n.t.TempDir(), addr: addr(len(n.nodes) + 1), disk: &disk{Memory: ledgertest.NewMemory()}}
	n.nodes = append(n.nodes, x)
	if err := errors.Join(x.identify(), x.start()); err != nil {
		n.t.Fatalf("start %s: %v", name, err)
	}
	return x
}

// identify gives the node the keys that follow from the seed.
func (x *Node) identify() (err error) {
	account, secret := x.n.secret(cmp.Or(x.opt.As, x.Name), "account"), x.n.secret(x.Name, "node")
	if x.key, err = ledger.ParseKey(account); err != nil {
		return err
	}
	if x.peer, err = crypto.UnmarshalSecp256k1PrivateKey(secret); err != nil {
		return err
	}
	if x.info.ID, err = peer.IDFromPrivateKey(x.peer); err != nil {
		return err
	}
	at, err := ma.NewMultiaddr(x.listen())
	if err != nil {
		return err
	}
	x.info.Addrs = []ma.Multiaddr{at}
	keys := filepath.Join(x.dir, "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return err
	}
	files := map[string][]byte{"account": account, "node": secret}
	if x.opt.Witness {
		files["witness"] = x.n.secret(x.Name, "witness")
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(keys, name), []byte(hex.EncodeToString(b)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (x *Node) listen() string { return fmt.Sprintf("/ip4/%s/udp/8000/quic-v1", x.addr) }

func (x *Node) start() error {
	h, err := libp2p.New(libp2p.Identity(x.peer), libp2p.ListenAddrStrings(x.listen()), quicOver(x.n.links, x.n.wires, x.addr),
		libp2p.DisableIdentifyAddressDiscovery(), // it never lets a bubble come to rest
		libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics())
	if err != nil {
		return err
	}
	var engine exec.Engine = paced{x.n.engine, x.opt.Speed}
	if x.opt.Lies {
		engine = liar{engine}
	}
	x.Daemon, err = daemon.Start(context.Background(), daemon.Config{
		Dir: x.dir, Socket: "none", Name: x.Name, Version: "sim", Log: slog.New(slog.NewTextHandler(x.n.Log, nil)).With("node", x.Name),
		Donate: x.opt.Donate, Slots: x.opt.Slots, Memory: 1 << 30, Disk: 1 << 30, Price: x.opt.Price, NoLAN: true, Preset: "server",
		Host: h, Store: x.disk, Engine: engine, Speed: x.opt.Speed, Small: true,
		Network: &daemon.Membership{Genesis: x.n.genesis, Bootstrap: x.n.others(x)},
	})
	return err
}

// Cut pulls the node's plug out of the network; Heal puts it back.
func (x *Node) Cut() { x.n.wires.set(x.addr, true) }

// Heal undoes Cut.
func (x *Node) Heal() { x.n.wires.set(x.addr, false) }

// Kill ends the node as power failure does: from now on nothing leaves it and nothing more reaches
// its disk. What its ledger and journal held at this moment stays.
func (x *Node) Kill() {
	x.n.t.Helper()
	if x.Daemon == nil {
		x.n.t.Fatalf("%s does not run", x.Name)
	}
	x.Cut()
	x.disk.die()
	x.bury()
}

// bury ends the goroutines of a node, which a real machine would simply lose.
func (x *Node) bury() {
	d, done := x.Daemon, make(chan struct{})
	x.Daemon, x.buried = nil, done
	go func() {
		defer close(done)
		d.Close() // complains of a dead disk
	}()
}

// Restart starts a killed node again, on what is left on its disk.
func (x *Node) Restart() {
	x.n.t.Helper()
	if x.Daemon != nil {
		x.n.t.Fatalf("%s runs already", x.Name)
	}
	<-x.buried
	x.disk = &disk{Memory: x.disk.Memory}
	x.Heal()
	if err := x.start(); err != nil {
		x.n.t.Fatalf("restart %s: %v", x.Name, err)
	}
}

// stop ends the node in order, for the end of the simulation.
func (x *Node) stop() {
	if x.Daemon != nil {
		if err := x.Daemon.Close(); err != nil {
			x.n.t.Errorf("close %s: %v", x.Name, err)
		}
		x.Daemon = nil
	}
	if x.buried != nil {
		<-x.buried
	}
}
