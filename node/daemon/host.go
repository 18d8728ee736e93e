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
	"github.com/personal-power-plant/p3/ledger/flow"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/idle"
	"github.com/personal-power-plant/p3/node/job"
)

// How often the offer is looked at, and the machine's load measured.
const (
	offerEvery = 500 * time.Millisecond
	loadEvery  = 2 * time.Second
)

// maxSummary is how much of the policy an offer tells, in bytes of ASCII.
const maxSummary = 200

// hostState is the owner's say over lending this machine, and the offer that follows from it.
type hostState struct {
	d   *Daemon
	key crypto.PrivKey

	applying sync.Mutex // one change at a time becomes true

	mu       sync.Mutex // guards what follows
	rules    rules
	control  node.HostControl
	decision node.Decision
	eyes     *idle.Watcher // nil while the policy depends on the clock alone
	traffic  traffic
	speed    uint64 // fuel/s of one slot; 0 = not measured yet
	broken   string // why nothing can run here
	frozen   bool   // the engine stands still
	cannot   error  // why it cannot: then guests are given up instead
	cpu      float64
	memory   [2]int64 // used, total
}

func newHost(d *Daemon, k keys) (*hostState, error) {
	h := &hostState{d: d, key: k.node, speed: d.cfg.Speed}
	var err error
	if h.rules, err = openRules(d.cfg); err != nil {
		return nil, err
	}
	h.control.Donate = d.cfg.Donate
	if b, err := d.store.Get(donateKey); err == nil && len(b) == 9 && !d.cfg.Donate {
		h.control.Donate, h.control.Finish = b[0]&1 != 0, b[0]&2 != 0
		h.control.Paused = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	}
	h.traffic = openTraffic(d.store)
	return h, nil
}

// donateKey holds donate | finish<<1 in a u8 and the end of a pause, Unix ms u64: they survive a restart.
var donateKey = []byte("node/host")

// set applies what the owner says by hand.
func (h *hostState) set(ctx context.Context, c node.HostChange) error {
	h.mu.Lock()
	k := &h.control
	if c.Donate != nil {
		k.Donate = *c.Donate
		k.Finish = k.Finish && !k.Donate
	}
	if c.Finish != nil {
		k.Finish = *c.Finish
	}
	if c.PauseMs != nil {
		k.Paused = time.Time{}
		if *c.PauseMs > 0 {
			k.Paused = time.Now().Add(time.Duration(*c.PauseMs) * time.Millisecond)
		} else {
			k.Finish = c.Finish != nil && *c.Finish
		}
	}
	b := make([]byte, 1, 9)
	if k.Donate {
		b[0] |= 1
	}
	if k.Finish {
		b[0] |= 2
	}
	b = binary.BigEndian.AppendUint64(b, uint64(max(k.Paused.UnixMilli(), 0)))
	h.mu.Unlock()
	h.apply() // who begins to donate is looked for from now on
	return h.d.store.Commit(ctx, ledger.Op{Key: donateKey, Value: b})
}

// change applies a change of the policy, and saves it for the next start.
func (h *hostState) change(c node.PolicyChange) error {
	h.mu.Lock()
	err := h.rules.change(c)
	h.mu.Unlock()
	if err == nil {
		h.apply()
	}
	return err
}

// apply makes what the policy says true of everything that stands already.
func (h *hostState) apply() {
	h.applying.Lock()
	defer h.applying.Unlock()
	h.mu.Lock()
	p, eyes := h.rules.policy(), h.eyes
	watch := p.NeedsSignals() && h.control.Donate
	h.mu.Unlock()
	before := eyes
	switch {
	case watch && eyes == nil:
		eyes = idle.Watch(h.d.cfg.Idle)
		ctx, cancel := context.WithTimeout(context.Background(), lookTime)
		eyes.Wait(ctx) // so that the first decision is no guess
		cancel()
	case !watch:
		eyes = nil
	}
	h.mu.Lock()
	h.eyes = eyes
	h.mu.Unlock()
	if before != nil && eyes == nil {
		before.Close()
	}
	capacity := h.capacity(p)
	h.d.blobs.SetQuota(capacity.Disk)
	h.lend(capacity.Memory, slotShare(p, capacity.Slots))
	if e, ok := h.d.engine.(interface{ AllowNative(on bool) }); ok {
		e.AllowNative(p.Native)
	}
	h.decide()
	h.d.provider.Kick()
	h.d.diary.touch()
}

// lend tells the engine what units may have.
func (h *hostState) lend(memory int64, share int) {
	if e, ok := h.d.engine.(interface{ Lend(memory int64, share int) }); ok {
		e.Lend(memory, share)
	}
}

// native is what the engine says of its second tier, "" for one that has none.
func (h *hostState) native() string {
	if e, ok := h.d.engine.(interface{ Native() string }); ok {
		return e.Native()
	}
	return ""
}

// close ends what looks at the machine.
func (h *hostState) close() error {
	h.mu.Lock()
	eyes := h.eyes
	h.eyes = nil
	h.mu.Unlock()
	if eyes != nil {
		eyes.Close()
	}
	return nil
}

// slotShare is how much of a CPU one slot may have, in percent, so that all together keep within
// the policy's share of the machine.
func slotShare(p node.HostPolicy, slots int) int {
	if p.CPUShare == 0 {
		return 100
	}
	return max(1, min(100, p.CPUShare*runtime.NumCPU()/slots))
}

// capacity is what the policy lends, with this machine's own figures where it says nothing.
func (h *hostState) capacity(p node.HostPolicy) exec.Capacity {
	c := exec.Capacity{
		Slots: p.Slots, Memory: p.Memory, Disk: p.Disk, Engines: []string{h.d.engine.Name()},
		Arch: runtime.GOARCH, OS: runtime.GOOS,
	}
	if c.Slots == 0 {
		c.Slots = defaultSlots()
	}
	if c.Memory == 0 {
		c.Memory = defaultMemory()
	}
	if c.Disk == 0 {
		c.Disk = defaultDisk
	}
	return c
}

// decide asks the policy again, and does what it comes to: this is what an owner who returns waits for.
func (h *hostState) decide() {
	now := time.Now()
	h.mu.Lock()
	var s node.Signals
	if h.eyes != nil {
		s = h.eyes.Signals(now)
	}
	c := h.control
	c.Network = h.traffic.today(now)
	until, office := h.d.boundUntil()
	switch readOnly := h.d.book.ReadOnly(); {
	case h.broken != "":
		c.Blocked = h.broken
	case readOnly != nil:
		c.Blocked = "the ledger signs nothing: " + readOnly.Error()
	case office && !until.After(now):
		c.Blocked = "the binding to the account that it earns for has ended: the PC with the key renews it when it is connected"
	case h.speed == 0:
		c.Blocked = "measuring this machine's speed"
	}
	before := h.decision
	after := node.Decide(h.rules.policy(), s, c, now, before)
	if after.Freeze && h.cannot != nil {
		after.HandBack = true
	}
	h.decision = after
	if freeze := after.Freeze && h.speed != 0; freeze != h.frozen { // a speed is measured first
		h.freeze(freeze)
	}
	h.mu.Unlock()
	if before.Accepts == after.Accepts && before.Freeze == after.Freeze && before.HandBack == after.HandBack {
		return
	}
	h.d.provider.Kick()
	if does := doing(before, after, h.d.provider.Counters().Busy > 0); does != "" && c.Donate {
		h.d.emit("info", "host", does)
	}
	h.d.diary.touch()
}

// doing is what a change of mind means, for guests if there are any, "" for nothing.
func doing(before, after node.Decision, guests bool) string {
	switch {
	case guests && after.HandBack && !before.HandBack:
		return "guests are given up: " + after.Why
	case guests && after.Freeze && !before.Freeze:
		return "guests stand still: " + after.Why
	case guests && before.Freeze && !after.Freeze:
		return "guests go on"
	case before.Accepts && !after.Accepts:
		return "no work is taken: " + after.Why
	case after.Accepts && !before.Accepts:
		return after.Why
	}
	return ""
}

// freeze stops or thaws the engine; mu is held.
func (h *hostState) freeze(on bool) {
	f, ok := h.d.engine.(exec.Freezer)
	if !ok {
		h.cannot = fmt.Errorf("the engine cannot be frozen")
	} else if err := f.Freeze(on); err != nil {
		h.cannot = err
	} else {
		h.frozen = on
		return
	}
	h.decision.HandBack = h.decision.Freeze
}

// policy is what the owner allows now.
func (h *hostState) policy() job.Policy {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, d := h.rules.policy(), h.decision
	j := job.Policy{Accepts: d.Accepts, Freeze: d.Freeze, HandBack: d.HandBack, Why: d.Why, Price: h.price(p), Capacity: h.capacity(p), Refuses: p.Refuses}
	starter, budget, tentative := p.Terms()
	j.Terms = &flow.Terms{Starter: starter, DayBudget: budget, Tentative: tentative}
	j.Capacity.Speed = h.speed * uint64(slotShare(p, j.Capacity.Slots)) / 100
	return j
}

func (h *hostState) price(p node.HostPolicy) ledger.Price {
	if p.Price.Den == 0 {
		return DefaultPrice
	}
	return p.Price
}

// watch decides again whenever a signal, the clock or the policy's file may have changed something.
func (h *hostState) watch(ctx context.Context) {
	tick := time.NewTicker(offerEvery)
	defer tick.Stop()
	for {
		h.mu.Lock()
		var news <-chan struct{}
		if h.eyes != nil {
			news = h.eyes.News()
		}
		h.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-tick.C:
			h.mu.Lock()
			changed, err := h.rules.reload()
			h.mu.Unlock()
			if err != nil {
				h.d.emit("error", "host", fmt.Sprintf("the policy's file is left out: %v", err))
			}
			if changed {
				h.d.emit("info", "host", "the policy's file has changed")
				h.apply()
			}
		}
		h.decide()
	}
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
			h.mu.Lock()
			summary := h.rules.policy().Summary()
			summary = summary[:min(len(summary), maxSummary)]
			h.mu.Unlock()
			o := market.Offer{Capacity: p.Capacity, Price: p.Price, FreeSlots: max(0, p.Capacity.Slots-h.d.provider.Counters().Busy), Policy: summary}
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
			if err := h.saveTraffic(ctx); err != nil {
				h.d.log.Warn("save today's traffic", "err", err)
			}
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
	need := h.control.Donate && h.speed == 0 && h.broken == ""
	memory := h.capacity(h.rules.policy()).Memory
	h.mu.Unlock()
	if !need {
		return
	}
	h.lend(memory, 100) // a share is taken off the figure
	measure := func(ctx context.Context) (uint64, error) { return wasm.MeasureSpeed(ctx, h.d.engine) }
	if e, ok := h.d.engine.(interface {
		MeasureSpeed(ctx context.Context) (uint64, error)
	}); ok {
		measure = e.MeasureSpeed
	}
	speed, err := measure(ctx)
	h.mu.Lock()
	if h.speed = speed; err != nil && ctx.Err() == nil {
		h.broken = fmt.Sprintf("programs cannot run here: %v; see `p3 doctor`", err)
		h.d.emit("error", "host", h.broken)
	}
	h.mu.Unlock()
	h.apply()
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
		Donating: h.control.Donate, Accepts: p.Accepts, Why: p.Why, By: h.decision.By, Frozen: h.frozen, Finishing: h.control.Finish,
		Policy: h.rules.policy().Summary(), Capacity: p.Capacity, Price: p.Price,
		Busy: c.Busy, UnitsDone: c.Units, FuelDone: c.Fuel, CPUPercent: h.cpu, MemUsed: h.memory[0], MemTotal: h.memory[1],
	}
	s.Native = h.native()
	if time.Now().Before(h.control.Paused) {
		s.PausedUntil = h.control.Paused
	}
	return s
}

// why is everything behind the decision. Signals that the policy does not need are asked now.
func (h *hostState) why(ctx context.Context) node.HostWhy {
	h.mu.Lock()
	eyes := h.eyes
	h.mu.Unlock()
	var s node.Signals
	if eyes == nil {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		s = idle.Look(ctx, h.d.cfg.Idle)
		cancel()
	} else {
		s = eyes.Signals(time.Now())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w := node.HostWhy{
		Schema: "p3.host-why/v1", Decision: h.decision, Signals: s, Policy: h.rules.policy(), Donating: h.control.Donate,
		File: h.rules.path, Chosen: h.rules.chosen, Network: h.traffic.today(time.Now()),
	}
	w.Native = h.native()
	if e, ok := h.d.engine.(interface{ Walls() []wasm.Protection }); ok {
		for _, p := range e.Walls() {
			w.Walls = append(w.Walls, node.Wall(p))
		}
	}
	if h.rules.problem != nil {
		w.Problem = h.rules.problem.Error()
	}
	return w
}

// lookTime bounds one look at all layers while somebody waits for it.
const lookTime = 2 * time.Second
