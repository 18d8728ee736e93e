package job

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/flow"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// Times of a lease. They bound what a silent peer can hold.
const (
	openTimeout = 10 * time.Second // the first flight must come by then
	heartbeat   = 3 * time.Second  // an empty frame when there is nothing to say
	silence     = 12 * time.Second // a peer that says nothing for so long is gone
)

// queueAhead is how many units wait at a provider for each one that runs: as many as may be
// unpaid at a time, so that short units are claimed and paid in batches and hide the round trip and
// the syncs. Of long units the farm moves the waiting ones to whoever is free.
const queueAhead = ledger.MaxWindow - 1

// A Policy is what the machine's owner allows, at one moment.
type Policy struct {
	Accepts  bool   // takes new leases and starts new units
	Freeze   bool   // units stand still: leases wait for them
	HandBack bool   // leases end, and units with them
	Why      string // when not
	Capacity exec.Capacity
	Price    ledger.Price
	Refuses  func(node.Visitor) string // why somebody may not come, "" = may; nil = all may
	Terms    *flow.Terms               // what payers get; nil = all that they lock
}

// Provider runs strangers' units for credit.
type Provider struct {
	env     Env
	x       *Exchange
	settler *Settler
	policy  func() Policy
	limiter *flow.Limiter // in a mutual network, nil otherwise
	granted *flow.Granted // in a granted one, nil otherwise

	mu     sync.Mutex // guards what follows
	leases map[*hosting]struct{}
	table  *market.Leases
	debts  map[ledger.Account]debt
	done   uint64
	fuel   ledger.Fuel

	running int  // units begun and not ended
	scarce  bool // a unit waits for one of another lease to end
}

// NewProvider serves the job protocol on env.Net. policy is asked at every lease and
// before every unit, from any goroutine.
func NewProvider(env Env, x *Exchange, s *Settler, policy func() Policy) *Provider {
	p := &Provider{env: env, x: x, settler: s, policy: policy, leases: map[*hosting]struct{}{}, table: market.NewLeases(0), debts: map[ledger.Account]debt{}}
	if env.Book.Genesis().Mutual() {
		p.limiter = flow.NewLimiter(env.Book)
	} else {
		p.granted = flow.NewGranted(env.Book)
	}
	env.Net.Handle(Protocol, MaxFrame, p.serve)
	return p
}

// Counters of a provider since it started.
type Counters struct {
	Busy  int // slots leased
	Units uint64
	Fuel  ledger.Fuel
}

// Counters returns what this provider has done.
func (p *Provider) Counters() Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Counters{Busy: p.busy(), Units: p.done, Fuel: p.fuel}
}

// Guests lists the units running now.
func (p *Provider) Guests() []node.Guest {
	p.mu.Lock()
	leases := slices.Collect(maps.Keys(p.leases)) // a hosting's lock is taken before ours, never after
	p.mu.Unlock()
	var out []node.Guest
	for _, h := range leases {
		h.mu.Lock()
		for u, r := range h.running {
			out = append(out, node.Guest{Job: h.job, Name: h.manifest.Name, Unit: u, For: h.manifest.Account, Started: r.started})
		}
		h.mu.Unlock()
	}
	return out
}

// Kick makes leases look at the policy again, after the owner changed it.
func (p *Provider) Kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for h := range p.leases {
		h.recheck.Store(true)
		h.signal()
	}
}

// serve is one lease from its first frame to its end.
func (p *Provider) serve(ctx context.Context, s Stream) {
	s.SetIdle(openTimeout)
	f, err := readFrame(s)
	if err != nil || f.Open == nil {
		writeFrame(s, frame{Refuse: refuse(CodeProtocol, "expected a lease request").wire()})
		return
	}
	s.SetIdle(silence)
	h, err := p.admit(ctx, s, f.Open)
	if err != nil {
		var r *Refusal
		if !errors.As(err, &r) {
			r = refuse(CodeHost, "%v", err)
		}
		p.env.Log.Info("lease refused", "peer", s.Peer(), "err", r)
		if writeFrame(s, frame{Refuse: r.wire()}) == nil {
			s.Close()
		}
		return
	}
	defer p.release(h)
	h.serve(ctx)
}

// admit checks everything that can be checked before work begins, cheap things first.
func (p *Provider) admit(ctx context.Context, s Stream, o *open) (*hosting, error) {
	pol := p.policy()
	if !pol.Accepts {
		return nil, refuse(CodePaused, "%s", pol.Why)
	}
	m, id, err := exec.DecodeManifest(o.Manifest)
	if err != nil {
		return nil, refuse(CodeManifest, "%v", err)
	}
	switch {
	case m.Costs != p.env.Costs:
		return nil, refuse(CodeManifest, "the job counts fuel by cost table %s, this host by %s: one of the two has an older p3", m.Costs.Short(), p.env.Costs.Short())
	case o.Price.Cmp(pol.Price) < 0:
		return nil, refuse(CodePrice, "asks %d per %d fuel", pol.Price.Num, pol.Price.Den)
	case m.Ceiling.Den != 0 && o.Price.Cmp(m.Ceiling) > 0:
		return nil, refuse(CodePrice, "above the job's own ceiling")
	case m.Limits.Memory > pol.Capacity.Memory:
		return nil, refuse(CodeManifest, "a unit may need %d MiB, this host lends %d", m.Limits.Memory>>20, pol.Capacity.Memory>>20)
	case m.Limits.Output > pol.Capacity.Memory:
		return nil, refuse(CodeManifest, "a unit may write %d MiB, this host lends %d", m.Limits.Output>>20, pol.Capacity.Memory>>20)
	case sizeOf(filesOf(m)) > pol.Capacity.Disk:
		return nil, refuse(CodeDisk, "program and data have %d MiB, this host lends %d", sizeOf(filesOf(m))>>20, pol.Capacity.Disk>>20)
	case o.Slots < 1:
		return nil, refuse(CodeProtocol, "no slots wanted")
	}
	worst, err := o.Price.Cost(m.Limits.Fuel)
	if err != nil {
		return nil, refuse(CodeManifest, "fuel limit times price: %v", err)
	}
	checks := 2 + p.env.Book.Genesis().Quorum() // binding, LOCK and certificate
	if len(m.Signed) > 0 {
		checks++
	}
	if !p.settler.meter.take(s.Peer(), checks, time.Now()) {
		return nil, refuse(CodeBusy, "too many records to check: ask again in a moment")
	}
	account, err := checkBinding(o.Binding, p.env.Book.Network(), s.Peer())
	if err != nil {
		return nil, refuse(CodeRecord, "%v", err)
	}
	if account != m.Account {
		return nil, refuse(CodeRecord, "the job belongs to account %s", m.Account.Short())
	}
	if err := p.welcome(pol, m, s.Peer()); err != nil {
		return nil, err
	}
	if wait := p.owes(account, time.Now()); wait > 0 {
		return nil, refuse(CodeCredit, "units were left unpaid here: ask again in %s", wait.Round(time.Second))
	}
	credit, why, err := p.trust(ctx, account, s.Peer(), o, worst)
	if err != nil {
		return nil, err
	}
	lease, err := p.reserve(id, s.Peer(), min(o.Slots, int(pol.Capacity.Memory/m.Limits.Memory)), pol.Capacity.Slots)
	if err != nil {
		credit.Close()
		return nil, refuse(CodeBusy, "%v", err)
	}
	admitted := false
	defer func() {
		if !admitted {
			credit.Close()
			p.unreserve(lease)
		}
	}()
	lock, err := p.env.Book.AcceptWitnessed(ctx, o.Lock, o.Certificate, time.Now())
	switch {
	case errors.Is(err, ledger.ErrFrozen), errors.As(err, new(*ledger.ForkError)):
		return nil, refuse(CodeFrozen, "%v", err)
	case errors.Is(err, ledger.ErrExpired):
		return nil, refuse(CodeRecord, "%v; here it is %s: compare the clocks of both machines", err, clock())
	case err != nil:
		return nil, refuse(CodeRecord, "%v", err)
	}
	if p.env.Accepted != nil {
		p.env.Accepted(o.Lock, o.Certificate)
	}
	switch {
	case lock.Payer != account:
		return nil, refuse(CodeRecord, "the LOCK is of account %s", lock.Payer.Short())
	case lock.Job != lockEvidence(p.env.Binding(), id, p.env.Net.Self()):
		return nil, refuse(CodeRecord, "the LOCK is for another job")
	case lock.Expiry.After(time.Now().Add(longestLock(m))):
		return nil, refuse(CodeRecord, "the LOCK stands until %s: too long; here it is %s: compare the clocks of both machines", lock.Expiry.UTC().Format(time.RFC3339), clock())
	case lock.Amount < worst:
		return nil, refuse(CodeCredit, "the LOCK holds %s, one unit may cost %s", lock.Amount, worst)
	}
	if err := p.settler.remember(ctx, lock.ID, holder{Peer: []byte(s.Peer()), Job: id}); err != nil {
		return nil, err
	}
	h := newHosting(p, s, o, m, id, lock, worst, lease, credit, why)
	p.mu.Lock()
	defer p.mu.Unlock()
	for other := range p.leases {
		if other.lock.ID == lock.ID { // both would count on all of it
			return nil, refuse(CodeRecord, "the LOCK is in use by another lease")
		}
	}
	if p.claimedOn(lock.ID) {
		return nil, refuse(CodeRecord, "the LOCK was used before")
	}
	p.leases[h] = struct{}{}
	p.settler.meter.know(s.Peer(), time.Now())
	admitted = true
	return h, nil
}

// welcome refuses whom the owner's policy does not let in.
func (p *Provider) welcome(pol Policy, m exec.Manifest, from peer.ID) error {
	publisher, err := m.Publisher(p.env.Book.Network())
	if err != nil {
		return refuse(CodeManifest, "%v", err)
	}
	x, err := p.env.Book.Exposure(m.Account)
	if err != nil {
		p.env.Log.Warn("exposure", "payer", m.Account, "err", err)
	}
	v := node.Visitor{Program: m.Program.Hash, Account: m.Account, Publisher: publisher, Peer: from.String(), Trust: node.Trust(x.Window)}
	if pol.Refuses == nil {
		return nil
	}
	if why := pol.Refuses(v); why != "" {
		return refuse(CodePolicy, "%s", why)
	}
	return nil
}

// checkBinding returns the account that a requester's node key is bound to.
func checkBinding(b []byte, network ledger.Network, from peer.ID) (ledger.Account, error) {
	bind, err := ledger.VerifyBinding(b, network, time.Now())
	if err != nil {
		return ledger.Account{}, err
	}
	if string(bind.PeerID) != string(from) {
		return ledger.Account{}, errors.New("node binding is of another peer")
	}
	if bind.Flags&ledger.EarnsOnly != 0 {
		return ledger.Account{}, errors.New("this node may only earn for its account, not spend")
	}
	return bind.Account, nil
}

// busy is how many slots are leased; mu is held.
func (p *Provider) busy() (n int) {
	for h := range p.leases {
		n += h.slots
	}
	return n
}

func (p *Provider) reserve(job exec.JobID, from peer.ID, want, total int) (*market.Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table.Resize(total)
	return p.table.Grant(job, from, want, time.Now())
}

func (p *Provider) unreserve(l *market.Lease) {
	p.mu.Lock()
	p.table.Close(l)
	p.mu.Unlock()
	p.env.Tell()
}

func (p *Provider) release(h *hosting) {
	h.trusted.Close()
	p.mu.Lock()
	delete(p.leases, h)
	if unpaid := len(h.claimed); !h.handed || unpaid == 0 { // who was sent away owes nothing for it
		p.noteEnd(h.lock.Payer, unpaid, h.paidSum > 0, time.Now())
	}
	p.mu.Unlock()
	p.unreserve(h.lease)
}

// A debt is what a payer left unpaid here lately.
type debt struct {
	leases int
	last   time.Time
}

const (
	maxDebts = 4096 // payers remembered; strangers choose how many there are
	maxWait  = 9    // doublings of a second: about eight minutes
	debtLife = time.Hour * 24
)

// noteEnd remembers who ended a lease without paying; mu is held.
func (p *Provider) noteEnd(payer ledger.Account, unpaid int, paid bool, now time.Time) {
	switch {
	case unpaid > 0:
		if len(p.debts) >= maxDebts {
			maps.DeleteFunc(p.debts, func(_ ledger.Account, d debt) bool { return now.Sub(d.last) > time.Minute })
		}
		if d, known := p.debts[payer]; known || len(p.debts) < maxDebts {
			p.debts[payer] = debt{d.leases + 1, now}
		}
	case paid:
		delete(p.debts, payer)
	}
}

// owes is how long a payer has to wait before it may lease again: longer with each lease that it
// left unpaid, so that running away again and again earns less than paying. It is no ban, since a
// crash or an outvoted result looks the same.
func (p *Provider) owes(payer ledger.Account, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.debts[payer]
	if !ok || now.Sub(d.last) > debtLife {
		return 0
	}
	return time.Until(d.last.Add(time.Second << min(d.leases-1, maxWait)))
}

// longestLock is how far ahead a LOCK may end: what an honest requester asks for, and some
// for clocks that differ.
func longestLock(m exec.Manifest) time.Duration {
	return lockLife + 2*time.Duration(m.Limits.WallMs)*time.Millisecond + 5*time.Minute
}

// clock is what the time is here, for those whose clock shows another.
func clock() string { return time.Now().UTC().Format(time.RFC3339) }

// claimedOn reports whether work was claimed under a LOCK before: then its sums are not ours to begin.
func (p *Provider) claimedOn(lock ledger.Digest) bool {
	return slices.ContainsFunc(p.env.Book.OpenLocks(), func(l ledger.OpenLock) bool { return l.ID == lock && l.Units > 0 })
}

// risk is how many units of a payer are at work or unpaid on other leases than h.
func (p *Provider) risk(h *hosting) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for o := range p.leases {
		if o != h && o.lock.Payer == h.lock.Payer {
			n += int(o.risked.Load())
		}
	}
	return n
}

// begin counts a unit that starts; it reports false when the lease has expired, or when the owner
// has taken slots away from leases that stand.
func (p *Provider) begin(l *market.Lease, slots int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running >= slots {
		p.scarce = true
		return false
	}
	if p.table.Start(l, time.Now()) != nil {
		return false
	}
	p.running++
	return true
}

func (p *Provider) ended(l *market.Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table.Done(l, time.Now())
	p.running--
	if p.scarce {
		p.scarce = false
		for h := range p.leases {
			h.signal()
		}
	}
}

// expired reports whether the lease was unused for too long. inUse says that results of it wait.
func (p *Provider) expired(l *market.Lease, inUse bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if inUse {
		p.table.Touch(l, now)
	}
	p.table.Expire(now)
	return l.State == market.LeaseExpired
}

func (p *Provider) count(units int, f ledger.Fuel) {
	p.mu.Lock()
	p.done += uint64(units)
	p.fuel += f
	p.mu.Unlock()
}

func (r *Refusal) wire() *refusal { return &refusal{Code: r.Code, Text: r.Text} }
