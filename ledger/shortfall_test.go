package ledger_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/ledger"
)

// A scribe writes a chain by hand, and whatever it likes.
type scribe struct {
	key   ledger.Key
	head  ledger.Head
	chain []ledger.Shown
}

func (c *council) scribe(t testing.TB) *scribe {
	t.Helper()
	k := newKey(t)
	s := &scribe{key: k, head: ledger.Head{Network: ok(c.genesis.ID())(t), Account: k.Account()}}
	s.add(t, s.head.Genesis(ledger.Digest{}, time.Now()), ledger.Shown{})
	return s
}

func (s *scribe) add(t testing.TB, e ledger.Entry, backing ledger.Shown) []byte {
	t.Helper()
	backing.Entry = ok(s.key.SignEntry(e))(t)
	s.head, s.chain = ledger.HeadAt(e, e.Digest()), append(s.chain, backing)
	return backing.Entry
}

func (s *scribe) lock(t testing.TB, payee ledger.Account, amount ledger.Credits) []byte {
	t.Helper()
	return s.add(t, s.head.Lock(payee, amount, ledger.Digest{7}, time.Now().Add(time.Hour), time.Now()), ledger.Shown{})
}

// certify shows witnesses the whole chain and counts who signs its end.
func (c *council) certifyChain(t testing.TB, s *scribe, witnesses ...int) (statements [][]byte) {
	t.Helper()
	for _, i := range witnesses {
		st, err := c.all[i].Sign(t.Context(), s.chain)
		switch {
		case err == nil:
			statements = append(statements, st)
		case !errors.Is(err, ledger.ErrUnbacked) && !errors.Is(err, ledger.ErrFrozen):
			t.Fatal(err)
		}
	}
	return statements
}

// judged gives each witness a book, which judges.
func (c *council) judged(t testing.TB) (books []*ledger.Book) {
	t.Helper()
	for i := range c.all {
		b := c.book(t, newKey(t))
		books = append(books, b)
		c.all[i] = ok(ledger.OpenWitness(t.Context(), c.stores[i], nil, c.keys[i], c.genesis, b))(t)
	}
	return books
}

// collusion is a lease of ten credits that its payer settles for less than its payee takes up, by a voucher or by a second settle.
func (c *council) collusion(t testing.TB, settled ledger.Credits, byVoucher bool) (payer, payee *scribe) {
	t.Helper()
	payer, payee = c.scribe(t), c.scribe(t)
	lock := payer.lock(t, payee.key.Account(), 10*ledger.Credit)
	e := ok(ledger.ParseEntry(lock))(t)
	certificate := ok(c.genesis.Certify(c.certifyChain(t, payer, 0, 1, 2)...))(t).Encode()
	other := payer.head.Settle(e, 10*ledger.Credit, 1, 1, ledger.Digest{9}, time.Now())
	evidence, flags := other.Digest(), uint16(0)
	paid := ok(payer.key.SignEntry(other))(t)
	if byVoucher {
		v := ledger.Voucher{Network: e.Network, Lock: e.Digest(), K: 1, Amount: 10 * ledger.Credit, Claim: ledger.Digest{1}}
		paid, evidence, flags = ok(payer.key.SignVoucher(v))(t), v.Digest(), ledger.FlagVoucher
	}
	var why ledger.Digest
	if settled > 0 {
		why = ledger.Digest{8}
	}
	payer.add(t, payer.head.Settle(e, settled, 0, 0, why, time.Now()), ledger.Shown{})
	payee.add(t, payee.head.Earn(e, 10*ledger.Credit, 1, 1, evidence, flags, time.Now()), ledger.Shown{Lock: lock, Certificate: certificate, Paid: paid})
	return payer, payee
}

// Payer and payee, who belong together, may not both spend what the one settled too little and the other earned by a voucher, or by
// another settle: in whatever order witnesses see the two chains, with whatever of them down, what gets a quorum is never
// more than both had.
func TestCreditUnderSettledIsSpentOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := newCouncil(t, 4, 10*ledger.Credit) // so each of the two may go down to −10
		if rapid.Bool().Draw(r, "judges") {
			c.judged(t)
		}
		settled := ledger.Credits(rapid.Int64Range(0, 9).Draw(r, "settled")) * ledger.Credit
		payer, payee := c.collusion(t, settled, rapid.Bool().Draw(r, "by voucher"))
		both := 20 * ledger.Credit
		ofPayer := ledger.Credits(rapid.Int64Range(1, 10).Draw(r, "the payer spends")) * ledger.Credit
		ofPayee := ledger.Credits(rapid.Int64Range(1, 20).Draw(r, "the payee spends")) * ledger.Credit
		if settled+ofPayer > 10*ledger.Credit {
			ofPayer = 10*ledger.Credit - settled
		}
		payer.lock(t, ledger.Account{1}, ofPayer)
		payee.lock(t, ledger.Account{2}, ofPayee)
		signed := map[*scribe]map[int]bool{payer: {}, payee: {}}
		show := func(s *scribe, i, n int) {
			part := *s
			part.chain = s.chain[:n]
			if got := c.certifyChain(t, &part, i); len(got) == 1 && n == len(s.chain) {
				signed[s][i] = true
			}
		}
		sides := [2]*scribe{payer, payee}
		for range rapid.IntRange(0, 8).Draw(r, "questions") {
			s, i := sides[rapid.IntRange(0, 1).Draw(r, "side")], rapid.IntRange(0, 3).Draw(r, "witness")
			show(s, i, rapid.IntRange(1, len(s.chain)).Draw(r, "shown"))
			if rapid.IntRange(0, 3).Draw(r, "kill") == 0 && c.all[i] != nil {
				c.reopen(t, i)
			}
		}
		for i := range c.all { // and then both get what they can
			first := rapid.IntRange(0, 1).Draw(r, "first")
			for _, s := range []*scribe{sides[first], sides[1-first]} {
				show(s, i, len(s.chain))
			}
		}
		spent := settled
		if len(signed[payer]) >= c.genesis.Quorum() {
			spent += ofPayer
		}
		if len(signed[payee]) >= c.genesis.Quorum() {
			spent += ofPayee
		}
		// What was settled went from one of them to the other, so it is not gone.
		if spent-settled > both {
			r.Fatalf("%s are spent, they had %s", spent-settled, both)
		}
	})
}

// An honest payee whose payer settled below its voucher has all that it was promised as long as the payer has not spent it elsewhere,
// and the witness convicts the payer by what the two chains show.
func TestUnderSettlingPayerIsChargedAndConvicted(t *testing.T) {
	for name, earnFirst := range map[string]bool{"the settle is seen first": false, "the earn is seen first": true} {
		c := newCouncil(t, 4, 10*ledger.Credit)
		books := c.judged(t)
		payer, payee := c.collusion(t, ledger.Credit, true)
		if earnFirst {
			payer, payee = payee, payer
		}
		c.certifyChain(t, payer, 0, 1, 2)
		c.certifyChain(t, payee, 0, 1, 2)
		if earnFirst {
			payer, payee = payee, payer
		}
		for i, b := range books[:3] {
			p, err := b.Proof(payer.key.Account())
			if err != nil || p == nil || ledger.ProofKind(p[0]) != ledger.ProofUnderSettle {
				t.Errorf("%s: witness %d holds %x, %v", name, i, p, err)
			}
		}
		payee.lock(t, ledger.Account{2}, 20*ledger.Credit)
		if n := len(c.certifyChain(t, payee, 0, 1, 2)); n != 3 {
			t.Errorf("%s: %d signed what the payee was promised", name, n)
		}
		payer.lock(t, ledger.Account{1}, 1)
		if n := len(c.certifyChain(t, payer, 0, 1, 2, 3)); n > 1 { // the fourth has not seen it
			t.Errorf("%s: %d signed for the payer", name, n)
		}
	}
}

// A payee that comes too late, after the payer has spent what it owed, cannot spend it again; but its chain goes on, with
// whatever else it has.
func TestLatePayeeIsShortAndGoesOn(t *testing.T) {
	c := newCouncil(t, 4, 10*ledger.Credit)
	payer, payee := c.collusion(t, 0, true)
	payer.lock(t, ledger.Account{1}, 10*ledger.Credit)
	if n := len(c.certifyChain(t, payer, 0, 1, 2)); n != 3 {
		t.Fatal(n)
	}
	over := payee.lock(t, ledger.Account{2}, 11*ledger.Credit)
	for i := range 3 {
		if _, err := c.all[i].Sign(t.Context(), payee.chain); !errors.Is(err, ledger.ErrUnbacked) {
			t.Errorf("credit that was spent: %v", err)
		}
		c.reopen(t, i)
	}
	payee.add(t, payee.head.Settle(ok(ledger.ParseEntry(over))(t), 0, 0, 0, ledger.Digest{}, time.Now()), ledger.Shown{})
	payee.lock(t, ledger.Account{2}, 10*ledger.Credit)
	if n := len(c.certifyChain(t, payee, 0, 1, 2)); n != 3 {
		t.Errorf("%d signed what the payee has without it", n)
	}
	c.reopen(t, 0)
	payee.lock(t, ledger.Account{3}, 1)
	if n := len(c.certifyChain(t, payee, 0, 1, 2)); n != 0 {
		t.Errorf("%d signed more", n)
	}
}

// In a granted network nobody has a floor to fall to: a member that pays itself by a voucher has no more than before.
func TestGrantIsNotSpentTwiceByUnderSettling(t *testing.T) {
	c, o := newGrantedCouncil(t, 1)
	payer, payee := c.scribe(t), c.scribe(t)
	g := o.sign(t, 0, ledger.Digest{}, payer.key.Account(), 5*ledger.Credit, 5*ledger.Credit)
	grant := ok(ledger.ParseGrant(g))(t)
	payer.add(t, payer.head.Claim(grant, grant.Digest(), time.Now()), ledger.Shown{Grant: g})
	lock := ok(ledger.ParseEntry(payer.lock(t, payee.key.Account(), 5*ledger.Credit)))(t)
	raw := payer.chain[len(payer.chain)-1].Entry
	certificate := ok(c.genesis.Certify(c.certifyChain(t, payer, 0)...))(t).Encode()
	v := ledger.Voucher{Network: lock.Network, Lock: lock.Digest(), K: 1, Amount: 5 * ledger.Credit, Claim: ledger.Digest{1}}
	payer.add(t, payer.head.Settle(lock, 0, 0, 0, ledger.Digest{}, time.Now()), ledger.Shown{})
	payer.lock(t, ledger.Account{1}, 5*ledger.Credit)
	if len(c.certifyChain(t, payer, 0)) != 1 {
		t.Fatal("what came back is not spent")
	}
	payee.add(t, payee.head.Earn(lock, 5*ledger.Credit, 1, 1, v.Digest(), ledger.FlagVoucher, time.Now()), ledger.Shown{Lock: raw, Certificate: certificate, Paid: ok(payer.key.SignVoucher(v))(t)})
	payee.lock(t, ledger.Account{2}, 1)
	if len(c.certifyChain(t, payee, 0)) != 0 {
		t.Error("a grant is spent twice")
	}
}
