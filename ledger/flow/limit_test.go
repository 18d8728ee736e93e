package flow

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

var (
	mutual = ledger.MutualGenesis("test", 10*ledger.Credit)
	terms  = Terms{Starter: 2 * ledger.Credit, DayBudget: 10 * ledger.Credit}
	noon   = time.Date(2026, 5, 10, 12, 0, 0, 0, time.UTC)
)

func ok[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A node is one account with its ledger in memory.
type node struct {
	*ledger.Book
	key     ledger.Key
	store   *ledgertest.Memory
	genesis ledger.Genesis
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{key: ok(ledger.NewKey())(t), store: ledgertest.NewMemory(), genesis: mutual}
	n.reopen(t)
	return n
}

// reopen is what a killed process finds: all that was committed and nothing else.
func (n *node) reopen(t testing.TB) {
	t.Helper()
	n.Book = ok(ledger.OpenBook(t.Context(), n.store, n.key, n.genesis))(t)
	t.Cleanup(n.Book.Close)
}

// worksFor is one lease in which n does amount for payer, from lock to complete receipt; it returns the
// proof that n can show.
func (n *node) worksFor(t testing.TB, payer *node, amount ledger.Credits) []byte {
	t.Helper()
	ctx := t.Context()
	lock := ok(payer.Lock(ctx, ledger.LockRequest{Payee: n.Account(), Amount: amount, Expiry: time.Now().Add(time.Hour)}))(t)
	ok(n.AcceptLock(ctx, lock.Raw, time.Now()))(t)
	claim := ok(n.Claim(ctx, lock.Digest, 1, amount, ledger.Digest{}))(t)
	voucher := ok(payer.Vouch(ctx, lock.Digest, claim, amount))(t)
	if err := n.Credit(ctx, voucher, 1); err != nil {
		t.Fatal(err)
	}
	earn := ok(n.Earn(ctx, ok(payer.Settle(ctx, lock.Digest))(t)))(t)
	if err := payer.AcknowledgeEarn(ctx, earn); err != nil {
		t.Fatal(err)
	}
	return ok(n.Receipt(lock.Digest))(t).Work()
}

func always(int) bool { return true }

// A taker is an account without a book: it locks, takes what it can get, and never pays.
type taker struct {
	ledger.Key
	head ledger.Head
}

func newTaker(t testing.TB, k ledger.Key) *taker {
	e := ledger.Head{Network: ok(mutual.ID())(t), Account: k.Account()}.Genesis(ledger.Digest{}, noon)
	return &taker{k, ledger.HeadAt(e, e.Digest())}
}

// takes runs a lease at host in which it claims all it may of want, and returns how much.
func (p *taker) takes(t testing.TB, l *Limiter, host *node, want ledger.Credits, now time.Time) ledger.Credits {
	t.Helper()
	c, _, err := l.Open(p.Account(), want, 1, terms, now)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return 0
	}
	defer c.Close()
	entry := p.head.Lock(host.Account(), want, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())
	p.head = ledger.HeadAt(entry, entry.Digest())
	lock := ok(host.AcceptLock(t.Context(), ok(p.SignEntry(entry))(t), time.Now()))(t)
	used, done := c.Claim(c.Limit, now)
	ok(host.ClaimCharged(t.Context(), lock.ID, []ledger.Unit{{Fuel: 1, Amount: c.Limit}}, used))(t)
	done()
	return c.Limit
}

func TestLimitIsFlowAndStarter(t *testing.T) {
	const cr = ledger.Credit
	host, maple, oak, user := newNode(t), newNode(t), newNode(t), newNode(t)
	l := NewLimiter(host)
	names := map[ledger.Account]string{maple.Account(): "maple", oak.Account(): "oak", user.Account(): "user"}
	check := func(when string, want ledger.Credits, text string) {
		t.Helper()
		got := ok(l.Limit(user.Account(), terms, noon))(t)
		if s := got.Text(func(a ledger.Account) string { return names[a] }); got.Total() != want || s != text {
			t.Errorf("%s: %s: %q, want %s: %q", when, got.Total(), s, want, text)
		}
	}
	check("a stranger", 2*cr, "flow 0.00; starter left today 10.00, for this account 2.00")
	proof := user.worksFor(t, maple, 5*cr)
	if err := l.Learn(user.Account(), [][]byte{proof, proof}, always); err != nil {
		t.Fatal(err)
	}
	check("work for somebody unknown", 2*cr, "flow 0.00; starter left today 10.00, for this account 2.00")
	maple.worksFor(t, host, 3*cr)
	check("who has worked here", 5*cr, "flow 3.00 via maple; starter left today 10.00, for this account 2.00")
	user.worksFor(t, host, 1*cr)
	check("and its own work", 6*cr, "flow 4.00 via its own work here, maple; starter left today 10.00, for this account 2.00")
	oak.worksFor(t, host, 1*cr)
	if err := l.Learn(maple.Account(), [][]byte{maple.worksFor(t, oak, 9*cr)}, always); err != nil {
		t.Fatal(err)
	}
	check("three hops", 7*cr, "flow 5.00 via its own work here, maple, oak; starter left today 10.00, for this account 2.00")

	if got := newTaker(t, user.key).takes(t, l, host, 6*cr, noon); got != 6*cr {
		t.Fatalf("took %s", got)
	}
	check("flow is used up first", 1*cr, "flow 0.00; starter left today 9.00, for this account 1.00 (it owes 1.00)")
	host.reopen(t)
	l = NewLimiter(host)
	if err := l.Learn(user.Account(), [][]byte{proof}, always); err != nil {
		t.Fatal(err)
	}
	check("after a kill", 1*cr, "flow 0.00; starter left today 9.00, for this account 1.00 (it owes 1.00)")
	user.worksFor(t, host, 1*cr)
	check("work repays the starter", 2*cr, "flow 0.00; starter left today 9.00, for this account 2.00")
	got := ok(l.Limit(maple.Account(), terms, noon))(t)
	if got.Flow != 0 || got.Starter != 2*cr { // its standing went to the user, who had worked for it
		t.Errorf("maple: %+v", got)
	}
}

func TestLeasesThatStandShareOneLimit(t *testing.T) {
	host, user := newNode(t), newNode(t)
	l := NewLimiter(host)
	user.worksFor(t, host, 1*ledger.Credit)
	one, _, err := l.Open(user.Account(), 2*ledger.Credit, 1, terms, noon)
	if err != nil || one.Limit != 2*ledger.Credit {
		t.Fatalf("%+v, %v", one, err)
	}
	two, _, err := l.Open(user.Account(), 5*ledger.Credit, 1, terms, noon)
	if err != nil || two.Limit != 1*ledger.Credit {
		t.Fatalf("%+v, %v", two, err)
	}
	three, why, err := l.Open(user.Account(), 1, 1, terms, noon)
	if err != nil || three != nil || why.Total() != 0 || why.Owes != 2*ledger.Credit {
		t.Fatalf("%+v, %+v, %v", three, why, err)
	}
	used, done := one.Claim(1_500_000, noon) // claims count while they are under way
	if len(used.Edges) != 1 || used.Edges[0].Amount != 1_500_000 || used.Starter != 500_000 {
		t.Errorf("%+v", used)
	}
	if got := ok(l.Limit(user.Account(), terms, noon))(t); got.Total() != 0 {
		t.Errorf("%+v", got)
	}
	done() // nothing was written: it is free again
	one.Close()
	two.Close()
	if got := ok(l.Limit(user.Account(), terms, noon))(t); got.Total() != 3*ledger.Credit || len(l.held) != 0 || l.starter != 0 {
		t.Errorf("%+v, held %v", got, l.held)
	}
}

// A ledgerOf is a Book in a few maps, for schedules that would take signatures hours.
type ledgerOf struct {
	self ledger.Account
	did  map[ledger.Account]ledger.Credits
	used map[[2]ledger.Account]ledger.Credits
	day  ledger.Day
}

func (b *ledgerOf) Account() ledger.Account              { return b.self }
func (b *ledgerOf) Heir(a ledger.Account) ledger.Account { return a }
func (b *ledgerOf) Network() ledger.Network              { return ledger.Network{} }
func (b *ledgerOf) Standing(a ledger.Account) (ledger.Standing, error) {
	return ledger.Standing{Did: b.did[a]}, nil
}
func (b *ledgerOf) Used(from, to ledger.Account) (ledger.Credits, error) {
	return b.used[[2]ledger.Account{from, to}], nil
}
func (b *ledgerOf) Given() (ledger.Day, error) { return b.day, nil }

func (b *ledgerOf) charge(c ledger.Charges) {
	if c.Starter > 0 {
		b.day = b.day.On(c.Now)
		b.day.Starter += c.Starter
	}
	for _, e := range c.Edges {
		b.used[[2]ledger.Account{e.From, e.To}] += e.Amount
	}
}

// TestNothingIsGivenTwice runs leases of several accounts at once, with claims, crashes, work and a clock
// that goes where it likes. However they are mixed, strangers get no more than the day's budget, what is
// given on flow is covered by work done here, and no account owes more than a starter.
func TestNothingIsGivenTwice(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 3))
		draw := func(lo, hi int) int { return lo + r.IntN(hi-lo+1) }
		b := &ledgerOf{self: account(0), did: map[ledger.Account]ledger.Credits{}, used: map[[2]ledger.Account]ledger.Credits{}}
		terms := Terms{Starter: 5, DayBudget: 12}
		l := NewLimiter(b)
		var works []ledger.Work
		var open []*Credit
		starter := map[int]ledger.Credits{}           // by day
		onFlow := map[ledger.Account]ledger.Credits{} // on the strength of what this account did for us
		now := noon
		who := func() ledger.Account { return account(draw(1, 5)) }
		for range 80 {
			switch draw(0, 6) {
			case 0:
				b.did[who()] += ledger.Credits(draw(1, 9))
			case 1:
				w := ledger.Work{Lock: ledger.Digest{1, byte(len(works)), byte(len(works) >> 8)}, Payer: who(), Payee: who(), Amount: ledger.Credits(draw(1, 99))}
				works = append(works, w)
				l.told.add(w, b.did[w.Payer] > 0)
			case 2:
				c, why, err := l.Open(who(), ledger.Credits(draw(1, 30)), 1, terms, now)
				if err != nil || c != nil && c.Limit > why.Total() {
					t.Fatalf("%+v %+v %v", c, why, err)
				}
				if c != nil {
					open = append(open, c)
				}
			case 3:
				if len(open) == 0 {
					continue
				}
				c := open[draw(0, len(open)-1)]
				used, done := c.Claim(ledger.Credits(draw(0, int(c.Limit))), now)
				b.charge(used)
				done()
				day := int(b.day.Number)
				starter[day] += used.Starter
				for _, e := range used.Edges {
					if e.From == b.self {
						onFlow[e.To] += e.Amount
					}
				}
				onFlow[c.payer] -= used.Starter
			case 4:
				if len(open) > 0 {
					i := draw(0, len(open)-1)
					open[i].Close()
					open = append(open[:i], open[i+1:]...)
				}
			case 5: // killed: only the book is left
				l, open = NewLimiter(b), nil
				for _, w := range works {
					l.told.add(w, true)
				}
			case 6:
				now = now.Add(time.Duration(draw(-20, 30)) * time.Hour)
			}
			for i := range 6 {
				a := account(i)
				if over := b.used[[2]ledger.Account{b.self, a}] - b.did[a]; over > terms.Starter {
					t.Fatalf("%s owes %d", a.Short(), over)
				}
				if onFlow[a] > b.did[a] {
					t.Fatalf("%d given on the strength of %d", onFlow[a], b.did[a])
				}
			}
			for d, s := range starter {
				if s > terms.DayBudget {
					t.Fatalf("day %d: strangers got %d", d, s)
				}
			}
			for k, used := range b.used { // and no edge carried more than it has
				if k[0] != b.self && used > told2(works, k) {
					t.Fatalf("edge %v: %d of %d", k, used, told2(works, k))
				}
			}
		}
		for _, c := range open {
			c.Close()
		}
		if len(l.held) != 0 || l.starter != 0 {
			t.Fatalf("held for nobody: %v, %d", l.held, l.starter)
		}
	}
}

func told2(works []ledger.Work, k [2]ledger.Account) (sum ledger.Credits) {
	for _, w := range works {
		if w.Payer == k[0] && w.Payee == k[1] {
			sum += w.Amount
		}
	}
	return sum
}

func TestWhatIsToldIsBounded(t *testing.T) {
	d := newTold()
	for i := range 2*MaxTold + 5 {
		d.add(ledger.Work{Lock: ledger.Digest{byte(i), byte(i >> 8), byte(i >> 16)}, Payer: account(i), Payee: account(i + 1), Amount: 3}, false)
	}
	friend := ledger.Work{Lock: ledger.Digest{1}, Payer: account(-1), Payee: account(-2), Amount: 7}
	d.add(friend, true)
	d.add(friend, true)
	if len(d.known) != MaxTold+1 || d.graph.Len() != MaxTold+1 || len(d.far.works) != MaxTold || len(d.near.works) != 1 {
		t.Errorf("%d known, %d edges", len(d.known), d.graph.Len())
	}
	for i := range MaxTold { // strangers push out strangers only
		d.add(ledger.Work{Lock: ledger.Digest{9, byte(i), byte(i >> 8)}, Payer: account(i), Payee: account(i + 7), Amount: 3}, false)
	}
	if !d.known[keyOf(friend)] || len(d.known) != MaxTold+1 {
		t.Error("strangers pushed out what a counterparty signed")
	}
}

func TestReasonStaysShort(t *testing.T) {
	l := Limit{Flow: 5 * ledger.Credit, Today: ledger.Credit, Starter: ledger.Credit}
	for i := range 500 {
		l.Paths = append(l.Paths, Path{Via: []ledger.Account{account(i)}, Amount: 1})
	}
	s := l.Text(func(a ledger.Account) string { return fmt.Sprintf("node-%x", a[18:]) })
	if want := "flow 5.00 via node-0000, node-0001, node-0002, 497 more; starter left today 1.00"; s != want {
		t.Errorf("%q", s)
	}
	if !strings.HasPrefix((Limit{}).Text(nil), "flow 0.00; starter left today 0.00") {
		t.Error((Limit{}).Text(nil))
	}
}
