package job

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// Bounds of what a job takes in ahead of its results.
const (
	inputWindow = 8192    // units beyond the first unfinished one
	fetchWindow = 1 << 16 // units beyond what was fetched, while somebody fetches
	inputBatch  = 512     // inputs made durable together
)

// A Market is where providers are found.
type Market interface {
	Offers() []market.Offer
	// Changes yields something after the offers changed; closed when the reader lags.
	Changes() (changed <-chan struct{}, cancel func())
	// Advertise tells providers of a job that has units waiting; Retract takes that back.
	Advertise(id exec.JobID, m exec.Manifest, waiting uint64)
	Retract(id exec.JobID)
}

// Requester runs this node's own jobs on other people's machines.
type Requester struct {
	env     Env
	x       *Exchange
	j       journal
	settler *Settler
	market  Market
	ctx     context.Context // of all jobs; Close ends it
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	conduct *conducts

	ownSlot  chan struct{} // a token, held while a unit is computed here
	ownQueue chan struct{} // one for each such unit, those that wait included

	mu    sync.Mutex // guards what follows
	runs  map[exec.JobID]*run
	trust map[peer.ID]*record
	told  map[peer.ID]bool // all grants to us, as far as they fit into a frame
}

// maxTold bounds the providers remembered as told of our grants; telling one again costs a frame.
const maxTold = 4096

func (r *Requester) shown(p peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.told) >= maxTold {
		clear(r.told)
	}
	r.told[p] = true
}

func (r *Requester) unshown(p peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, p)
}

func (r *Requester) knows(p peer.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told[p]
}

// A record counts what a provider's results were worth to us.
type record struct{ good, bad uint64 }

// NewRequester returns a requester without jobs; Resume brings the journaled ones back.
func NewRequester(env Env, x *Exchange, s *Settler, m Market) *Requester {
	r := &Requester{env: env, x: x, j: journal{env.Store}, settler: s, market: m,
		ownSlot: make(chan struct{}, 1), ownQueue: make(chan struct{}, maxOwn), conduct: newConducts(env), runs: map[exec.JobID]*run{}, trust: map[peer.ID]*record{}, told: map[peer.ID]bool{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close stops all jobs where they are; they go on after a restart. It waits for their leases.
func (r *Requester) Close() {
	r.cancel()
	r.wg.Wait()
}

// Resume continues the jobs that a former process left unfinished.
func (r *Requester) Resume() error {
	return r.j.jobs(func(id exec.JobID, m exec.Manifest, raw []byte, s jobState) error {
		if s.Removed {
			return r.j.remove(r.ctx, id)
		}
		n, err := r.newRun(id, m, raw, s)
		if err != nil {
			return err
		}
		if s.State != node.JobRunning && s.Done == s.Units && s.Failed == 0 && !s.Blobs {
			n.prefix, n.job.Done, n.job.Spent, n.job.Disputes, n.job.Doubtful = s.Units, s.Done, s.Spent, s.Disputes, s.Doubtful
		} else if err := r.j.outcomes(id, func(unit uint64, o outcome) {
			n.count(unit, o)
			if o.Alone != nil {
				n.unchecked[*o.Alone]++
			}
			n.pinOutcome(o)
			if o.Error == "" {
				n.noteFuel(o.Result.Result.Fuel)
			}
			n.farm.Restore(unit, !o.failed())
		}); err != nil {
			return err
		}
		if s.State == node.JobRunning {
			if n.paidOut, err = r.paid(id); err != nil {
				return err
			}
			n.job.Spent = n.paidOut
			for _, h := range n.programHashes() {
				n.pin(h)
			}
			if err := r.j.inputs(id, n.pinInput); err != nil {
				return err
			}
		} else {
			n.job.State, n.job.Ended, n.job.Halted = s.State, time.UnixMilli(s.Ended), s.Halted
			n.stop()
			close(n.done)
		}
		r.start(n, s.State == node.JobRunning)
		n.unattended() // unless it was closed: whoever sent it inputs has lost us
		return nil
	})
}

// paid is what vouchers promise for a job, by the ledger: the journal lacks payments for results
// that crossed their cancellation, and has units that a crash kept from being paid.
func (r *Requester) paid(id exec.JobID) (sum ledger.Credits, err error) {
	var bad error
	err = r.j.locks(id, func(lock ledger.Digest) {
		receipt, err := r.env.Book.Receipt(lock)
		if err != nil || receipt.Voucher == nil {
			bad = errors.Join(bad, err)
			return
		}
		v, err := ledger.ParseVoucher(receipt.Voucher)
		bad = errors.Join(bad, err)
		sum += v.Amount
	})
	return sum, errors.Join(err, bad)
}

func (r *Requester) newRun(id exec.JobID, m exec.Manifest, raw []byte, s jobState) (*run, error) {
	need, err := market.CompileNeed(m.Need)
	if err != nil {
		return nil, &node.Problem{Code: node.CodeUsage, Message: "need: " + err.Error(), Hint: "see `p3 offer ls --json` for what offers have"}
	}
	halt, err := exec.ParseHalt(m.Halt)
	if err != nil {
		return nil, &node.Problem{Code: node.CodeUsage, Message: err.Error()}
	}
	var check farm.Checker
	if m.Verify == exec.VerifyAuto {
		check = r.conduct
	}
	budget := m.Budget
	m.Budget += s.Raised
	n := &run{
		manifestBudget: budget,

		req: r, env: r.env, id: id, m: m, raw: raw, need: need, log: r.env.Log.With("job", id.Short()),
		calls: make(chan func(time.Time) []farm.Action, 256), done: make(chan struct{}), ended: make(chan []settled, 4), saving: make(chan struct{}, 1),
		farm:   farm.New(farm.Config{Verify: int(m.Verify), Check: check, Retries: m.Retries, MaxAhead: inputWindow, MaxOpen: m.Jobs, Halt: halt, Planned: m.Planned(), Own: ownFuel}),
		leases: map[peer.ID]*lease{}, opening: map[peer.ID]ledger.Credits{}, standing: map[peer.ID]*standing{},
		shown: map[uint64]map[peer.ID]shown{}, owned: map[uint64]*result{}, state: s, ahead: map[uint64]bool{}, failed: map[uint64]bool{}, changed: make(chan struct{}), unchecked: map[ledger.Account]uint64{},
		job: node.Job{ID: id, Name: m.Name, State: node.JobRunning, Created: time.UnixMilli(m.Created), Units: s.Units,
			Closed: s.Closed, Budget: m.Budget, Verify: m.Verify, Optimise: m.Optimise},
	}
	if m.Deadline > 0 {
		n.job.Deadline = time.UnixMilli(m.Deadline)
	}
	n.ctx, n.stop = context.WithCancel(r.ctx)
	now := time.Now()
	n.farm.AddUnits(s.Units, now)
	return n, nil
}

func (r *Requester) start(n *run, running bool) {
	r.mu.Lock()
	r.runs[n.id] = n
	r.mu.Unlock()
	if running {
		if n.perform(n.farm.Tick(time.Now())); n.state.Closed { // one that was to end early ends here,
			n.perform(n.farm.Close(time.Now())) // and one whose last unit had ended
		}
		r.wg.Go(n.loop)
	}
}

// Submit starts a job. It fills in the manifest's account, nonce and creation time, and our cost table if it names none.
func (r *Requester) Submit(ctx context.Context, m exec.Manifest) (node.Job, error) {
	m.Account, m.Created, m.Nonce = r.env.Book.Account(), time.Now().UnixMilli(), make([]byte, 16)
	rand.Read(m.Nonce)
	if m.Costs == (ledger.Digest{}) {
		m.Costs = r.env.Costs
	}
	if err := m.Validate(); err != nil {
		return node.Job{}, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "correct the job and submit it again"}
	}
	if _, err := m.Publisher(r.env.Book.Network()); err != nil {
		return node.Job{}, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "publish the program again with `p3 publish`, or submit it without a publication"}
	}
	for _, f := range append([]exec.File{m.Program}, m.Data...) {
		if !r.env.Blobs.Has(f.Hash) {
			return node.Job{}, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("the bytes of %q (%s) are not here", f.Name, f.Hash.Short()), Hint: "upload them first"}
		}
	}
	if _, office := r.env.Book.Till(); office {
		return node.Job{}, &node.Problem{Code: node.CodeDenied, Message: ledger.ErrTill.Error(), Hint: "submit the job on the PC with the account's key"}
	}
	if err := r.env.Book.ReadOnly(); err != nil { // a job that cannot be paid would wait for ever
		return node.Job{}, &node.Problem{Code: node.CodeInternal, Message: err.Error(), Hint: "`p3 status` tells about the ledger"}
	}
	more := "earn some with `p3 up --donate`"
	if g := r.env.Book.Genesis(); !g.Mutual() {
		more = fmt.Sprintf("ask who runs network %s for a grant, or %s", g.Name, more)
	}
	switch b := r.env.Book.Balance(); {
	case m.Budget > b.Free+b.Locked: // what is locked may come back
		return node.Job{}, &node.Problem{Code: node.CodeNoCredit, Message: fmt.Sprintf("not enough credit: the job may cost %s, %s can be spent", m.Budget, b.Free+b.Locked),
			Hint: "lower --max-cost, or " + more}
	case b.Free <= 0:
		return node.Job{}, &node.Problem{Code: node.CodeNoCredit, Message: fmt.Sprintf("no credit is free: %s", b.Free), Hint: more + ", or wait until running jobs settle"}
	}
	raw, id, err := m.Encode()
	if err != nil {
		return node.Job{}, &node.Problem{Code: node.CodeUsage, Message: err.Error()}
	}
	s := jobState{State: node.JobRunning}
	n, err := r.newRun(id, m, raw, s)
	if err != nil {
		return node.Job{}, err
	}
	if least := n.tooDear(n.rank(1, time.Now()), m.Budget); least > 0 {
		return node.Job{}, node.TooDear(m.Budget, least)
	}
	for _, h := range n.programHashes() {
		n.pin(h)
	}
	if err := r.j.newJob(ctx, id, raw, s); err != nil {
		return node.Job{}, err
	}
	r.start(n, true)
	r.env.Emit("info", "job", fmt.Sprintf("%s started: at most %s", m.Name, m.Budget), "job", id.Short())
	r.env.Tell()
	return n.view(), nil
}

func (r *Requester) run(id exec.JobID) (*run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.runs[id]; n != nil {
		return n, nil
	}
	return nil, &node.Problem{Code: node.CodeNotFound, Message: fmt.Sprintf("no job %s here", id.Short()), Hint: "`p3 job ls` lists them"}
}

// Convicted ends all leases with the nodes of an account that was caught cheating.
func (r *Requester) Convicted(a ledger.Account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.runs {
		r.wg.Go(func() {
			n.post(func(time.Time) []farm.Action {
				for p, l := range n.leases {
					if l.account == a {
						n.ban(p, CodeFrozen.String())
						l.end(refuse(CodeFrozen, "%s", a))
					}
				}
				return nil
			})
		})
	}
}

// Jobs lists all jobs, in no order.
func (r *Requester) Jobs() []node.Job {
	r.mu.Lock()
	runs := make([]*run, 0, len(r.runs))
	for _, n := range r.runs {
		runs = append(runs, n)
	}
	r.mu.Unlock()
	out := make([]node.Job, len(runs))
	for i, n := range runs {
		out[i] = n.view()
	}
	return out
}

// Job returns one job.
func (r *Requester) Job(id exec.JobID) (node.Job, error) {
	n, err := r.run(id)
	if err != nil {
		return node.Job{}, err
	}
	return n.view(), nil
}

func (n *run) view() node.Job {
	n.mu.Lock()
	defer n.mu.Unlock()
	j := n.job
	if j.State == node.JobRunning && j.Why != "" && j.Running == 0 && j.Done < j.Units {
		j.State = node.JobWaiting
	}
	return j
}

// errNoMoreInput is for who sends input to a job that has ended, or to a closed one.
var errNoMoreInput = &node.Problem{Code: node.CodeUsage, Message: "the job takes no more input"}

// AddInputs takes units at, at+1, … from next until io.EOF. Units already known are read
// and passed over, so that a sender who lost its connection may send again.
func (r *Requester) AddInputs(ctx context.Context, id exec.JobID, at uint64, next func() (exec.Input, error)) (_ uint64, err error) {
	n, err := r.run(id)
	if err != nil {
		return 0, err
	}
	defer n.attend()(&err)
	n.inputs.Lock()
	defer n.inputs.Unlock()
	if err := n.saveInputs(ctx); err != nil { // some may wait for room on the disk
		return n.known(), err
	}
	have := n.known()
	if at > have {
		return have, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("inputs start at unit %d, the next is %d", at, have)}
	}
	var batch []freshInput
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := n.add(batch); err != nil {
			return err
		}
		batch, size = nil, 0
		if err := n.saveInputs(ctx); err != nil {
			return err
		}
		r.env.Tell()
		return nil
	}
	ahead := &lookahead{next: next}
	defer ahead.stop()
	for unit := at; ; unit++ {
		// What has arrived is made known before waiting for more: a slow source is served at once.
		in, ready, err := ahead.poll()
		if !ready {
			if err := flush(); err != nil {
				return n.known(), err
			}
			in, err = ahead.wait(ctx)
		}
		if err != nil {
			if e := flush(); e != nil {
				return n.known(), e
			}
			if errors.Is(err, io.EOF) {
				return n.known(), nil
			}
			return n.known(), err
		}
		if unit < have {
			continue
		}
		err = validInput(in)
		if err == nil {
			err = exec.CheckArgs(n.m.Args, in)
		}
		if err != nil {
			return n.known(), &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("input of unit %d: %v", unit, err)}
		}
		n.pinInput(in)
		op, err := put(unitKey('i', id, unit), in)
		if err != nil {
			return n.known(), err
		}
		batch = append(batch, freshInput{in, op})
		if size += len(op.Value); len(batch) >= inputBatch || size > MaxFrame {
			if err := flush(); err != nil {
				return n.known(), err
			}
		}
		if err := n.awaitRoom(ctx, unit, flush); err != nil {
			return n.known(), err
		}
	}
}

// awaitRoom blocks while unit lies too far ahead of what is finished or fetched.
func (n *run) awaitRoom(ctx context.Context, unit uint64, flush func() error) error {
	for {
		n.mu.Lock()
		ok := unit < n.prefix+inputWindow && (n.readers == 0 || unit < n.fetched+fetchWindow)
		over := n.state.State != node.JobRunning
		changed := n.changed
		n.mu.Unlock()
		if over {
			return errNoMoreInput
		}
		if ok {
			return nil
		}
		if err := flush(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A freshInput is known to the farm and not yet durable. Providers may work on it meanwhile; save sees to it that no
// result is durable before its input.
type freshInput struct {
	input exec.Input
	op    ledger.Op
}

// add hands inputs to the farm; saveInputs makes them durable.
func (n *run) add(batch []freshInput) error {
	n.mu.Lock()
	open := n.state.State == node.JobRunning && !n.state.Closed
	if open {
		n.fresh = append(n.fresh, batch...)
	}
	n.mu.Unlock()
	if !open {
		return errNoMoreInput
	}
	added := uint64(len(batch))
	n.post(func(now time.Time) []farm.Action { return n.farm.AddUnits(added, now) })
	return nil
}

func (n *run) saveInputs(ctx context.Context) error {
	return n.restate(ctx, nil)
}

func (n *run) input(unit uint64) (exec.Input, error) {
	n.mu.Lock()
	if i := unit - n.state.Units; unit >= n.state.Units && i < uint64(len(n.fresh)) {
		defer n.mu.Unlock()
		return n.fresh[i].input, nil
	}
	n.mu.Unlock()
	return n.req.j.input(n.id, unit)
}

// known is how many inputs are durable.
func (n *run) known() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.Units
}

func (n *run) snapshot() jobState {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state
}

// A lookahead reads from next in a goroutine of its own, so that one can ask whether more is there.
type lookahead struct {
	next func() (exec.Input, error)
	ch   chan looked
	quit chan struct{}
}

type looked struct {
	in  exec.Input
	err error
}

func (l *lookahead) run() {
	if l.ch != nil {
		return
	}
	l.ch, l.quit = make(chan looked, 64), make(chan struct{})
	go func() {
		for {
			in, err := l.next()
			select {
			case l.ch <- looked{in, err}:
			case <-l.quit:
				return
			}
			if err != nil {
				return
			}
		}
	}()
}

func (l *lookahead) poll() (exec.Input, bool, error) {
	l.run()
	select {
	case x := <-l.ch:
		return x.in, true, x.err
	default:
		return exec.Input{}, false, nil
	}
}

func (l *lookahead) wait(ctx context.Context) (exec.Input, error) {
	select {
	case x := <-l.ch:
		return x.in, x.err
	case <-ctx.Done():
		return exec.Input{}, ctx.Err()
	}
}

func (l *lookahead) stop() {
	if l.quit != nil {
		close(l.quit)
	}
}

// CloseInputs says that the job has exactly units units.
func (r *Requester) CloseInputs(ctx context.Context, id exec.JobID, units uint64) (node.Job, error) {
	n, err := r.run(id)
	if err != nil {
		return node.Job{}, err
	}
	n.inputs.Lock()
	defer n.inputs.Unlock()
	known := false
	err = n.restate(ctx, func(s *jobState) error {
		switch {
		case s.Closed && s.Units == units:
			known = true
			return nil
		case s.Closed || s.Units != units:
			return &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("the job has %d units, not %d", s.Units, units), Hint: "send the missing inputs first"}
		case s.State != node.JobRunning:
			return errNoMoreInput
		}
		s.Closed = true
		return nil
	})
	if err != nil || known {
		return n.view(), err
	}
	n.post(func(now time.Time) []farm.Action { return n.farm.Close(now) })
	return n.view(), nil
}

// Cancel ends a job. Results that are here stay.
func (r *Requester) Cancel(ctx context.Context, id exec.JobID) (node.Job, error) {
	n, err := r.run(id)
	if err != nil {
		return node.Job{}, err
	}
	n.post(func(now time.Time) []farm.Action {
		n.cancelled = true
		return n.farm.Cancel("cancelled", now)
	})
	for {
		n.mu.Lock()
		over, changed := n.state.State != node.JobRunning, n.changed
		n.mu.Unlock()
		if over {
			return n.view(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return n.view(), ctx.Err()
		}
	}
}

// Unit returns one finished unit.
func (r *Requester) Unit(id exec.JobID, unit uint64) (node.UnitResult, error) {
	n, err := r.run(id)
	if err != nil {
		return node.UnitResult{}, err
	}
	return r.unitResult(n, unit)
}

func (r *Requester) unitResult(n *run, unit uint64) (node.UnitResult, error) {
	o, err := r.j.outcome(n.id, unit)
	if errors.Is(err, ledger.ErrNotFound) {
		return node.UnitResult{}, &node.Problem{Code: node.CodeNotFound, Message: fmt.Sprintf("unit %d of %s has no result yet", unit, n.id.Short())}
	}
	if err != nil {
		return node.UnitResult{}, err
	}
	res := o.Result.Result
	for _, s := range []struct {
		ref *exec.File
		dst *[]byte
	}{{o.Result.Stdout, &res.Stdout}, {o.Result.Stderr, &res.Stderr}} {
		if s.ref != nil {
			if *s.dst, err = r.readBlob(*s.ref); err != nil {
				return node.UnitResult{}, err
			}
		}
	}
	return node.UnitResult{Unit: unit, Result: res, Error: o.Error, Hosts: o.Hosts, Cost: o.Cost, Tries: o.Tries, Ended: time.UnixMilli(o.Ended)}, nil
}

func (r *Requester) readBlob(f exec.File) ([]byte, error) {
	rd, size, err := r.env.Blobs.Open(f.Hash)
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	if size != f.Size || size > exec.MaxOutput {
		return nil, fmt.Errorf("blob %s has %d bytes, want %d", f.Hash.Short(), size, f.Size)
	}
	b := make([]byte, size)
	_, err = io.ReadFull(rd, b)
	return b, err
}

// UnitStates returns one letter a unit.
func (r *Requester) UnitStates(ctx context.Context, id exec.JobID, from uint64, count int) (string, error) {
	n, err := r.run(id)
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	end := min(from+uint64(max(count, 0)), n.state.Units)
	b := make([]byte, 0, max(end, from)-from)
	var open []uint64
	for u := from; u < end; u++ {
		switch {
		case n.failed[u]:
			b = append(b, byte(node.UnitFailed))
		case u < n.prefix || n.ahead[u]:
			b = append(b, byte(node.UnitDone))
		default:
			b = append(b, byte(node.UnitWaiting))
			open = append(open, u)
		}
	}
	n.mu.Unlock()
	got := make(chan struct{})
	ask := func(time.Time) []farm.Action {
		defer close(got)
		for _, u := range open {
			switch n.farm.State(u) {
			case farm.Running:
				b[u-from] = byte(node.UnitRunning)
			case farm.Retrying:
				b[u-from] = byte(node.UnitRetry)
			}
		}
		return nil
	}
	select {
	case n.calls <- ask:
	case <-n.done:
		return string(b), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
	select {
	case <-got:
	case <-n.done:
	}
	return string(b), nil
}

// Trust is how good a provider's results were: (good+1)/(good+2·bad+2), so 0.5 for a stranger.
func (r *Requester) Trust(p peer.ID) float64 {
	good, bad := r.Record(p)
	return float64(good+1) / float64(good+2*bad+2)
}

// Record counts accepted and refused units of a provider since the node started.
func (r *Requester) Record(p peer.ID) (good, bad uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.trust[p]; t != nil {
		return t.good, t.bad
	}
	return 0, 0
}

func (r *Requester) noteGood(p peer.ID) { r.note(p, 1, 0) }
func (r *Requester) noteBad(p peer.ID)  { r.note(p, 0, 1) }

func (r *Requester) note(p peer.ID, good, bad uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.trust[p]
	if t == nil {
		t = &record{}
		r.trust[p] = t
	}
	t.good += good
	t.bad += bad
}
