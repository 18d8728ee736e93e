package job

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// honest makes n providers whose engine is e.
func honest(n int, e exec.Engine) func(h *hub) ([]*party, []market.Offer) {
	return func(h *hub) (parties []*party, offers []market.Offer) {
		for range n {
			p := h.party()
			p.Engine = e
			p.provide(lends(2))
			parties, offers = append(parties, p), append(offers, p.offer())
		}
		return parties, offers
	}
}

func texts(ss ...string) []exec.Input {
	in := make([]exec.Input, len(ss))
	for i, s := range ss {
		in[i].Stdin = []byte(s)
	}
	return in
}

// results waits for all results of a job and reports units that failed.
func (d *desk) results(id exec.JobID) (n int) {
	d.me.t.Helper()
	ctx, cancel := context.WithTimeout(d.me.t.Context(), time.Hour)
	defer cancel()
	err := d.Results(ctx, id, 0, node.InOrder, func(u node.UnitResult) error {
		n++
		if u.Error != "" || !u.Result.OK() {
			d.me.t.Errorf("unit %d: %s %s", u.Unit, u.Result.Status, u.Error)
		}
		return nil
	})
	if err != nil {
		d.me.t.Error(err)
	}
	return n
}

// varied takes half a minute for "long" and a millisecond for anything else.
type varied struct{ echo }

func (varied) Run(ctx context.Context, s exec.Spec) (exec.Result, error) {
	d := time.Millisecond
	if string(s.Stdin) == "long" {
		d = 30 * time.Second
	}
	select {
	case <-time.After(d):
		return exec.Result{Status: exec.Exited, Stdout: s.Stdin, Fuel: unitFuel, WallMs: d.Milliseconds()}, nil
	case <-ctx.Done():
		return exec.Result{}, ctx.Err()
	}
}

// A unit may take its whole time, however short the others were.
func TestLongUnitAfterShortOnesIsNotGivenUp(t *testing.T) {
	withRequester(t, 1, honest(2, varied{}), func(t *testing.T, d *desk) {
		d.m.Limits.WallMs = 60_000
		j := d.submit(true, texts("s", "s", "s", "s", "long", "s")...)
		if n := d.results(j.ID); n != 6 {
			t.Errorf("%d results", n)
		}
	})
}

// gated holds the first commit of inputs back.
type gated struct {
	ledger.Store
	held, free chan struct{}
	once       sync.Once
}

func (g *gated) Commit(ctx context.Context, ops ...ledger.Op) error {
	if len(ops) > 1 && string(ops[0].Key[:6]) == "job/i/" {
		g.once.Do(func() { close(g.held); <-g.free })
	}
	return g.Store.Commit(ctx, ops...)
}

// Inputs that become durable while the job is cancelled must not bring it back at the next start.
func TestCancelledJobStaysCancelled(t *testing.T) {
	me := newHub(t).party()
	g := &gated{Store: me.Store, held: make(chan struct{}), free: make(chan struct{})}
	me.Env.Store = g
	r := NewRequester(me.Env, me.x, me.settler, fair{})
	j, err := r.Submit(t.Context(), me.manifest(1))
	if err != nil {
		t.Fatal(err)
	}
	var adding sync.WaitGroup
	adding.Go(func() {
		in := texts("x")
		r.AddInputs(t.Context(), j.ID, 0, func() (exec.Input, error) {
			if len(in) == 0 {
				return exec.Input{}, io.EOF
			}
			in = nil
			return exec.Input{Stdin: []byte("x")}, nil
		})
	})
	<-g.held
	cancelled := make(chan struct{})
	go func() {
		defer close(cancelled)
		if got, err := r.Cancel(t.Context(), j.ID); err != nil || got.State != node.JobCancelled {
			t.Error(got.State, err)
		}
	}()
	select {
	case <-cancelled: // before the inputs are durable
	case <-time.After(100 * time.Millisecond): // it waits for them
	}
	close(g.free)
	adding.Wait()
	<-cancelled
	r.Close()
	again := NewRequester(me.Env, me.x, me.settler, fair{})
	defer again.Close()
	if err := again.Resume(); err != nil {
		t.Fatal(err)
	}
	if got, _ := again.Job(j.ID); got.State != node.JobCancelled {
		t.Errorf("after a restart the cancelled job is %s", got.State)
	}
}

// loud writes more than fits into a frame.
type loud struct{ echo }

func (loud) Run(context.Context, exec.Spec) (exec.Result, error) {
	return exec.Result{Status: exec.Exited, Stdout: make([]byte, exec.MaxInline+1), Fuel: unitFuel}, nil
}

// fullShelf has no room until some time.
type fullShelf struct {
	Blobs
	until time.Time
}

func (s fullShelf) Receive(f exec.File, owner string, r io.Reader) error {
	if time.Now().Before(s.until) {
		return ErrNoRoom
	}
	return s.Blobs.Receive(f, owner, r)
}

func (s fullShelf) Create(f exec.File) (Incoming, error) {
	if time.Now().Before(s.until) {
		return nil, ErrNoRoom
	}
	return s.Blobs.Create(f)
}

// A full disk at the requester is nobody else's fault: results wait until there is room.
func TestFullDiskOfTheRequesterLosesNoResult(t *testing.T) {
	withRequester(t, 1, honest(2, loud{}), func(t *testing.T, d *desk) {
		full := fullShelf{d.env.Blobs, time.Now().Add(2 * time.Minute)}
		d.env.Blobs, d.x.blobs = full, full
		j := d.submit(true, texts("a", "b", "c", "d")...)
		await(t, time.Minute, "word of the full disk", func() bool { j, _ = d.Job(j.ID); return j.Why != "" && j.Done == 0 })
		if n := d.results(j.ID); n != 4 {
			t.Errorf("%d results", n)
		}
		if j, _ = d.Job(j.ID); j.Spent == 0 || j.Peers[0].Failed+j.Peers[1].Failed != 0 {
			t.Errorf("%+v", j)
		}
	})
}

// Two jobs of one new customer at one provider: a window of one unit serves both.
func TestSecondJobOfANewCustomerDoesNotWaitForTheFirst(t *testing.T) {
	withRequester(t, 1, honest(1, echo{}), func(t *testing.T, d *desk) {
		first := d.submit(false, texts("a")...)
		await(t, time.Minute, "the first result", func() bool { j, _ := d.Job(first.ID); return j.Done == 1 })
		many := make([]string, 600) // ten minutes of work
		in := texts(many...)
		if _, err := d.AddInputs(t.Context(), first.ID, 1, func() (exec.Input, error) {
			if len(in) == 0 {
				return exec.Input{}, io.EOF
			}
			x := in[0]
			in = in[1:]
			return x, nil
		}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		second := d.submit(true, texts("b")...)
		d.results(second.ID)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("a unit of a second took %s beside another job", took)
		}
	})
}

// fellowship is a group that everybody belongs to.
type fellowship struct{}

func (f fellowship) Lead(exec.JobID) (Group, error)                  { return f, nil }
func (f fellowship) Join(peer.ID, exec.JobID, []byte) (Group, error) { return f, nil }
func (fellowship) Membership() []byte                                { return []byte("m") }
func (fellowship) Has(peer.ID) bool                                  { return true }
func (fellowship) Members() []peer.ID                                { return nil }
func (fellowship) SetMembers([]peer.ID) error                        { return nil }
func (fellowship) Publish([]byte) error                              { return nil }
func (fellowship) Leave()                                            {}
func (fellowship) Next(ctx context.Context) (Message, error) {
	<-ctx.Done()
	return Message{}, ctx.Err()
}

// A provider gives the program to fellow members for as long as its lease lasts.
func TestFellowMemberGivesTheProgram(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		h.host.Env.Groups = fellowship{}
		h.host.provide(lends(2))
		h.x.allow(h.host.self, h.m.Program.Hash)
		o := h.request()
		o.Membership = []byte("m")
		s := h.dial()
		h.send(s, frame{Open: o})
		if f := h.answer(s); f.Grant == nil {
			t.Fatal("no grant")
		}
		synctest.Wait() // the program is there
		fellow := h.hub.party()
		if err := fellow.x.get(t.Context(), h.m.Program, h.host.self); err != nil {
			t.Error(err)
		}
		s.Reset()
		time.Sleep(2 * silence) // the lease is over
		late := h.hub.party()
		if err := late.x.get(t.Context(), h.m.Program, h.host.self); !errors.Is(err, errNoBlob) {
			t.Errorf("after the lease: %v", err)
		}
	})
}

// Of hundreds of short units a third of the pairs lose one host. The two that are left have then
// hidden all that they may, and each needs what the other has not computed.
func TestLostHostOfManyShortUnitsIsSoonReplaced(t *testing.T) {
	var lost atomic.Bool
	hosts := func(h *hub) ([]*party, []market.Offer) {
		parties, offers := honest(2, varied{})(h)
		c := &cheat{party: h.party(), work: answersUntilLost(&lost), grants: &grant{Slots: 2, Queue: 2 * queueAhead}}
		c.Handle(Protocol, MaxFrame, c.serve)
		return append(parties, c.party), append(offers, c.offer())
	}
	withRequester(t, 2, hosts, func(t *testing.T, d *desk) {
		j := d.submit(true, texts(make([]string, 600)...)...)
		if n := d.results(j.ID); n != 600 || !lost.Load() {
			t.Errorf("%d results, lost %t", n, lost.Load())
		}
		if j, _ = d.Job(j.ID); j.Ended.Sub(j.Created) > time.Minute {
			t.Errorf("the job took %s", j.Ended.Sub(j.Created))
		}
	})
}
