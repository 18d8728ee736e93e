package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// Bounds of one running job.
const (
	maxLeases   = 32              // providers at a time
	journalMax  = 256             // results made durable together
	rejoinMin   = time.Second     // a provider that refused or was lost is asked again after this,
	rejoinMax   = time.Minute     // doubled each time, at most this
	lookAgain   = 2 * time.Second // how often offers are looked at when nothing tells of change
	lastWords   = time.Minute
	stuckTime   = 3 * time.Second        // a vote without a dispute is over by then
	progressGap = time.Second            // between progress messages to the group
	showGap     = 100 * time.Millisecond // between renewals of what people see of the peers
	hireGap     = 200 * time.Millisecond // between two looks at the offers
)

// A run is one job on its way. Its loop goroutine owns the farm and the fields below it;
// what others may look at is under mu.
type run struct {
	req  *Requester
	env  Env
	id   exec.JobID
	m    exec.Manifest // its budget may be raised, by the loop
	raw  []byte
	need market.Need
	log  *slog.Logger

	ctx   context.Context
	stop  context.CancelFunc
	calls chan func(now time.Time) []farm.Action
	done  chan struct{}  // the loop has ended
	ended chan []settled // finished units, to the journal

	// owned by the loop
	farm       *farm.Farm
	leases     map[peer.ID]*lease
	opening    map[peer.ID]ledger.Credits
	standing   map[peer.ID]*standing
	shown      map[uint64]map[peer.ID]shown // results known of units that have not ended
	owned      map[uint64]*result           // of these, our own
	group      Group
	paidOut    ledger.Credits // claimed on leases that are over
	over       bool
	cancelled  bool
	lastTold   time.Time
	shownAt    time.Time
	hireAt     time.Time // not before
	witnesses  absence
	hireLater  bool      // then, at the latest
	stuckSince time.Time // no unit is worked on though some wait; zero = it goes on
	meanFuel   ledger.Fuel
	took       sample                    // fuel of units
	plan       farm.Plan                 // the latest, of a planned job
	planned    string                    // what it comes to, for people
	unchecked  map[ledger.Account]uint64 // results that verify auto accepted from one host each, since its last wrong one
	doubtful   uint64                    // of these, of hosts that were wrong since; not yet in an outcome
	ending     []settled                 // finished and not yet on their way to the journal

	manifestBudget ledger.Credits // as it was submitted

	inputs   sync.Mutex    // held by whoever adds inputs
	saving   chan struct{} // a token, held from a look at state to the end of the commit that replaces it
	hasBlobs atomic.Bool   // some result has bytes outside the journal

	mu       sync.Mutex // guards what follows
	job      node.Job
	state    jobState
	fresh    []freshInput    // units from state.Units on
	ahead    map[uint64]bool // finished, not below prefix
	prefix   uint64          // all units below have durable results
	fetched  uint64          // results below were fetched
	readers  int
	senders  int             // of inputs
	attended chan struct{}   // closed when one comes; nil = none is awaited, see unattended
	failed   map[uint64]bool // for the grid; at most maxFailed
	changed  chan struct{}   // closed and replaced at each change
	ails     string          // see trouble
}

const maxFailed = 1 << 16

// standing is what the job knows of one provider.
type standing struct {
	view   node.JobPeer
	wait   time.Duration
	next   time.Time
	banned string
	asked  uint64 // Seq of the offer it was asked by last
	full   bool   // it had no room then: a newer offer says when to ask again
	cand   candidate
}

type shown struct {
	lease  *lease
	result *result
}

// settled is a unit that ended, on its way to the journal.
type settled struct {
	unit uint64
	out  outcome
	pays []payment
}

type payment struct {
	lease *lease
	cost  ledger.Credits
}

// A candidate is a provider that a lease may be opened with.
type candidate struct {
	peer    peer.ID
	account ledger.Account
	name    string
	price   ledger.Price
	slots   int
	speed   uint64 // fuel a second of a slot, as it says
	seq     uint64 // of the offer
	binding []byte // likewise
}

// post lets the loop run f. It never blocks for ever: after the loop's end f is dropped.
func (r *run) post(f func(now time.Time) []farm.Action) {
	select {
	case r.calls <- f:
	case <-r.done:
	}
}

// loop is the job's life.
func (r *run) loop() {
	defer close(r.done)
	defer r.stop()
	var journaling sync.WaitGroup
	journaling.Go(r.journal)
	if r.env.Groups != nil {
		g, err := r.env.Groups.Lead(r.id)
		if err != nil {
			r.log.Warn("no job group", "err", err)
		} else {
			r.group = g
			defer g.Leave()
			defer r.req.x.allowMembers(g, true, r.programHashes()...)()
		}
	}
	offers, cancel := r.req.market.Changes()
	defer func() { cancel() }() // the one in force at the end
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	for !r.over {
		next := r.farm.NextTick()
		if r.hireLater && (next.IsZero() || r.hireAt.Before(next)) {
			next = r.hireAt
		}
		if !next.IsZero() {
			tick.Reset(max(0, time.Until(next)))
		}
		select {
		case <-r.ctx.Done():
			r.over = true
			continue
		case f := <-r.calls:
			r.perform(f(time.Now()))
			for range len(r.calls) { // what has gathered meanwhile
				f := <-r.calls
				r.perform(f(time.Now()))
			}
		case <-tick.C:
			r.perform(r.farm.Tick(time.Now()))
		case <-look.C:
		case _, ok := <-offers:
			if !ok {
				offers, cancel = r.req.market.Changes()
			}
		}
		r.tend(time.Now())
		r.settle()
	}
	r.req.market.Retract(r.id)
	for _, l := range r.leases {
		l.close()
	}
	close(r.ended)
	journaling.Wait()
	for _, l := range r.leases { // all is decided: what was shown and not accepted is not wanted
		l.update(func() { clear(l.pending); clear(l.undecided); clear(l.asked) })
	}
	r.finish()
	for len(r.leases)+len(r.opening) > 0 { // vouchers still go out; each lease ends by itself
		(<-r.calls)(time.Now())
	}
	r.mu.Lock()
	r.job.Peers = r.peers()
	r.mu.Unlock()
	r.env.Tell()
}

// tend looks after leases: sizes, ends, and new ones where work waits.
func (r *run) tend(now time.Time) {
	for p, l := range r.leases {
		slots := l.room()
		if slots != l.told {
			l.told = slots
			r.perform(r.farm.HostSlots(farm.HostID(p), slots, now))
		}
		if slots == 0 && l.busy() == 0 {
			l.close()
		}
		switch unit, hides, stuck := l.overdue(now, time.Duration(r.m.Limits.WallMs)*time.Millisecond); {
		case hides: // others have shown theirs meanwhile: it may not choose now
			r.wrong(l.account)
			r.perform(r.farm.Mismatch(farm.HostID(p), unit, now))
		case stuck:
			l.end(refuse(CodeDeadline, "brought nothing forth for the time of a unit"))
		}
	}
	if !r.over {
		r.hire(now)
	}
	r.publish(now)
}

// hire opens leases while more units wait than the leases at hand can take.
func (r *run) hire(now time.Time) {
	r.hireLater = false
	s := r.farm.Stats()
	waiting := s.Known - s.Ended
	if waiting == 0 {
		r.setWhy("")
		return
	}
	if r.m.Planned() {
		r.schedule(s, now)
		return
	}
	slots, accounts := 0, map[ledger.Account]bool{}
	for _, l := range r.leases {
		slots += l.grant.Slots
		accounts[l.account] = true
	}
	for range r.opening {
		slots++
	}
	most := r.m.Verify.Most()
	want := waiting * uint64(most)
	if r.m.Jobs > 0 {
		want = min(waiting, uint64(r.m.Jobs)) * uint64(most)
	}
	if r.farm.Why() == "" || len(r.leases) == 0 {
		r.stuckSince = time.Time{}
	} else if r.stuckSince.IsZero() {
		r.stuckSince = now
	}
	if !r.stuckSince.IsZero() && now.Sub(r.stuckSince) >= stuckTime && len(r.opening) == 0 {
		want, r.stuckSince = max(want, uint64(slots)+1), now // those hired cannot go on, as after a dispute: one more
	}
	if uint64(slots) >= want && len(accounts)+len(r.opening) >= most || len(r.leases)+len(r.opening) >= maxLeases {
		return
	}
	if r.hireLater = now.Before(r.hireAt); r.hireLater {
		return
	}
	if now.Before(r.witnesses.next) {
		if len(r.leases) == 0 {
			r.setWhy(r.witnesses.why)
		}
		return
	}
	r.hireAt = now.Add(hireGap)
	r.req.market.Advertise(r.id, r.m, waiting)
	ranking := r.rank(waiting, now)
	avail := r.available()
	chosen := 0
	for i, c := range ranking.Ranked {
		if uint64(slots) >= want && len(accounts) >= most || len(r.leases)+len(r.opening) >= maxLeases {
			break
		}
		worst, err := c.Offer.Price.Cost(r.m.Limits.Fuel)
		if err != nil {
			continue
		}
		// Providers still to be hired share what is left of the budget.
		share := avail / ledger.Credits(min(len(ranking.Ranked)-i, maxLeases))
		amount := min(max(share, worst), avail, r.mostCost(worst, max(want, r.toCome(s))))
		if amount < worst {
			r.setWhy(fmt.Sprintf("one unit may cost %s (fuel limit times price), %s of the budget is free: raise it with `p3 job raise`, or submit it anew with less --fuel", worst, max(avail, 0)))
			continue
		}
		avail -= amount
		chosen++
		n := int(min(uint64(max(c.Offer.FreeSlots, 1)), want))
		slots += n
		accounts[c.Offer.Account] = true
		r.open(candidate{peer: c.Offer.Peer, account: c.Offer.Account, name: c.Offer.Name, price: c.Offer.Price, slots: n, speed: c.Offer.Capacity.Speed, seq: c.Offer.Seq, binding: c.Offer.Binding}, amount)
	}
	if len(r.leases)+len(r.opening) == 0 {
		r.setShort(r.tooDear(ranking, avail))
	} else {
		r.setShort(0)
	}
	switch {
	case len(r.leases)+len(r.opening) == 0 && chosen == 0 && len(ranking.Ranked) == 0:
		r.setWhy(explain(ranking))
	case len(r.leases) > 0 || chosen > 0:
		r.setWhy(r.farm.Why())
	}
}

// tooDear is what one unit with its replicas may cost at the cheapest of the hosts that fit, if that is more
// than can be spent; 0 if it is not, or no host fits.
func (r *run) tooDear(m market.Ranking, avail ledger.Credits) (least ledger.Credits) {
	offers := make([]market.Offer, 0, len(m.Ranked))
	for _, c := range m.Ranked {
		offers = append(offers, c.Offer)
	}
	for _, c := range m.Refused {
		if c.Reason == market.OverBudget {
			offers = append(offers, c.Offer)
		}
	}
	for _, o := range offers {
		worst, err := o.Price.Cost(r.m.Limits.Fuel)
		if err != nil || worst > ledger.MaxCredits/ledger.Credits(r.m.Verify.Most()) {
			continue
		}
		worst *= ledger.Credits(r.m.Verify.Most())
		if worst <= avail {
			return 0
		}
		if least == 0 || worst < least {
			least = worst
		}
	}
	return least
}

// toCome is how many units to expect of a job that still takes input: as many as there were, so that
// one which is fed unit by unit does not need a new LOCK for every few.
func (r *run) toCome(s farm.Stats) uint64 {
	if r.snapshot().Closed {
		return 0
	}
	return max(s.Ended, 64) * uint64(r.m.Verify.Most())
}

// mostCost is the most that the units left can cost at one provider, with room for repeats.
func (r *run) mostCost(worst ledger.Credits, units uint64) ledger.Credits {
	n := ledger.Credits(min(units+8, 1<<20))
	if worst > ledger.MaxCredits/n {
		return ledger.MaxCredits
	}
	return max(worst, 1) * n
}

// available is what of the budget is neither paid nor locked.
func (r *run) available() ledger.Credits {
	used := r.paidOut
	for _, l := range r.leases {
		used += l.amount
	}
	for _, a := range r.opening {
		used += a
	}
	return min(r.m.Budget-used, r.env.Book.Balance().Free)
}

// rank matches the offers against the job, leaving out who is hired, banned or waits.
func (r *run) rank(units uint64, now time.Time) market.Ranking {
	offers := r.req.market.Offers()
	cands := make([]market.Candidate, 0, len(offers))
	for _, o := range offers {
		c := market.Candidate{Offer: o, RTT: r.env.Net.RTT(o.Peer), Trust: r.req.Trust(o.Peer)}
		_, opening := r.opening[o.Peer]
		switch st := r.standing[o.Peer]; {
		case r.leases[o.Peer] != nil || opening:
			continue
		case o.Account == r.m.Account:
			c.Blocked = "your own account"
		case st != nil && st.banned != "":
			c.Blocked = st.banned
		case st != nil && now.Before(st.next) && !(st.full && o.Seq > st.asked && o.FreeSlots > 0):
			c.Blocked = st.view.Why
		}
		if c.Offer.FreeSlots == 0 && !c.Offer.Withdrawn() {
			c.Offer.FreeSlots = 1 // it was busy when it signed: asking is cheap, and the pause grows
		}
		cands = append(cands, c)
	}
	return market.Match(market.Demand{
		Self: r.env.Net.Self(), Engine: r.m.Engine, Need: r.need, Ceiling: r.m.Ceiling, Memory: r.m.Limits.Memory,
		Units: units, UnitFuel: r.unitFuel(), Budget: max(r.m.Budget-r.paidOut, 1), Optimise: aims[r.m.Optimise],
	}, cands, now)
}

// explain says why nobody can be hired: the reasons, grouped.
func explain(m market.Ranking) string {
	if len(m.Refused) == 0 {
		return "no offers known yet: searching for peers"
	}
	s := fmt.Sprintf("none of %d offers fits:", len(m.Refused))
	for i, c := range m.Reasons() {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf(" %d %s", c.Count, c.Reason)
		for _, f := range m.Refused {
			if f.Reason == c.Reason && f.Detail != "" {
				s += " (" + f.Detail + ")"
				break
			}
		}
	}
	return s
}

func (r *run) open(c candidate, amount ledger.Credits) {
	r.opening[c.peer] = amount
	st := r.standing[c.peer]
	if st == nil {
		st = &standing{}
		r.standing[c.peer] = st
	}
	st.asked, st.full, st.cand = c.seq, false, c
	st.view.Peer, st.view.Account, st.view.Name, st.view.State = c.peer.String(), c.account, cmp.Or(c.name, r.env.Net.Name(c.peer)), "asking"
	r.members()
	var membership []byte
	if r.group != nil {
		membership = r.group.Membership()
	}
	r.req.wg.Go(func() {
		l, err := r.openLease(r.req.ctx, c, amount, membership)
		joined := make(chan struct{})
		r.post(func(now time.Time) []farm.Action {
			defer close(joined)
			delete(r.opening, c.peer)
			if err != nil {
				r.refused(c.peer, err, now)
				return nil
			}
			st.view.State, st.view.Why, st.view.RTTMs = "leased", "", float64(r.env.Net.RTT(c.peer).Microseconds())/1e3
			st.wait, r.witnesses = 0, absence{}
			r.leases[c.peer] = l
			if r.over {
				l.close()
				return nil
			}
			l.told = l.room()
			r.hireAt = time.Time{} // a planned job gives it something at once
			return r.farm.HostJoined(farm.HostID(c.peer), c.account, l.told, l.queue, now)
		})
		if err != nil {
			return
		}
		select {
		case <-joined:
		case <-r.done:
			l.close()
		}
		err = l.serve(r.req.ctx)
		r.post(func(now time.Time) []farm.Action {
			delete(r.leases, c.peer)
			r.paidOut += l.spent()
			r.members()
			if err != nil {
				r.refused(c.peer, err, now)
			} else if st.banned == "" {
				st.view.State = "done"
			}
			return r.farm.HostLost(farm.HostID(c.peer), now)
		})
	})
}

// refused notes why a provider does not work for us now, and when to ask again.
func (r *run) refused(p peer.ID, err error, now time.Time) {
	st := r.standing[p]
	if st.banned != "" {
		return // said already
	}
	st.view.State, st.view.Why = "lost", err.Error()
	if errors.As(err, new(*unwitnessed)) {
		r.witnesses.note(err, now)
		if st.view.State = "refused"; len(r.leases) == 0 {
			r.setWhy(r.witnesses.why)
		}
		return
	}
	var no *Refusal
	if errors.As(err, &no) {
		st.view.State, st.full = "refused", no.Code == CodeBusy || no.Code == CodePaused
		if no.Code == CodeIdle {
			st.view.State, st.view.Why = "done", ""
			return // asked again when there is work
		}
	}
	st.wait = min(max(2*st.wait, rejoinMin), rejoinMax)
	st.next = now.Add(st.wait)
	r.log.Info("provider", "peer", p, "err", err)
	r.env.Emit("warn", "job", fmt.Sprintf("%s: %s", st.view.Name, err), "job", r.id.Short(), "peer", st.view.Name)
}

// An absence says why no LOCK can be witnessed, and when to try again.
type absence struct {
	why  string
	wait time.Duration
	next time.Time
}

func (a *absence) note(err error, now time.Time) {
	if a.why = err.Error(); now.Before(a.next) {
		return // another LOCK of the same moment
	}
	a.wait = min(max(2*a.wait, rejoinMin), 4*rejoinMin) // asking them costs little
	a.next = now.Add(a.wait)
}

// fault notes a unit that a provider could not bring; it is called from any goroutine.
func (r *run) fault(p peer.ID, unit uint64, why string) {
	r.post(func(now time.Time) []farm.Action {
		if st := r.standing[p]; st != nil {
			st.view.Failed++
		}
		return r.farm.HostFault(farm.HostID(p), unit, why, now)
	})
}

// ban is for providers caught cheating: not again in this job.
func (r *run) ban(p peer.ID, why string) {
	if st := r.standing[p]; st != nil {
		st.banned = why
		st.view.State, st.view.Why = "bad", why
	}
	r.req.noteBad(p)
	r.env.Emit("warn", "job", fmt.Sprintf("%s gets no more units: %s", r.env.Net.Name(p), why), "job", r.id.Short(), "peer", r.env.Net.Name(p))
	if l := r.leases[p]; l != nil {
		l.close()
	}
}

// perform carries out what the farm decided.
func (r *run) perform(actions []farm.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case farm.Assign:
			if l := r.leases[peer.ID(a.Host)]; l != nil {
				l.assign(a.Unit)
			}
		case farm.Reveal:
			if l := r.leases[peer.ID(a.Host)]; l != nil {
				l.revealUnit(a.Unit)
			}
		case farm.Hide:
			if l := r.leases[peer.ID(a.Host)]; l != nil {
				l.hideUnit(a.Unit)
			}
		case farm.CancelUnit:
			if l := r.leases[peer.ID(a.Host)]; l != nil {
				l.cancelUnit(a.Unit)
			}
		case farm.Refuse:
			if s, ok := r.shown[a.Unit][peer.ID(a.Host)]; ok {
				s.lease.refuse(a.Unit, CodeOutvoted)
			}
			r.req.noteBad(peer.ID(a.Host))
			if st := r.standing[peer.ID(a.Host)]; st != nil {
				st.view.Failed++
			}
			r.env.Emit("warn", "job", fmt.Sprintf("unit %d of %s: %s", a.Unit, r.env.Net.Name(peer.ID(a.Host)), a.Reason), "job", r.id.Short(), "peer", r.env.Net.Name(peer.ID(a.Host)))
		case farm.Compute:
			r.compute(a.Unit)
		case farm.Accept:
			r.accept(a)
		case farm.Fail:
			r.fail(a)
		case farm.Bad:
			r.ban(peer.ID(a.Host), a.Reason)
		case farm.Finished:
			r.over = true
		}
	}
}

// keep holds a shown result until its unit ends.
func (r *run) keep(l *lease, x *result) {
	m := r.shown[x.Unit]
	if m == nil {
		m = map[peer.ID]shown{}
		r.shown[x.Unit] = m
	}
	if _, again := m[l.peer]; !again {
		m[l.peer] = shown{l, x}
	}
}

// nameOf is what a provider of ours calls itself: in its offer, else in its greeting.
func (r *run) nameOf(p peer.ID) string {
	if st := r.standing[p]; st != nil {
		return st.view.Name
	}
	return r.env.Net.Name(p)
}

func (r *run) accept(a farm.Accept) {
	s := settled{unit: a.Unit, out: outcome{Ended: time.Now().UnixMilli(), Losers: len(a.Losers), Tries: len(a.Winners) + len(a.Losers)}}
	for _, h := range a.Winners {
		x := r.shown[a.Unit][peer.ID(h)]
		cost, _ := x.lease.price.Cost(x.result.Result.Fuel) // checked when it came
		if x.result.Digest == a.Vote.Digest {
			s.out.Result = *x.result
		}
		s.out.Hosts = append(s.out.Hosts, r.nameOf(peer.ID(h)))
		s.out.Cost += cost
		s.pays = append(s.pays, payment{x.lease, cost})
		if st := r.standing[peer.ID(h)]; st != nil {
			st.view.Done++
			st.view.Paid += cost
		}
		r.req.noteGood(peer.ID(h))
		switch {
		case len(a.Winners) > 1 || a.Own:
			r.req.conduct.note(x.lease.account, true)
		case r.m.Verify == exec.VerifyAuto:
			s.out.Alone = &x.lease.account
			r.unchecked[x.lease.account]++
			if st := r.standing[peer.ID(h)]; st != nil {
				st.view.Unchecked++
			}
		}
	}
	if own := r.owned[a.Unit]; a.Own && len(a.Winners) == 0 {
		s.out.Result, s.out.Hosts = *own, []string{"this node"}
	}
	for _, h := range a.Losers { // the farm's Refuse finds nothing shown any more
		if x, ok := r.shown[a.Unit][peer.ID(h)]; ok {
			x.lease.refuse(a.Unit, CodeOutvoted)
			r.wrong(x.lease.account)
		}
	}
	s.out.Result.Nonce = nil
	r.pinOutcome(s.out)
	r.noteFuel(s.out.Result.Result.Fuel)
	delete(r.shown, a.Unit)
	r.ending = append(r.ending, s)
}

// wrong notes that an account gave a wrong result: from now on all of them are checked, and those of this job that
// nobody checked are in doubt.
func (r *run) wrong(a ledger.Account) {
	r.req.conduct.note(a, false)
	n := r.unchecked[a]
	if n == 0 {
		return
	}
	delete(r.unchecked, a)
	r.doubtful += n
	r.env.Emit("warn", "job", fmt.Sprintf("%s gave a wrong result; %d of its results were accepted unchecked before", r.env.who(a), n), "job", r.id.Short())
}

// payLate pays for a result that was finished while its cancellation was on the way: the work is
// done, and a provider left unpaid would rightly trust us less.
func (r *run) payLate(l *lease, x *result) {
	if x.Result.Digest() != x.Digest || !x.Result.Status.Deterministic() { // or its streams lie elsewhere
		l.refuse(x.Unit, CodeLate)
		return
	}
	cost, _ := l.price.Cost(x.Result.Fuel) // checked with the claim
	if l.accept(bill{x.Unit, cost}) {
		r.unpay(-cost)
	}
}

// unpay takes back what was counted as spent on a lease that had been settled before.
func (r *run) unpay(cost ledger.Credits) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.job.Spent -= cost
}

func (r *run) fail(a farm.Fail) {
	for _, x := range r.shown[a.Unit] {
		x.lease.refuse(a.Unit, CodeOutvoted)
	}
	delete(r.shown, a.Unit)
	r.ending = append(r.ending, settled{unit: a.Unit, out: outcome{Error: a.Reason, Ended: time.Now().UnixMilli()}})
	r.env.Emit("error", "job", fmt.Sprintf("unit %d: %s", a.Unit, a.Reason), "job", r.id.Short())
}

// settle hands what ended to the journal, together, as it shares a commit and a voucher.
func (r *run) settle() {
	if len(r.ending) == 0 {
		return
	}
	r.ending[0].out.Doubtful, r.doubtful = r.doubtful, 0
	select {
	case r.ended <- r.ending:
	case <-r.req.ctx.Done(): // the node stops: the units run again after the restart
	}
	r.ending = nil
}

// journal makes finished units durable, in batches, and only then lets them be paid and seen.
func (r *run) journal() {
	for queue := range r.ended {
		for range len(r.ended) { // what has gathered meanwhile
			queue = append(queue, <-r.ended...)
		}
		for len(queue) > 0 {
			n, size := 0, 0
			for n < min(len(queue), journalMax) && size < MaxFrame/2 { // what the store takes at once is bounded
				size += queue[n].out.Result.size()
				n++
			}
			if !r.save(queue[:n]) {
				return // unpaid and unseen: they run again after the restart
			}
			queue = queue[n:]
		}
	}
}

// save makes some units durable and pays them; false = the node stops.
func (r *run) save(batch []settled) bool {
	ops := make([]ledger.Op, 0, len(batch))
	bills := map[*lease][]bill{}
	last := uint64(0)
	for _, s := range batch {
		last = max(last, s.unit)
		op, err := put(unitKey('o', r.id, s.unit), s.out)
		if err != nil {
			r.log.Error("journal", "unit", s.unit, "err", err)
			continue
		}
		ops = append(ops, op)
		for _, p := range s.pays {
			bills[p.lease] = append(bills[p.lease], bill{s.unit, p.cost})
		}
	}
	if r.insist(r.req.ctx, "results", func() error {
		if last >= r.known() {
			if err := r.saveInputs(r.req.ctx); err != nil {
				return err
			}
		}
		return r.req.conduct.commit(r.req.ctx, ops...)
	}) != nil {
		return false
	}
	for l, b := range bills {
		if !l.accept(b...) {
			for _, x := range b {
				r.unpay(x.cost)
			}
		}
	}
	r.noteEnded(batch)
	return true
}

// insist repeats what needs room on our own disk until it succeeds or ctx ends, and says
// meanwhile what the job waits for: a full disk here is nobody else's fault, and loses nothing.
func (r *run) insist(ctx context.Context, what string, save func() error) error {
	defer r.trouble("")
	for wait := time.Second; ; wait = min(2*wait, rejoinMax) {
		err := save()
		if err == nil || ctx.Err() != nil {
			return err
		}
		r.trouble(fmt.Sprintf("%s cannot be saved: %v; free some space, next try in %s", what, err, wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// trouble is what ails this node; while it lasts nothing else is said to hold up the job.
func (r *run) trouble(why string) {
	r.mu.Lock()
	before := r.ails
	r.ails = why
	r.mu.Unlock()
	if why != before {
		r.setWhy(why)
	}
}

func (r *run) noteEnded(batch []settled) {
	r.mu.Lock()
	for _, s := range batch {
		r.count(s.unit, s.out)
	}
	r.announce()
	r.mu.Unlock()
	r.env.Tell()
}

// count adds one finished unit to the totals; mu is held.
func (r *run) count(unit uint64, o outcome) {
	r.ahead[unit] = true
	for r.ahead[r.prefix] {
		delete(r.ahead, r.prefix)
		r.prefix++
	}
	r.job.Done++
	r.job.Spent += o.Cost
	r.job.Disputes += uint64(o.Losers)
	r.job.Doubtful += o.Doubtful
	if o.failed() {
		r.job.Failed++
		if len(r.failed) < maxFailed {
			r.failed[unit] = true
		}
	}
}

// announce wakes everybody who waits for a change; mu is held.
func (r *run) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *run) setShort(least ledger.Credits) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.job.Short == least || r.state.State != node.JobRunning {
		return
	}
	r.job.Short = least
	r.announce()
	r.env.Tell()
}

func (r *run) setWhy(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	why = cmp.Or(r.ails, why)
	if r.job.Why == why || r.state.State != node.JobRunning {
		return
	}
	r.job.Why = why
	r.announce()
	r.env.Tell()
}

// restate makes a changed state durable, together with fresh inputs, and then known; without a change it does so for the
// inputs alone. Nobody else changes the state meanwhile, so inputs that come as the job ends do not bring it back.
func (r *run) restate(ctx context.Context, change func(*jobState) error) error {
	select {
	case r.saving <- struct{}{}:
		defer func() { <-r.saving }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	s, fresh := r.state, r.fresh
	r.mu.Unlock()
	if change == nil && len(fresh) == 0 {
		return nil
	}
	s.Units += uint64(len(fresh))
	if change != nil {
		if err := change(&s); err != nil {
			return err
		}
	}
	op, err := put(jobKey('s', r.id), s)
	if err != nil {
		return err
	}
	var ops []ledger.Op
	for _, x := range fresh {
		ops = append(ops, x.op)
	}
	if err := r.env.Store.Commit(ctx, append(ops, op)...); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh = slices.Clone(r.fresh[len(fresh):])
	r.state, r.job.Units, r.job.Closed = s, s.Units, s.Closed
	if s.State != node.JobRunning {
		r.job.State, r.job.Why, r.job.Short, r.job.Running, r.job.Ended = s.State, "", 0, 0, time.UnixMilli(s.Ended)
	}
	r.announce()
	return nil
}

// finish writes the end of the job down, unless the node is only stopping.
func (r *run) finish() {
	defer r.env.Tell()
	r.mu.Lock()
	r.job.Peers = r.peers()
	r.mu.Unlock()
	end := func(s *jobState) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case r.cancelled:
			s.State = node.JobCancelled
		case r.job.Failed > 0:
			s.State = node.JobFailed
		default:
			s.State = node.JobDone
		}
		s.Ended, s.Halted = time.Now().UnixMilli(), r.farm.Halted()
		s.Done, s.Failed, s.Spent, s.Disputes, s.Blobs, s.Doubtful = r.job.Done, r.job.Failed, r.job.Spent, r.job.Disputes, r.hasBlobs.Load(), r.job.Doubtful
		return nil
	}
	if r.req.ctx.Err() != nil || r.insist(r.req.ctx, "the end of the job", func() error { return r.restate(context.WithoutCancel(r.ctx), end) }) != nil {
		r.mu.Lock() // the node stops: the job goes on, or ends again, after the restart
		defer r.mu.Unlock()
		r.job.Why, r.job.Short, r.job.Running = "", 0, 0
		r.announce()
		return
	}
	r.env.Blobs.Unpin("job/" + r.id.String())
	j := r.view()
	r.env.Emit("ok", "job", fmt.Sprintf("%s %s: %d units, %d failed, %s", r.m.Name, j.State, j.Done, j.Failed, j.Spent), "job", r.id.Short())
}

// publish shows the job's state to whoever looks, and to its group once a second.
func (r *run) publish(now time.Time) {
	if now.Sub(r.shownAt) < showGap && !r.over {
		return
	}
	r.shownAt = now
	s := r.farm.Stats()
	r.mu.Lock()
	r.job.Running, r.job.Halted = s.Open, r.farm.Halted()
	r.job.Peers = r.peers()
	r.mu.Unlock()
	if r.group != nil && now.Sub(r.lastTold) >= progressGap {
		r.lastTold = now
		if b, err := canon.Marshal(progress{Known: s.Known, Ended: s.Ended}); err == nil {
			r.group.Publish(b)
		}
	}
}

// progress is what a requester tells its job's group.
type progress struct {
	Known uint64 `cbor:"1,keyasint"`
	Ended uint64 `cbor:"2,keyasint"`
}

func (r *run) peers() []node.JobPeer {
	out := make([]node.JobPeer, 0, len(r.standing))
	for p, st := range r.standing {
		v := st.view
		if l := r.leases[p]; l != nil {
			v.Running = l.busy()
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b node.JobPeer) int { return cmp.Or(cmp.Compare(b.Done, a.Done), cmp.Compare(a.Peer, b.Peer)) })
	return out
}

// members tells the group who belongs to it now.
func (r *run) members() {
	if r.group == nil {
		return
	}
	list := make([]peer.ID, 0, len(r.leases)+len(r.opening))
	for p := range r.leases {
		list = append(list, p)
	}
	for p := range r.opening {
		list = append(list, p)
	}
	slices.Sort(list)
	if err := r.group.SetMembers(list); err != nil {
		r.log.Warn("job group", "err", err)
	}
}

// files is what every provider needs.
func (r *run) files() []exec.File { return filesOf(r.m) }

func filesOf(m exec.Manifest) []exec.File { return append([]exec.File{m.Program}, m.Data...) }

func (r *run) programHashes() []ledger.Digest { return hashesOf(r.files()) }

// What goes into a job is kept until it ends; what came out, and is too long for the journal, for good.
func (r *run) pin(h ledger.Digest) { r.env.Blobs.Pin(h, "job/"+r.id.String()) }

func (r *run) pinResult(h ledger.Digest) {
	r.hasBlobs.Store(true)
	r.env.Blobs.Pin(h, "result/"+r.id.String())
}

func (r *run) pinOutcome(o outcome) {
	for _, f := range o.Result.Result.Files {
		r.pinResult(f.Hash)
	}
	for _, f := range []*exec.File{o.Result.Stdout, o.Result.Stderr} {
		if f != nil {
			r.pinResult(f.Hash)
		}
	}
}

func (r *run) pinInput(in exec.Input) {
	for _, f := range in.Files {
		r.pin(f.Hash)
	}
	if in.StdinFile != nil {
		r.pin(in.StdinFile.Hash)
	}
}
