package job

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// A wiretap is a network that shows what its node answers to those who open streams.
type wiretap struct {
	*link
	hear func(to Stream, f frame)
}

func (w wiretap) Handle(id string, limit int, serve func(context.Context, Stream)) {
	w.link.Handle(id, limit, func(ctx context.Context, s Stream) { serve(ctx, tapped{s, w.hear}) })
}

type tapped struct {
	Stream
	hear func(to Stream, f frame)
}

func (s tapped) WriteFrame(payloads ...[]byte) error {
	for _, b := range payloads {
		var f frame
		if canon.Unmarshal(b, &f) == nil {
			s.hear(s.Stream, f)
		}
	}
	return s.Stream.WriteFrame(payloads...)
}

// overheard is what was on the wire, by unit.
type overheard struct {
	mu      sync.Mutex // guards what follows
	commits map[uint64][]ledger.Digest
	results map[uint64][]result
	changed chan struct{} // closed and replaced
}

func listen() *overheard {
	return &overheard{commits: map[uint64][]ledger.Digest{}, results: map[uint64][]result{}, changed: make(chan struct{})}
}

func (o *overheard) hear(_ *party, _ Stream, f frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range f.Commits {
		o.commits[c.Unit] = append(o.commits[c.Unit], c.Hash)
	}
	for _, r := range f.Results {
		o.results[r.Unit] = append(o.results[r.Unit], r)
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

// count runs f with the lock held.
func (o *overheard) count(f func()) { o.mu.Lock(); f(); o.mu.Unlock() }

// first waits for the first of what was heard of a unit; it gives up with the lease.
func first[T any](o *overheard, heard map[uint64][]T, unit uint64, over <-chan struct{}) (x T, ok bool) {
	for {
		o.mu.Lock()
		if ok = len(heard[unit]) > 0; ok {
			x = heard[unit][0]
		}
		changed := o.changed
		o.mu.Unlock()
		if ok {
			return x, true
		}
		select {
		case <-changed:
		case <-over:
			return x, false
		}
	}
}

// copies serves a lease by do, which may go on until the lease is over.
func copies(s Stream, l *cheatedLease, do func(f frame, over <-chan struct{})) {
	defer beating(s)()
	over := make(chan struct{})
	defer close(over)
	for f, ok := l.next(s); ok; f, ok = l.next(s) {
		do(f, over)
	}
}

// TestAttack20ResultCopying: a host that overhears all that the others send, and computes nothing. With their
// commitments it has nothing to show, since each is bound to its worker and lease, not even once the others have
// shown their nonces; and no result is shown to anybody before it has committed itself. It earns nothing, and every
// result is right: runOverheard checks that.
func TestAttack20ResultCopying(t *testing.T) {
	t.Run("commitments", func(t *testing.T) {
		o, shown := listen(), 0
		runOverheard(t, 2, 2, o.hear, func(c *cheat, s Stream, l *cheatedLease) {
			copies(s, l, func(f frame, over <-chan struct{}) {
				for _, task := range f.Tasks {
					go func() { // the first to commit is copied, and when all must show, whoever shows first
						if hash, ok := first(o, o.commits, task.Unit, over); ok {
							writeFrame(s, frame{Commits: []commit{{task.Unit, hash, task.Try}}})
						}
					}()
				}
				for _, u := range f.Reveal {
					if x, ok := first(o, o.results, u, over); ok {
						o.count(func() { shown++ })
						writeFrame(s, c.sign(l, 1, x))
					}
				}
			})
		}, func(t *testing.T, j node.Job, p node.JobPeer, earned ledger.Credits) {
			unpaid("bad")(t, j, p, earned)
			if o.count(func() {}); shown == 0 {
				t.Error("it was never asked to show a copied commitment")
			}
		})
	})
	t.Run("results", func(t *testing.T) {
		o, asked := listen(), map[uint64]bool{}
		runOverheard(t, 2, 2, o.hear, func(c *cheat, s Stream, l *cheatedLease) {
			copies(s, l, func(f frame, over <-chan struct{}) {
				for _, task := range f.Tasks {
					o.count(func() { asked[task.Unit] = true })
					go func() { // waits for a result, to commit to the same
						if x, ok := first(o, o.results, task.Unit, over); ok {
							writeFrame(s, frame{Commits: []commit{c.commitToTry(l, x, task.Try)}})
						}
					}()
				}
				if len(f.Reveal) > 0 {
					c.t.Errorf("the copier was asked to show %v", f.Reveal)
				}
			})
		}, func(t *testing.T, j node.Job, p node.JobPeer, earned ledger.Credits) {
			unpaid("")(t, j, p, earned)
			if o.count(func() {}); len(asked) == 0 {
				t.Error("the copier got no unit")
			}
		})
	})
}

// TestAttack21GuessingSmallResults: a result of one bit cannot be told from its commitment, though both candidates
// are known; with the nonce it can, which is shown only when all have committed. Equal results have commitments that
// differ, and a nonce opens only that commitment which it was drawn for.
func TestAttack21GuessingSmallResults(t *testing.T) {
	type seen struct {
		unit   uint64
		hash   ledger.Digest
		worker ledger.Account
	}
	var mu sync.Mutex // guards what follows
	var commits []seen
	nonces := map[ledger.Account]map[uint64]result{}
	var network ledger.Network
	locks := map[ledger.Account]ledger.Digest{}
	guess := func(s seen, bit byte, n farm.Nonce) bool {
		r := exec.Result{Status: exec.Exited, Stdout: []byte{bit}, Fuel: unitFuel}
		return farm.CheckReveal(s.hash, network, locks[s.worker], s.unit, s.worker, n, r.Digest(), unitFuel)
	}
	runOverheard(t, 2, 3, func(p *party, _ Stream, f frame) {
		mu.Lock()
		defer mu.Unlock()
		network = p.Book.Network()
		for _, l := range p.Book.OpenLocks() {
			locks[p.Book.Account()] = l.ID
		}
		for _, c := range f.Commits {
			commits = append(commits, seen{c.Unit, c.Hash, p.Book.Account()})
		}
		for _, r := range f.Results {
			if nonces[p.Book.Account()] == nil {
				nonces[p.Book.Account()] = map[uint64]result{}
			}
			nonces[p.Book.Account()][r.Unit] = r
		}
	}, beat, func(t *testing.T, _ node.Job, _ node.JobPeer, _ ledger.Credits) {
		hashes, opened := map[ledger.Digest]bool{}, 0
		for i, s := range commits {
			if hashes[s.hash] {
				t.Errorf("two commitments are equal: %s", s.hash)
			}
			hashes[s.hash] = true
			for bit := range byte(hostileUnits + 1) { // unit u gives the byte u+1
				if guess(s, bit, farm.Nonce{}) {
					t.Errorf("unit %d: the result %d was guessed", s.unit, bit)
				}
				if other := commits[(i+1)%len(commits)]; other != s {
					if r, ok := nonces[other.worker][other.unit]; ok && guess(s, bit, farm.Nonce(r.Nonce)) {
						t.Errorf("unit %d: the nonce of another commitment opens it", s.unit)
					}
				}
			}
			if r, ok := nonces[s.worker][s.unit]; ok && guess(s, byte(s.unit)+1, farm.Nonce(r.Nonce)) {
				opened++
			}
		}
		if opened < hostileUnits { // else the guesses above were of something else
			t.Errorf("%d of %d commitments open with their own nonce", opened, len(commits))
		}
	})
}

// A commitment that was made for another unit, worker, lease or network, or with a nonce of another length, cannot be
// revealed, though result and nonce are right.
func TestReusedNonceIsNotPaid(t *testing.T) {
	type made struct {
		network ledger.Network
		lock    ledger.Digest
		unit    uint64
		worker  ledger.Account
		nonce   []byte
	}
	for name, spoil := range map[string]func(*made){
		"another unit":    func(m *made) { m.unit++ },
		"another worker":  func(m *made) { m.worker[0]++ },
		"another lease":   func(m *made) { m.lock[0]++ },
		"another network": func(m *made) { m.network[0]++ },
		"no nonce":        func(m *made) { m.nonce = nil },
		"a short nonce":   func(m *made) { m.nonce = m.nonce[:31] },
		"a long nonce":    func(m *made) { m.nonce = append(m.nonce, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			runAgainst(t, 2, 2, func(c *cheat, s Stream, l *cheatedLease) {
				defer beating(s)()
				for f, ok := l.next(s); ok; f, ok = l.next(s) {
					for _, task := range f.Tasks {
						x := right(task)
						m := made{c.Book.Network(), l.lock.ID, task.Unit, c.Book.Account(), make([]byte, 32)}
						spoil(&m)
						hash := farm.Commitment(m.network, m.lock, m.unit, m.worker, farm.Nonce{}, x.Digest, x.Result.Fuel)
						writeFrame(s, frame{Commits: []commit{{task.Unit, hash, task.Try}}})
					}
					for _, u := range f.Reveal {
						i := slices.IndexFunc(l.tasks, func(t task) bool { return t.Unit == u })
						x, m := right(l.tasks[i]), made{nonce: make([]byte, 32)}
						spoil(&m)
						x.Nonce = m.nonce
						writeFrame(s, c.sign(l, 1, x))
					}
				}
			}, unpaid("bad"))
		})
	}
}

// TestAttack24OverchargedFuel: a host that says it used a tenth more fuel gets no voucher, whether the units are
// voted on or checked by chance, since fuel is part of the vote and a new host is always checked; one whose claim is
// a tenth above what its results cost gets none either, even without voting.
func TestAttack24OverchargedFuel(t *testing.T) {
	more := votes(func(_ *cheat, t task) result {
		x := right(t)
		x.Result.Fuel += x.Result.Fuel / 10
		x.Digest = x.Result.Digest()
		return x
	}, nil)
	for _, v := range []exec.Verify{2, exec.VerifyAuto} {
		t.Run("verify "+v.String(), func(t *testing.T) { runAgainst(t, v, 2, more, unpaid("bad")) })
	}
	t.Run("claim", func(t *testing.T) {
		runAgainst(t, 1, 1, answers(func(c *cheat, l *cheatedLease, t task) frame {
			x := right(t)
			cost, err := onePer.Cost(unitFuel)
			if err != nil {
				c.t.Error(err)
			}
			claim, err := c.Book.ClaimMany(context.Background(), l.lock.ID, []ledger.Unit{{Fuel: unitFuel, Amount: cost + cost/10, Result: x.Digest}})
			if err != nil {
				c.t.Error(err)
			}
			return frame{Results: []result{x}, Claim: claim}
		}), unpaid("bad"))
	})
}
