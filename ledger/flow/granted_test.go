package flow

import (
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// In a granted network the limit is the least of lock, free balance as far as grants were shown for it, and tentative cap.
func TestGrantedLimitIsTheLeastOfThree(t *testing.T) {
	ctx := t.Context()
	key := func() ledger.Key { return ok(ledger.NewKey())(t) }
	name := func(a ledger.Account) string { return a.Short() }
	terms := Terms{Tentative: 50}
	mint, payer := key(), key()
	genesis := ledger.GrantedGenesis("org", ledger.Mint{Account: mint.Account(), Cap: 1000})
	issuer, err := ledger.OpenIssuer(ledgertest.NewMemory(), nil, mint, genesis)
	if err != nil {
		t.Fatal(err)
	}
	host, err := ledger.OpenBook(ctx, ledgertest.NewMemory(), key(), genesis)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	g := NewGranted(host)
	if l, err := g.Limit(payer.Account(), terms, noon); err != nil || l.Total() != 0 || !strings.HasPrefix(l.Text(name), "no balance of it was seen yet") {
		t.Errorf("%s, %v", l.Text(name), err)
	}
	for range 2 {
		if _, err := issuer.Grant(ctx, payer.Account(), 40); err != nil {
			t.Fatal(err)
		}
	}
	grants, err := issuer.Pending(10, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The payer's chain: 80 granted, 10 spent, 5 locked elsewhere, then the lock shown here.
	lock := func(seq uint64, amount ledger.Credits) ledger.Entry {
		return ledger.Entry{Type: ledger.TypeLock, Network: host.Network(), Account: payer.Account(), Seq: seq, Peer: host.Account(), Amount: amount,
			Granted: 80, Spent: 10, Locked: 5 + amount, TimeMs: uint64(time.Now().UnixMilli()), ExpiryMs: uint64(time.Now().Add(time.Hour).UnixMilli())}
	}
	if c, why, err := g.Open(lock(5, 30), 1, terms, noon); c != nil || err != nil || why.Unbacked != 80 || why.Total() != 0 {
		t.Errorf("nothing shown: %s, %v", why.Text(name), err)
	}
	if _, err := host.LearnGrant(ctx, grants[0].Raw); err != nil {
		t.Fatal(err)
	}
	c, why, err := g.Open(lock(5, 30), 1, terms, noon) // 65 free, 40 of it not shown
	if err != nil || c == nil || c.Limit != 25 || why.Text(name) != "free balance 0.000065, granted 0.00008 (no grant was shown for 0.00004); unwitnessed, so at most 0.00005 at a time" {
		t.Fatalf("half shown: %+v, %s, %v", c, why.Text(name), err)
	}
	c.Close()
	if _, err := host.LearnGrant(ctx, grants[1].Raw); err != nil {
		t.Fatal(err)
	}
	first, _, err := g.Open(lock(5, 30), 1, terms, noon)
	if err != nil || first == nil || first.Limit != 30 {
		t.Fatalf("%+v, %v", first, err)
	}
	second, why, err := g.Open(lock(6, 35), 1, terms, noon)
	if err != nil || second == nil || second.Limit != 20 || why.Held != 30 {
		t.Fatalf("the cap is for all leases together: %+v, %s, %v", second, why.Text(name), err)
	}
	if third, why, err := g.Open(lock(7, 10), 1, terms, noon); third != nil || err != nil || why.Total() != 0 {
		t.Errorf("%s, %v", why.Text(name), err)
	}
	used, done := second.Claim(20, noon)
	if done(); len(used.Edges) != 1 || used.Edges[0] != (ledger.Charge{From: host.Account(), To: payer.Account(), Amount: 20}) || used.Starter != 0 {
		t.Errorf("what the grants give is used once: %+v", used)
	}
	first.Close()
	first.Close()
	second.Close()
	if again, _, err := g.Open(lock(5, 30), 1, terms, noon); err != nil || again == nil || again.Limit != 30 {
		t.Errorf("what was closed is free again: %+v, %v", again, err)
	}
}

// What a quorum of witnesses has signed is neither capped nor asked for its grants.
func TestWitnessedLimitIsTheFreeBalance(t *testing.T) {
	witness, payer := ok(ledger.NewKey())(t), ok(ledger.NewKey())(t)
	host := &node{key: ok(ledger.NewKey())(t), store: ledgertest.NewMemory(), genesis: ledger.GrantedGenesis("org", ledger.Mint{Account: witness.Account(), Cap: 1000}).Witnessed(witness.Account())}
	host.reopen(t)
	name := func(a ledger.Account) string { return a.Short() }
	g := NewGranted(host)
	if l, err := g.Limit(payer.Account(), Terms{}, noon); err != nil || l.Total() != 0 || l.Text(name) != "no balance of it was seen yet; witnessed" {
		t.Errorf("%s, %v", l.Text(name), err)
	}
	h := ledger.Head{Network: host.Network(), Account: payer.Account(), Len: 5, Seq: 4, Digest: ledger.Digest{1}, Granted: 80, Spent: 10}
	lock := h.Lock(host.Account(), 30, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())
	signed := ok(host.genesis.Certify(ok(witness.SignStatement(ledger.StatementOn(witness.Account(), lock, lock.Digest())))(t)))(t)
	ok(host.AcceptWitnessed(t.Context(), ok(payer.SignEntry(lock))(t), signed.Encode(), time.Now()))(t)
	if l, err := g.Limit(payer.Account(), Terms{}, noon); err != nil || l.Total() != 40 || l.Text(name) != "free balance 0.00004, granted 0.00008; witnessed" {
		t.Errorf("%s, %v", l.Text(name), err)
	}
}

// An org is a mint with its members, and what each of them was granted.
type org struct {
	genesis ledger.Genesis
	issuer  *ledger.Issuer
	grants  map[ledger.Account][]byte
}

func newOrg(t testing.TB) *org {
	t.Helper()
	mint := ok(ledger.NewKey())(t)
	o := &org{genesis: ledger.GrantedGenesis("org", ledger.Mint{Account: mint.Account(), Cap: 1000 * ledger.Credit}), grants: map[ledger.Account][]byte{}}
	o.issuer = ok(ledger.OpenIssuer(ledgertest.NewMemory(), nil, mint, o.genesis))(t)
	return o
}

// member is one that was granted amount, if that is above zero.
func (o *org) member(t testing.TB, amount ledger.Credits) *node {
	t.Helper()
	n := &node{key: ok(ledger.NewKey())(t), store: ledgertest.NewMemory(), genesis: o.genesis}
	n.reopen(t)
	if amount > 0 {
		ok(o.issuer.Grant(t.Context(), n.Account(), amount))(t)
		o.grants[n.Account()] = ok(o.issuer.Pending(1, func(a ledger.Account) bool { return a == n.Account() }))(t)[0].Raw
		ok(n.ClaimGrant(t.Context(), o.grants[n.Account()]))(t)
	}
	return n
}

// grantTerms are those of a host in an organisation's network.
var grantTerms = Terms{Starter: 2 * ledger.Credit, DayBudget: 10 * ledger.Credit, Tentative: 5 * ledger.Credit}

// takesGranted is taker.takes in a granted network. The payer says that it was granted and earned so much; then it
// settles, so that nothing stays tentative.
func takesGranted(t testing.TB, g *Granted, host *node, k ledger.Key, granted, earned, want ledger.Credits) ledger.Credits {
	t.Helper()
	ctx := t.Context()
	h := ledger.Head{Network: host.Network(), Account: k.Account(), Len: 5, Seq: 4, Digest: ledger.Digest{1}, Granted: granted, Earned: earned}
	entry := h.Lock(host.Account(), want, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())
	c, _, err := g.Open(entry, 1, grantTerms, noon)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return 0
	}
	defer c.Close()
	lock := ok(host.AcceptLock(ctx, ok(k.SignEntry(entry))(t), time.Now()))(t)
	used, done := c.Claim(c.Limit, noon)
	raw := ok(host.ClaimCharged(ctx, lock.ID, []ledger.Unit{{Fuel: 1, Amount: c.Limit}}, used))(t)
	done()
	claim := ok(ledger.ParseClaim(raw))(t)
	voucher := ledger.Voucher{Network: host.Network(), Lock: lock.ID, K: 1, Amount: c.Limit, Claim: claim.Digest()}
	if err := host.Credit(ctx, ok(k.SignVoucher(voucher))(t), 1); err != nil {
		t.Fatal(err)
	}
	settle := ledger.HeadAt(entry, entry.Digest()).Settle(entry, c.Limit, 1, 1, voucher.Digest(), time.Now())
	ok(host.Earn(ctx, ok(k.SignEntry(settle))(t)))(t)
	return c.Limit
}

// TestAttack16SybilNewcomersOfAGrantedNetwork: identities that nobody granted anything say that they earned a
// fortune, of each other, and pay with it. All that they get together is the day's budget, and a member's grant is
// accepted once, whoever it is said to have paid.
func TestAttack16SybilNewcomersOfAGrantedNetwork(t *testing.T) {
	const fortune, want = 1_000_000 * ledger.Credit, 4 * ledger.Credit
	o := newOrg(t)
	host, member := o.member(t, 0), o.member(t, 3*ledger.Credit)
	g := NewGranted(host)
	var got ledger.Credits
	for i := range 100 {
		if i == 50 { // killed in the middle
			host.reopen(t)
			g = NewGranted(host)
		}
		k, friend := ok(ledger.NewKey())(t), ok(ledger.NewKey())(t)
		if err := g.Learn(k.Account(), [][]byte{inventIn(t, o.genesis, friend, k, fortune)}, always); err != nil {
			t.Fatal(err)
		}
		got += takesGranted(t, g, host, k, 0, fortune, want)
	}
	if got != grantTerms.DayBudget {
		t.Errorf("100 identities paid with %s that no mint granted, want the day's %s", got, grantTerms.DayBudget)
	}
	if err := host.LearnGrants(t.Context(), [][]byte{o.grants[member.Account()]}); err != nil {
		t.Fatal(err)
	}
	got = 0
	for range 20 { // the member signs for each of them that it paid it a fortune
		k := ok(ledger.NewKey())(t)
		if err := g.Learn(k.Account(), [][]byte{inventIn(t, o.genesis, member.key, k, fortune)}, always); err != nil {
			t.Fatal(err)
		}
		got += takesGranted(t, g, host, k, 0, fortune, want)
	}
	if got != 3*ledger.Credit {
		t.Errorf("on one grant of 3 cr %s were paid", got)
	}
}

// What a member earned of another, who was granted it, counts where neither of them has worked; and it counts where the
// host hears of the grant only later.
func TestEarnedCreditCountsAsFarAsItWasGranted(t *testing.T) {
	o := newOrg(t)
	host, payer, worker := o.member(t, 0), o.member(t, 20*ledger.Credit), o.member(t, 0)
	g := NewGranted(host)
	work := worker.worksFor(t, payer, 5*ledger.Credit)
	if err := g.Learn(worker.Account(), [][]byte{work}, always); err != nil {
		t.Fatal(err)
	}
	name := func(a ledger.Account) string { return map[ledger.Account]string{payer.Account(): "oak"}[a] }
	lock := worker.Head().Lock(host.Account(), 4*ledger.Credit, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())
	_, why, err := g.Open(lock, 3*ledger.Credit, grantTerms, noon)
	const unknown = "free balance 5.00, granted 0.00; unwitnessed, so at most 5.00 at a time; what it earned is known here only in part: flow 0.00; starter left today 10.00, for this account 2.00"
	if err != nil || why.Total() != 2*ledger.Credit || why.Text(name) != unknown {
		t.Errorf("%s: %q, %v", why.Total(), why.Text(name), err)
	}
	if err := host.LearnGrants(t.Context(), [][]byte{o.grants[payer.Account()]}); err != nil {
		t.Fatal(err)
	}
	if err := g.Learn(worker.Account(), [][]byte{work}, always); err != nil {
		t.Fatal(err)
	}
	c, why, err := g.Open(lock, 3*ledger.Credit, grantTerms, noon)
	if err != nil || c == nil || c.Limit != 4*ledger.Credit || why.Trust.Flow != 5*ledger.Credit {
		t.Errorf("%+v, %q, %v", c, why.Text(name), err)
	}
}
