package daemon

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/job"
)

// How often the offer is looked at, and the machine's load measured.
const (
	offerEvery = 500 * time.Millisecond
	loadEvery  = 2 * time.Second
)

// hostState is the owner's say over lending this machine, and the offer that follows from it.
type hostState struct {
	d   *Daemon
	key crypto.PrivKey

	mu     sync.Mutex // guards what follows
	donate bool
	paused time.Time // until
	speed  uint64    // fuel/s of one slot; 0 = not measured yet
	broken string    // why nothing can run here
	cpu    float64
	memory [2]int64 // used, total
}

func newHost(d *Daemon, k keys) *hostState {
	h := &hostState{d: d, key: k.node, donate: d.cfg.Donate, speed: d.cfg.Speed}
	if b, err := d.store.Get(donateKey); err == nil && len(b) == 9 && !d.cfg.Donate {
		h.donate = b[0] == 1
		h.paused = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	}
	return h
}

// donateKey holds donate u8 and the end of a pause, Unix ms u64: they survive a restart.
var donateKey = []byte("node/host")

func (h *hostState) set(ctx context.Context, c node.HostChange) error {
	h.mu.Lock()
	if c.Donate != nil {
		h.donate = *c.Donate
	}
	if c.PauseMs != nil {
		h.paused = time.Time{}
		if *c.PauseMs > 0 {
			h.paused = time.Now().Add(time.Duration(*c.PauseMs) * time.Millisecond)
		}
	}
	b := make([]byte, 1, 9)
	if h.donate {
		b[0] = 1
	}
	b = binary.BigEndian.AppendUint64(b, uint64(max(h.paused.UnixMilli(), 0)))
	h.mu.Unlock()
	h.d.provider.Kick()
	h.d.diary.touch()
	return h.d.store.Commit(ctx, ledger.Op{Key: donateKey, Value: b})
}

// policy is what the owner allows now.
func (h *hostState) policy() job.Policy {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := job.Policy{Price: h.d.cfg.Price, Capacity: exec.Capacity{
		Slots: h.d.cfg.Slots, Memory: h.d.cfg.Memory, Disk: h.d.cfg.Disk, Engines: []string{h.d.engine.Name()},
		Arch: runtime.GOARCH, OS: runtime.GOOS, Speed: h.speed,
	}}
	switch left := time.Until(h.paused); {
	case !h.donate:
		p.Why = "not donating: start with `p3 up --donate`"
	case left > 0:
		p.Why = fmt.Sprintf("paused by the owner for another %s", left.Round(time.Second))
	case h.broken != "":
		p.Why = h.broken
	case h.speed == 0:
		p.Why = "measuring this machine's speed"
	case h.d.book.ReadOnly() != nil:
		p.Why = "the ledger signs nothing: " + h.d.book.ReadOnly().Error()
	default:
		p.Accepts, p.Why = true, "accepting work"
	}
	return p
}

// run keeps the offer in the market true until ctx ends.
func (h *hostState) run(ctx context.Context) {
	tick := time.NewTicker(offerEvery)
	defer tick.Stop()
	var shown market.Offer
	published := false
	var loadAt time.Time
	for {
		h.measure(ctx)
		h.d.renewBinding(time.Now())
		p := h.policy()
		switch {
		case p.Accepts:
			o := market.Offer{Capacity: p.Capacity, Price: p.Price, FreeSlots: max(0, p.Capacity.Slots-h.d.provider.Counters().Busy), Policy: p.Why}
			o.Name, o.Account, o.Network = h.d.cfg.Name, h.d.book.Account(), h.d.book.Network()
			o.Binding = h.d.binding()
			if !published || !o.Same(shown) {
				if err := h.d.market.Publish(o); err != nil {
					h.d.log.Warn("publish offer", "err", err)
				} else {
					shown, published = o, true
				}
			}
		case published:
			h.d.market.Withdraw()
			published = false
		}
		if time.Since(loadAt) >= loadEvery {
			loadAt = time.Now()
			h.load()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// measure finds out once, when the owner first donates, how fast guests run here.
func (h *hostState) measure(ctx context.Context) {
	h.mu.Lock()
	need := h.donate && h.speed == 0 && h.broken == ""
	h.mu.Unlock()
	if !need {
		return
	}
	speed, err := wasm.MeasureSpeed(ctx, h.d.engine)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.speed = speed; err != nil && ctx.Err() == nil {
		h.broken = fmt.Sprintf("programs cannot run here: %v; see `p3 doctor`", err)
		h.d.emit("error", "host", h.broken)
	}
	h.d.diary.touch()
}

func (h *hostState) load() {
	percent, _ := cpu.Percent(0, false)
	m, _ := mem.VirtualMemory()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(percent) == 1 {
		h.cpu = percent[0]
	}
	if m != nil {
		h.memory = [2]int64{int64(m.Used), int64(m.Total)}
	}
}

func (h *hostState) status() node.HostStatus {
	p := h.policy()
	c := h.d.provider.Counters()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := node.HostStatus{
		Donating: h.donate, Accepts: p.Accepts, Why: p.Why, Capacity: p.Capacity, Price: p.Price,
		Busy: c.Busy, UnitsDone: c.Units, FuelDone: c.Fuel, CPUPercent: h.cpu, MemUsed: h.memory[0], MemTotal: h.memory[1],
	}
	if time.Now().Before(h.paused) {
		s.PausedUntil = h.paused
	}
	return s
}
