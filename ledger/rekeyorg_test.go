package ledger_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// A holder is a book whose key changes.
type holder struct {
	*ledger.Book
	key     ledger.Key
	store   *ledgertest.Memory
	genesis ledger.Genesis
}

func newHolder(t testing.TB, genesis ledger.Genesis, recovery ledger.Account) *holder {
	t.Helper()
	h := &holder{key: newKey(t), store: ledgertest.NewMemory(), genesis: genesis}
	h.Book = ok(ledger.BeginBook(t.Context(), h.store, nil, h.key, genesis, recovery))(t)
	t.Cleanup(func() { h.Close() })
	return h
}

// rotate changes the key and returns how others see that.
func (h *holder) rotate(t testing.TB) ledger.Succession {
	t.Helper()
	h.Close()
	next := newKey(t)
	h.Book = ok(ledger.RotateBook(t.Context(), h.store, nil, h.key, next, h.genesis, ledger.Digest{}))(t)
	h.key = next
	return ok(h.Lineage())(t)[0]
}

// recover takes the account over with a recovery key.
func (h *holder) recover(t testing.TB, by ledger.Key) ledger.Succession {
	t.Helper()
	h.Close()
	h.Book = ok(ledger.RecoverBook(t.Context(), h.store, nil, by, h.genesis, ledger.Digest{}))(t)
	h.key = by
	return ok(h.Lineage())(t)[0]
}

// What a mint granted to an account that changed its key meanwhile is taken up by the key that it has, and what the mint grants
// from then on, once or as an allowance, goes there too: each once.
func TestGrantFollowsTheAccount(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	mint := o.book(t)
	o.issuer = ok(ledger.OpenIssuer(o.store, nil, o.key, o.genesis))(t)
	o.issuer.SetHeir(mint.Heir)
	recovery := newKey(t)
	m := newHolder(t, o.genesis, recovery.Account())
	first := m.Account()
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	ok(o.issuer.Allow(t.Context(), first, ledger.Credit, ledger.Daily))(t)
	for _, change := range []func() ledger.Succession{func() ledger.Succession { return m.recover(t, recovery) }, func() ledger.Succession { return m.rotate(t) }} {
		was := m.Account()
		before := m.Head().Granted
		ok(o.issuer.Grant(t.Context(), was, 5*ledger.Credit))(t)
		if given := ok(o.issuer.GrantAllowances(t.Context(), now))(t); len(given) != 1 || given[0].To != was {
			t.Fatalf("%+v", given)
		}
		waiting := ok(o.issuer.Pending(10, nil))(t)
		if len(waiting) != 2 {
			t.Fatal(waiting)
		}
		// It changes its key before it is connected again.
		if err := mint.Succeed(t.Context(), change()); err != nil {
			t.Fatal(err)
		}
		for range 2 { // delivered twice
			for _, d := range waiting {
				entry := ok(m.ClaimGrant(t.Context(), d.Raw))(t)
				if err := mint.MeetClaim(t.Context(), d.Raw, entry); err != nil {
					t.Fatal(err)
				}
				if err := o.issuer.Acknowledge(t.Context(), d.Seq, entry); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := m.Head().Granted - before; got != 6*ledger.Credit {
			t.Errorf("%s were taken up", got)
		}
		if left := ok(o.issuer.Pending(10, nil))(t); len(left) != 0 {
			t.Errorf("%d wait still", len(left))
		}
		// The mint's node gives them back to a disk that lost them.
		held := ok(mint.HeldGrants(m.Account(), m.Head().Epoch, 0, 10))(t)
		if len(held) != 2 {
			t.Errorf("%d of 2 grants are held for the account", len(held))
		}
		for _, x := range held {
			ok2(x.Verify(o.genesis, m.Account()))(t)
		}
		// No second allowance in the same period, under whatever name.
		if given := ok(o.issuer.GrantAllowances(t.Context(), now))(t); len(given) != 0 {
			t.Errorf("given again: %+v", given)
		}
		now = now.AddDate(0, 0, 1)
		if b := ok(mint.Backed(m.Account()))(t); b != m.Head().Granted {
			t.Errorf("backed %s of %s", b, m.Head().Granted)
		}
		p := ok(m.BalanceProof(t.Context()))(t)
		ok(p.Verify())(t)
	}
	if given := ok(o.issuer.GrantAllowances(t.Context(), now))(t); len(given) != 1 || given[0].To != m.Account() {
		t.Errorf("%+v", given)
	}
	if g := ok(o.issuer.Grant(t.Context(), first, ledger.Credit))(t); g.To != m.Account() {
		t.Errorf("granted to %s", g.To)
	}
	if r := o.audit(t, mint, m.Book); len(r.Problems) > 0 {
		t.Errorf("%+v", r.Problems[0])
	}
	stranger := o.book(t)
	g := ok(o.issuer.Grant(t.Context(), stranger.Account(), 1))(t)
	raw := ok(o.key.SignGrant(g))(t)
	if _, err := m.ClaimGrant(t.Context(), raw); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("another's grant: %v", err)
	}
	if err := mint.MeetClaim(t.Context(), raw, ok(m.key.SignEntry(m.Head().Claim(g, g.Digest(), time.Now())))(t)); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("another's grant, taken up: %v", err)
	}
}

// An account that changes its key within a period does not have its allowance twice, not even if the mint's owner lets the new one
// have one as well before the mint has heard of the change.
func TestChangedKeyBringsNoSecondAllowance(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	mint := o.book(t)
	o.issuer = ok(ledger.OpenIssuer(o.store, nil, o.key, o.genesis))(t)
	o.issuer.SetHeir(mint.Heir)
	m := newHolder(t, o.genesis, ledger.Account{})
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	ok(o.issuer.Allow(t.Context(), m.Account(), 2*ledger.Credit, ledger.Weekly))(t)
	ok(o.issuer.GrantAllowances(t.Context(), now))(t)
	s := m.rotate(t)
	ok(o.issuer.Allow(t.Context(), m.Account(), ledger.Credit, ledger.Weekly))(t)
	if err := mint.Succeed(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for day, want := range []int{0, 0, 0, 0, 0, 0, 1, 0} { // the first is a Tuesday
		if given := ok(o.issuer.GrantAllowances(t.Context(), now.AddDate(0, 0, day)))(t); len(given) != want {
			t.Errorf("day %d: %+v", day, given)
		} else if want > 0 && (given[0].To != m.Account() || given[0].Amount != ledger.Credit) {
			t.Errorf("day %d: %+v", day, given)
		}
	}
}

func ok2[A, B any](a A, _ B, err error) func(testing.TB) A { return ok(a, err) }

// In a network with witnesses what was granted, earned and given before a change of keys is there after it, for witnesses that
// were never asked before too, and so is what was on its way while the key changed.
func TestWitnessedCreditFollowsTheAccount(t *testing.T) {
	c, o := newGrantedCouncil(t, 4)
	recovery := newKey(t)
	m := newHolder(t, c.genesis, recovery.Account())
	giver := o.book(t)
	o.grant(t, giver, 20*ledger.Credit)
	o.grant(t, m.Book, 10*ledger.Credit)
	c.lease(t, giver, m.Book, 3*ledger.Credit, 0, 1, 2) // earned
	total := 13 * ledger.Credit
	for i, change := range []func() ledger.Succession{func() ledger.Succession { return m.recover(t, recovery) }, func() ledger.Succession { return m.rotate(t) }} {
		old := m.Account()
		c.lease(t, m.Book, giver, ledger.Credit, 0, 1, 2)
		gift := ok(giver.Give(t.Context(), old, 2*ledger.Credit, time.Now().Add(time.Hour)))(t)
		certificate := c.certify(t, giver, gift, 0, 1, 2)
		if err := m.MayReceive(gift.Raw, certificate); err != nil {
			t.Fatal(err)
		}
		settle := ok(giver.Pay(t.Context(), gift.Digest))(t)
		g := ok(o.issuer.Grant(t.Context(), old, 5*ledger.Credit))(t)
		s := change()
		if err := giver.Succeed(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		ok(m.ClaimGrant(t.Context(), ok(o.key.SignGrant(g))(t)))(t)
		earn := ok(m.Receive(t.Context(), gift.Raw, settle, certificate))(t)
		if err := giver.AcknowledgeEarn(t.Context(), earn); err != nil {
			t.Fatal(err)
		}
		if left := ok(giver.Pending())(t); len(left) != 0 {
			t.Errorf("%d settles wait still", len(left))
		}
		total += 6 * ledger.Credit
		if free := m.Balance().Free; free != total {
			t.Fatalf("%s are there, want %s", free, total)
		}
		// The fourth has seen nothing, or only what came before.
		lock := setAside(t, m.Book, ledger.Account{9}, total)
		if n := len(ok(ledger.ParseCertificate(c.certify(t, m.Book, lock, i, 2, 3)))(t)); n != 3 {
			t.Errorf("%d signed", n)
		}
		ok(m.Settle(t.Context(), lock.Digest))(t)
	}
	if r := o.audit(t, giver, m.Book); len(r.Problems) > 0 || r.InTransit != 0 {
		t.Errorf("%+v, in transit %s", r.Problems, r.InTransit)
	}
}

// Whoever has all the keys that an account had, has and could have, its recovery keys too, gets no more certified than it has, in
// whatever order it asks witnesses, one of which signs everything.
func TestKeyChangesSpendNothingTwicePastWitnesses(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c, o := newGrantedCouncil(t, 4)
		keys := []ledger.Key{newKey(t), newKey(t), newKey(t), newKey(t)} // the first, its recovery key, and two to rotate to
		network := ok(c.genesis.ID())(t)
		const has = 5 * ledger.Credit
		grant := o.sign(t, 0, ledger.Digest{}, keys[0].Account(), has, has)
		g := ok(ledger.ParseGrant(grant))(t)
		opened := ledger.Head{Network: network, Account: keys[0].Account()}.Genesis(ledger.RecoveryCommitment(keys[1].Account()), time.Now())
		// branch is a chain that changes its key some times and spends all at its end.
		branch := func(claimAt int, steps []int) *scribe {
			s := &scribe{key: keys[0], head: ledger.Head{Network: network, Account: keys[0].Account()}}
			s.add(t, opened, ledger.Shown{})
			for i := 0; ; i++ {
				if i == claimAt || i == len(steps) && claimAt > i {
					s.add(t, s.head.Claim(g, g.Digest(), time.Now()), ledger.Shown{Grant: grant})
				}
				if i == len(steps) {
					break
				}
				next := keys[steps[i]]
				if next.Account() == s.key.Account() {
					continue
				}
				if steps[i] == 1 {
					s.key = next
					s.add(t, s.head.Recover(next.Account(), ledger.Digest{}, time.Now()), ledger.Shown{})
					continue
				}
				s.add(t, s.head.HandOver(next.Account(), time.Now()), ledger.Shown{})
				s.key = next
				s.add(t, s.head.TakeOver(ledger.RecoveryCommitment(keys[1].Account()), time.Now()), ledger.Shown{})
			}
			s.lock(t, ledger.Account{byte(len(steps) + 1)}, has)
			return s
		}
		var branches []*scribe
		for range rapid.IntRange(2, 4).Draw(r, "branches") {
			branches = append(branches, branch(rapid.IntRange(0, 3).Draw(r, "claimed"), rapid.SliceOfN(rapid.IntRange(1, 3), 0, 3).Draw(r, "keys")))
		}
		for _, k := range keys[1:] { // and chains of their own, which the grant is not for
			s := &scribe{key: k, head: ledger.Head{Network: network, Account: k.Account()}}
			s.add(t, s.head.Genesis(ledger.Digest{}, time.Now()), ledger.Shown{})
			s.add(t, s.head.Claim(g, g.Digest(), time.Now()), ledger.Shown{Grant: grant})
			s.lock(t, ledger.Account{99}, has)
			branches = append(branches, s)
		}
		signed := map[ledger.Digest]map[int]bool{}
		ask := func(i int, s *scribe, n int) {
			_, err := c.all[i].Sign(t.Context(), s.chain[:n])
			if err == nil && n == len(s.chain) {
				if signed[s.head.Digest] == nil {
					signed[s.head.Digest] = map[int]bool{0: true} // who signs everything
				}
				signed[s.head.Digest][i] = true
			}
		}
		for range rapid.IntRange(0, 10).Draw(r, "questions") {
			s := rapid.SampledFrom(branches).Draw(r, "branch")
			ask(rapid.IntRange(1, 3).Draw(r, "witness"), s, rapid.IntRange(1, len(s.chain)).Draw(r, "shown"))
		}
		for i := 1; i < 4; i++ {
			for _, s := range rapid.Permutation(branches).Draw(r, "order") {
				ask(i, s, len(s.chain))
			}
		}
		won := 0
		for _, by := range signed {
			if len(by) >= c.genesis.Quorum() {
				won++
			}
		}
		if won > 1 {
			r.Fatalf("%s are spent %d times", has, won)
		}
	})
}

// A thief of the key had something witnessed before the owner takes the account over. What a quorum signed is final, so a recovery
// in its place gets no statement; one that follows it does, once the owner has got back from the witnesses what was signed.
func TestTakeoverFollowsWhatAThiefHadWitnessed(t *testing.T) {
	c := newCouncil(t, 4, 10*ledger.Credit)
	recovery := newKey(t)
	owner := newHolder(t, c.genesis, recovery.Account())
	ok(owner.Settle(t.Context(), setAside(t, owner.Book, ledger.Account{1}, 1).Digest))(t)
	early := owner.store.Clone()
	thief := ok(ledger.OpenBook(t.Context(), owner.store.Clone(), owner.key, c.genesis))(t)
	defer thief.Close()
	stolen := setAside(t, thief, ledger.Account{66}, 6*ledger.Credit)
	c.certify(t, thief, stolen, 0, 1, 2)

	hasty := ok(ledger.RecoverBook(t.Context(), early, nil, recovery, c.genesis, ledger.Digest{}))(t)
	defer hasty.Close()
	for i, w := range c.all[:3] {
		var other *ledger.WitnessedError
		if _, err := ask(t.Context(), w, hasty, hasty.Head().Seq); !errors.As(err, &other) || string(other.Entry) != string(stolen.Raw) {
			t.Errorf("witness %d, about a recovery in the place of what it signed: %v", i, err)
		}
	}

	// Each process asks a quorum before its first lock, and learns of it.
	newest := ok(c.all[0].Entries(owner.Account(), owner.Head().Len, 64))(t)
	if err := owner.CheckOwn(t.Context(), newest[len(newest)-1]); !errors.Is(err, ledger.ErrReadOnly) {
		t.Fatal(err)
	}
	if r := ok(owner.Recover(t.Context(), []ledger.Receipt{{Lock: newest[0]}}, false))(t); r.Entries != 1 || r.Signs {
		t.Fatalf("%+v", r)
	}
	owner.recover(t, recovery)
	if free := owner.Balance().Free; free != 4*ledger.Credit {
		t.Errorf("%s are left", free)
	}
	cert := c.certify(t, owner.Book, setAside(t, owner.Book, ledger.Account{1}, 4*ledger.Credit), 0, 1, 2, 3)
	if len(ok(ledger.ParseCertificate(cert))(t)) != 4 {
		t.Error("not all signed")
	}
	more := setAside(t, thief, ledger.Account{66}, 1)
	for i, w := range c.all {
		if _, err := ask(t.Context(), w, thief, ok(ledger.ParseEntry(more.Raw))(t).Seq); err == nil {
			t.Errorf("witness %d signs for the old key", i)
		}
	}
}
