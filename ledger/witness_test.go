package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// A council is a network with witnesses, without one between them.
type council struct {
	genesis ledger.Genesis
	keys    []ledger.Key
	stores  []*ledgertest.Memory
	all     []*ledger.Witness
}

func newCouncil(t testing.TB, n int, floor ledger.Credits) *council {
	t.Helper()
	c := &council{genesis: ledger.MutualGenesis("council", floor)}
	c.genesis.Params.CheckpointEvery = 8
	var accounts []ledger.Account
	byAccount := map[ledger.Account]ledger.Key{}
	for range n {
		k := newKey(t)
		accounts = append(accounts, k.Account())
		byAccount[k.Account()] = k
	}
	c.genesis = c.genesis.Witnessed(accounts...)
	for _, a := range c.genesis.Witnesses {
		c.keys = append(c.keys, byAccount[a])
		c.stores = append(c.stores, ledgertest.NewMemory())
		c.all = append(c.all, nil)
	}
	for i := range c.all {
		c.reopen(t, i)
	}
	return c
}

func (c *council) reopen(t testing.TB, i int) {
	t.Helper()
	c.all[i] = ok(ledger.OpenWitness(t.Context(), c.stores[i], nil, c.keys[i], c.genesis, nil))(t)
}

func (c *council) book(t testing.TB, k ledger.Key) *ledger.Book {
	t.Helper()
	b := ok(ledger.OpenBook(t.Context(), ledgertest.NewMemory(), k, c.genesis))(t)
	t.Cleanup(b.Close)
	return b
}

// ask shows a witness what it does not know of a book, up to a place.
func ask(ctx context.Context, w *ledger.Witness, b *ledger.Book, seq uint64) ([]byte, error) {
	from := seq
	for {
		var shown []ledger.Shown
		if err := b.Show(from, seq, func(s ledger.Shown) bool { shown = append(shown, s); return len(shown) < ledger.MaxShown }); err != nil {
			return nil, err
		}
		statement, err := w.Sign(ctx, shown)
		if err == nil && len(shown) == ledger.MaxShown && from+ledger.MaxShown <= seq {
			from += ledger.MaxShown
			continue
		}
		var behind *ledger.BehindError
		if !errors.As(err, &behind) || behind.Next == from || behind.Next > seq {
			return statement, err
		}
		from = behind.Next
	}
}

// certify asks witnesses about a lock of a book.
func (c *council) certify(t testing.TB, b *ledger.Book, lock ledger.SignedEntry, witnesses ...int) []byte {
	t.Helper()
	seq := ok(ledger.ParseEntry(lock.Raw))(t).Seq // a checkpoint may follow it
	var statements [][]byte
	for _, i := range witnesses {
		statements = append(statements, ok(ask(t.Context(), c.all[i], b, seq))(t))
	}
	return ok(c.genesis.Certify(statements...))(t).Encode()
}

func setAside(t testing.TB, b *ledger.Book, payee ledger.Account, amount ledger.Credits) ledger.SignedEntry {
	t.Helper()
	return ok(b.Lock(t.Context(), ledger.LockRequest{Payee: payee, Amount: amount, Evidence: ledger.Digest{7}, Expiry: time.Now().Add(time.Hour)}))(t)
}

// lease runs one lease of one unit, and settles it.
func (c *council) lease(t testing.TB, payer, payee *ledger.Book, amount ledger.Credits, witnesses ...int) {
	t.Helper()
	lock := setAside(t, payer, payee.Account(), amount)
	ok(payee.AcceptWitnessed(t.Context(), lock.Raw, c.certify(t, payer, lock, witnesses...), time.Now()))(t)
	claim := ok(payee.Claim(t.Context(), lock.Digest, 1000, amount, ledger.Digest{1}))(t)
	voucher := ok(payer.Vouch(t.Context(), lock.Digest, claim, amount))(t)
	if err := payee.Credit(t.Context(), voucher, 0); err != nil {
		t.Fatal(err)
	}
	earn := ok(payee.Earn(t.Context(), ok(payer.Settle(t.Context(), lock.Digest))(t)))(t)
	if err := payer.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
}

func TestQuorumsShareAnHonestWitness(t *testing.T) {
	for n := 1; n <= 64; n++ {
		g := ledger.MutualGenesis("n", 0)
		g.Witnesses = make([]ledger.Account, n)
		f, q := g.Faulty(), g.Quorum()
		if n < 3*f+1 || n >= 3*f+4 {
			t.Errorf("n=%d: f=%d", n, f)
		}
		if common := 2*q - n; common <= f || 2*(q-1)-n > f {
			t.Errorf("n=%d f=%d: two quorums of %d share %d", n, f, q, common)
		}
		if n-f < q {
			t.Errorf("n=%d f=%d: without the faulty ones there is no quorum of %d", n, f, q)
		}
	}
	if g := ledger.DefaultGenesis(); g.Quorum() != 0 || g.Faulty() != 0 {
		t.Error("an open network asks for witnesses")
	}
}

func TestLockCountsOnlyWithAQuorum(t *testing.T) {
	c := newCouncil(t, 4, 10*ledger.Credit)
	payer, payee := c.book(t, newKey(t)), c.book(t, newKey(t))
	lock := setAside(t, payer, payee.Account(), ledger.Credit)
	accept := func(certificate []byte) error {
		_, err := payee.AcceptWitnessed(t.Context(), lock.Raw, certificate, time.Now())
		return err
	}
	if _, err := payee.AcceptLock(t.Context(), lock.Raw, time.Now()); !errors.Is(err, ledger.ErrUnwitnessed) {
		t.Errorf("without a certificate: %v", err)
	}
	if err := accept(c.certify(t, payer, lock, 0, 1)); !errors.Is(err, ledger.ErrUnwitnessed) {
		t.Errorf("two of four: %v", err)
	}
	good := c.certify(t, payer, lock, 0, 2, 3)
	for i := range good {
		bad := bytes.Clone(good)
		if bad[i] ^= 1; accept(bad) == nil {
			t.Fatalf("byte %d flipped, and it counts", i)
		}
	}
	twice := append(bytes.Clone(good[:3+2*66]), good[3+66:3+2*66]...) // one of them signs for two
	if accept(twice) == nil {
		t.Error("one statement counts twice")
	}
	proof := ok(ledger.NewProof(ledger.ProofDoubleSign, statementOn(t, c, 2, 1), statementOn(t, c, 2, 2)))(t)
	if _, news, err := payee.Convict(t.Context(), proof.Encode()); !news || err != nil {
		t.Fatal(news, err)
	}
	if err := accept(good); !errors.Is(err, ledger.ErrUnwitnessed) {
		t.Errorf("with a statement of a convicted witness: %v", err)
	}
	if err := accept(c.certify(t, payer, lock, 0, 1, 2, 3)); err != nil {
		t.Errorf("three others: %v", err)
	}
	if err := accept(nil); !errors.Is(err, ledger.ErrUnwitnessed) {
		t.Errorf("again without: %v", err)
	}
}

// statementOn is a statement of a witness about something in the place 5 of somebody's chain.
func statementOn(t testing.TB, c *council, witness int, what byte) []byte {
	network := ok(c.genesis.ID())(t)
	return ok(c.keys[witness].SignStatement(ledger.Statement{Network: network, Witness: c.keys[witness].Account(), Account: ledger.Account{1}, Seq: 5, Digest: ledger.Digest{what}}))(t)
}

// A payer with two copies of its chain asks about both: one gets signed, the other gets it convicted. What was signed
// is durable when it is sent, and the answer is the same for ever.
func TestWitnessSignsOneEntryAPlace(t *testing.T) {
	c := newCouncil(t, 1, 10*ledger.Credit)
	key := newKey(t)
	store := ledgertest.NewMemory()
	one := ok(ledger.OpenBook(t.Context(), store, key, c.genesis))(t)
	defer one.Close()
	copied := store.Clone()
	two := ok(ledger.OpenBook(t.Context(), copied, key, c.genesis))(t)
	defer two.Close()
	a := setAside(t, one, ledger.Account{1}, ledger.Credit)
	b := setAside(t, two, ledger.Account{2}, ledger.Credit)
	first := ok(ask(t.Context(), c.all[0], one, 1))(t)
	if s := ok(ledger.VerifyStatement(first))(t); s.Digest != a.Digest || s.Witness != c.keys[0].Account() || s.Account != key.Account() || s.Seq != 1 {
		t.Errorf("%+v", s)
	}
	c.reopen(t, 0) // it is killed before it sent that
	if again := ok(ask(t.Context(), c.all[0], one, 1))(t); !bytes.Equal(again, first) {
		t.Error("another answer to the same question")
	}
	var fork *ledger.ForkError
	if _, err := ask(t.Context(), c.all[0], two, 1); !errors.As(err, &fork) {
		t.Fatalf("a second entry for the place: %v", err)
	}
	p := ok(ledger.NewProof(ledger.ProofFork, fork.A, fork.B))(t)
	if p = ok(ledger.VerifyProof(p.Encode(), c.genesis))(t); p.Account != key.Account() || !bytes.Equal(fork.A, a.Raw) || !bytes.Equal(fork.B, b.Raw) {
		t.Errorf("%+v", p)
	}
	if s := c.all[0].Stats(); s.Signed != 1 || s.Accounts != 1 || s.Entries != 2 || s.Refused != 1 || s.Forks != 1 {
		t.Errorf("%+v", s)
	}
}

// What others sign in an account's name is nothing to a witness: neither does it block the place nor convict.
func TestWitnessIgnoresWhatTheAccountDidNotSign(t *testing.T) {
	c := newCouncil(t, 1, 10*ledger.Credit)
	payer := c.book(t, newKey(t))
	lock := setAside(t, payer, ledger.Account{1}, ledger.Credit)
	forged := bytes.Clone(lock.Raw)
	forged[SeqOf+40]++ // in its peer
	genesis := firstOf(t, payer)
	for _, raw := range [][]byte{forged, append(lock.Raw[:ledger.EntrySize:ledger.EntrySize], make([]byte, ledger.SignatureSize)...)} {
		if _, err := c.all[0].Sign(t.Context(), []ledger.Shown{{Entry: genesis}, {Entry: raw}}); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("before: %v", err)
		}
	}
	ok(ask(t.Context(), c.all[0], payer, 1))(t)
	if _, err := c.all[0].Sign(t.Context(), []ledger.Shown{{Entry: forged}}); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("after: %v", err)
	}
}

// SeqOf is where the place stands in an encoded entry.
const SeqOf = 1 + 1 + 2 + 32 + 20 + 4

func firstOf(t testing.TB, b *ledger.Book) (raw []byte) {
	t.Helper()
	if err := b.Entries(0, 0, func(r []byte) bool { raw = bytes.Clone(r); return false }); err != nil {
		t.Fatal(err)
	}
	return raw
}

// Leases back and forth, with checkpoints in between: a witness that was asked about each, one that was asked about
// the last alone, and one that was reopened agree.
func TestWitnessFollowsAChain(t *testing.T) {
	c := newCouncil(t, 4, 10*ledger.Credit)
	a, b := c.book(t, newKey(t)), c.book(t, newKey(t))
	for i := range 12 {
		payer, payee := a, b
		if i%3 == 2 { // who earned more than he spent pays beyond his floor
			payer, payee = b, a
		}
		c.lease(t, payer, payee, 2*ledger.Credit, 0, 1, 2)
		c.reopen(t, i%3)
	}
	if n := a.Head().Len; n < 20 {
		t.Fatalf("a chain of %d entries has too few checkpoints", n)
	}
	for _, book := range []*ledger.Book{a, b} {
		cert := c.certify(t, book, setAside(t, book, ledger.Account{9}, ledger.Credit), 0, 1, 2, 3)
		if len(ok(ledger.ParseCertificate(cert))(t)) != 4 {
			t.Error("not all signed")
		}
	}
}

// Credit that is given away needs its certificate like credit that pays: else it could be given twice, and who got it could
// never show what backs it.
func TestTransferCountsOnlyWithAQuorum(t *testing.T) {
	c := newCouncil(t, 4, 10*ledger.Credit)
	giver, taker := c.book(t, newKey(t)), c.book(t, newKey(t))
	lock := ok(giver.Give(t.Context(), taker.Account(), 5*ledger.Credit, time.Now().Add(time.Hour)))(t)
	few, good := c.certify(t, giver, lock, 0, 1), c.certify(t, giver, lock, 0, 1, 2)
	settle := ok(giver.Pay(t.Context(), lock.Digest))(t)
	for _, certificate := range [][]byte{nil, few} {
		if err := taker.MayReceive(lock.Raw, certificate); !errors.Is(err, ledger.ErrUnwitnessed) {
			t.Errorf("may receive: %v", err)
		}
		if _, err := taker.Receive(t.Context(), lock.Raw, settle, certificate); !errors.Is(err, ledger.ErrUnwitnessed) {
			t.Errorf("received: %v", err)
		}
	}
	if err := taker.MayReceive(lock.Raw, good); err != nil {
		t.Error(err)
	}
	ok(taker.Receive(t.Context(), lock.Raw, settle, good))(t)
	c.lease(t, taker, c.book(t, newKey(t)), 15*ledger.Credit, 1, 2, 3) // its floor, and all that it got
}

// The payee's receipt holds the certificate, so whoever has the genesis sees offline that the lock is final.
func TestReceiptProvesThatItsLockIsFinal(t *testing.T) {
	c := newCouncil(t, 4, 10*ledger.Credit)
	payer, payee := c.book(t, newKey(t)), c.book(t, newKey(t))
	c.lease(t, payer, payee, ledger.Credit, 0, 1, 3)
	var made ledger.Receipt
	if err := payee.Receipts(0, 1, func(_ uint64, r ledger.Receipt) bool { made = r; return false }); err != nil {
		t.Fatal(err)
	}
	raw := made.Encode()
	r := ok(ledger.ParseReceipt(raw))(t)
	ok(r.Verify())(t)
	if n := ok(r.VerifyWitnessed(c.genesis))(t); n != 3 || !bytes.Equal(r.Encode(), raw) {
		t.Errorf("%d signed", n)
	}
	for i := len(raw) - len(r.Certificate) - 2; i < len(raw); i++ {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if r, err := ledger.ParseReceipt(bad); err == nil {
			if _, err := r.VerifyWitnessed(c.genesis); err == nil {
				t.Fatalf("byte %d of %d flipped, and it is final", i, len(raw))
			}
		}
	}
	if _, err := r.VerifyWitnessed(ledger.DefaultGenesis()); !errors.As(err, new(*ledger.NetworkError)) {
		t.Errorf("another network: %v", err)
	}
	r.Certificate = nil
	if _, err := r.VerifyWitnessed(c.genesis); !errors.Is(err, ledger.ErrUnwitnessed) {
		t.Errorf("without a certificate: %v", err)
	}
}

func TestWitnessRefusesWhatBreaksARule(t *testing.T) {
	c := newCouncil(t, 4, 10*ledger.Credit)
	key, other := newKey(t), newKey(t)
	payer, payee := c.book(t, other), c.book(t, key)
	c.lease(t, payer, payee, 3*ledger.Credit, 0, 1, 2)
	var chain []ledger.Shown // genesis and earn of the payee
	if err := payee.Show(0, 1, func(s ledger.Shown) bool { chain = append(chain, s); return true }); err != nil {
		t.Fatal(err)
	}
	earn := ok(ledger.ParseEntry(chain[1].Entry))(t)
	lock := ok(ledger.ParseEntry(chain[1].Lock))(t)
	h := ledger.HeadAt(earn, earn.Digest())
	sign := func(e ledger.Entry) []byte { return ok(key.SignEntry(e))(t) }
	later := time.Now().Add(time.Hour)
	over := h.Lock(ledger.Account{1}, 13*ledger.Credit+1, ledger.Digest{}, later, time.Now())
	again := h.Earn(lock, earn.Amount, 1, 1, earn.Evidence, 0, time.Now())
	gap := h.Lock(ledger.Account{1}, 1, ledger.Digest{}, later, time.Now())
	gap.Seq++
	start := ok(ledger.ParseEntry(chain[0].Entry))(t)
	g := ledger.HeadAt(start, start.Digest())
	more := g.Earn(lock, earn.Amount+1, 1, 1, earn.Evidence, 0, time.Now())
	selfMade := lock
	selfMade.Amount, selfMade.Locked = 100*ledger.Credit, 100*ledger.Credit
	invented := g.Earn(selfMade, 5*ledger.Credit, 1, 1, earn.Evidence, 0, time.Now())
	inventedLock := ok(other.SignEntry(selfMade))(t)
	for name, x := range map[string]struct {
		shown []ledger.Shown
		want  error
	}{
		"more than there is":           {[]ledger.Shown{chain[0], chain[1], {Entry: sign(over)}}, ledger.ErrChain},
		"credit taken up twice":        {[]ledger.Shown{chain[0], chain[1], {Entry: sign(again), Lock: chain[1].Lock, Certificate: chain[1].Certificate, Paid: chain[1].Paid}}, ledger.ErrChain},
		"a gap":                        {[]ledger.Shown{chain[0], chain[1], {Entry: sign(gap)}}, ledger.ErrChain},
		"more than was paid":           {[]ledger.Shown{chain[0], {Entry: sign(more), Lock: chain[1].Lock, Certificate: chain[1].Certificate, Paid: chain[1].Paid}}, ledger.ErrUnbacked},
		"no lock shown":                {[]ledger.Shown{chain[0], {Entry: chain[1].Entry, Certificate: chain[1].Certificate, Paid: chain[1].Paid}}, ledger.ErrUnbacked},
		"no certificate shown":         {[]ledger.Shown{chain[0], {Entry: chain[1].Entry, Lock: chain[1].Lock, Paid: chain[1].Paid}}, ledger.ErrUnbacked},
		"no settle shown":              {[]ledger.Shown{chain[0], {Entry: chain[1].Entry, Lock: chain[1].Lock, Certificate: chain[1].Certificate}}, ledger.ErrUnbacked},
		"a lock that nobody witnessed": {[]ledger.Shown{chain[0], {Entry: sign(invented), Lock: inventedLock, Certificate: chain[1].Certificate, Paid: chain[1].Paid}}, ledger.ErrUnbacked},
		"another network":              {[]ledger.Shown{{Entry: firstOf(t, openBook(t, ledgertest.NewMemory(), key))}}, nil},
		"nothing":                      {nil, ledger.ErrMalformed},
		"too much":                     {make([]ledger.Shown, ledger.MaxShown+1), ledger.ErrMalformed},
	} {
		_, err := c.all[3].Sign(t.Context(), x.shown) // it has seen nothing of this yet
		var elsewhere *ledger.NetworkError
		if x.want == nil && !errors.As(err, &elsewhere) || x.want != nil && !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	if s := c.all[3].Stats(); s.Accounts != 0 || s.Entries != 0 || s.Signed != 0 || s.Refused != 11 {
		t.Errorf("a refused request left something: %+v", s)
	}
	ok(c.all[3].Sign(t.Context(), chain))(t)
	fine := h.Lock(ledger.Account{1}, 13*ledger.Credit, ledger.Digest{}, later, time.Now())
	ok(c.all[3].Sign(t.Context(), []ledger.Shown{{Entry: sign(fine)}}))(t)
}

// Two chains that lead to one account by changes of keys could have two entries for one place in it; an honest
// witness must not be made to sign both.
func TestAccountIsPartOfOneWitnessedChain(t *testing.T) {
	c := newCouncil(t, 1, 10*ledger.Credit)
	network := ok(c.genesis.ID())(t)
	heir := newKey(t)
	chain := func(k ledger.Key, note byte) []ledger.Shown {
		h := ledger.Head{Network: network, Account: k.Account()}
		g := h.Genesis(ledger.Digest{}, time.Now())
		h = ledger.HeadAt(g, g.Digest())
		hand := h.HandOver(heir.Account(), time.Now())
		h = ledger.HeadAt(hand, hand.Digest())
		take := h.TakeOver(ledger.Digest{note}, time.Now())
		return []ledger.Shown{{Entry: ok(k.SignEntry(g))(t)}, {Entry: ok(k.SignEntry(hand))(t)}, {Entry: ok(heir.SignEntry(take))(t)}}
	}
	one := chain(newKey(t), 1)
	ok(c.all[0].Sign(t.Context(), one))(t)
	if _, err := c.all[0].Sign(t.Context(), chain(newKey(t), 2)); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("a second chain under one account: %v", err)
	}
	e := ok(ledger.ParseEntry(one[2].Entry))(t)
	h := ledger.HeadAt(e, e.Digest())
	lock := h.Lock(ledger.Account{1}, 1, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())
	ok(c.all[0].Sign(t.Context(), []ledger.Shown{{Entry: ok(heir.SignEntry(lock))(t)}}))(t)
}

// A hangman knows one account as convicted.
type hangman struct{ convicted ledger.Account }

func (h hangman) Convicted(a ledger.Account) bool           { return a == h.convicted }
func (hangman) LearnGrants(context.Context, [][]byte) error { return nil }
func (hangman) Convict(context.Context, []byte) (p ledger.Proof, news bool, err error) {
	return p, false, nil
}

// An account that took over a long chain is not known to the witness, which has forgotten the first entries of that.
func TestWitnessFollowsALongChainOverARotation(t *testing.T) {
	c := newCouncil(t, 1, 10*ledger.Credit)
	store, old, heir := ledgertest.NewMemory(), newKey(t), newKey(t)
	b := ok(ledger.OpenBook(t.Context(), store, old, c.genesis))(t)
	for b.Head().Len < 3*ledger.KeptEntries {
		lock := setAside(t, b, ledger.Account{1}, 1)
		if b.Head().Len%100 < 2 {
			ok(ask(t.Context(), c.all[0], b, b.Head().Seq))(t)
		}
		ok(b.Settle(t.Context(), lock.Digest))(t)
	}
	ok(ask(t.Context(), c.all[0], b, b.Head().Seq))(t)
	b.Close()
	b = ok(ledger.RotateBook(t.Context(), store, nil, old, heir, c.genesis, ledger.Digest{}))(t)
	defer b.Close()
	lock := setAside(t, b, ledger.Account{1}, 1)
	ok(c.genesis.Certify(ok(ask(t.Context(), c.all[0], b, ok(ledger.ParseEntry(lock.Raw))(t).Seq))(t)))(t)
	if s := c.all[0].Stats(); s.Accounts != 1 {
		t.Errorf("%+v", s)
	}
	w := ok(ledger.OpenWitness(t.Context(), c.stores[0], nil, c.keys[0], c.genesis, hangman{old.Account()}))(t)
	if _, err := ask(t.Context(), w, b, b.Head().Seq); !errors.Is(err, ledger.ErrFrozen) {
		t.Errorf("a chain whose first account was convicted: %v", err)
	}
}

func TestFrozenAccountGetsNoStatement(t *testing.T) {
	c := newCouncil(t, 1, 10*ledger.Credit)
	payer := c.book(t, newKey(t))
	w := ok(ledger.OpenWitness(t.Context(), c.stores[0], nil, c.keys[0], c.genesis, hangman{payer.Account()}))(t)
	if _, err := ask(t.Context(), w, payer, 0); !errors.Is(err, ledger.ErrFrozen) {
		t.Error(err)
	}
}

func TestWitnessMustBeNamedByTheGenesis(t *testing.T) {
	c := newCouncil(t, 1, 0)
	if _, err := ledger.OpenWitness(t.Context(), ledgertest.NewMemory(), nil, newKey(t), c.genesis, nil); !errors.Is(err, ledger.ErrConflict) {
		t.Error(err)
	}
}

// A fenceFile is a fence in memory.
type fenceFile struct {
	m   ledger.Mark
	has bool
}

func (f *fenceFile) Load() (ledger.Mark, error) {
	if !f.has {
		return f.m, ledger.ErrNotFound
	}
	return f.m, nil
}
func (f *fenceFile) Save(m ledger.Mark) error { f.m, f.has = m, true; return nil }
func (f *fenceFile) Sync() error              { return nil }

// A witness whose disk was rolled back does not know what it signed, and so signs nothing.
func TestRolledBackWitnessSignsNothing(t *testing.T) {
	c := newCouncil(t, 1, 10*ledger.Credit)
	payer := c.book(t, newKey(t))
	store, fence := ledgertest.NewMemory(), &fenceFile{}
	open := func(s ledger.Store) (*ledger.Witness, error) {
		return ledger.OpenWitness(t.Context(), s, fence, c.keys[0], c.genesis, nil)
	}
	w := ok(open(store))(t)
	ok(ask(t.Context(), w, payer, 0))(t)
	old := store.Clone()
	setAside(t, payer, ledger.Account{1}, ledger.Credit)
	ok(ask(t.Context(), w, payer, 1))(t)
	ok(open(store))(t)
	if _, err := open(old); !errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("rolled back by a commit: %v", err)
	}
	if _, err := open(ledgertest.NewMemory()); !errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("emptied: %v", err)
	}
	fence.has = false
	if _, err := open(store); !errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("without its high-water file: %v", err)
	}
}

// No two conflicting locks both get a quorum, whatever up to f bad witnesses sign and in whatever order the payer
// asks, with honest ones that are killed in between. With all of them honest or silent one lock gets there.
func TestWitnessesNeverSignTwoLocks(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, 3, 4, 5, 7}).Draw(r, "witnesses")
		c := newCouncil(t, n, 10*ledger.Credit)
		bad := map[int]bool{}
		for range c.genesis.Faulty() {
			bad[rapid.IntRange(0, n-1).Draw(r, "bad")] = true
		}
		// The payer signs several locks for one place; each is a chain of its own from there.
		key := newKey(t)
		network := ok(c.genesis.ID())(t)
		h := ledger.Head{Network: network, Account: key.Account()}
		g := h.Genesis(ledger.Digest{}, time.Now())
		h = ledger.HeadAt(g, g.Digest())
		var locks []ledger.Entry
		for i := range rapid.IntRange(2, 4).Draw(r, "locks") {
			locks = append(locks, h.Lock(ledger.Account{byte(i + 1)}, 6*ledger.Credit, ledger.Digest{}, time.Now().Add(time.Hour), time.Now()))
		}
		first := ledger.Shown{Entry: ok(key.SignEntry(g))(t)}
		statements := make([]map[int][]byte, len(locks))
		for i := range statements {
			statements[i] = map[int][]byte{}
		}
		asks := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) [2]int {
			return [2]int{rapid.IntRange(0, n-1).Draw(r, "witness"), rapid.IntRange(0, len(locks)-1).Draw(r, "lock")}
		}), 0, 4*n).Draw(r, "asks")
		for _, a := range asks {
			w, l := a[0], a[1]
			if rapid.IntRange(0, 4).Draw(r, "kill") == 0 {
				c.reopen(t, w)
			}
			if bad[w] {
				statements[l][w] = ok(c.keys[w].SignStatement(ledger.StatementOn(c.keys[w].Account(), locks[l], locks[l].Digest())))(t)
				continue
			}
			s, err := c.all[w].Sign(t.Context(), []ledger.Shown{first, {Entry: ok(key.SignEntry(locks[l]))(t)}})
			if err == nil {
				statements[l][w] = s
			} else if fork := (*ledger.ForkError)(nil); !errors.As(err, &fork) {
				r.Fatal(err)
			}
		}
		var won []int
		for l := range locks {
			var all [][]byte
			for _, s := range statements[l] {
				all = append(all, s)
			}
			if len(all) == 0 {
				continue
			}
			cert := ok(c.genesis.Certify(all...))(t)
			switch err := cert.Verify(c.genesis, locks[l], locks[l].Digest(), nil); {
			case err == nil:
				won = append(won, l)
			case !errors.Is(err, ledger.ErrUnwitnessed):
				r.Fatal(err)
			}
		}
		if len(won) > 1 {
			r.Fatalf("locks %v for one place all have a quorum of %d, %d of %d are bad", won, c.genesis.Quorum(), len(bad), n)
		}
	})
}

// f+1 witnesses that sign everything can put through two locks; then both certificates together convict at least f+1.
func TestCertificatesForTwoLocksConvictTheirWitnesses(t *testing.T) {
	c := newCouncil(t, 4, 10*ledger.Credit)
	key := newKey(t)
	h := ledger.Head{Network: ok(c.genesis.ID())(t), Account: key.Account()}
	g := h.Genesis(ledger.Digest{}, time.Now())
	h = ledger.HeadAt(g, g.Digest())
	payee := c.book(t, newKey(t))
	certified := func(witnesses ...int) (ledger.Entry, ledger.Certificate, []byte) {
		l := h.Lock(payee.Account(), ledger.Credit, ledger.Digest{byte(witnesses[0])}, time.Now().Add(time.Hour), time.Now())
		var all [][]byte
		for _, w := range witnesses {
			all = append(all, ok(c.keys[w].SignStatement(ledger.StatementOn(c.keys[w].Account(), l, l.Digest())))(t))
		}
		return l, ok(c.genesis.Certify(all...))(t), ok(key.SignEntry(l))(t)
	}
	a, ofA, rawA := certified(0, 1, 2)
	b, ofB, rawB := certified(1, 2, 3)
	proofs := ledger.DoubleSigns(c.genesis, a, ofA, b, ofB)
	if len(proofs) != 2 {
		t.Fatalf("%d proofs, want 2", len(proofs))
	}
	for _, p := range proofs {
		if got := ok(ledger.VerifyProof(p.Encode(), c.genesis))(t); got.ID != p.ID || got.Kind != ledger.ProofDoubleSign {
			t.Errorf("%+v", got)
		}
	}
	ok(payee.AcceptWitnessed(t.Context(), rawA, ofA.Encode(), time.Now()))(t)
	if _, err := payee.AcceptWitnessed(t.Context(), rawB, ofB.Encode(), time.Now()); !errors.As(err, new(*ledger.ForkError)) {
		t.Fatal(err)
	}
	for i, k := range c.keys {
		if want := i == 1 || i == 2; payee.Convicted(k.Account()) != want {
			t.Errorf("witness %d convicted: %v", i, !want)
		}
	}
}

func TestDoubleSignConvictsWitnessesOnly(t *testing.T) {
	c := newCouncil(t, 1, 0)
	p := ok(ledger.NewProof(ledger.ProofDoubleSign, statementOn(t, c, 0, 1), statementOn(t, c, 0, 2)))(t)
	ok(ledger.VerifyProof(p.Encode(), c.genesis))(t)
	for i := range p.Encode() {
		bad := p.Encode()
		if bad[i] ^= 1; func() bool { _, err := ledger.VerifyProof(bad, c.genesis); return err == nil }() {
			t.Fatalf("byte %d flipped, and it convicts", i)
		}
	}
	if _, err := ledger.NewProof(ledger.ProofDoubleSign, statementOn(t, c, 0, 1), statementOn(t, c, 0, 1)); !errors.Is(err, ledger.ErrMalformed) {
		t.Errorf("one statement twice: %v", err)
	}
	stranger := &council{genesis: c.genesis, keys: []ledger.Key{newKey(t)}}
	p = ok(ledger.NewProof(ledger.ProofDoubleSign, statementOn(t, stranger, 0, 1), statementOn(t, stranger, 0, 2)))(t)
	if _, err := ledger.VerifyProof(p.Encode(), c.genesis); !errors.Is(err, ledger.ErrMalformed) {
		t.Errorf("who is no witness: %v", err)
	}
}

func ExampleGenesis_Quorum() {
	for _, n := range []int{1, 3, 4, 7} {
		g := ledger.MutualGenesis("g", 0)
		g.Witnesses = make([]ledger.Account, n)
		fmt.Printf("%d witnesses: %d sign, %d may fail\n", n, g.Quorum(), g.Faulty())
	}
	// Output:
	// 1 witnesses: 1 sign, 0 may fail
	// 3 witnesses: 2 sign, 0 may fail
	// 4 witnesses: 3 sign, 1 may fail
	// 7 witnesses: 5 sign, 2 may fail
}
