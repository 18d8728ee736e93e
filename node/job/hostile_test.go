package job

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// A cheat is a provider that follows the protocol but for one thing.
type cheat struct {
	*party
	grants *grant                                    // what it grants; nil = one slot, no queue
	work   func(c *cheat, s Stream, l *cheatedLease) // until the stream ends
}

type cheatedLease struct {
	lock  ledger.LockInfo
	tasks []task
	ended *refusal
}

// serve grants every lease.
func (c *cheat) serve(ctx context.Context, s Stream) {
	s.SetIdle(time.Hour)
	f, err := readFrame(s)
	if err != nil || f.Open == nil {
		return
	}
	lock, err := c.Book.AcceptLock(ctx, f.Open.Lock, time.Now())
	if err == nil {
		err = c.settler.remember(ctx, lock.ID, holder{Peer: []byte(s.Peer())})
	}
	if err != nil {
		c.t.Error(err)
		return
	}
	g := c.grants
	if g == nil {
		g = &grant{Slots: 1}
	}
	if writeFrame(s, frame{Grant: g}) == nil && c.work != nil {
		c.work(c, s, &cheatedLease{lock: lock})
	}
}

// next reads a frame; it reports false at the end of the lease.
func (l *cheatedLease) next(s Stream) (frame, bool) {
	f, err := readFrame(s)
	if f.Refuse != nil {
		l.ended = f.Refuse
	}
	l.tasks = append(l.tasks, f.Tasks...)
	return f, err == nil && f.Refuse == nil
}

// try is the newest task's of a unit.
func (l *cheatedLease) try(unit uint64) (n uint32) {
	for _, t := range l.tasks {
		if t.Unit == unit {
			n = t.Try
		}
	}
	return n
}

// sign claims units whose results are these.
func (c *cheat) sign(l *cheatedLease, factor ledger.Credits, results ...result) frame {
	var units []ledger.Unit
	for _, r := range results {
		cost, err := onePer.Cost(r.Result.Fuel)
		if err != nil {
			c.t.Error(err)
		}
		units = append(units, ledger.Unit{Fuel: r.Result.Fuel, Amount: cost * factor, Result: r.Digest})
	}
	claim, err := c.Book.ClaimMany(context.Background(), l.lock.ID, units)
	if err != nil && !errors.Is(err, ledger.ErrClosed) { // the requester settles when it has seen enough
		c.t.Error(err)
	}
	return frame{Results: results, Claim: claim}
}

// right is the result of a unit.
func right(t task) result {
	r := exec.Result{Status: exec.Exited, Stdout: t.Input.Stdin, Fuel: unitFuel}
	return result{Unit: t.Unit, Result: r, Digest: r.Digest()}
}

// answers sends, for each task, what answer says, until the lease ends.
func answers(answer func(c *cheat, l *cheatedLease, t task) frame) func(*cheat, Stream, *cheatedLease) {
	return func(c *cheat, s Stream, l *cheatedLease) {
		for {
			f, ok := l.next(s)
			if !ok {
				return
			}
			for _, t := range f.Tasks {
				if writeFrame(s, answer(c, l, t)) != nil {
					return
				}
			}
		}
	}
}

const hostileUnits = 12

// runAgainst runs a job on a cheat and honest hosts and checks that every result is right and nothing
// is paid for cheating. then gets the cheat's part.
func runAgainst(t *testing.T, verify exec.Verify, honest int, work func(*cheat, Stream, *cheatedLease), then func(t *testing.T, j node.Job, cheat node.JobPeer, earned ledger.Credits), grants ...grant) {
	runOverheard(t, verify, honest, nil, work, then, grants...)
}

// runOverheard is runAgainst where hear, if not nil, gets every frame that an honest host sends, before the requester does.
func runOverheard(t *testing.T, verify exec.Verify, honest int, hear func(from *party, to Stream, f frame), work func(*cheat, Stream, *cheatedLease), then func(t *testing.T, j node.Job, cheat node.JobPeer, earned ledger.Credits), grants ...grant) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		me := net.party()
		me.Engine = busy{}
		c := &cheat{party: net.party(), work: work}
		if len(grants) > 0 {
			c.grants = &grants[0]
		}
		c.Handle(Protocol, MaxFrame, c.serve)
		parties := []*party{me, c.party}
		offers := []market.Offer{c.offer()}
		for range honest {
			p := net.party()
			if hear != nil {
				p.Env.Net = wiretap{p.link, func(to Stream, f frame) { hear(p, to, f) }}
			}
			p.provide(lends(2))
			parties, offers = append(parties, p), append(offers, p.offer())
		}
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
		m := me.manifest(verify)
		j, err := r.Submit(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		next := byte(0)
		_, err = r.AddInputs(ctx, j.ID, 0, func() (exec.Input, error) {
			if next == hostileUnits {
				return exec.Input{}, io.EOF
			}
			next++
			return exec.Input{Stdin: []byte{next}}, nil
		})
		if err == nil {
			_, err = r.CloseInputs(ctx, j.ID, hostileUnits)
		}
		if err != nil {
			t.Fatal(err)
		}
		waits, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		var cost ledger.Credits
		units := byte(0)
		err = r.Results(waits, j.ID, 0, node.InOrder, func(u node.UnitResult) error {
			units++
			cost += u.Cost
			if !u.Result.OK() || string(u.Result.Stdout) != string([]byte{units}) {
				return errors.New("wrong result: " + u.Error)
			}
			return nil
		})
		if err != nil || units != hostileUnits {
			j, _ = r.Job(j.ID)
			t.Fatalf("%d results, %v; %s %s %+v", units, err, j.State, j.Why, j.Peers)
		}
		for end := time.Now().Add(time.Hour); len(me.Book.OpenLocks()) > 0 && time.Now().Before(end); {
			time.Sleep(time.Second) // fake time: leases end, locks settle
		}
		time.Sleep(2 * retryMin)
		if j, err = r.Job(j.ID); err != nil {
			t.Fatal(err)
		}
		var part node.JobPeer
		for _, p := range j.Peers {
			if p.Peer == c.self.String() {
				part = p
			}
		}
		earned := c.Book.Balance().Earned
		forfeit := max(0, part.Paid-earned) // accepted when the cheat's lease was settled already
		b := me.Book.Balance()
		if paid, err := r.paid(j.ID); paid != b.Spent || err != nil {
			t.Errorf("a restart would count %s as paid, the ledger spent %s (%v)", paid, b.Spent, err)
		}
		if b.Locked != 0 || b.Spent != j.Spent || b.Spent+forfeit < cost { // above it are results cancelled too late
			t.Errorf("spent %s and locked %s; the job says %s, its units cost %s", b.Spent, b.Locked, j.Spent, cost)
		}
		then(t, j, part, earned)
	})
}

func unpaid(state string) func(*testing.T, node.Job, node.JobPeer, ledger.Credits) {
	return func(t *testing.T, _ node.Job, p node.JobPeer, earned ledger.Credits) {
		if earned != 0 || p.Done != 0 || p.Paid != 0 {
			t.Errorf("the cheat earned %s for %d units", earned, p.Done)
		}
		if state != "" && p.State != state {
			t.Errorf("the cheat is %q (%s), want %q", p.State, p.Why, state)
		}
	}
}

func TestOverchargedClaimIsNotPaid(t *testing.T) {
	runAgainst(t, 1, 1, answers(func(c *cheat, l *cheatedLease, t task) frame { return c.sign(l, 2, right(t)) }), unpaid("bad"))
}

func TestFuelBeyondTheLimitIsNotPaid(t *testing.T) {
	runAgainst(t, 1, 1, answers(func(c *cheat, l *cheatedLease, t task) frame {
		x := right(t)
		x.Result.Fuel = 3 * unitFuel
		x.Digest = x.Result.Digest()
		return c.sign(l, 1, x)
	}), unpaid("bad"))
}

func TestClaimOfGarbageIsNotPaid(t *testing.T) {
	runAgainst(t, 1, 1, answers(func(_ *cheat, _ *cheatedLease, t task) frame {
		return frame{Results: []result{right(t)}, Claim: []byte("garbage")}
	}), unpaid("bad"))
}

func TestResultUnlikeItsDigestIsNotPaid(t *testing.T) {
	runAgainst(t, 1, 1, answers(func(c *cheat, l *cheatedLease, t task) frame {
		x := right(t)
		x.Result.Stdout = []byte("else")
		return c.sign(l, 1, x)
	}), unpaid(""))
}

func TestResultOfAUnitNotAssignedIsIgnored(t *testing.T) {
	runAgainst(t, 1, 1, answers(func(c *cheat, l *cheatedLease, t task) frame {
		t.Unit += 1000
		return c.sign(l, 1, right(t))
	}), unpaid(""))
}

func TestRevealUnlikeItsCommitmentIsNotPaid(t *testing.T) {
	runAgainst(t, 2, 2, func(c *cheat, s Stream, l *cheatedLease) {
		for {
			f, ok := l.next(s)
			if !ok {
				return
			}
			var out frame
			for _, t := range f.Tasks {
				out.Commits = append(out.Commits, commit{Unit: t.Unit, Try: t.Try, Hash: farm.Commitment(c.Book.Network(), l.lock.ID, t.Unit, c.Book.Account(), farm.Nonce{}, ledger.Digest{1}, unitFuel)})
			}
			for _, u := range f.Reveal {
				for _, t := range l.tasks {
					if t.Unit == u {
						x := right(t)
						x.Nonce = make([]byte, 32)
						shown := c.sign(l, 1, x)
						out.Results, out.Claim = append(out.Results, shown.Results...), shown.Claim
					}
				}
			}
			if writeFrame(s, out) != nil {
				return
			}
		}
	}, unpaid("bad"))
}

func TestGrantBeyondWhatWasAskedIsNoLease(t *testing.T) {
	for name, g := range map[string]grant{"more slots": {Slots: 1000}, "no slots": {}, "negative queue": {Slots: 1, Queue: -1}} {
		t.Run(name, func(t *testing.T) {
			runAgainst(t, 1, 1, nil, unpaid(""), g)
		})
	}
}

func TestSilentProviderIsReplaced(t *testing.T) {
	runAgainst(t, 1, 1, func(_ *cheat, s Stream, l *cheatedLease) {
		for ok := true; ok; { // listens and says nothing
			_, ok = l.next(s)
		}
	}, unpaid(""))
}

// A provider whose heart beats but who never delivers holds up neither the job nor, once its lock
// has expired, the credit.
func TestProviderThatNeverDeliversIsReplaced(t *testing.T) {
	runAgainst(t, 1, 1, func(_ *cheat, s Stream, l *cheatedLease) {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			beat := time.NewTicker(heartbeat)
			defer beat.Stop()
			for {
				select {
				case <-stop:
					return
				case <-beat.C:
					s.WriteFrame(emptyFrame)
				}
			}
		}()
		for ok := true; ok; {
			_, ok = l.next(s)
		}
	}, unpaid(""))
}

// The control: the same provider without the cheating is paid in full.
func TestHonestHandIsPaid(t *testing.T) {
	runAgainst(t, 1, 0, answers(func(c *cheat, l *cheatedLease, t task) frame { return c.sign(l, 1, right(t)) }),
		func(t *testing.T, j node.Job, p node.JobPeer, earned ledger.Credits) {
			if p.Done != hostileUnits || earned != j.Spent || earned == 0 {
				t.Errorf("earned %s for %d units, the job spent %s", earned, p.Done, j.Spent)
			}
		})
}

// A cheat that has committed and then never shows its result.
func TestCommitmentNeverRevealedIsReplaced(t *testing.T) {
	runAgainst(t, 2, 2, func(c *cheat, s Stream, l *cheatedLease) {
		for {
			f, ok := l.next(s)
			if !ok {
				return
			}
			out := frame{}
			for _, t := range f.Tasks {
				out.Commits = append(out.Commits, commit{Unit: t.Unit, Try: t.Try, Hash: ledger.Digest{1}})
			}
			if writeFrame(s, out) != nil {
				return
			}
		}
	}, unpaid(""))
}
