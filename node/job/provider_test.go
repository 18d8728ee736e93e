package job

import (
	"bytes"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// A hirer opens leases by hand.
type hirer struct {
	*party
	host  *party
	m     exec.Manifest
	price ledger.Price
	slots int
}

// request is a first flight that is in order.
func (h *hirer) request() *open {
	h.t.Helper()
	raw, id, err := h.m.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	return &open{Manifest: raw, Lock: h.lock(id, 1000), Binding: h.binding, Slots: h.slots, Price: h.price}
}

func (h *hirer) lock(job exec.JobID, amount ledger.Credits) []byte {
	h.t.Helper()
	l, err := h.Book.Lock(h.t.Context(), ledger.LockRequest{Payee: h.host.Book.Account(), Amount: amount, Evidence: ledger.Digest(job), Expiry: time.Now().Add(time.Minute)})
	if err != nil {
		h.t.Fatal(err)
	}
	return l.Raw
}

func (h *hirer) dial() Stream {
	h.t.Helper()
	s, err := h.Open(h.t.Context(), h.host.self, Protocol, MaxFrame)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *hirer) send(s Stream, f frame) {
	h.t.Helper()
	if err := writeFrame(s, f); err != nil {
		h.t.Fatal(err)
	}
}

// answer is the next frame that says something.
func (h *hirer) answer(s Stream) frame {
	h.t.Helper()
	for {
		f, err := readFrame(s)
		if err != nil {
			h.t.Fatalf("instead of an answer: %v", err)
		}
		if !f.empty() {
			return f
		}
	}
}

// hire opens a lease.
func (h *hirer) hire() Stream {
	h.t.Helper()
	h.x.allow(h.host.self, h.m.Program.Hash)
	s := h.dial()
	h.send(s, frame{Open: h.request()})
	if f := h.answer(s); f.Grant == nil {
		h.t.Fatalf("no grant but %+v", f.Refuse)
	}
	return s
}

func (h *hirer) wantRefusal(s Stream, want Code) {
	h.t.Helper()
	f := h.answer(s)
	for f.Refuse == nil {
		f = h.answer(s)
	}
	if f.Refuse.Code != want {
		h.t.Errorf("refused with %d (%s: %s), want %d (%s)", f.Refuse.Code, f.Refuse.Code, f.Refuse.Text, want, want)
	}
}

// withProvider runs test against a provider of two slots; afterwards all slots must be free.
func withProvider(t *testing.T, pol Policy, test func(t *testing.T, h *hirer)) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		host, me := net.party(), net.party()
		p := host.provide(pol)
		h := &hirer{party: me, host: host, m: me.manifest(1), price: onePer, slots: 2}
		test(t, h)
		time.Sleep(2 * silence) // fake time: whatever still hangs is over by then
		synctest.Wait()
		if c := p.Counters(); c.Busy != 0 || len(p.Guests()) != 0 {
			t.Errorf("%d slots and %d units are still taken", c.Busy, len(p.Guests()))
		}
		if pol.Accepts { // and they can be had
			h.m, h.price, h.slots = me.manifest(1), onePer, 2
			h.hire().Reset()
		}
	})
}

func TestBadLeaseRequestsAreRefused(t *testing.T) {
	foreign := func(h *hirer) *party { return h.hub.party() }
	tests := []struct {
		name string
		want Code
		open func(h *hirer) *open
	}{
		{"manifest is garbage", CodeManifest, func(h *hirer) *open { o := h.request(); o.Manifest = []byte("garbage"); return o }},
		{"another cost table", CodeManifest, func(h *hirer) *open { h.m.Costs = ledger.Digest{1}; return h.request() }},
		{"more memory than lent", CodeManifest, func(h *hirer) *open { h.m.Limits.Memory = 1 << 30; return h.request() }},
		{"more output than lent", CodeManifest, func(h *hirer) *open { h.m.Limits.Output = 1 << 30; return h.request() }},
		{"price below the owner's", CodePrice, func(h *hirer) *open { h.price = ledger.Price{Num: 1, Den: 101}; return h.request() }},
		{"price above the job's ceiling", CodePrice, func(h *hirer) *open { h.m.Ceiling = ledger.Price{Num: 1, Den: 200}; return h.request() }},
		{"price without denominator", CodeManifest, func(h *hirer) *open { h.price = ledger.Price{Num: 1}; return h.request() }},
		{"price that overflows", CodeManifest, func(h *hirer) *open { h.price = ledger.Price{Num: 1 << 63, Den: 1}; return h.request() }},
		{"no slots", CodeProtocol, func(h *hirer) *open { h.slots = -1; return h.request() }},
		{"binding is garbage", CodeRecord, func(h *hirer) *open { o := h.request(); o.Binding = []byte("x"); return o }},
		{"binding of another peer", CodeRecord, func(h *hirer) *open { o := h.request(); o.Binding = foreign(h).binding; return o }},
		{"job of another account", CodeRecord, func(h *hirer) *open { h.m.Account = foreign(h).Book.Account(); return h.request() }},
		{"LOCK is garbage", CodeRecord, func(h *hirer) *open { o := h.request(); o.Lock = bytes.Repeat([]byte{1}, 200); return o }},
		{"LOCK with a flipped bit", CodeRecord, func(h *hirer) *open { o := h.request(); o.Lock[40] ^= 1; return o }},
		{"LOCK for another job", CodeRecord, func(h *hirer) *open { o := h.request(); o.Lock = h.lock(exec.JobID{1}, 1000); return o }},
		{"LOCK that pays another", CodeRecord, func(h *hirer) *open {
			o, host := h.request(), h.host
			h.host = foreign(h)
			o.Lock = h.request().Lock
			h.host = host
			return o
		}},
		{"LOCK of another payer", CodeRecord, func(h *hirer) *open {
			o := h.request()
			other := &hirer{party: foreign(h), host: h.host, m: h.m, price: h.price, slots: 1}
			o.Lock = other.request().Lock
			return o
		}},
		{"LOCK below one unit's worst cost", CodeCredit, func(h *hirer) *open {
			o := h.request()
			_, id, _ := h.m.Encode()
			o.Lock = h.lock(id, 19)
			return o
		}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			withProvider(t, lends(2), func(t *testing.T, h *hirer) {
				s := h.dial()
				h.send(s, frame{Open: c.open(h)})
				h.wantRefusal(s, c.want)
			})
		})
	}
}

func TestFirstFrameMustBeALeaseRequest(t *testing.T) {
	for name, b := range map[string][]byte{"garbage": []byte("\xff\x00garbage"), "heartbeat": emptyFrame, "oversize": make([]byte, MaxFrame+1), "nested": bytes.Repeat([]byte{0x81}, 4096)} {
		t.Run(name, func(t *testing.T) {
			withProvider(t, lends(2), func(t *testing.T, h *hirer) {
				s := h.dial()
				if err := s.WriteFrame(b); err != nil {
					t.Fatal(err)
				}
				h.wantRefusal(s, CodeProtocol)
			})
		})
	}
}

func TestOwnerWhoDoesNotLendRefuses(t *testing.T) {
	withProvider(t, Policy{Why: "paused"}, func(t *testing.T, h *hirer) {
		s := h.dial()
		h.send(s, frame{Open: h.request()})
		h.wantRefusal(s, CodePaused)
	})
}

func TestNoMoreSlotsThanLent(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		first := h.hire()
		other := &hirer{party: h.hub.party(), host: h.host, price: onePer, slots: 1}
		other.m = other.manifest(1)
		s := other.dial()
		other.send(s, frame{Open: other.request()})
		other.wantRefusal(s, CodeBusy)
		first.Reset()
	})
}

func TestOneLockCarriesOneLease(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		h.slots = 1
		h.x.allow(h.host.self, h.m.Program.Hash)
		o := h.request()
		a, b := h.dial(), h.dial()
		h.send(a, frame{Open: o})
		if f := h.answer(a); f.Grant == nil {
			t.Fatalf("no grant: %+v", f.Refuse)
		}
		h.send(b, frame{Open: o})
		h.wantRefusal(b, CodeRecord)
		a.Reset()
	})
}

// Frames that break the rules of a lease end it with their number.
func TestLeaseEndsAtABrokenRule(t *testing.T) {
	many := make([]task, 200)
	for i := range many {
		many[i].Unit = uint64(i)
	}
	tests := []struct {
		name string
		f    frame
		want Code
	}{
		{"a unit twice", frame{Tasks: []task{{Unit: 1}, {Unit: 1}}}, CodeProtocol},
		{"more tasks than the queue holds", frame{Tasks: many}, CodeProtocol},
		{"more tasks, excused by taking back nothing", frame{Tasks: many, Cancel: make([]uint64, 200), Drop: make([]drop, 200)}, CodeProtocol},
		{"a voucher that is garbage", frame{Voucher: []byte("garbage"), Paid: []uint64{1}}, CodeRecord},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			withProvider(t, lends(2), func(t *testing.T, h *hirer) {
				s := h.hire()
				h.send(s, c.f)
				h.wantRefusal(s, c.want)
			})
		})
	}
}

// A unit that was cancelled may come back in the same frame, while its guest still runs.
func TestCancelledUnitMayComeBack(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		s := h.hire()
		h.send(s, frame{Tasks: []task{{Unit: 1}}})
		synctest.Wait() // it runs
		h.send(s, frame{Cancel: []uint64{1}, Drop: []drop{{Unit: 1, Code: CodeLate}}, Tasks: []task{{Unit: 1, Input: exec.Input{Stdin: []byte("again")}}}})
		if f := h.answer(s); len(f.Results) != 1 || string(f.Results[0].Result.Stdout) != "again" {
			t.Errorf("%+v, want the result of the second", f)
		}
		s.Reset()
	})
}

// Bytes that are no frame end a lease; nothing stays behind.
func TestLeaseEndsAtGarbage(t *testing.T) {
	long, err := canon.Marshal(frame{Tasks: []task{{Unit: 1, Input: exec.Input{Stdin: make([]byte, exec.MaxInline+1)}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"garbage": {0xff}, "oversize": make([]byte, MaxFrame+1), "input too long": long} {
		t.Run(name, func(t *testing.T) {
			withProvider(t, lends(2), func(t *testing.T, h *hirer) {
				s := h.hire()
				if err := s.WriteFrame(b); err != nil {
					t.Fatal(err)
				}
				for err == nil {
					_, err = readFrame(s)
				}
			})
			err = nil
		})
	}
}

func TestUnusedLeaseExpires(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		start := time.Now()
		s := h.hire()
		stop := make(chan struct{})
		defer close(stop)
		go func() { // heartbeats alone are no use
			for {
				select {
				case <-stop:
					return
				case <-time.After(heartbeat):
					s.WriteFrame(emptyFrame)
				}
			}
		}()
		h.wantRefusal(s, CodeIdle)
		if took := time.Since(start); took > market.LeaseIdle+2*heartbeat {
			t.Errorf("after %s, want %s", took, market.LeaseIdle)
		}
	})
}

func TestSilentRequesterIsGone(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		s := h.hire()
		h.send(s, frame{Tasks: []task{{Unit: 1}, {Unit: 2}}}) // and never another word: withProvider looks
	})
}

// Without payment no more is shown than the window of a stranger.
func TestUnpaidWorkStopsAtTheWindow(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		s := h.hire()
		h.send(s, frame{Tasks: []task{{Unit: 1}, {Unit: 2}, {Unit: 3}}})
		shown := 0
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			s.WriteFrame(emptyFrame)
			f, err := readFrame(s)
			if err != nil {
				t.Fatal(err)
			}
			shown += len(f.Results)
		}
		if shown != ledger.StartWindow {
			t.Errorf("%d results for a requester that never paid, want %d", shown, ledger.StartWindow)
		}
		s.Reset()
	})
}

// A requester that has every vote decided and never pays gets the window, and a few more the
// longer it waits; then the lease counts as unused.
func TestUnpaidVotesStopNearTheWindow(t *testing.T) {
	withProvider(t, lends(2), func(t *testing.T, h *hirer) {
		h.m = h.manifest(2)
		h.x.allow(h.host.self, h.m.Program.Hash)
		_, id, err := h.m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		lock, err := h.Book.Lock(t.Context(), ledger.LockRequest{Payee: h.host.Book.Account(), Amount: 1000, Evidence: ledger.Digest(id), Expiry: time.Now().Add(10 * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		o := h.request()
		o.Lock = lock.Raw
		s := h.dial()
		h.send(s, frame{Open: o})
		var tasks []task
		for u := range uint64(20) {
			tasks = append(tasks, task{Unit: u})
		}
		h.send(s, frame{Tasks: tasks})
		shown, hidden, code := 0, 0, Code(0)
		for code == 0 {
			s.WriteFrame(emptyFrame) // alive, but a miser
			f, err := readFrame(s)
			if err != nil {
				t.Fatal(err)
			}
			shown += len(f.Results)
			hidden += len(f.Commits)
			var reveal []uint64
			for _, c := range f.Commits {
				reveal = append(reveal, c.Unit)
			}
			if len(reveal) > 0 {
				h.send(s, frame{Reveal: reveal})
			}
			if f.Refuse != nil {
				code = f.Refuse.Code
			}
		}
		if shown < ledger.StartWindow || shown > ledger.StartWindow+7 || code != CodeIdle {
			t.Errorf("%d of %d results shown without pay until the lease ended with %s; want %d to %d, and idle", shown, hidden, code, ledger.StartWindow, ledger.StartWindow+7)
		}
		t.Logf("%d of %d shown", shown, hidden)
		s.Reset()
	})
}

// Hosts that show in the order asked do not wait for each other, even when one is lost in
// the middle of its votes and others take its place.
func TestLostVoterDoesNotLetOthersWait(t *testing.T) {
	var lost atomic.Bool
	runAgainst(t, 2, 3, answersUntilLost(&lost), func(t *testing.T, j node.Job, _ node.JobPeer, _ ledger.Credits) {
		if !lost.Load() {
			t.Error("the host was never lost")
		}
		if took := j.Ended.Sub(j.Created); took > 2*time.Minute {
			t.Errorf("the job took %s", took)
		}
	})
}

// answersUntilLost commits to everything and, asked for the first of it, falls silent.
func answersUntilLost(lost *atomic.Bool) func(*cheat, Stream, *cheatedLease) {
	return func(c *cheat, s Stream, l *cheatedLease) {
		for {
			f, ok := l.next(s)
			if !ok {
				return
			}
			if len(f.Reveal) > 0 {
				lost.Store(true)
				<-c.hub.ctx.Done()
				return
			}
			for _, t := range f.Tasks {
				if writeFrame(s, frame{Commits: []commit{{Unit: t.Unit, Try: t.Try, Hash: ledger.Digest{1}}}}) != nil {
					return
				}
			}
		}
	}
}
