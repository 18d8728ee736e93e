package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/flow"
)

// lockLife is how long a LOCK stands. A lease drains before it ends and is followed by
// another, so long jobs settle, and grow trust, step by step.
const lockLife = 10 * time.Minute

const (
	// revealTime is how long a provider may take to show a result that it has: it lies there.
	// It is shorter than patience, so that who hides results is gone before others risk more.
	revealTime = 8 * time.Second

	// stallTime is added to a unit's wall time before a provider that brings nothing forth is given up.
	stallTime = 15 * time.Second
)

// A lease is one stream of a job to a provider, as the requester sees it. A writer and a
// reader goroutine serve it; the job's loop talks to it through the methods below.
type lease struct {
	run     *run
	peer    peer.ID
	account ledger.Account
	name    string
	price   ledger.Price
	amount  ledger.Credits // the LOCK
	limit   ledger.Credits // what of it the provider works for
	worst   ledger.Credits // one unit's most
	lock    ledger.Digest
	expiry  time.Time
	grant   grant
	queue   int // units that may wait behind each one that runs
	told    int // slots the farm knows of; owned by the job's loop
	s       Stream

	mu        sync.Mutex // guards what follows
	wake      chan struct{}
	tasks     []uint64
	reveal    []uint64
	hide      []uint64
	cancel    []uint64
	drops     []drop
	accepted  ledger.Credits // of units whose results are durable
	paid      []uint64       // units of accepted since the last voucher
	claim     []byte         // the newest, verified against what was received
	sums      claimSums
	commits   map[uint64]ledger.Digest
	pending   map[uint64]uint32 // assigned and not ended, and task.Try of each
	cancels   uint32            // units cancelled
	undecided map[uint64]bool   // of these, the results are here
	late      map[uint64]bool   // cancelled; a result may be on its way
	asked     map[uint64]ask    // committed to, and to be shown
	asks      uint64            // made so far
	shown     ask               // the latest of those shown, and when a result came last
	progress  time.Time         // of the last commit, result or fault, or of the first task after
	fetching  bool              // we bring a result's files here
	transfer  time.Duration     // what the provider may need to fetch one unit's files
	closing   bool
	gone      bool // settled with what was accepted by then
	ended     *Refusal
	revokes   []func()
}

// An ask is one result that we want to see.
type ask struct {
	nth uint64 // in the order of asking, from 1
	at  time.Time
}

type claimSums struct {
	fuel   ledger.Fuel
	amount ledger.Credits
	units  uint32
}

// openLease locks credit for the provider and asks it for slots. When it returns an
// error, the LOCK, if there is one, is settled at zero.
func (r *run) openLease(ctx context.Context, c candidate, amount ledger.Credits, membership []byte) (*lease, error) {
	worst, err := c.price.Cost(r.m.Limits.Fuel)
	if err != nil {
		return nil, err
	}
	l := &lease{
		run: r, peer: c.peer, account: c.account, name: c.name, price: c.price, amount: amount, worst: worst,
		expiry: time.Now().Add(lockLife + 2*time.Duration(r.m.Limits.WallMs)*time.Millisecond),
		wake:   make(chan struct{}, 1), commits: map[uint64]ledger.Digest{}, pending: map[uint64]uint32{}, undecided: map[uint64]bool{}, late: map[uint64]bool{}, asked: map[uint64]ask{},
	}
	if err := r.env.ready(ctx); err != nil {
		return nil, &unwitnessed{err}
	}
	dial, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if l.s, err = r.env.Net.Open(dial, c.peer, Protocol, MaxFrame); err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	lock, settle, err := r.req.settler.lock(ctx, ledger.LockRequest{Payee: c.account, Amount: amount, Evidence: lockEvidence(c.binding, r.id, c.peer), Expiry: l.expiry})
	if err != nil {
		l.s.Reset()
		return nil, err
	}
	l.lock = lock.Digest
	l.revokes = append(l.revokes, settle)
	fail := func(err error) (*lease, error) { l.s.Reset(); l.release(); return nil, err }
	ofJob := ledger.Op{Key: append(jobKey('k', r.id), l.lock[:]...), Value: []byte{1}}
	if err := r.req.settler.remember(ctx, l.lock, holder{Peer: []byte(c.peer), Job: r.id}, ofJob); err != nil {
		return fail(err)
	}
	certificate, err := r.env.certify(ctx, lock.Raw)
	if err != nil {
		return fail(&unwitnessed{err})
	}
	l.revokes = append(l.revokes, r.req.x.allow(c.peer, r.programHashes()...))
	o := &open{Manifest: r.raw, Lock: lock.Raw, Binding: r.env.Binding(), Slots: c.slots, Price: c.price, Membership: membership, Work: r.work(), Certificate: certificate}
	o.Grants = r.grants(c.peer, o.Work)
	if err := writeFrame(l.s, frame{Open: o}); err != nil {
		return fail(err)
	}
	l.s.SetIdle(openTimeout)
	f, err := readFrame(l.s)
	switch {
	case err != nil:
		return fail(err)
	case f.Refuse != nil:
		if f.Refuse.Code == CodeCredit { // it may have forgotten what it was shown
			r.req.unshown(c.peer)
		}
		return fail(&Refusal{Code: f.Refuse.Code, Text: clip(f.Refuse.Text)})
	case f.Grant == nil || f.Grant.Slots < 1 || f.Grant.Slots > c.slots || f.Grant.Queue < 0 || f.Grant.Limit < 0:
		return fail(refuse(CodeProtocol, "no grant"))
	}
	r.req.shown(c.peer)
	l.s.SetIdle(silence)
	l.grant, l.transfer = *f.Grant, transferTime(r.files())
	if l.limit = amount; f.Grant.Limit > 0 {
		l.limit = min(amount, f.Grant.Limit)
	}
	units := int(max(1, min(l.limit/max(worst, 1), 1<<30)))
	l.queue = min(l.grant.Queue/l.grant.Slots, units/min(l.grant.Slots, units)-1)
	return l, nil
}

// unwitnessed is why a LOCK got no certificate: no fault of the provider it was for.
type unwitnessed struct{ err error }

func (u *unwitnessed) Error() string {
	s := "nothing can be spent now: " + u.err.Error()
	if errors.Is(u.err, ledger.ErrUnwitnessed) {
		s += "; start p3 up where they are (see p3 witness ls)"
	}
	return s
}
func (u *unwitnessed) Unwrap() error { return u.err }

// work is what we show a provider: what we did for others.
func (r *run) work() [][]byte {
	if r.env.vouched() {
		return nil
	}
	list, err := r.env.Book.ShowWork(flow.MaxShown)
	if err != nil { // as a stranger we may still get something
		r.log.Warn("proofs of work", "err", err)
	}
	return list
}

// grants is what we show a provider of a granted network: what our balance stands on, and what stands behind those
// who paid for the work we show.
func (r *run) grants(p peer.ID, works [][]byte) (list [][]byte) {
	if r.env.Book.Genesis().Mutual() || r.env.vouched() {
		return nil
	}
	own, each := maxGrants-flow.MaxShown*newGrants, newGrants
	if r.req.knows(p) {
		own, each = newGrants, 1
	}
	show := func(a ledger.Account, n int) {
		more, err := r.env.Book.GrantsTo(a, n)
		if err != nil {
			r.log.Warn("grants", "err", err)
		}
		list = append(list, more...)
	}
	show(r.env.Book.Account(), own)
	for _, before := range r.env.Book.Before(r.env.Book.Account()) {
		show(before, max(0, own-len(list)))
	}
	seen := map[ledger.Account]bool{}
	for _, raw := range works[:min(len(works), flow.MaxShown)] {
		if w, err := ledger.ParseWork(raw, r.env.Book.Network()); err == nil && !seen[w.Payer] {
			seen[w.Payer] = true
			show(w.Payer, each)
		}
	}
	return list
}

// owner pins what the lease fetched, until the job takes it over.
func (l *lease) owner() string { return "taken/" + l.lock.String() }

// release gives back what the lease held; its LOCK gets settled.
func (l *lease) release() {
	l.run.env.Blobs.Unpin(l.owner())
	for _, f := range l.revokes {
		f()
	}
	l.revokes = nil
}

// room is how many units the provider may compute at a time, as far as the LOCK still covers
// them together with the queue behind each.
func (l *lease) room() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing || time.Until(l.expiry) < lockLife/10+time.Duration(l.run.m.Limits.WallMs)*time.Millisecond {
		return 0
	}
	units := int((l.limit-l.sums.amount)/max(l.worst, 1)) - len(l.commits)
	return max(0, min(l.grant.Slots, units/(1+l.queue)))
}

// spent is what the lease paid for.
func (l *lease) spent() ledger.Credits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted
}

// serve runs the lease until either side ends it and returns why.
func (l *lease) serve(ctx context.Context) error {
	defer l.release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.s.Reset() })
	defer stop()
	readErr := make(chan error, 1)
	go func() {
		err := l.read(ctx)
		if err != nil {
			cancel()
		}
		readErr <- err
	}()
	writeErr := l.write(ctx)
	if writeErr == nil { // our last word is written: let it arrive
		part(l.s, true)
		defer time.AfterFunc(heartbeat, cancel).Stop() // the reader may be fetching
	} else {
		cancel()
	}
	err := <-readErr
	// Its unfinished units go elsewhere now: the results that we still wait for may depend on them.
	l.run.post(func(now time.Time) []farm.Action { return l.run.farm.HostLost(farm.HostID(l.peer), now) })
	l.payLast()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended != nil:
		return l.ended
	case l.closing && len(l.pending) == 0:
		return nil
	case errors.As(err, new(*Refusal)): // the other side's last word says more than how the stream ended
		return err
	case writeErr != nil && !errors.Is(writeErr, context.Canceled): // it ended the reader too
		return writeErr
	}
	return err
}

// payLast signs for results that are decided only after the stream is gone, so that a provider
// which went down after it delivered is still paid by the SETTLE.
func (l *lease) payLast() {
	deadline := time.NewTimer(lastWords)
	defer deadline.Stop()
	for {
		l.mu.Lock()
		waiting, paid, claim, accepted := len(l.undecided), len(l.paid), l.claim, l.accepted
		l.gone = waiting == 0 || l.run.req.ctx.Err() != nil
		l.mu.Unlock()
		if waiting == 0 || l.run.req.ctx.Err() != nil {
			if paid > 0 {
				if _, err := l.run.env.Book.Vouch(context.WithoutCancel(l.run.req.ctx), l.lock, claim, accepted); err != nil {
					l.run.log.Warn("last voucher", "lease", l.lock.Short(), "err", err)
				}
			}
			return
		}
		select {
		case <-l.wake:
		case <-l.run.req.ctx.Done():
		case <-deadline.C:
			l.update(func() { clear(l.undecided) })
		}
	}
}

// read applies frames until the stream or the lease ends. It returns nil at a broken rule: then
// the writer still has the last word, so that the provider learns why.
func (l *lease) read(ctx context.Context) error {
	for {
		f, err := readFrame(l.s)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the provider closed the stream")
			}
			return err
		}
		if f.Refuse != nil {
			return &Refusal{Code: f.Refuse.Code, Text: clip(f.Refuse.Text)}
		}
		err = l.take(ctx, f)
		if bad := (*Refusal)(nil); errors.As(err, &bad) {
			l.run.post(func(time.Time) []farm.Action { l.run.ban(l.peer, bad.Error()); return nil })
			l.end(bad)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// news is what a frame means to the job's loop. It is told together, so that what ends together is made
// durable and paid together.
type news struct {
	run  *run
	said []func(time.Time) []farm.Action
}

func (n *news) add(f func(time.Time) []farm.Action) { n.said = append(n.said, f) }

func (n *news) tell() {
	if said := n.said; len(said) > 0 {
		n.said = nil
		n.run.post(func(now time.Time) []farm.Action {
			for _, f := range said {
				if actions := f(now); !n.run.over { // afterwards nobody journals what ends
					n.run.perform(actions)
				}
			}
			return nil
		})
	}
}

// take applies one frame of the provider. A *Refusal means that it cheated.
func (l *lease) take(ctx context.Context, f frame) error {
	r := l.run
	news := news{run: r}
	defer news.tell()
	for _, c := range f.Commits {
		l.mu.Lock()
		try, mine := l.pending[c.Unit]
		mine = mine && try == c.Try
		if _, again := l.commits[c.Unit]; again {
			mine = false // the first stands
		}
		if mine {
			l.commits[c.Unit] = c.Hash
			l.progress = time.Now()
		}
		l.mu.Unlock()
		if mine {
			news.add(func(now time.Time) []farm.Action { return r.farm.Committed(farm.HostID(l.peer), c.Unit, c.Hash, now) })
		}
	}
	news.tell()
	for _, x := range f.Faults {
		mine := false
		l.update(func() {
			if _, mine = l.pending[x.Unit]; mine {
				l.progress = time.Now()
			}
			l.done(x.Unit)
		})
		if !mine { // it crossed our cancellation, or is noise
			continue
		}
		r.fault(l.peer, x.Unit, (&Refusal{Code: x.Code, Text: clip(x.Text)}).Error())
	}
	if len(f.Results) > 0 {
		if err := l.checkClaim(f); err != nil {
			return err
		}
	}
	for i := range f.Results {
		if err := l.takeResult(ctx, &f.Results[i], &news); err != nil {
			return err
		}
	}
	return nil
}

// checkClaim holds the claim against the results it came with: it must bill exactly price
// times fuel for each.
func (l *lease) checkClaim(f frame) error {
	c, err := ledger.ParseClaim(f.Claim)
	if err != nil {
		return refuse(CodeRecord, "claim: %v", err)
	}
	sums := l.sums
	for _, x := range f.Results {
		cost, err := l.price.Cost(x.Result.Fuel)
		if err != nil || x.Result.Fuel > l.run.m.Limits.Fuel {
			return refuse(CodeOvercharge, "unit %d bills %d fuel, the limit is %d", x.Unit, x.Result.Fuel, l.run.m.Limits.Fuel)
		}
		sums.fuel += x.Result.Fuel
		sums.amount += cost
		sums.units++
	}
	if c.Lock != l.lock || c.Amount != sums.amount || c.Fuel != sums.fuel || c.K != sums.units {
		return refuse(CodeOvercharge, "claim of %s for %d fuel, the results come to %s for %d", c.Amount, c.Fuel, sums.amount, sums.fuel)
	}
	l.mu.Lock()
	l.sums = sums
	l.claim = f.Claim
	l.mu.Unlock()
	return nil
}

// takeResult checks one result, fetches its files and has the job told.
func (l *lease) takeResult(ctx context.Context, x *result, news *news) error {
	l.mu.Lock()
	commitment, committed := l.commits[x.Unit]
	_, mine := l.pending[x.Unit]
	seen := l.undecided[x.Unit] // the first result stands too
	late := !mine && l.late[x.Unit]
	if late {
		delete(l.late, x.Unit) // once
	}
	l.mu.Unlock()
	r := l.run
	if late {
		if !r.m.Verify.Votes() {
			r.payLate(l, x)
		} else { // nobody has checked it
			l.refuse(x.Unit, CodeLate)
		}
		return nil
	}
	if !mine || seen {
		return refuse(CodeProtocol, "unit %d was not asked for", x.Unit)
	}
	if r.m.Verify.Votes() {
		if len(x.Nonce) != 32 || !committed || !farm.CheckReveal(commitment, r.env.Book.Network(), l.lock, x.Unit, l.account, farm.Nonce(x.Nonce), x.Digest, x.Result.Fuel) {
			r.post(func(now time.Time) []farm.Action {
				r.wrong(l.account)
				return r.farm.Mismatch(farm.HostID(l.peer), x.Unit, now)
			})
			return refuse(CodeOutvoted, "unit %d was revealed as something else than committed", x.Unit)
		}
	}
	if x.Stdout != nil || x.Stderr != nil || len(x.Result.Files) > 0 {
		news.tell() // fetching may take long
	}
	l.update(func() { l.fetching = true })
	var err error
	r.insist(ctx, "results", func() error {
		if err = l.fetch(ctx, x); errors.Is(err, ErrNoRoom) {
			return err
		}
		return nil
	})
	l.update(func() { l.fetching, l.progress = false, time.Now() })
	if err != nil {
		if bad := (*Refusal)(nil); errors.As(err, &bad) || ctx.Err() != nil {
			return err
		}
		l.forget(x.Unit)
		r.fault(l.peer, x.Unit, err.Error())
		l.end(refuse(CodeBlob, "files of unit %d: %v", x.Unit, err)) // others may get theirs through
		return nil
	}
	v := farm.Vote{Digest: x.Digest, Fuel: x.Result.Fuel, Status: x.Result.Status, OK: x.Result.OK()}
	res := *x
	l.update(func() {
		l.undecided[x.Unit] = true
		l.shown = ask{max(l.shown.nth, l.asked[x.Unit].nth), time.Now()}
		delete(l.asked, x.Unit)
	})
	news.add(func(now time.Time) []farm.Action {
		r.keep(l, &res)
		return r.farm.Revealed(farm.HostID(l.peer), res.Unit, v, now)
	})
	return nil
}

// fetch brings the result's files here and checks that the whole has the digest it was sent under.
func (l *lease) fetch(ctx context.Context, x *result) error {
	full := x.Result
	total := int64(0)
	for _, s := range []struct {
		ref *exec.File
		dst *[]byte
	}{{x.Stdout, &full.Stdout}, {x.Stderr, &full.Stderr}} {
		if s.ref == nil {
			if total += int64(len(*s.dst)); total > l.run.m.Limits.Output {
				return refuse(CodeProtocol, "unit %d wrote more than its limit", x.Unit)
			}
			continue
		}
		if total += s.ref.Size; s.ref.Size < 0 || total > l.run.m.Limits.Output {
			return errors.New("more output than the limit")
		}
		if err := l.run.req.x.get(ctx, *s.ref, l.peer); err != nil {
			return err
		}
		l.run.env.Blobs.Pin(s.ref.Hash, l.owner())
		b, err := l.run.req.readBlob(*s.ref)
		if err != nil {
			return err
		}
		*s.dst = b
	}
	for _, f := range full.Files {
		if total += f.Size; total > l.run.m.Limits.Output {
			return errors.New("more output than the limit")
		}
	}
	if full.Digest() != x.Digest || !full.Status.Deterministic() {
		return refuse(CodeProtocol, "result and digest of unit %d differ", x.Unit)
	}
	for _, f := range full.Files {
		if err := l.run.req.x.get(ctx, f, l.peer); err != nil {
			return err
		}
		l.run.env.Blobs.Pin(f.Hash, l.owner())
	}
	return nil
}

// The job's loop calls these; each takes effect with the next frame.

func (l *lease) assign(u uint64) {
	l.update(func() {
		if l.computing() == 0 {
			l.progress = time.Now()
		}
		l.tasks = append(l.tasks, u)
		l.pending[u] = l.cancels
	})
}

func (l *lease) revealUnit(u uint64) {
	l.update(func() {
		l.reveal = append(l.reveal, u)
		l.asks++
		l.asked[u] = ask{l.asks, time.Now()}
	})
}

// hideUnit takes that back.
func (l *lease) hideUnit(u uint64) {
	l.update(func() {
		delete(l.asked, u)
		if i := slices.Index(l.reveal, u); i >= 0 { // not said yet
			l.reveal = slices.Delete(l.reveal, i, i+1)
		} else {
			l.hide = append(l.hide, u)
		}
	})
}

// A bill is what one unit costs.
type bill struct {
	unit uint64
	cost ledger.Credits
}

// accept pays for units whose results are durable, all with one voucher; it reports false when the lease is
// settled already.
func (l *lease) accept(bills ...bill) (paid bool) {
	l.update(func() {
		paid = !l.gone
		for _, b := range bills {
			if paid {
				l.accepted += b.cost
				l.paid = append(l.paid, b.unit)
				l.progress = time.Now()
			}
			l.done(b.unit)
		}
	})
	return paid
}

// refuse tells the provider that a unit it showed is not paid.
func (l *lease) refuse(u uint64, c Code) {
	l.update(func() { l.drops = append(l.drops, drop{u, c}); l.done(u) })
}

func (l *lease) cancelUnit(u uint64) {
	l.update(func() {
		l.cancels++
		if i := slices.Index(l.tasks, u); i >= 0 {
			l.tasks = slices.Delete(l.tasks, i, i+1)
		} else {
			l.cancel = append(l.cancel, u)
			l.late[u] = true
		}
		l.done(u)
	})
}

// close ends the lease once everything said before is sent.
func (l *lease) close() { l.update(func() { l.closing = true }) }

// end lets the writer say why and close.
func (l *lease) end(why *Refusal) {
	l.update(func() {
		if l.ended == nil {
			l.ended = why
		}
	})
}

// computing is how many units the provider has not come to a result of; mu is held.
func (l *lease) computing() (n int) {
	for u := range l.pending {
		if _, committed := l.commits[u]; !committed && !l.undecided[u] {
			n++
		}
	}
	return n
}

// overdue reports a result that was committed to and is not shown (hides), and a provider
// that computes but brings nothing forth any more, or beyond its LOCK (stuck).
// most is how long a unit may take it.
func (l *lease) overdue(now time.Time, most time.Duration) (unit uint64, hides, stuck bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for u, a := range l.asked {
		// While we owe it a result it may hold others back, but it shows them in the order asked.
		idle := len(l.undecided)+len(l.paid) == 0 && now.Sub(l.shown.at) > revealTime
		if now.Sub(a.at) > revealTime && !l.fetching && (idle || a.nth < l.shown.nth) {
			return u, true, false
		}
	}
	stalled := l.computing() > 0 && !l.fetching && now.Sub(l.progress) > most+l.transfer+stallTime
	return 0, false, len(l.pending) > 0 && now.After(l.expiry) || stalled
}

func (l *lease) forget(u uint64) { l.update(func() { l.done(u) }) }

func (l *lease) done(u uint64) {
	delete(l.pending, u)
	delete(l.undecided, u)
	delete(l.commits, u)
	delete(l.asked, u)
}

func (l *lease) busy() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending)
}

func (l *lease) update(f func()) {
	l.mu.Lock()
	f()
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lease) write(ctx context.Context) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		case <-beat.C:
			if err := l.s.WriteFrame(emptyFrame); err != nil {
				return err
			}
		}
		if done, err := l.flush(ctx); done || err != nil {
			return err
		}
	}
}

// flush sends the tasks that wait, then one voucher for everything accepted since the last. It reports
// whether the lease is over.
func (l *lease) flush(ctx context.Context) (over bool, err error) {
	l.mu.Lock()
	if why := l.ended; why != nil {
		l.mu.Unlock()
		return true, writeFrame(l.s, frame{Refuse: why.wire()}) // what is not vouched for yet, payLast finds
	}
	var f frame
	tasks, tries := l.tasks, make([]uint32, len(l.tasks))
	for i, u := range tasks {
		tries[i] = l.pending[u]
	}
	f.Reveal, f.Hide, f.Cancel, f.Drop = l.reveal, l.hide, l.cancel, l.drops
	l.tasks, l.reveal, l.hide, l.cancel, l.drops = nil, nil, nil, nil, nil
	closing := l.closing
	l.mu.Unlock()
	size := 0
	for i, u := range tasks {
		in, err := l.run.input(u)
		if err != nil {
			return false, fmt.Errorf("input of unit %d: %w", u, err)
		}
		t := task{Unit: u, Input: in, Try: tries[i]}
		if n := t.size(); size+n > MaxFrame/2 && len(f.Tasks) > 0 {
			if err := writeFrame(l.s, f); err != nil {
				return false, err
			}
			f, size = frame{}, 0
		}
		size += t.size()
		l.allowInput(in)
		f.Tasks = append(f.Tasks, t)
	}
	if !f.empty() {
		if err := writeFrame(l.s, f); err != nil {
			return false, err
		}
	}
	l.mu.Lock()
	paid, claim, accepted := l.paid, l.claim, l.accepted
	l.paid = nil // until here, payLast would find them
	l.mu.Unlock()
	if len(paid) > 0 { // after the tasks, which need not wait for a signature and a commit
		// Even when the stream ends meanwhile: the SETTLE pays what is vouched for.
		v, err := l.run.env.Book.Vouch(context.WithoutCancel(ctx), l.lock, claim, accepted)
		if err != nil {
			return false, fmt.Errorf("voucher: %w", err)
		}
		if err := writeFrame(l.s, frame{Voucher: v, Paid: paid}); err != nil {
			return false, err
		}
	}
	if closing {
		l.mu.Lock()
		over = len(l.pending)+len(l.paid)+len(l.drops) == 0
		l.mu.Unlock()
		if over {
			return true, nil
		}
	}
	return false, nil
}

// allowInput lets the provider fetch the files of a unit until the lease ends.
func (l *lease) allowInput(in exec.Input) {
	files := slices.Clone(in.Files)
	if in.StdinFile != nil {
		files = append(files, *in.StdinFile)
	}
	if len(files) == 0 {
		return
	}
	l.revokes = append(l.revokes, l.run.req.x.allow(l.peer, hashesOf(files)...))
	most := transferTime(append(files, l.run.files()...))
	l.update(func() { l.transfer = max(l.transfer, most) })
}
