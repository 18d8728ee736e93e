package job

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/flow"
	"github.com/personal-power-plant/p3/market"
)

// A hosting is one lease as its provider serves it.
type hosting struct {
	p        *Provider
	s        Stream
	ctx      context.Context // of the whole lease
	job      exec.JobID
	manifest exec.Manifest
	lock     ledger.LockInfo
	price    ledger.Price
	worst    ledger.Credits // what one unit may cost at most
	lease    *market.Lease
	trusted  *flow.Credit   // nil = all of the LOCK
	limit    ledger.Credits // what may be claimed in all, at most the LOCK
	why      string         // the limit's reason
	since    time.Time      // when it was granted
	expiry   time.Time      // of the LOCK, by the clock as it was then: setting it ends no lease
	slots    int
	owner    string        // under which blobs are pinned
	transfer time.Duration // that program and data may take, at a rate nobody need be ashamed of
	member   []byte
	program  string // path of the module, once ready
	data     []exec.Mount
	ready    chan struct{} // closed when program and data are here

	best ledger.Voucher // of those credited; owned by the reader

	recheck atomic.Bool // the owner has changed the policy

	risked atomic.Int32 // units at work or unpaid, for other leases of the payer to see

	mu        sync.Mutex // guards what follows
	wake      chan struct{}
	queue     []task               // waiting, lowest unit first
	running   map[uint64]*guest    // in the engine
	committed map[uint64]*finished // hidden until all replicas have committed
	asked     []*finished          // of these, to be shown as soon as the window allows, in the order asked
	held      time.Time            // since when the window is full while some are asked for; zero = it is not
	extra     int                  // shown beyond the window since then
	waits     int                  // of these, after waiting for pay
	claimed   []shownUnit          // shown and claimed, not yet paid, oldest first
	paidSum   ledger.Credits       // over all units paid for
	paidUnits uint32
	claimSum  ledger.Credits // over all claims of this lease
	window    int            // unpaid units allowed
	out       frame          // what the writer sends next
	finished  []*finished    // results to claim and send next
	ended     *Refusal       // set once
	handed    bool           // it was the owner who ended it
	spare     []string       // empty folders for units
	took      time.Duration  // by the latest unit that ended
	gathers   time.Time      // since when results wait for others to go out with; zero = none waits
	cancel    context.CancelFunc
}

type guest struct {
	try     uint32 // of its task
	started time.Time
	stop    context.CancelFunc
}

// finished is a unit that ran and has not been sent.
type finished struct {
	wire result
	fuel ledger.Fuel
	cost ledger.Credits
	at   time.Time // of its commitment
}

// shownUnit is a unit that was claimed and is not paid.
type shownUnit struct {
	unit uint64 // not unique: a unit whose result got lost may be sent again
	cost ledger.Credits
	at   time.Time
}

// Bounds of work that nobody has paid for yet, besides the window.
const (
	patience   = 10 * time.Second      // a vote among hosts that do not wait for each other is over by then
	enoughTime = time.Minute           // for votes, payment and the first program to arrive
	maxHidden  = 64                    // results committed to and not shown; eight times that in any order of units
	gatherTime = 10 * time.Millisecond // for results that end soon after each other to go out together
	firstWait  = time.Second           // for pay, before one more is shown than the window allows; doubles each time
)

// exposure is what we risk on this payer; what cannot be read counts as unknown.
func (h *hosting) exposure() ledger.Exposure {
	x, err := h.p.env.Book.Exposure(h.lock.Payer)
	if err != nil {
		h.p.env.Log.Warn("exposure", "payer", h.lock.Payer, "err", err)
	}
	return x
}

func newHosting(p *Provider, s Stream, o *open, m exec.Manifest, id exec.JobID, lock ledger.LockInfo, worst ledger.Credits, lease *market.Lease, credit *flow.Credit, why string) *hosting {
	h := &hosting{
		p: p, s: s, job: id, manifest: m, lock: lock, price: o.Price, worst: worst, lease: lease, slots: lease.Slots,
		owner: "lease/" + lock.ID.String(), member: o.Membership, ready: make(chan struct{}),
		since: time.Now(), expiry: time.Now().Add(time.Until(lock.Expiry)), wake: make(chan struct{}, 1), running: map[uint64]*guest{}, committed: map[uint64]*finished{},
		trusted: credit, limit: lock.Amount, why: why,
		out: frame{Grant: &grant{Slots: lease.Slots, Queue: lease.Slots * queueAhead}},
	}
	if credit != nil && credit.Limit < lock.Amount {
		h.limit = credit.Limit
		h.out.Grant.Limit = h.limit
	}
	h.transfer = time.Duration(sizeOf(filesOf(m))/fairRate) * time.Second
	h.window = int(h.exposure().Window.Allowed())
	h.signal() // the grant goes out first
	return h
}

// serve runs the lease to its end: a reader, a writer and one goroutine a running unit.
func (h *hosting) serve(ctx context.Context) {
	ctx, h.cancel = context.WithCancel(ctx)
	h.ctx = ctx
	defer h.p.env.Blobs.Unpin(h.owner)
	var wg sync.WaitGroup
	defer wg.Wait()
	h.p.env.Emit("info", "host", fmt.Sprintf("lease for %s (%s): %d slots, up to %s", h.manifest.Name, h.job.Short(), h.slots, h.limit),
		"job", h.job.Short(), "peer", h.p.env.Net.Name(h.s.Peer()))
	wg.Go(func() { h.fetchProgram(ctx) })
	wg.Go(func() { h.read(ctx) })
	err := h.write(ctx, &wg)
	h.cancel()
	part(h.s, errors.Is(err, errClosed))
	wg.Wait()
	for _, dir := range h.spare {
		os.RemoveAll(dir)
	}
	h.mu.Lock()
	why := "requester closed the lease"
	if h.ended != nil {
		why = h.ended.Error()
	}
	unpaid := len(h.claimed)
	h.mu.Unlock()
	h.p.env.Emit("info", "host", fmt.Sprintf("lease for %s ended: %s; %d units unpaid", h.job.Short(), why, unpaid),
		"job", h.job.Short(), "peer", h.p.env.Net.Name(h.s.Peer()))
}

// fetchAtOnce bounds how many files of a job are fetched side by side.
const fetchAtOnce = 4

// fetchProgram gets what every unit needs, from the requester and from fellow members that it refers to,
// and offers it to the members in turn.
func (h *hosting) fetchProgram(ctx context.Context) {
	c := circle{from: []peer.ID{h.s.Peer()}}
	files := filesOf(h.manifest)
	if g := h.p.env.Groups; g != nil && len(h.member) > 0 {
		group, err := g.Join(h.s.Peer(), h.job, h.member)
		if err != nil { // the requester itself has everything too
			h.p.env.Log.Warn("job group", "job", h.job.Short(), "err", err)
		} else {
			defer group.Leave()
			defer h.p.x.allowMembers(group, false, hashesOf(files)...)()
			defer func() { // stays in the group, listening, until the lease ends
				for {
					if _, err := group.Next(ctx); err != nil {
						return
					}
				}
			}()
			c.group = group
		}
	}
	// In an order of its own: hosts that begin together then have different files to give each other.
	g, fetching := errgroup.WithContext(ctx)
	g.SetLimit(fetchAtOnce)
	for _, i := range mrand.Perm(len(files)) {
		f := files[i]
		h.p.env.Blobs.Pin(f.Hash, h.owner) // before it is here, so that it cannot be collected in between
		g.Go(func() error { return h.get(fetching, f, c) })
	}
	err := g.Wait()
	if err == nil {
		err = h.locate()
	}
	if err != nil {
		if ctx.Err() == nil {
			h.end(blobRefusal(err))
		}
		return
	}
	close(h.ready)
	h.signal()
}

// blobRefusal tells why data could not be had.
func blobRefusal(err error) *Refusal {
	if errors.Is(err, ErrNoRoom) {
		return refuse(CodeDisk, "%v", err)
	}
	return refuse(CodeBlob, "%v", err)
}

// get fetches a blob, and counts it if it was not here.
func (h *hosting) get(ctx context.Context, f exec.File, c circle) error {
	had := h.p.env.Blobs.Has(f.Hash)
	err := h.p.x.getFor(ctx, f, c)
	if err == nil && !had {
		h.p.env.moved(f.Size)
	}
	return err
}

// locate finds, once a lease, where program and data lie.
func (h *hosting) locate() (err error) {
	if h.program, err = h.p.env.Blobs.Path(h.manifest.Program.Hash); err != nil {
		return err
	}
	h.data, err = mounts(h.p.env.Blobs, h.manifest.Data)
	return err
}

// outDir takes an empty folder for a unit; done gives it back, emptied, for the next.
func (h *hosting) outDir() (dir string, done func(used bool), err error) {
	h.mu.Lock()
	if n := len(h.spare); n > 0 {
		dir, h.spare = h.spare[n-1], h.spare[:n-1]
	}
	h.mu.Unlock()
	if dir == "" {
		if dir, err = h.p.env.Blobs.TempDir(); err != nil {
			return "", nil, err
		}
	}
	return dir, func(used bool) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if used || len(h.spare) >= h.slots {
			os.RemoveAll(dir)
		} else {
			h.spare = append(h.spare, dir)
		}
	}, nil
}

// read applies frames until the stream or the lease ends. A lost stream ends the lease at once; at a
// broken rule the writer still has the last word, so that the other side learns why.
func (h *hosting) read(ctx context.Context) {
	for ctx.Err() == nil {
		f, err := readFrame(h.s)
		if err != nil {
			h.cancel()
			return
		}
		if f.Refuse != nil {
			h.end(&Refusal{Code: f.Refuse.Code, Text: clip(f.Refuse.Text)})
			return
		}
		if err := h.take(ctx, f); err != nil {
			h.end(err)
			return
		}
	}
}

// take applies one frame of the requester.
func (h *hosting) take(ctx context.Context, f frame) *Refusal {
	if err := h.takeTasks(f); err != nil {
		return err
	}
	if len(f.Voucher) > 0 {
		if err := h.takeVoucher(ctx, f); err != nil {
			return err
		}
	}
	h.signal()
	return nil
}

// takeVoucher credits the voucher of a frame. One that brings nothing new, such as one sent again and again, costs
// no signature check.
func (h *hosting) takeVoucher(ctx context.Context, f frame) *Refusal {
	v, units, err := h.credit(f.Voucher, f.Paid)
	if err != nil || v == nil {
		return err
	}
	// The end of the stream must not keep us from what we are owed.
	if err := h.p.env.Book.Credit(context.WithoutCancel(ctx), f.Voucher, units); err != nil {
		return refuse(CodeRecord, "voucher: %v", err)
	}
	h.best = *v
	h.p.env.Tell()
	return nil
}

func (h *hosting) takeTasks(f frame) *Refusal {
	h.mu.Lock()
	defer h.mu.Unlock()
	// What is taken back comes first: a unit may come back in the same frame.
	for _, u := range f.Cancel {
		h.forget(u)
	}
	for _, d := range f.Drop {
		h.forget(d.Unit) // once shown it stays unpaid: whoever drops results gets no more of them
	}
	if len(h.queue)+len(f.Tasks) > h.slots*(queueAhead+2) {
		return refuse(CodeProtocol, "more than %d tasks waiting", len(h.queue))
	}
	for _, t := range f.Tasks {
		if h.knows(t.Unit) {
			return refuse(CodeProtocol, "unit %d sent twice", t.Unit)
		}
		i, _ := slices.BinarySearchFunc(h.queue, t.Unit, func(q task, u uint64) int { return cmp.Compare(q.Unit, u) })
		h.queue = slices.Insert(h.queue, i, t)
	}
	for _, u := range f.Hide { // too late for what is shown
		if i := slices.IndexFunc(h.asked, func(r *finished) bool { return r.wire.Unit == u }); i >= 0 {
			h.committed[u] = h.asked[i]
			h.asked = slices.Delete(h.asked, i, i+1)
		}
	}
	for _, u := range f.Reveal {
		if r := h.committed[u]; r != nil {
			delete(h.committed, u)
			h.asked = append(h.asked, r)
		}
	}
	return nil
}

func (h *hosting) knows(u uint64) bool {
	return h.running[u] != nil || h.committed[u] != nil ||
		slices.ContainsFunc(h.queue, func(t task) bool { return t.Unit == u })
}

// forget drops a unit that is not wanted any more, wherever it stands.
func (h *hosting) forget(u uint64) {
	h.queue = slices.DeleteFunc(h.queue, func(t task) bool { return t.Unit == u })
	if g := h.running[u]; g != nil {
		g.stop()
		delete(h.running, u) // it may come again before its guest has gone
	}
	delete(h.committed, u)
	ofUnit := func(r *finished) bool { return r.wire.Unit == u }
	h.asked = slices.DeleteFunc(h.asked, ofUnit)
	h.finished = slices.DeleteFunc(h.finished, ofUnit)
}

func (h *hosting) end(r *Refusal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended == nil {
		h.ended = r
	}
	h.signal()
}

func (h *hosting) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// write sends what there is to send, in batches: while one batch is made durable, the next gathers.
func (h *hosting) write(ctx context.Context, wg *sync.WaitGroup) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	held := time.NewTimer(time.Hour)
	defer held.Stop()
	more := time.NewTimer(time.Hour)
	defer more.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.wake:
		case <-held.C:
		case <-more.C:
		case <-beat.C:
			if h.p.expired(h.lease, h.waiting()) {
				h.end(refuse(CodeIdle, ""))
			}
			if time.Now().After(h.expiry) {
				h.end(refuse(CodeCredit, "the LOCK has expired"))
			}
			if err := h.s.WriteFrame(emptyFrame); err != nil {
				return err
			}
		}
		if wait := h.show(time.Now()); wait > 0 {
			held.Reset(wait)
		}
		h.pump(ctx, wg)
		if wait := h.gather(time.Now()); wait > 0 {
			more.Reset(wait)
			continue
		}
		if err := h.flush(ctx); err != nil {
			return err
		}
		h.yield()
	}
}

// gather returns how long results wait for others to share a signature and a sync with: while units run here
// whose results would come too, but only a moment, and not for more than half of what may be unpaid, so that
// computing never waits for pay.
func (h *hosting) gather(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.finished) + len(h.out.Commits)
	if n == 0 || len(h.running) == 0 || h.took >= gatherTime || h.ended != nil || 2*n >= h.window {
		h.gathers = time.Time{}
		return 0
	}
	if h.gathers.IsZero() {
		h.gathers = now
	}
	wait := gatherTime - now.Sub(h.gathers)
	if wait <= 0 {
		h.gathers = time.Time{}
	}
	return wait
}

// yield ends the lease when the owner wants the machine back, after what is done has been sent: at once,
// or, when units may end, as soon as none runs and no result waits for a vote or for pay.
func (h *hosting) yield() {
	pol := h.p.policy()
	var why error
	switch {
	case pol.HandBack, !pol.Accepts && !pol.Freeze && h.rests():
		why = refuse(CodePaused, "%s", pol.Why)
	case h.recheck.Swap(false):
		why = h.p.welcome(pol, h.manifest, h.s.Peer())
	}
	var r *Refusal
	if errors.As(why, &r) {
		h.mu.Lock()
		h.handed = h.ended == nil
		h.mu.Unlock()
		h.end(r)
	}
}

// rests reports whether no unit runs and no result waits.
func (h *hosting) rests() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.running) == 0 && !h.results(time.Now())
}

// results reports whether results wait to be shown or paid, for no longer than they may; mu is held.
func (h *hosting) results(now time.Time) bool {
	for _, c := range h.claimed {
		if now.Sub(c.at) < enoughTime {
			return true
		}
	}
	for _, r := range h.committed {
		if now.Sub(r.at) < enoughTime {
			return true
		}
	}
	asked := len(h.asked) > 0 && (h.held.IsZero() || now.Sub(h.held) < enoughTime)
	return len(h.finished) > 0 || asked
}

// waiting reports whether units wait here, to run, to be shown or to be paid.
//
// Nothing waits for ever: who neither lets us begin nor pays for a minute does not use the slots.
func (h *hosting) waiting() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.results(now) {
		return true
	}
	begun := now.Sub(h.since) < enoughTime+h.transfer
	select {
	case <-h.ready:
		begun = len(h.claimed) == 0 // else it waits for pay
	default:
	}
	return len(h.queue) > 0 && begun
}

// flush claims finished units and sends all that waits.
func (h *hosting) flush(ctx context.Context) error {
	h.mu.Lock()
	done := h.finished
	h.finished = nil
	f := h.out
	h.out = frame{}
	ended := h.ended
	h.mu.Unlock()

	for len(done) > 0 && ended == nil {
		batch, size := 0, 0
		for batch < len(done) && (batch == 0 || size < MaxFrame/2) {
			size += done[batch].wire.size()
			batch++
		}
		if err := h.claim(ctx, done[:batch], &f); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			ended = refuse(CodeCredit, "%v", err)
			break
		}
		if err := writeFrame(h.s, f); err != nil {
			return err
		}
		f, done = frame{}, done[batch:]
	}
	if ended != nil {
		f.Refuse = ended.wire()
		h.mu.Lock()
		h.ended = ended
		h.mu.Unlock()
		if err := writeFrame(h.s, f); err != nil {
			return err
		}
		return errClosed
	}
	if f.empty() {
		return nil
	}
	return writeFrame(h.s, f)
}

// errClosed says that our last word is written.
var errClosed = errors.New("lease closed")

// part ends a stream: in order after our last word, so that the other side still reads it, and
// at once when there was none. The reader ends with it.
func part(s Stream, orderly bool) {
	if !orderly || s.Close() != nil {
		s.Reset()
		return
	}
	time.AfterFunc(heartbeat, func() { s.Reset() })
}

// credit takes units off the unpaid list; the voucher, whose signature is checked next, must
// cover them. It returns the voucher, nil if one at least as good was credited before, and how many units are paid in
// all.
func (h *hosting) credit(voucher []byte, paid []uint64) (*ledger.Voucher, uint32, *Refusal) {
	v, err := ledger.ParseVoucher(voucher)
	if err != nil || v.Lock != h.lock.ID {
		return nil, 0, refuse(CodeRecord, "voucher of another LOCK (%v)", err)
	}
	known := v.K <= h.best.K && v.Amount <= h.best.Amount
	if known {
		v.Amount = h.best.Amount // this one's signature will not be checked
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range paid {
		if i := slices.IndexFunc(h.claimed, func(c shownUnit) bool { return c.unit == u }); i >= 0 {
			h.paidSum += h.claimed[i].cost
			h.paidUnits++
			h.claimed = slices.Delete(h.claimed, i, i+1)
			if !h.held.IsZero() {
				h.extra = min(h.extra+1, ledger.MaxWindow)
			}
		}
	}
	if len(paid) > 0 && !h.held.IsZero() { // it pays: what is unpaid waits for others
		h.held, h.waits = time.Now(), 0
	}
	if h.paidSum > v.Amount {
		return nil, 0, refuse(CodeRecord, "voucher of %s for units of %s", v.Amount, h.paidSum)
	}
	h.note()
	if known {
		return nil, 0, nil
	}
	return &v, h.paidUnits, nil
}

// claim makes the durable claim over a batch and puts both into f.
func (h *hosting) claim(ctx context.Context, batch []*finished, f *frame) error {
	units, fuel := make([]ledger.Unit, len(batch)), ledger.Fuel(0)
	h.mu.Lock()
	total := h.claimSum
	h.mu.Unlock()
	for i, r := range batch {
		units[i] = ledger.Unit{Fuel: r.fuel, Amount: r.cost, Result: r.wire.Digest}
		total += r.cost
		fuel += r.fuel
	}
	used, done := h.trusted.Claim(total, time.Now())
	c, err := h.p.env.Book.ClaimCharged(ctx, h.lock.ID, units, used)
	done()
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	f.Claim = c
	h.p.count(len(batch), fuel)
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range batch {
		f.Results = append(f.Results, r.wire)
		h.claimed = append(h.claimed, shownUnit{r.wire.Unit, r.cost, now})
		h.claimSum += r.cost
	}
	return nil
}

// note keeps what other leases of the payer need to know of this one; mu is held.
func (h *hosting) note() {
	n := len(h.finished) + len(h.claimed)
	if !h.manifest.Verify.Votes() {
		n += len(h.running)
	}
	h.risked.Store(int32(n))
}

// mayRun reports whether a unit may be computed without pay; mu is held. Without voting whatever
// runs will be shown, so all of it counts towards the window; each lease may have one, so that jobs
// of one requester do not wait for each other.
//
// Hidden results are worthless to the payer and have bounds of their own: one for what is fresh, as
// older ones wait for replicas of other hosts, and one for all. Only those below the unit count, so
// that the lowest unit without a result can always be computed: when a host is lost, two others may
// each hold all they can hide and need what the other has not computed.
func (h *hosting) mayRun(unit uint64, now time.Time) bool {
	if !h.manifest.Verify.Votes() {
		return len(h.running)+len(h.finished)+len(h.claimed) < max(h.window-h.p.risk(h), 1)
	}
	fresh, hidden := len(h.running), 0
	count := func(r *finished) {
		if r.wire.Unit < unit {
			hidden++
			if now.Sub(r.at) < patience {
				fresh++
			}
		}
	}
	for _, r := range h.committed {
		count(r)
	}
	for _, r := range h.asked {
		count(r)
	}
	return fresh < h.window+2*h.slots && hidden < maxHidden && len(h.committed)+len(h.asked) < 8*maxHidden
}

// show lets out results that the requester asked for, as far as the window goes: what is shown and
// not paid, over all leases of the payer, is what a requester who vanishes gets for nothing. Each
// lease may have one, so that jobs of one requester do not wait for each other.
//
// All hosts of a unit are asked at once and show in the order asked, so the unit asked for first
// is never held back by later ones, and is decided: nobody waits for ever. Only what was shown when
// another host got lost breaks the order, since that host's place is taken later. Two hosts may then
// wait for each other, and to end that more is shown: one for each that is paid meanwhile, at most
// ledger.MaxWindow, and one after firstWait without pay, twice firstWait, and so on, seven before
// the lease counts as unused.
// It returns how long to wait for the next of these; 0 = nothing is held back.
func (h *hosting) show(now time.Time) (wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	unpaid := len(h.finished) + len(h.claimed)
	limit := max(h.window-h.p.risk(h), 1)
	if unpaid < limit {
		h.held, h.extra, h.waits = time.Time{}, 0, 0
	}
	n := max(0, min(limit+h.extra-unpaid, len(h.asked)))
	if n == 0 && len(h.asked) > 0 {
		wait = firstWait << min(h.waits, 10)
		switch {
		case h.held.IsZero():
			h.held = now
		case now.Sub(h.held) >= wait:
			h.held, n = now, 1
			h.extra++
			h.waits++
			wait *= 2
		default:
			wait -= now.Sub(h.held)
		}
	}
	h.finished = append(h.finished, h.asked[:n]...)
	h.asked = h.asked[n:]
	h.note()
	return wait
}

// pump starts waiting units while slots, the unpaid window, the LOCK and the owner allow.
func (h *hosting) pump(ctx context.Context, wg *sync.WaitGroup) {
	select {
	case <-h.ready:
	default:
		return
	}
	pol := h.p.policy()
	if !pol.Accepts {
		return
	}
	x := h.exposure()
	if x.Frozen { // caught cheating after the lease began
		h.end(refuse(CodeFrozen, "%s", h.lock.Payer))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.window = int(x.Window.Allowed()) // other leases of the payer move it too
	for len(h.queue) > 0 && len(h.running) < h.slots && h.ended == nil && h.mayRun(h.queue[0].Unit, time.Now()) {
		if h.claimSum+h.worst*ledger.Credits(len(h.running)+len(h.finished)+len(h.committed)+len(h.asked)+1) > h.limit {
			h.out.Faults = append(h.out.Faults, fault{Unit: h.queue[0].Unit, Code: CodeCredit, Text: h.usedUp()})
			h.queue = h.queue[1:]
			h.signal()
			continue
		}
		t := h.queue[0]
		if !h.p.begin(h.lease, pol.Capacity.Slots) {
			return
		}
		h.queue = h.queue[1:]
		unitCtx, stop := context.WithCancel(ctx)
		g := &guest{try: t.Try, started: time.Now(), stop: stop}
		h.running[t.Unit] = g
		h.note()
		wg.Go(func() {
			defer stop()
			r, f := h.run(unitCtx, t)
			h.p.ended(h.lease)
			h.stopped(t.Unit, g, unitCtx.Err() != nil, r, f)
		})
	}
}

// usedUp says what the lease has come to the end of.
func (h *hosting) usedUp() string {
	if h.limit < h.lock.Amount {
		return clip("the credit limit of this lease is used up: " + h.why)
	}
	return "the LOCK is used up"
}

// stopped files what became of a unit.
func (h *hosting) stopped(u uint64, g *guest, cancelled bool, r *finished, f *fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wanted := h.running[u] == g
	h.took = time.Since(g.started)
	if wanted {
		delete(h.running, u)
	}
	switch {
	case cancelled || !wanted:
	case f != nil:
		h.out.Faults = append(h.out.Faults, *f)
	case h.manifest.Verify.Votes():
		r.at = time.Now()
		h.committed[u] = r
		h.out.Commits = append(h.out.Commits, commit{Unit: u, Hash: h.commitment(r), Try: g.try})
	default:
		h.finished = append(h.finished, r)
	}
	h.note()
	h.signal()
	h.p.env.Tell()
}

func (h *hosting) commitment(r *finished) ledger.Digest {
	r.wire.Nonce = make([]byte, 32)
	rand.Read(r.wire.Nonce)
	return farm.Commitment(h.p.env.Book.Network(), h.lock.ID, r.wire.Unit, h.p.env.Book.Account(), [32]byte(r.wire.Nonce), r.wire.Digest, r.fuel)
}

// run runs one unit and stores what came out.
func (h *hosting) run(ctx context.Context, t task) (*finished, *fault) {
	fail := func(c Code, err error) (*finished, *fault) {
		return nil, &fault{Unit: t.Unit, Code: c, Text: clip(err.Error())}
	}
	blobs := h.p.env.Blobs
	if err := exec.CheckArgs(h.manifest.Args, t.Input); err != nil {
		return fail(CodeManifest, err)
	}
	need := slices.Clone(t.Input.Files)
	if t.Input.StdinFile != nil {
		need = append(need, *t.Input.StdinFile)
	}
	for _, f := range need {
		if err := h.get(ctx, f, circle{from: []peer.ID{h.s.Peer()}}); err != nil {
			return fail(blobRefusal(err).Code, err)
		}
		blobs.Pin(f.Hash, h.owner)
	}
	spec, err := unitSpec(blobs, h.manifest, t.Unit, t.Input)
	if err != nil {
		return fail(CodeBlob, err)
	}
	spec.Program, spec.Data = h.program, h.data
	dir, done, err := h.outDir()
	if err != nil {
		return fail(CodeHost, err)
	}
	used := true
	defer func() { done(used) }()
	spec.OutDir = dir
	res, err := h.p.env.Engine.Run(ctx, spec)
	used = err != nil || len(res.Files) > 0
	switch {
	case errors.Is(err, exec.ErrFrozen):
		return fail(CodePaused, err)
	case err != nil:
		return fail(CodeHost, err)
	case res.Status == exec.Deadline:
		return fail(CodeDeadline, fmt.Errorf("not done after %d ms", h.manifest.Limits.WallMs))
	case !res.Status.Deterministic():
		return fail(CodeHost, fmt.Errorf("%s: %s", res.Status, res.Message))
	}
	x, err := pack(blobs, h.owner, dir, t.Unit, res)
	if err != nil {
		return fail(CodeHost, err)
	}
	r := &finished{fuel: res.Fuel, wire: *x}
	if r.cost, err = h.price.Cost(res.Fuel); err != nil {
		return fail(CodeHost, err)
	}
	out := hashesOf(res.Files)
	for _, f := range []*exec.File{r.wire.Stdout, r.wire.Stderr} {
		if f != nil {
			out = append(out, f.Hash)
		}
	}
	moved := int64(t.size() + r.wire.size())
	for _, f := range res.Files {
		moved += f.Size
	}
	h.p.env.moved(moved)
	if len(out) > 0 { // may be fetched until the lease ends
		context.AfterFunc(h.ctx, h.p.x.allow(h.s.Peer(), out...))
	}
	return r, nil
}

// keep stores a file that a unit left.
func keep(blobs Blobs, owner string, f exec.File, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return blobs.Receive(f, owner, file)
}

// spill moves a stream that is too long for a frame into a blob.
func spill(blobs Blobs, owner string, stream *[]byte) (*exec.File, error) {
	if len(*stream) <= exec.MaxInline {
		return nil, nil
	}
	f, err := blobs.Put(bytes.NewReader(*stream), owner)
	if err != nil {
		return nil, err
	}
	*stream = nil
	return &f, nil
}

// unitSeed gives every unit random numbers of its own, the same on every host.
func unitSeed(seed, unit uint64) uint64 {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, seed), unit)
	s := sha256.Sum256(b)
	return binary.BigEndian.Uint64(s[:])
}
