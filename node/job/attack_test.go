package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// commitTo hides x behind the nonce of zeros.
func (c *cheat) commitTo(l *cheatedLease, x result) commit {
	return c.commitToTry(l, x, l.try(x.Unit))
}

// commitToTry is commitTo for whoever does not read the lease's frames.
func (c *cheat) commitToTry(l *cheatedLease, x result, try uint32) commit {
	return commit{Unit: x.Unit, Try: try, Hash: farm.Commitment(c.Book.Network(), l.lock.ID, x.Unit, c.Book.Account(), farm.Nonce{}, x.Digest, x.Result.Fuel)}
}

// votes takes part in votes with the results that answer gives; after, if not nil, sends more after each reveal.
func votes(answer func(c *cheat, t task) result, after func(c *cheat, s Stream, l *cheatedLease, t task)) func(*cheat, Stream, *cheatedLease) {
	return func(c *cheat, s Stream, l *cheatedLease) {
		defer beating(s)()
		for {
			f, ok := l.next(s)
			if !ok {
				return
			}
			var out frame
			for _, t := range f.Tasks {
				out.Commits = append(out.Commits, c.commitTo(l, answer(c, t)))
			}
			if !out.empty() && writeFrame(s, out) != nil {
				return
			}
			for _, u := range f.Reveal {
				i := slices.IndexFunc(l.tasks, func(t task) bool { return t.Unit == u })
				if i < 0 {
					continue
				}
				x := answer(c, l.tasks[i])
				x.Nonce = make([]byte, 32)
				if writeFrame(s, c.sign(l, 1, x)) != nil {
					return
				}
				if after != nil {
					after(c, s, l, l.tasks[i])
				}
			}
		}
	}
}

// beat sends heartbeats, and says nothing else, until the lease ends.
func beat(_ *cheat, s Stream, l *cheatedLease) {
	defer beating(s)()
	for ok := true; ok; {
		_, ok = l.next(s)
	}
}

func beating(s Stream) (stop func()) {
	quit := make(chan struct{})
	go func() {
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				s.WriteFrame(emptyFrame)
			}
		}
	}()
	return func() { close(quit) }
}

// slowOthers makes every node but the cheat answer late, so that its votes wait for theirs.
func (c *cheat) slowOthers(lag time.Duration) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	for _, l := range c.hub.nets {
		if l != c.link {
			l.slow(lag)
		}
	}
}

// The vote counts what was shown first. Who shows something else afterwards, with a commitment to
// match, is out, and neither the forgery nor its fuel gets into the job: runAgainst checks the results.
func TestResultReplacedAfterItsVoteIsRefused(t *testing.T) {
	forged := func(t task) result {
		y := right(t)
		y.Result.Stdout, y.Result.Fuel = []byte("forged"), 2*unitFuel
		y.Digest, y.Nonce = y.Result.Digest(), make([]byte, 32)
		return y
	}
	for name, withCommit := range map[string]bool{"with a commitment to match": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			replaced := 0
			runAgainst(t, 2, 2, func(c *cheat, s Stream, l *cheatedLease) {
				c.slowOthers(20 * time.Millisecond)
				votes(func(_ *cheat, t task) result { return right(t) }, func(c *cheat, s Stream, l *cheatedLease, t task) {
					f := c.sign(l, 1, forged(t))
					if withCommit {
						f.Commits = []commit{c.commitTo(l, forged(t))}
					}
					replaced++
					writeFrame(s, f)
				})(c, s, l)
			}, func(t *testing.T, j node.Job, p node.JobPeer, earned ledger.Credits) {
				one, _ := onePer.Cost(unitFuel)
				if replaced == 0 {
					t.Error("the cheat was never asked to show anything")
				}
				if p.State != "bad" {
					t.Errorf("the cheat is %q (%s), want bad", p.State, p.Why)
				}
				if most := one * ledger.Credits(replaced); earned > most { // what it showed first was right
					t.Errorf("the cheat earned %s for %d honest results, at most %s", earned, replaced, most)
				}
				if j.Spent > 2*hostileUnits*one {
					t.Errorf("the job spent %s, its honest fuel comes to %s", j.Spent, 2*hostileUnits*one)
				}
			})
		})
	}
}

// work sends one task and waits for its result.
func (h *hirer) work(s Stream, unit uint64) frame {
	h.t.Helper()
	h.send(s, frame{Tasks: []task{{Unit: unit}}})
	for {
		f := h.answer(s)
		if f.Refuse != nil {
			h.t.Fatalf("refused with %d (%s)", f.Refuse.Code, f.Refuse.Text)
		}
		if len(f.Results) > 0 {
			return f
		}
	}
}

// pay vouches for all that f claims.
func (h *hirer) pay(s Stream, f frame, units ...uint64) (voucher []byte) {
	h.t.Helper()
	c, err := ledger.ParseClaim(f.Claim)
	if err != nil {
		h.t.Fatal(err)
	}
	v, err := h.Book.Vouch(context.Background(), c.Lock, f.Claim, c.Amount)
	if err != nil {
		h.t.Fatal(err)
	}
	h.send(s, frame{Voucher: v, Paid: units})
	return v
}

// hireWith opens a lease as o says.
func (h *hirer) hireWith(o *open) Stream {
	h.t.Helper()
	s := h.dial()
	h.send(s, frame{Open: o})
	if f := h.answer(s); f.Grant == nil {
		h.t.Fatalf("no grant but %+v", f.Refuse)
	}
	return s
}

// leave ends a lease without a word; the provider has noticed when it returns.
func leave(s Stream) {
	synctest.Wait() // what was sent has arrived
	s.Reset()
	synctest.Wait()
}

// Else one payment would free the windows of all leases to come.
func TestVoucherOfAnotherLockFreesNothing(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		h.slots = 1
		s := h.hire()
		var v []byte
		for u := range uint64(4) {
			v = h.pay(s, h.work(s, u), u)
		}
		leave(s)
		s = h.hire()
		h.work(s, 0)
		h.send(s, frame{Voucher: v, Paid: []uint64{0}, Tasks: []task{{Unit: 1}}})
		h.wantRefusal(s, CodeRecord)
		synctest.Wait()
		s = h.dial() // the unit is still unpaid
		h.send(s, frame{Open: h.request()})
		h.wantRefusal(s, CodeCredit)
	})
}

// A lease counts its sums from zero, so its LOCK must be untouched, paid or not.
func TestLockThatWasClaimedOnIsRefused(t *testing.T) {
	for name, paid := range map[string]bool{"paid": true, "unpaid": false} {
		t.Run(name, func(t *testing.T) {
			withProvider(t, lends(2), func(t *testing.T, h *hirer) {
				h.x.allow(h.host.self, h.m.Program.Hash)
				o := h.request()
				s := h.hireWith(o)
				leave(s) // unused, it may come again
				s = h.hireWith(o)
				f := h.work(s, 0)
				if paid {
					h.pay(s, f, 0)
				}
				leave(s)
				time.Sleep(2 * time.Second) // a debt is forgiven for now
				s = h.dial()
				h.send(s, frame{Open: o})
				h.wantRefusal(s, CodeRecord)
			})
		})
	}
}

// A LOCK that ends late ties up the payer's window here, and our slots, for as long.
func TestLockThatStandsTooLongIsRefused(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		h.x.allow(h.host.self, h.m.Program.Hash)
		until := func(d time.Duration) *open {
			o := h.request()
			_, id, err := h.m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			l, err := h.Book.Lock(t.Context(), ledger.LockRequest{Payee: h.host.Book.Account(), Amount: 1000, Evidence: ledger.Digest(id), Expiry: time.Now().Add(d)})
			if err != nil {
				t.Fatal(err)
			}
			o.Lock = l.Raw
			return o
		}
		leave(h.hireWith(until(longestLock(h.m)))) // this one is in order
		for _, d := range []time.Duration{longestLock(h.m) + time.Minute, 24 * time.Hour} {
			s := h.dial()
			h.send(s, frame{Open: until(d)})
			h.wantRefusal(s, CodeRecord)
		}
	})
}

// Who takes a result and is gone waits longer each time before the next; who then pays starts anew.
func TestWhoLeavesUnitsUnpaidWaitsTwiceAsLongEachTime(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		h.slots = 1
		h.x.allow(h.host.self, h.m.Program.Hash)
		refused := func() {
			t.Helper()
			s := h.dial()
			h.send(s, frame{Open: h.request()})
			h.wantRefusal(s, CodeCredit)
		}
		run := func(wait time.Duration) {
			t.Helper()
			s := h.hire()
			h.work(s, 0)
			leave(s)
			refused()
			time.Sleep(wait - 10*time.Millisecond)
			refused()
			time.Sleep(20 * time.Millisecond)
		}
		for wait := time.Second; wait <= 8*time.Second; wait *= 2 {
			run(wait)
		}
		leave(h.hire()) // a lease without work pays nothing back
		s := h.hire()
		for u := range uint64(3) {
			h.pay(s, h.work(s, u), u)
		}
		leave(s)
		run(time.Second)
	})
}

// A stranger's few bytes must not become gigabytes here.
func TestArgumentsThatExpandTooFarAreAFault(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		h.m.Args = []string{strings.Repeat("{}", 8<<10)} // with MaxInline of text: half a gigabyte
		s := h.hire()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		h.send(s, frame{Tasks: []task{{Unit: 1, Input: exec.Input{Text: strings.Repeat("t", exec.MaxInline)}}, {Unit: 2, Input: exec.Input{Text: "t"}}}})
		var fault, result bool
		for !fault || !result {
			f := h.answer(s)
			if f.Refuse != nil {
				t.Fatalf("refused: %+v", f.Refuse)
			}
			for _, x := range f.Faults {
				fault = x.Unit == 1
				if x.Unit != 1 || x.Code != CodeManifest {
					t.Errorf("unit %d: fault %d (%s), want %d for unit 1", x.Unit, x.Code, x.Text, CodeManifest)
				}
			}
			for _, x := range f.Results { // the lease goes on
				result = x.Unit == 2
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%d MiB were allocated", n>>20)
		}
		s.Reset()
	})
}

// A desk is a requester in a hub of its own.
type desk struct {
	*Requester
	me  *party
	hub *hub
	m   exec.Manifest
}

// withRequester runs test with a requester whose market shows the offers that hosts returns. All
// parties settle.
func withRequester(t *testing.T, verify exec.Verify, hosts func(h *hub) (parties []*party, offers []market.Offer), test func(t *testing.T, d *desk)) {
	withRequesterOf(t, busy{}, verify, hosts, test)
}

// withRequesterOf is withRequester with an engine to compute disputed units on.
func withRequesterOf(t *testing.T, engine exec.Engine, verify exec.Verify, hosts func(h *hub) (parties []*party, offers []market.Offer), test func(t *testing.T, d *desk)) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		me := net.party()
		me.Engine = engine
		parties, offers := hosts(net)
		parties = append(parties, me)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, len(parties))
		for _, p := range parties {
			go func() { done <- p.settler.Run(ctx) }()
		}
		r := NewRequester(me.Env, me.x, me.settler, fair{offers})
		defer func() {
			r.Close()
			cancel()
			for range parties {
				<-done
			}
		}()
		test(t, &desk{r, me, net, me.manifest(verify)})
	})
}

// submit starts a job of these inputs; closed says that no more will come.
func (d *desk) submit(closed bool, inputs ...exec.Input) node.Job {
	d.me.t.Helper()
	ctx := d.me.t.Context()
	j, err := d.Submit(ctx, d.m)
	if err != nil {
		d.me.t.Fatal(err)
	}
	left := inputs
	_, err = d.AddInputs(ctx, j.ID, 0, func() (exec.Input, error) {
		if len(left) == 0 {
			return exec.Input{}, io.EOF
		}
		in := left[0]
		left = left[1:]
		return in, nil
	})
	if err == nil && closed {
		_, err = d.CloseInputs(ctx, j.ID, uint64(len(inputs)))
	}
	if err != nil {
		d.me.t.Fatal(err)
	}
	return j
}

// await waits, in fake time, until ok.
func await(t *testing.T, most time.Duration, what string, ok func() bool) {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > most {
			t.Fatalf("not within %s: %s", most, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestInputThatExpandsTooFarIsAUsageProblem(t *testing.T) {
	withRequester(t, 1, func(*hub) ([]*party, []market.Offer) { return nil, nil }, func(t *testing.T, d *desk) {
		d.m.Args = []string{strings.Repeat("{}", 30<<10)}
		j := d.submit(false)
		n, err := d.AddInputs(t.Context(), j.ID, 0, func() (exec.Input, error) {
			return exec.Input{Text: strings.Repeat("t", exec.MaxInline)}, nil
		})
		if p := (*node.Problem)(nil); !errors.As(err, &p) || p.Code != node.CodeUsage || n != 0 {
			t.Errorf("%d units, %v; want a usage problem", n, err)
		}
		if _, err = d.Cancel(t.Context(), j.ID); err != nil {
			t.Error(err)
		}
	})
}

// The fastest host of the market takes the only unit and holds it; an honest one must get it soon.
func TestHostThatHoldsTheOnlyUnitIsReplaced(t *testing.T) {
	const dripped = 1 << 19
	drip := func(ctx context.Context, s Stream) { // as slow as no idle timer notices
		s.ReadFrame()
		b, err := canon.Marshal(blobHeader{Found: true, Size: dripped})
		if err == nil {
			err = s.WriteFrame(b)
		}
		for ; err == nil && ctx.Err() == nil; err = s.WriteFrame([]byte{1}) {
			time.Sleep(blobStall - time.Second)
		}
	}
	tests := map[string]func(*cheat, Stream, *cheatedLease){
		"by silence with a heartbeat": beat,
		"by a blob that drips": func(c *cheat, s Stream, l *cheatedLease) {
			defer beating(s)()
			answers(func(c *cheat, l *cheatedLease, t task) frame {
				x := right(t)
				x.Stdout = &exec.File{Hash: ledger.Digest{9}, Size: dripped}
				x.Result.Stdout = nil
				return c.sign(l, 1, x)
			})(c, s, l)
		},
	}
	for name, work := range tests {
		t.Run(name, func(t *testing.T) {
			hosts := func(h *hub) ([]*party, []market.Offer) {
				c, good := &cheat{party: h.party(), work: work}, h.party()
				c.Handle(Protocol, MaxFrame, c.serve)
				c.Handle(BlobProtocol, blobFrame, drip)
				good.provide(lends(2))
				first := c.offer()
				first.Capacity.Speed *= 100
				return []*party{c.party, good}, []market.Offer{first, good.offer()}
			}
			withRequester(t, 1, hosts, func(t *testing.T, d *desk) {
				j := d.submit(true, exec.Input{Stdin: []byte{1}})
				await(t, 5*time.Minute, "the end of the job", func() bool {
					j, _ = d.Job(j.ID)
					return !j.Ended.IsZero()
				})
				one, _ := onePer.Cost(unitFuel)
				if j.State != node.JobDone || j.Done != 1 || j.Spent != one {
					t.Errorf("%s, %d done for %s; %+v", j.State, j.Done, j.Spent, j.Peers)
				}
			})
		})
	}
}

// What commits and never shows, while its heart beats, must not hold up a vote either.
func TestCommitmentHiddenBehindHeartbeatsIsReplaced(t *testing.T) {
	runAgainst(t, 2, 2, func(c *cheat, s Stream, l *cheatedLease) {
		defer beating(s)()
		for {
			f, ok := l.next(s)
			if !ok {
				return
			}
			for _, t := range f.Tasks {
				if writeFrame(s, frame{Commits: []commit{{Unit: t.Unit, Try: t.Try, Hash: ledger.Digest{1}}}}) != nil {
					return
				}
			}
		}
	}, unpaid(""))
}

// One replica is shown and not yet decided when the owner cancels: nobody waits for the other.
func TestCancelBetweenTwoRevealsFreesSlotsAndLocks(t *testing.T) {
	var early, late *Provider
	hosts := func(h *hub) ([]*party, []market.Offer) {
		a, b := h.party(), h.party()
		early, late = a.provide(lends(2)), b.provide(lends(2))
		b.slow(2 * time.Second)
		return []*party{a, b}, []market.Offer{a.offer(), b.offer()}
	}
	withRequester(t, 2, hosts, func(t *testing.T, d *desk) {
		j := d.submit(false, exec.Input{Stdin: []byte{1}})
		await(t, time.Minute, "the first reveal", func() bool { return early.Counters().Units > 0 })
		time.Sleep(50 * time.Millisecond)
		j, err := d.Job(j.ID)
		if err != nil || j.Done != 0 {
			t.Fatalf("%d done, %v: the vote is over", j.Done, err)
		}
		if j, err = d.Cancel(t.Context(), j.ID); err != nil || j.State != node.JobCancelled {
			t.Fatalf("%s, %v", j.State, err)
		}
		await(t, 20*time.Second, "slots and LOCKs are free", func() bool {
			return early.Counters().Busy == 0 && late.Counters().Busy == 0 && len(d.me.Book.OpenLocks()) == 0
		})
		if b := d.me.Book.Balance(); b.Spent != 0 || b.Locked != 0 {
			t.Errorf("spent %s and locked %s for a unit that was not accepted", b.Spent, b.Locked)
		}
	})
}

// talker returns more than fits into a frame.
type talker struct{ echo }

func talk(in []byte) []byte { return bytes.Repeat(append([]byte("result"), in...), exec.MaxInline) }

func (e talker) Run(ctx context.Context, s exec.Spec) (exec.Result, error) {
	r, err := e.echo.Run(ctx, s)
	r.Stdout = talk(r.Stdout)
	return r, err
}

// Or strangers fill the disk with what nobody wanted.
func TestBlobsOfARejectedResultAreNotKept(t *testing.T) {
	var wrong ledger.Digest
	shown := 0
	work := votes(func(c *cheat, t task) result {
		b := bytes.Repeat([]byte("wrong!"), exec.MaxInline)
		f, err := c.Blobs.Put(bytes.NewReader(b), "")
		if err != nil {
			c.t.Error(err)
		}
		wrong = f.Hash
		full := exec.Result{Status: exec.Exited, Stdout: b, Fuel: unitFuel}
		x := result{Unit: t.Unit, Result: full, Digest: full.Digest(), Stdout: &f}
		x.Result.Stdout = nil
		return x
	}, func(*cheat, Stream, *cheatedLease, task) { shown++ })
	hosts := func(h *hub) ([]*party, []market.Offer) {
		c := &cheat{party: h.party()}
		c.work = func(c *cheat, s Stream, l *cheatedLease) {
			defer c.x.allow(s.Peer(), wrongBlob(c))()
			work(c, s, l)
		}
		return besideTwoHonest(h, c)
	}
	withRequester(t, 2, hosts, func(t *testing.T, d *desk) {
		var inputs []exec.Input
		for _, c := range "12345678" { // enough for all three to be hired
			inputs = append(inputs, exec.Input{Stdin: []byte(string(c))})
		}
		j := d.submit(true, inputs...)
		await(t, 5*time.Minute, "the end of the job", func() bool {
			j, _ = d.Job(j.ID)
			return !j.Ended.IsZero() && len(d.me.Book.OpenLocks()) == 0
		})
		u, err := d.Unit(j.ID, 0)
		if err != nil || !bytes.Equal(u.Result.Stdout, talk([]byte("1"))) {
			t.Fatalf("%d bytes, %v; %s %+v", len(u.Result.Stdout), err, j.State, j.Peers)
		}
		blobs := d.me.Blobs.(shelf)
		if shown == 0 || !blobs.Has(wrong) {
			t.Fatal("the wrong result never came")
		}
		if held := blobs.pinned(wrong); len(held) > 0 {
			t.Errorf("the wrong blob is held by %q", held)
		}
		f, err := blobs.Put(bytes.NewReader(talk([]byte("1"))), "")
		if held := blobs.pinned(f.Hash); err != nil || len(held) != 1 || !strings.HasPrefix(held[0], "result/") {
			t.Errorf("the right blob is held by %q, %v", held, err)
		}
	})
}

func wrongBlob(c *cheat) ledger.Digest {
	f, err := c.Blobs.Put(bytes.NewReader(bytes.Repeat([]byte("wrong!"), exec.MaxInline)), "")
	if err != nil {
		c.t.Error(err)
	}
	return f.Hash
}

// A store takes only so much in one commit. What is finished at the same time may be more.
func TestLongResultsAreJournaledInPieces(t *testing.T) {
	files := make([]exec.File, 880) // about the longest list that passes decode
	for i := range files {
		files[i] = exec.File{Name: fmt.Sprintf("%0512d", i), Size: 1 << 40, Hash: ledger.Digest{0xff}}
	}
	tests := map[string]struct {
		units uint64
		res   exec.Result
	}{
		"64 KiB of output":    {20, exec.Result{Status: exec.Exited, Stdout: bytes.Repeat([]byte{0xff}, exec.MaxInline)}},
		"both streams":        {20, exec.Result{Status: exec.Exited, Stdout: make([]byte, exec.MaxInline), Stderr: make([]byte, exec.MaxInline)}},
		"long lists of files": {5, exec.Result{Status: exec.Exited, Files: files}},
		"many short":          {journalMax, exec.Result{Status: exec.Exited, Stdout: []byte("1")}},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			me := newHub(t).party()
			store, err := badgerstore.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			me.Store = store
			r := NewRequester(me.Env, me.x, me.settler, fair{})
			stop := time.AfterFunc(10*time.Second, r.cancel) // the journal tries again for ever
			defer stop.Stop()
			m := me.manifest(1)
			raw, id, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			n, err := r.newRun(id, m, raw, jobState{Units: c.units, State: node.JobRunning})
			if err != nil {
				t.Fatal(err)
			}
			for u := range c.units {
				x := result{Unit: u, Result: c.res, Digest: c.res.Digest()}
				b, err := canon.Marshal(frame{Results: []result{x}})
				if err == nil {
					err = new(frame).decode(b)
				}
				if err != nil {
					t.Fatalf("such a result is not sent: %v", err)
				}
				n.ending = append(n.ending, settled{unit: u, out: outcome{Result: x, Hosts: []string{"host"}, Cost: 1, Tries: 1}})
			}
			n.settle()
			close(n.ended)
			n.journal()
			var got uint64
			if err := r.j.outcomes(id, func(u uint64, o outcome) {
				if u != got || o.Result.Result.Digest() != c.res.Digest() {
					t.Errorf("row %d is of unit %d or damaged", got, u)
				}
				got++
			}); err != nil {
				t.Fatal(err)
			}
			if got != c.units || n.prefix != c.units {
				t.Errorf("%d rows and %d units known, want %d: %s", got, n.prefix, c.units, n.job.Why)
			}
		})
	}
}

// Longer streams come as blobs, or a row of the journal has no bound.
func TestResultsTooLongToBeInlineAreNoFrame(t *testing.T) {
	files := make([]exec.File, 1000)
	for i := range files {
		files[i].Name = fmt.Sprintf("%0512d", i)
	}
	most, more := make([]byte, exec.MaxInline), make([]byte, exec.MaxInline+1)
	tests := []struct {
		name string
		res  exec.Result
		ok   bool
	}{
		{"streams at the bound", exec.Result{Stdout: most, Stderr: most}, true},
		{"stdout above", exec.Result{Stdout: more}, false},
		{"stderr above", exec.Result{Stderr: more}, false},
		{"list of files above half a frame", exec.Result{Files: files}, false},
		{"message above", exec.Result{Message: strings.Repeat("m", maxText+1)}, false},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			c.res.Status = exec.Exited
			b, err := canon.Marshal(frame{Results: []result{{Result: c.res}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := new(frame).decode(b); (err == nil) != c.ok {
				t.Errorf("%v, want ok = %v", err, c.ok)
			}
		})
	}
}

// What commits and never shows must not hold up a vote by faults of units that nobody gave it.
func TestCommitmentHiddenBehindFaultsIsReplaced(t *testing.T) {
	runAgainst(t, 2, 2, func(c *cheat, s Stream, l *cheatedLease) {
		quit := make(chan struct{})
		defer close(quit)
		go func() {
			for {
				select {
				case <-quit:
					return
				case <-time.After(heartbeat):
					writeFrame(s, frame{Faults: []fault{{Unit: 1 << 40, Code: CodeHost}}})
				}
			}
		}()
		for {
			f, ok := l.next(s)
			if !ok {
				return
			}
			for _, t := range f.Tasks {
				if writeFrame(s, frame{Commits: []commit{{Unit: t.Unit, Try: t.Try, Hash: ledger.Digest{1}}}}) != nil {
					return
				}
			}
		}
	}, func(t *testing.T, j node.Job, p node.JobPeer, earned ledger.Credits) {
		if took := j.Ended.Sub(j.Created); took > time.Minute || earned != 0 {
			t.Errorf("the job of %d units of a second took %s; the cheat earned %s", hostileUnits, took, earned)
		}
	})
}

// A requester that pays one unit and then sends the same number with ever new inputs gets no more
// than the window.
func TestUnitNumberSentAgainCountsAgain(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		h.x.allow(h.host.self, h.m.Program.Hash)
		o := h.request()
		lock, err := ledger.ParseEntry(o.Lock)
		if err != nil {
			t.Fatal(err)
		}
		s := h.dial()
		h.send(s, frame{Open: o})
		if f := h.answer(s); f.Grant == nil {
			t.Fatal("no grant")
		}
		h.send(s, frame{Tasks: []task{{Unit: 0}}})
		f := h.answer(s)
		cost, _ := onePer.Cost(unitFuel)
		v, err := h.Book.Vouch(t.Context(), lock.Digest(), f.Claim, cost)
		if err != nil {
			t.Fatal(err)
		}
		h.send(s, frame{Voucher: v, Paid: []uint64{0}})
		unpaid := 0
		for start, sent := time.Now(), 0; time.Since(start) < time.Minute/2; {
			if sent == unpaid { // the last was computed
				sent++
				h.send(s, frame{Tasks: []task{{Unit: 1, Input: exec.Input{Stdin: []byte{byte(sent)}}}}})
			}
			s.WriteFrame(emptyFrame)
			f, err := readFrame(s)
			if err != nil || f.Refuse != nil {
				break
			}
			unpaid += len(f.Results)
		}
		if x, _ := h.host.Book.Exposure(h.Book.Account()); unpaid == 0 || unpaid > int(x.Window.Allowed()) {
			t.Errorf("%d results unpaid, window %d", unpaid, x.Window.Allowed())
		}
		s.Reset()
	})
}

// A program may print its files: who names the hash of a blob that lies here for something else
// must show that it knows the bytes.
func TestLocalBlobIsNotReadByNamingItsHash(t *testing.T) {
	secret := []byte("what the owner keeps here")
	ways := map[string]func(h *hirer, f exec.File) (sent []task, refusedLease bool){
		"as the program": func(h *hirer, f exec.File) ([]task, bool) { f.Name = "m.wasm"; h.m.Program = f; return nil, true },
		"as data":        func(h *hirer, f exec.File) ([]task, bool) { h.m.Data = []exec.File{f}; return nil, true },
		"as a unit's file": func(_ *hirer, f exec.File) ([]task, bool) {
			return []task{{Unit: 1, Input: exec.Input{Files: []exec.File{f}}}}, false
		},
		"as stdin": func(_ *hirer, f exec.File) ([]task, bool) {
			return []task{{Unit: 1, Input: exec.Input{StdinFile: &f}}}, false
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			withProvider(t, lends(2), func(t *testing.T, h *hirer) {
				h.slots = 1
				f, err := h.host.Blobs.Put(bytes.NewReader(secret), "the owner")
				if err != nil {
					t.Fatal(err)
				}
				f.Name = "secret"
				tasks, refusedLease := way(h, f)
				if !refusedLease {
					s := h.hire()
					h.send(s, frame{Tasks: tasks})
					if got := h.answer(s); len(got.Faults) != 1 || got.Faults[0].Code != CodeBlob {
						t.Errorf("%+v, want a fault %d", got, CodeBlob)
					}
					leave(s)
				} else { // which may come with the grant
					h.x.allow(h.host.self, h.m.Program.Hash)
					s := h.dial()
					h.send(s, frame{Open: h.request()})
					h.wantRefusal(s, CodeBlob)
				}

				// Whoever has it loses nothing.
				if _, err := h.Blobs.Put(bytes.NewReader(secret), ""); err != nil {
					t.Fatal(err)
				}
				defer h.x.allow(h.host.self, f.Hash)()
				s := h.hire()
				if refusedLease {
					tasks = []task{{Unit: 1}}
				}
				h.send(s, frame{Tasks: tasks})
				if got := h.answer(s); len(got.Results) != 1 {
					t.Errorf("%+v, want a result", got)
				}
				leave(s)
			})
		})
	}
}

// Two hosts suffice for a voted job of one unit until they disagree: then a third is hired.
func TestDisputeOverTheOnlyUnitHiresAThirdHost(t *testing.T) {
	work := votes(func(c *cheat, t task) result {
		full := exec.Result{Status: exec.Exited, Stdout: []byte("wrong"), Fuel: unitFuel}
		return result{Unit: t.Unit, Result: full, Digest: full.Digest()}
	}, func(*cheat, Stream, *cheatedLease, task) {})
	hosts := func(h *hub) ([]*party, []market.Offer) {
		c := &cheat{party: h.party(), work: work}
		return besideTwoHonest(h, c)
	}
	withRequester(t, 2, hosts, func(t *testing.T, d *desk) {
		j := d.submit(true, exec.Input{Stdin: []byte("1")})
		await(t, 5*time.Minute, "the end of the job", func() bool {
			j, _ = d.Job(j.ID)
			return !j.Ended.IsZero()
		})
		if u, err := d.Unit(j.ID, 0); err != nil || !bytes.Equal(u.Result.Stdout, talk([]byte("1"))) {
			t.Fatalf("%q, %v; %s %+v", u.Result.Stdout, err, j.State, j.Peers)
		}
	})
}

// besideTwoHonest puts a cheat, whose offer is the best by far, on a market with two honest hosts.
func besideTwoHonest(h *hub, c *cheat) (parties []*party, offers []market.Offer) {
	c.Handle(Protocol, MaxFrame, c.serve)
	first := c.offer()
	first.Capacity.Speed *= 100 // gets the unit for sure
	parties, offers = append(parties, c.party), append(offers, first)
	for range 2 {
		p := h.party()
		p.Engine = talker{}
		p.provide(lends(2))
		parties, offers = append(parties, p), append(offers, p.offer())
	}
	return parties, offers
}

// Nor is it read by naming it while a job of the owner's fetches it.
func TestBlobOnItsWayIsNotReadByNamingItsHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		host, friend, stranger := net.party(), net.party(), net.party()
		f, err := friend.Blobs.Put(bytes.NewReader([]byte("what the owner's job brought forth")), "")
		if err != nil {
			t.Fatal(err)
		}
		defer friend.x.allow(host.self, f.Hash)()
		friend.slow(time.Second)
		fetched := make(chan error, 1)
		go func() { fetched <- host.x.get(t.Context(), f, friend.self) }()
		synctest.Wait()
		if err := host.x.getFor(t.Context(), f, circle{from: []peer.ID{stranger.self}}); err == nil {
			t.Error("a stranger who does not have the blob may use it")
		}
		if err := <-fetched; err != nil {
			t.Error(err)
		}
		if err := host.x.getFor(t.Context(), f, circle{from: []peer.ID{friend.self}}); err != nil {
			t.Errorf("who has it may not use it: %v", err)
		}
	})
}
