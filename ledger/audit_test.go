package ledger_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// settled is a pair after a lease that paid amount.
func settledPair(t *testing.T, amount ledger.Credits) *pair {
	t.Helper()
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, amount)
	earn := ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
	if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
	return p
}

func audit(t *testing.T, books ...*ledger.Book) *ledger.Audit {
	t.Helper()
	a := ok(ledger.NewAudit(network))(t)
	for _, b := range books {
		if err := a.Book(b); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// entries are a book's own, in order.
func entries(t *testing.T, b *ledger.Book) (out [][]byte) {
	t.Helper()
	if err := b.Entries(0, 0, func(raw []byte) bool { out = append(out, append([]byte(nil), raw...)); return true }); err != nil {
		t.Fatal(err)
	}
	return out
}

// wantProblem checks that the report has one problem, of this kind, at this entry of account.
func wantProblem(t *testing.T, a *ledger.Audit, kind string, account ledger.Account, seq uint64) *ledger.AuditProblem {
	t.Helper()
	r := a.Report()
	if len(r.Problems) != 1 {
		t.Fatalf("problems %v, want one, %s", r.Problems, kind)
	}
	p := r.Problems[0]
	if p.Kind != kind || p.Account != account || p.Seq != seq {
		t.Fatalf("%s at entry %d of %s (%v), want %s at entry %d of %s", p.Kind, p.Seq, p.Account, p, kind, seq, account)
	}
	if _, err := a.Check(); err == nil || err.Error() != p.Error() {
		t.Errorf("Check says %v, the report %v", err, p)
	}
	return p
}

func TestAuditOfAllBooksAddsUp(t *testing.T) {
	p := settledPair(t, 2*ledger.Credit)
	for range 2 { // the same books again change nothing
		a := audit(t, p.user, p.host, p.user)
		r := a.Report()
		if len(r.Problems) != 0 || r.Net() != 0 || r.InTransit != 0 || r.Outside != 0 || r.Outsiders != 0 ||
			r.Totals.Accounts != 2 || r.Entries != 5 || r.Earned != 2*ledger.Credit || r.Spent != 2*ledger.Credit {
			t.Errorf("%+v", r)
		}
		for _, x := range r.Accounts {
			if x.Behind != 0 {
				t.Errorf("%s is behind by %d", x.Head.Account, x.Behind)
			}
		}
	}
}

func TestAuditOfOneBookTellsWhatWentOutside(t *testing.T) {
	p := settledPair(t, 2*ledger.Credit)
	if r := audit(t, p.user).Report(); len(r.Problems) != 0 || r.Net() != -2*ledger.Credit || r.Outside != 2*ledger.Credit || r.Outsiders != 1 || r.InTransit != 0 {
		t.Errorf("user alone: %+v", r)
	}
	if r := audit(t, p.host).Report(); len(r.Problems) != 0 || r.Net() != 2*ledger.Credit || r.Outside != -2*ledger.Credit || r.Outsiders != 1 {
		t.Errorf("host alone: %+v", r)
	}
}

func TestAuditFindsAForkTowardsSomebodyElse(t *testing.T) {
	p := settledPair(t, 2*ledger.Credit)
	// The user's own ledger tells another story for place 1 than the host was told.
	own := entries(t, p.user)
	lock := ok(ledger.ParseEntry(own[1]))(t)
	lock.Amount, lock.Locked = lock.Amount-1, lock.Locked-1
	twin := ok(p.userKey.SignEntry(lock))(t)
	a := ok(ledger.NewAudit(network))(t)
	a.From("user")
	for _, raw := range [][]byte{own[0], twin} {
		if err := a.Entry(raw); err != nil {
			t.Fatal(err)
		}
	}
	a.From("host")
	err := a.Book(p.host)
	var fork *ledger.ForkError
	if !errors.As(err, &fork) {
		t.Fatalf("%v, want a fork", err)
	}
	for _, raw := range [][]byte{fork.A, fork.B} { // the proof stands on its own
		if e, _, err := ledger.VerifyEntry(raw); err != nil || e.Account != p.user.Account() || e.Seq != 1 {
			t.Errorf("proof: entry %d of %s, %v", e.Seq, e.Account, err)
		}
	}
	if string(fork.A) == string(fork.B) {
		t.Error("the proof is one record twice")
	}
	if x := wantProblem(t, a, ledger.ProblemFork, p.user.Account(), 1); x.SourceA != "user" || x.SourceB != "host" {
		t.Errorf("from %q and %q", x.SourceA, x.SourceB)
	}
}

func TestAuditNamesTheExactEntry(t *testing.T) {
	p := settledPair(t, 2*ledger.Credit)
	host, user := entries(t, p.host), entries(t, p.user)
	t.Run("credit out of nothing", func(t *testing.T) {
		e := ok(ledger.ParseEntry(host[1]))(t)
		head := ledger.HeadAt(e, e.Digest())
		lock := ledger.Entry{Network: e.Network, Account: p.user.Account(), Peer: p.host.Account(), Amount: 5}
		raw := ok(p.hostKey.SignEntry(head.Earn(lock, 5, 1, 1, ledger.Digest{9}, 0, time.Now())))(t)
		a := audit(t, p.user, p.host)
		if err := a.Entry(raw); err != nil {
			t.Fatal(err)
		}
		wantProblem(t, a, ledger.ProblemUnbacked, p.host.Account(), 2)
	})
	t.Run("more than the settle", func(t *testing.T) {
		e := ok(ledger.ParseEntry(host[1]))(t)
		e.Amount, e.Earned = e.Amount+1, e.Earned+1
		a := audit(t, p.user)
		a2 := ok(ledger.NewAudit(network))(t)
		for _, raw := range [][]byte{user[0], user[1], user[2], host[0], ok(p.hostKey.SignEntry(e))(t)} {
			if err := a2.Entry(raw); err != nil {
				t.Fatal(err)
			}
		}
		wantProblem(t, a2, ledger.ProblemUnbacked, p.host.Account(), 1)
		if err := a.Entry(ok(p.hostKey.SignEntry(e))(t)); err == nil {
			t.Error("the user's receipt holds the earn it was sent, and the other one was taken as well")
		}
	})
	t.Run("a second earn of a lock", func(t *testing.T) {
		third := newKey(t)
		e := ok(ledger.ParseEntry(host[1]))(t)
		head := ledger.Head{Network: e.Network, Account: third.Account()}
		g := head.Genesis(ledger.Digest{}, e.Time())
		lock := ok(ledger.ParseEntry(user[1]))(t)
		a := audit(t, p.user, p.host)
		for _, x := range []ledger.Entry{g, ledger.HeadAt(g, g.Digest()).Earn(lock, e.Amount, 1, 1, e.Evidence, 0, e.Time())} {
			if err := a.Entry(ok(third.SignEntry(x))(t)); err != nil {
				t.Fatal(err)
			}
		}
		kinds := map[string]bool{}
		for _, x := range a.Report().Problems {
			kinds[x.Kind] = true
		}
		if !kinds[ledger.ProblemEarnedTwice] || !kinds[ledger.ProblemUnbacked] || !kinds[ledger.ProblemSum] {
			t.Errorf("found only %v", kinds)
		}
	})
	t.Run("wrong totals", func(t *testing.T) {
		e := ok(ledger.ParseEntry(host[1]))(t)
		e.Earned += 3
		a := ok(ledger.NewAudit(network))(t)
		for _, raw := range [][]byte{host[0], ok(p.hostKey.SignEntry(e))(t)} {
			if err := a.Entry(raw); err != nil {
				t.Fatal(err)
			}
		}
		wantProblem(t, a, ledger.ProblemChain, p.host.Account(), 1)
	})
	t.Run("a hole", func(t *testing.T) {
		a := ok(ledger.NewAudit(network))(t)
		for _, raw := range [][]byte{user[0], user[2]} {
			if err := a.Entry(raw); err != nil {
				t.Fatal(err)
			}
		}
		wantProblem(t, a, ledger.ProblemMissing, p.user.Account(), 2)
	})
	t.Run("not signed", func(t *testing.T) {
		bad := append([]byte(nil), user[1]...)
		bad[len(bad)-10] ^= 1
		a := ok(ledger.NewAudit(network))(t)
		if err := a.Entry(bad); err == nil {
			t.Fatal("taken")
		}
		if r := a.Report(); len(r.Problems) != 1 || r.Problems[0].Kind != ledger.ProblemInvalid {
			t.Errorf("%v", r.Problems)
		}
	})
	t.Run("another network", func(t *testing.T) {
		a := ok(ledger.NewAudit(ledger.MutualGenesis("other", 1)))(t)
		var other *ledger.NetworkError
		if err := a.Book(p.user); !errors.As(err, &other) {
			t.Errorf("%v", err)
		}
	})
}

func TestAuditConvictsWhoSettlesBelowItsVoucher(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, 2*ledger.Credit)
	lock := ok(ledger.ParseEntry(p.lockRaw))(t)
	low := ledger.HeadAt(lock, lock.Digest()).Settle(lock, ledger.Credit, 1000, 1, ledger.Digest{1}, time.Now())
	if _, err := p.host.Earn(t.Context(), ok(p.userKey.SignEntry(low))(t)); err == nil {
		t.Fatal("the host did not see it")
	}
	a := audit(t, p.host)
	x := wantProblem(t, a, ledger.ProblemUnderSettled, p.user.Account(), 2)
	if _, _, err := ledger.VerifyEntry(x.A); err != nil {
		t.Error(err)
	}
	if v, err := ledger.VerifyVoucher(x.B, p.user.Account()); err != nil || v.Amount != 2*ledger.Credit {
		t.Errorf("%+v, %v", v, err)
	}
}

// An export that is older than what others have of the account is no cheating.
func TestAuditTellsWhichLedgerIsBehind(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	before := entries(t, p.user)
	p.unit(t, ledger.Credit)
	ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
	a := audit(t, p.host)
	for _, raw := range before {
		if err := a.Entry(raw); err != nil {
			t.Fatal(err)
		}
	}
	r := a.Report()
	if len(r.Problems) != 0 || r.InTransit != -ledger.Credit {
		t.Errorf("%+v %v", r.Totals, r.Problems)
	}
	for _, x := range r.Accounts {
		if want := x.Head.Account == p.user.Account(); (x.Behind == 1) != want {
			t.Errorf("%s is behind by %d", x.Head.Account, x.Behind)
		}
	}
}

// An entry that takes over a chain which is not the signer's to take hides nothing from the audit: not that of the chain it
// stands in, nor that of two which take each other over, nor that of a second heir.
func TestNoChainEscapesTheAuditAsAnHeir(t *testing.T) {
	id := ok(network.ID())(t)
	type chain struct {
		key  ledger.Key
		head ledger.Head
	}
	begin := func(a *ledger.Audit) *chain {
		c := &chain{key: newKey(t)}
		e := ledger.Head{Network: id, Account: c.key.Account()}.Genesis(ledger.Digest{}, time.Now())
		c.head = ledger.HeadAt(e, e.Digest())
		if err := a.Entry(ok(c.key.SignEntry(e))(t)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	// seize adds an entry by which c takes over from account, or says so.
	seize := func(a *ledger.Audit, c *chain, account ledger.Account) {
		e := ledger.Head{Network: id, Account: account, Len: 9, Seq: 8, Digest: ledger.Digest{1}}.Recover(c.key.Account(), ledger.Digest{}, time.Now())
		if err := a.Entry(ok(c.key.SignEntry(e))(t)); err != nil {
			t.Fatal(err)
		}
	}
	for name, do := range map[string]func(a *ledger.Audit) []*chain{
		"its own": func(a *ledger.Audit) []*chain { c := begin(a); seize(a, c, c.key.Account()); return []*chain{c} },
		"each other": func(a *ledger.Audit) []*chain {
			x, y := begin(a), begin(a)
			seize(a, x, y.key.Account())
			seize(a, y, x.key.Account())
			return []*chain{x, y}
		},
		"an honest one, twice": func(a *ledger.Audit) []*chain {
			honest, x, y := begin(a), begin(a), begin(a)
			seize(a, x, honest.key.Account())
			seize(a, y, honest.key.Account())
			return []*chain{x, y}
		},
	} {
		a := ok(ledger.NewAudit(network))(t)
		cheats := do(a)
		r := a.Report()
		for _, c := range cheats {
			if !slices.ContainsFunc(r.Problems, func(p *ledger.AuditProblem) bool { return p.Account == c.key.Account() }) {
				t.Errorf("%s: %s is not named: %v", name, c.key.Account(), r.Problems)
			}
		}
	}
}
