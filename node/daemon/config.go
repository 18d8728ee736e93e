package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/idle"
	"github.com/personal-power-plant/p3/node/p2p"
)

// A Config says how a node runs. The zero value of a field means its default.
type Config struct {
	Dir     string // keys, networks, blobs; node.DefaultDir
	Socket  string // local API; "" = node.DefaultSocket(Dir), "none" = no local API
	Name    string // shown to others; the host name
	Version string
	Log     *slog.Logger

	// Passphrase is asked for the account key's, if that has one; nil: then the node does not start.
	Passphrase func() (string, error)

	Donate bool
	Preset string       // of the host policy, for this run; the saved one, else the one that fits this machine
	Slots  int          // units at a time for others; what the policy says, as below
	Memory int64        // bytes for guests
	Disk   int64        // bytes of blobs
	Price  ledger.Price //
	Eager  bool         // guests run at normal priority: for machines that do nothing else
	Native bool         // for this run: programs that run long may be compiled by this machine's C compiler
	Worker []string     // command of a worker process; this binary with "worker"

	Listen []string // multiaddrs; p2p.DefaultListen
	NoLAN  bool     // no mDNS
	Reach  p2p.Reach
	Relay  bool

	Witness bool // make a witness key if there is none; with one, a node of a network that names it is a witness

	// For simulations and tests.
	Idle    idle.Options // where the owner is looked for
	Host    host.Host    // instead of one of our own
	Store   ledger.Store // instead of Badger in Dir
	Engine  exec.Engine  // instead of worker processes
	Speed   uint64       // fuel per second, instead of measuring
	Network *Membership  // instead of the one saved in Dir
	Small   bool         // few connections and small caches
}

// DefaultPrice is what a node asks until its owner says otherwise: 0.02 cr per Tfuel, so a
// core that is busy all day earns some credits.
var DefaultPrice = ledger.Price{Num: 20_000, Den: ledger.PriceFuel}

func (c *Config) defaults() error {
	if c.Dir == "" {
		c.Dir = node.DefaultDir()
	}
	if c.Socket == "" {
		c.Socket = node.DefaultSocket(c.Dir)
	}
	if c.Name == "" {
		c.Name, _ = os.Hostname()
		c.Name = c.Name[:min(len(c.Name), 32)]
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Slots < 0 || c.Memory < 0 || c.Disk < 0 {
		return errors.New("slots, memory and disk cannot be negative")
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w; choose another with --data-dir", err)
	}
	return nil
}

// What a policy lends that does not say how much.
func defaultSlots() int { return max(1, runtime.NumCPU()-1) }

var defaultMemory = sync.OnceValue(func() int64 {
	if m, err := mem.VirtualMemory(); err == nil {
		return int64(m.Total / 2)
	}
	return 1 << 30
})

const defaultDisk = 10 << 30

// A Membership is the network that a node belongs to.
type Membership struct {
	Genesis   ledger.Genesis
	Bootstrap []peer.AddrInfo
	PSK       []byte
}

var pid = os.Getpid()
