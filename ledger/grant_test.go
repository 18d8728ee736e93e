package ledger_test

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// An org is a granted network with one mint.
type org struct {
	genesis ledger.Genesis
	key     ledger.Key // of the mint
	store   *ledgertest.Memory
	issuer  *ledger.Issuer
}

func newOrg(t testing.TB, cap ledger.Credits) *org {
	t.Helper()
	o := &org{key: newKey(t), store: ledgertest.NewMemory()}
	o.genesis = ledger.GrantedGenesis("org", ledger.Mint{Account: o.key.Account(), Cap: cap})
	o.issuer = ok(ledger.OpenIssuer(o.store, nil, o.key, o.genesis))(t)
	return o
}

func (o *org) book(t testing.TB) *ledger.Book {
	t.Helper()
	b := ok(ledger.OpenBook(t.Context(), ledgertest.NewMemory(), newKey(t), o.genesis))(t)
	t.Cleanup(b.Close)
	return b
}

// grant gives a book credit, which takes it up, and returns the mint's record.
func (o *org) grant(t testing.TB, b *ledger.Book, amount ledger.Credits) []byte {
	t.Helper()
	ok(o.issuer.Grant(t.Context(), b.Account(), amount))(t)
	pending := ok(o.issuer.Pending(100, nil))(t)
	last := pending[len(pending)-1]
	entry := ok(b.ClaimGrant(t.Context(), last.Raw))(t)
	if err := o.issuer.Acknowledge(t.Context(), last.Seq, entry); err != nil {
		t.Fatal(err)
	}
	return last.Raw
}

func (o *org) audit(t testing.TB, books ...*ledger.Book) ledger.AuditReport {
	t.Helper()
	a := ok(ledger.NewAudit(o.genesis))(t)
	for _, b := range books {
		_ = a.Book(b) // what is wrong is in the report
	}
	return a.Report()
}

// sign signs a grant in any place, as a mint that cheats does.
func (o *org) sign(t testing.TB, seq uint64, prev ledger.Digest, to ledger.Account, amount, total ledger.Credits) []byte {
	t.Helper()
	return ok(o.key.SignGrant(ledger.Grant{Network: ok(o.genesis.ID())(t), Mint: o.key.Account(), Seq: seq, Prev: prev, To: to, Amount: amount, Total: total}))(t)
}

func TestGrantIsTakenUpOnce(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	member, provider := o.book(t), o.book(t)
	if free := member.Balance().Free; free != 0 {
		t.Fatalf("a member without a grant has %s free", free)
	}
	raw := o.grant(t, member, 20*ledger.Credit)
	entry := ok(member.ClaimGrant(t.Context(), raw))(t)
	for range 100 {
		if again := ok(member.ClaimGrant(t.Context(), raw))(t); !bytes.Equal(again, entry) {
			t.Fatal("another answer to the same grant")
		}
	}
	if b := member.Balance(); b.Granted != 20*ledger.Credit || b.Free != 20*ledger.Credit {
		t.Errorf("%+v", b)
	}
	if _, err := provider.ClaimGrant(t.Context(), raw); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("somebody else's grant: %v", err)
	}
	var no *ledger.NoCreditError
	request := ledger.LockRequest{Payee: provider.Account(), Amount: 21 * ledger.Credit, Expiry: time.Now().Add(time.Hour)}
	if _, err := member.Lock(t.Context(), request); !errors.As(err, &no) {
		t.Errorf("a lock beyond the balance: %v", err)
	}
	request.Amount = 15 * ledger.Credit
	lock := ok(member.Lock(t.Context(), request))(t)
	ok(provider.AcceptLock(t.Context(), lock.Raw, time.Now()))(t)
	claim := ok(provider.Claim(t.Context(), lock.Digest, 1000, 4*ledger.Credit, ledger.Digest{1}))(t)
	if err := provider.Credit(t.Context(), ok(member.Vouch(t.Context(), lock.Digest, claim, 4*ledger.Credit))(t), 1); err != nil {
		t.Fatal(err)
	}
	settle := ok(member.Settle(t.Context(), lock.Digest))(t)
	if r := o.audit(t, member, provider); len(r.Problems) != 0 || r.InTransit != 4*ledger.Credit || r.Net()+r.InTransit != 20*ledger.Credit {
		t.Errorf("on its way: %+v", r)
	}
	ok(provider.Earn(t.Context(), settle))(t)
	if r := o.audit(t, member, provider); len(r.Problems) != 0 || r.Net() != 20*ledger.Credit || r.Granted != 20*ledger.Credit || r.InTransit != 0 {
		t.Errorf("%+v", r)
	}
	if pending := ok(o.issuer.Pending(10, nil))(t); len(pending) != 0 {
		t.Errorf("%d grants are still to be delivered", len(pending))
	}
}

func TestMintRefusesBeforeItSigns(t *testing.T) {
	o := newOrg(t, 10*ledger.Credit)
	someone := newKey(t).Account()
	var cap *ledger.CapError
	for name, c := range map[string]struct {
		to     ledger.Account
		amount ledger.Credits
		is     func(error) bool
	}{
		"the zero account":   {ledger.Account{}, 1, func(err error) bool { return errors.Is(err, ledger.ErrMalformed) }},
		"nothing":            {someone, 0, func(err error) bool { return errors.Is(err, ledger.ErrOverflow) }},
		"less than nothing":  {someone, -1, func(err error) bool { return errors.Is(err, ledger.ErrOverflow) }},
		"more than there is": {someone, ledger.MaxCredits + 1, func(err error) bool { return errors.Is(err, ledger.ErrOverflow) }},
		"the whole world":    {someone, ledger.MaxCredits, func(err error) bool { return errors.As(err, &cap) }},
		"beyond the cap":     {someone, 10*ledger.Credit + 1, func(err error) bool { return errors.As(err, &cap) }},
	} {
		if _, err := o.issuer.Grant(t.Context(), c.to, c.amount); !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if h, _ := o.issuer.Head(); h.Len != 0 || len(ok(o.issuer.Pending(1, nil))(t)) != 0 {
		t.Errorf("%d grants were signed", h.Len)
	}
	ok(o.issuer.Grant(t.Context(), someone, 10*ledger.Credit))(t) // all of it
	if _, err := o.issuer.Grant(t.Context(), someone, 1); !errors.As(err, &cap) {
		t.Errorf("one more: %v", err)
	}
	if _, err := ledger.OpenIssuer(ledgertest.NewMemory(), nil, newKey(t), o.genesis); err == nil {
		t.Error("a key that is no mint's")
	}
}

func TestGrantsOfOthersAreRefused(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	b := o.book(t)
	real := o.sign(t, 0, ledger.Digest{}, b.Account(), 5, 5)
	g := ok(ledger.ParseGrant(real))(t)
	thief := newKey(t)
	byThief := ok(thief.SignGrant(g))(t)
	g.Mint = thief.Account()
	ownMint := ok(thief.SignGrant(g))(t)
	elsewhere := ledger.GrantedGenesis("elsewhere", o.genesis.Mints...)
	g = ok(ledger.ParseGrant(real))(t)
	g.Network = ok(elsewhere.ID())(t)
	other := ok(o.key.SignGrant(g))(t)
	var network *ledger.NetworkError
	for name, c := range map[string]struct {
		raw []byte
		is  func(error) bool
	}{
		"signed by another":      {byThief, func(err error) bool { return errors.Is(err, ledger.ErrSignature) }},
		"by a mint of nobody's":  {ownMint, func(err error) bool { return errors.Is(err, ledger.ErrSignature) }},
		"of another network":     {other, func(err error) bool { return errors.As(err, &network) }},
		"with a byte too many":   {append(bytes.Clone(real), 0), func(err error) bool { return errors.Is(err, ledger.ErrMalformed) }},
		"of a total that cannot": {o.sign(t, 9, ledger.Digest{1}, b.Account(), 5, 13), func(err error) bool { return errors.Is(err, ledger.ErrMalformed) }},
	} {
		if _, err := b.ClaimGrant(t.Context(), c.raw); !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b.Balance().Granted != 0 {
		t.Errorf("%+v", b.Balance())
	}
	mutual := openBook(t, ledgertest.NewMemory(), newKey(t))
	if _, err := mutual.ClaimGrant(t.Context(), real); err == nil {
		t.Error("a grant in a network without mints")
	}
}

// A mint that signs what cannot stand in one chain within its cap is convicted by whoever sees it, and
// nobody takes up what it grants after that; whoever got credit before keeps it.
func TestAttack32MintEquivocationAndOverIssue(t *testing.T) {
	const cap = 100 * ledger.Credit
	type twoGrants func(o *org, t *testing.T, a, b ledger.Account) (first, second []byte)
	for name, cheat := range map[string]twoGrants{
		"two grants in one place": func(o *org, t *testing.T, a, b ledger.Account) (first, second []byte) {
			return o.sign(t, 0, ledger.Digest{}, a, 60*ledger.Credit, 60*ledger.Credit), o.sign(t, 0, ledger.Digest{}, b, 60*ledger.Credit, 60*ledger.Credit)
		},
		"a total that leaves one out": func(o *org, t *testing.T, a, b ledger.Account) (first, second []byte) {
			first = o.sign(t, 0, ledger.Digest{}, a, 60*ledger.Credit, 60*ledger.Credit)
			return first, o.sign(t, 1, ok(ledger.ParseGrant(first))(t).Digest(), b, 60*ledger.Credit, 60*ledger.Credit+1)
		},
		"a second chain": func(o *org, t *testing.T, a, b ledger.Account) (first, second []byte) {
			return o.sign(t, 0, ledger.Digest{}, a, 50*ledger.Credit, 50*ledger.Credit), o.sign(t, 1, ledger.Digest{7}, b, 50*ledger.Credit, 100*ledger.Credit)
		},
		"totals that fall, far apart": func(o *org, t *testing.T, a, b ledger.Account) (first, second []byte) {
			return o.sign(t, 3, ledger.Digest{1}, a, 60*ledger.Credit, 90*ledger.Credit), o.sign(t, 700, ledger.Digest{2}, b, 60*ledger.Credit, 95*ledger.Credit)
		},
		"more than the cap": func(o *org, t *testing.T, a, b ledger.Account) (first, second []byte) {
			first = o.sign(t, 0, ledger.Digest{}, a, 60*ledger.Credit, 60*ledger.Credit)
			return first, o.sign(t, 1, ok(ledger.ParseGrant(first))(t).Digest(), b, 60*ledger.Credit, 120*ledger.Credit)
		},
	} {
		for _, order := range []string{"in order", "the later one first"} {
			t.Run(name+", "+order, func(t *testing.T) {
				o := newOrg(t, cap)
				a, b, c := o.book(t), o.book(t), o.book(t)
				first, second := cheat(o, t, a.Account(), b.Account())
				if order != "in order" {
					if name == "more than the cap" {
						t.Skip("the later one convicts alone")
					}
					first, second, a, b = second, first, b, a
				}
				ok(a.ClaimGrant(t.Context(), first))(t)
				var convicted []ledger.Proof
				a.OnConvict(func(p ledger.Proof) { convicted = append(convicted, p) })
				var mint *ledger.MintError
				if _, err := a.LearnGrant(t.Context(), second); !errors.As(err, &mint) {
					t.Fatalf("the contradiction: %v", err)
				}
				if len(convicted) != 1 || convicted[0].Account != o.key.Account() {
					t.Fatalf("convicted %v", convicted)
				}
				// The proof convinces anyone of the network, and nobody else.
				raw := convicted[0].Encode()
				if p, news, err := c.Convict(t.Context(), raw); err != nil || !news || p.Account != o.key.Account() {
					t.Fatalf("%+v, %v, %v", p, news, err)
				}
				if _, err := ledger.VerifyProof(raw, network); err == nil {
					t.Error("the proof holds in another network")
				}
				for i := range raw {
					bad := bytes.Clone(raw)
					bad[i] ^= 1
					if _, err := ledger.VerifyProof(bad, o.genesis); err == nil {
						t.Fatalf("with byte %d flipped it still convicts", i)
					}
				}
				if _, err := c.ClaimGrant(t.Context(), o.sign(t, 900, ledger.Digest{3}, c.Account(), 1, cap)); !errors.Is(err, ledger.ErrFrozen) {
					t.Errorf("a grant of a frozen mint: %v", err)
				}
				if err := c.LearnGrants(t.Context(), [][]byte{first, second}); err != nil {
					t.Errorf("shown by a payer: %v", err)
				}
				if a.Balance().Granted == 0 || c.Balance().Granted != 0 {
					t.Errorf("granted %s before and %s after", a.Balance().Granted, c.Balance().Granted)
				}
				// Who got only the other one, before anybody knew, is found by an audit.
				if _, err := b.ClaimGrant(t.Context(), second); name == "more than the cap" {
					if !errors.As(err, &mint) {
						t.Errorf("a grant beyond the cap: %v", err)
					}
				} else {
					r := o.audit(t, a, b)
					if err != nil || len(r.Problems) != 1 || r.Problems[0].Kind != ledger.ProblemMint || r.Problems[0].Account != o.key.Account() {
						t.Errorf("%v, audit: %v", err, r.Problems)
					}
				}
			})
		}
	}
}

func TestHonestMintIsNeverConvicted(t *testing.T) {
	o := newOrg(t, 1000*ledger.Credit)
	b := o.book(t)
	for range 40 {
		ok(o.issuer.Grant(t.Context(), b.Account(), ledger.Credit))(t)
	}
	pending := ok(o.issuer.Pending(100, nil))(t)
	for step := range 40 { // in an order of its own, with gaps of all sizes
		d := pending[step*17%40]
		ok(b.LearnGrant(t.Context(), d.Raw))(t)
	}
	other := o.book(t)
	raws := make([][]byte, 0, 80)
	for step := range 80 { // each twice
		raws = append(raws, pending[step*7%40].Raw)
	}
	if err := other.LearnGrants(t.Context(), raws); err != nil {
		t.Fatal(err)
	}
	if backed := ok(other.Backed(b.Account()))(t); backed != 40*ledger.Credit {
		t.Errorf("%s are known to be granted after all at once", backed)
	}
	for i, x := range pending {
		for _, y := range pending[:i] {
			if _, err := ledger.NewProof(ledger.ProofMintFork, x.Raw, y.Raw); !errors.Is(err, ledger.ErrMalformed) {
				t.Fatalf("grants %d and %d: %v", x.Seq, y.Seq, err)
			}
		}
		if _, err := ledger.VerifyProof(append([]byte{byte(ledger.ProofOverIssue)}, x.Raw...), o.genesis); !errors.Is(err, ledger.ErrMalformed) {
			t.Fatalf("grant %d within the cap: %v", x.Seq, err)
		}
	}
	if backed := ok(b.Backed(b.Account()))(t); backed != 40*ledger.Credit {
		t.Errorf("%s are known to be granted", backed)
	}
}

func TestAuditNamesUnbackedGrants(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	honest, liar := o.book(t), newKey(t)
	raw := o.grant(t, honest, 20*ledger.Credit)
	g := ok(ledger.ParseGrant(raw))(t)
	// The liar claims somebody else's grant, and one that nobody signed.
	h := ledger.Head{Network: honest.Network(), Account: liar.Account()}
	first := h.Genesis(ledger.Digest{}, time.Now())
	h = ledger.HeadAt(first, first.Digest())
	stolen := h.Claim(g, g.Digest(), time.Now())
	h = ledger.HeadAt(stolen, stolen.Digest())
	invented := h.Claim(g, ledger.Digest{9}, time.Now())
	a := ok(ledger.NewAudit(o.genesis))(t)
	if err := a.Book(honest); err != nil {
		t.Fatal(err)
	}
	for _, e := range []ledger.Entry{first, stolen, invented} {
		if err := a.Entry(ok(liar.SignEntry(e))(t)); err != nil {
			t.Fatal(err)
		}
	}
	kinds := map[string]int{}
	for _, p := range a.Report().Problems {
		kinds[p.Kind]++
	}
	if kinds[ledger.ProblemUnbacked] != 2 || kinds[ledger.ProblemClaimedTwice] != 1 || len(kinds) != 2 {
		t.Errorf("%v", kinds)
	}
}

func TestBalanceProofShowsItsGrants(t *testing.T) {
	o := newOrg(t, 1_000_000*ledger.Credit)
	o.genesis.Params.CheckpointEvery = 16
	o.issuer = ok(ledger.OpenIssuer(o.store, nil, o.key, o.genesis))(t)
	b := o.book(t)
	for range 40 {
		o.grant(t, b, 2*ledger.Credit)
	}
	o.grant(t, o.book(t), ledger.Credit) // somebody else's is not shown
	raw := ok(ok(b.BalanceProof(t.Context()))(t).Encode())(t)
	p := ok(ledger.ParseBalanceProof(raw))(t)
	s := ok(p.Verify())(t)
	if s.Backed != 80*ledger.Credit || s.Head.Granted != 80*ledger.Credit || s.Head != b.Head() {
		t.Errorf("%+v", s)
	}
	if again := ok(p.Encode())(t); !bytes.Equal(again, raw) {
		t.Error("another encoding")
	}
	for i := 0; i < len(raw); i += 61 {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if q, err := ledger.ParseBalanceProof(bad); err == nil {
			if _, err := q.Verify(); err == nil {
				t.Fatalf("byte %d of %d does not count", i, len(raw))
			}
		}
	}
}

func TestExportOfGrantsIsAudited(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	b := o.book(t)
	o.grant(t, b, 20*ledger.Credit)
	a := ok(ledger.NewAudit(o.genesis))(t)
	kinds := map[string]int{}
	err := b.View().Rows(o.genesis, time.Time{}, func(r ledger.Row) bool {
		kinds[r.Kind]++
		if err := a.Row(r.Kind, r.Signed); err != nil {
			t.Error(err)
		}
		return true
	})
	var out bytes.Buffer
	w := ledger.NewRowWriter(&out, true)
	_ = b.View().Rows(o.genesis, time.Time{}, func(r ledger.Row) bool { return w.Write(r) == nil })
	if err := w.Flush(); err != nil || !strings.Contains(out.String(), ",grant,,"+b.Account().String()+","+b.Network().String()+",,0,,"+b.Account().String()) {
		t.Errorf("as CSV: %v\n%s", err, out.String())
	}
	if err != nil || kinds[ledger.RowGrant] != 1 {
		t.Errorf("%v, %v", kinds, err)
	}
	if r := a.Report(); len(r.Problems) != 0 || r.Granted != 20*ledger.Credit {
		t.Errorf("%+v", r)
	}
	spans := ok(b.View().History([]time.Time{time.Now().Add(-time.Hour)}))(t)
	if spans[0].Granted != 20*ledger.Credit || spans[0].Net != 20*ledger.Credit {
		t.Errorf("%+v", spans)
	}
}

// The disk of a member was rolled back: the mint's node has seen the GRANT entry, so it says so, gives it back,
// and convicts whoever signs another in its place.
func TestMintGivesBackWhatAMemberHasLost(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	mint, key, store := o.book(t), newKey(t), ledgertest.NewMemory()
	open := func(s *ledgertest.Memory) *ledger.Book { return ok(ledger.OpenBook(t.Context(), s, key, o.genesis))(t) }
	member := open(store)
	meet := func(raw []byte, b *ledger.Book) []byte {
		entry := ok(b.ClaimGrant(t.Context(), raw))(t)
		for range 2 {
			if err := mint.MeetClaim(t.Context(), raw, entry); err != nil {
				t.Fatal(err)
			}
		}
		return entry
	}
	first := o.grant(t, member, ledger.Credit)
	meet(first, member)
	old := store.Clone()
	second, third := o.grant(t, member, 2*ledger.Credit), o.grant(t, member, 3*ledger.Credit)
	meet(second, member)
	newest := meet(third, member)
	head := member.Head()
	member.Close()
	if err := old.Commit(t.Context(), ledger.MarkRestored(time.Now())); err != nil {
		t.Fatal(err)
	}
	fork := old.Clone()
	member = open(old)
	defer member.Close()
	if got := ok(mint.Newest(key.Account()))(t); !bytes.Equal(got, newest) {
		t.Error("the newest entry that the mint knows is another")
	}
	if err := member.CheckOwn(t.Context(), newest); !errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("shown what it has lost: %v", err)
	}
	epoch, from, _ := member.Lost()
	held := ok(mint.HeldGrants(key.Account(), epoch, from, 10))(t)
	if receipts, next, err := mint.Held(key.Account(), epoch, from, 10); len(receipts) != 0 || next != 0 || err != nil {
		t.Errorf("%d receipts, %v", len(receipts), err)
	}
	forged := append([]ledger.TakenGrant{{Grant: third, Entry: held[0].Entry}}, held...)
	r := ok(member.Recover(t.Context(), nil, true, forged...))(t)
	if r.Entries != 2 || !r.Signs || member.Head() != head || member.ReadOnly() != nil {
		t.Fatalf("%+v, head %+v, want %+v", r, member.Head(), head)
	}
	if again := ok(member.ClaimGrant(t.Context(), third))(t); !bytes.Equal(again, newest) || member.Balance().Granted != 6*ledger.Credit {
		t.Errorf("taken up again: %+v", member.Balance())
	}
	if r := o.audit(t, member); len(r.Problems) != 0 {
		t.Errorf("%v", r.Problems)
	}
	// Another copy that signs on without asking forks the account, and the mint sees it.
	twin := open(fork)
	defer twin.Close()
	ok(twin.Recover(t.Context(), nil, true))(t)
	other := ok(twin.ClaimGrant(t.Context(), third))(t)
	var forked *ledger.ForkError
	if err := mint.MeetClaim(t.Context(), third, other); !errors.As(err, &forked) {
		t.Errorf("the twin: %v", err)
	}
}

// A counted store counts the rows that scans read.
type counted struct {
	*ledgertest.Memory
	rows atomic.Int64
}

func (c *counted) Scan(prefix, from []byte, yield func(k, v []byte) bool) error {
	return c.Memory.Scan(prefix, from, func(k, v []byte) bool {
		c.rows.Add(1)
		return yield(k, v)
	})
}

// Whoever knows thousands of grants to others finds an account's own, what it took up, and a grant's neighbours without
// reading them all: strangers may ask for each.
func TestManyGrantsToOthersCostNothing(t *testing.T) {
	const others, own = 1000, 3
	o := newOrg(t, ledger.MaxCredits)
	store, member := &counted{Memory: ledgertest.NewMemory()}, o.book(t)
	b := ok(ledger.OpenBook(t.Context(), store, newKey(t), o.genesis))(t)
	defer b.Close()
	var raws [][]byte
	head := ledger.MintHead{Network: b.Network(), Mint: o.key.Account()}
	next := func(to ledger.Account) []byte {
		g := ok(head.Grant(to, ledger.Credit, ledger.MaxCredits))(t)
		head = ledger.MintHeadAt(g, g.Digest())
		return ok(o.key.SignGrant(g))(t)
	}
	for i := range others {
		if i%(others/own) == 1 {
			raws = append(raws, next(member.Account()))
		}
		raws = append(raws, next(newKey(t).Account()))
	}
	if err := b.LearnGrants(t.Context(), raws[:others/2]); err != nil {
		t.Fatal(err)
	}
	few := func(what string, do func() int, want int) {
		t.Helper()
		before := store.rows.Load()
		if n := do(); n != want {
			t.Errorf("%s: %d, want %d", what, n, want)
		}
		if rows := store.rows.Load() - before; rows > 100 {
			t.Errorf("%s read %d rows", what, rows)
		}
	}
	few("a grant far from those known", func() int {
		ok(b.LearnGrant(t.Context(), raws[len(raws)-1]))(t)
		return 0
	}, 0)
	if err := b.LearnGrants(t.Context(), raws); err != nil {
		t.Fatal(err)
	}
	for _, raw := range raws {
		if g := ok(ledger.ParseGrant(raw))(t); g.To == member.Account() {
			if err := b.MeetClaim(t.Context(), raw, ok(member.ClaimGrant(t.Context(), raw))(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	few("an account's own", func() int { return len(ok(b.GrantsTo(member.Account(), 100))(t)) }, own)
	few("the newest of them", func() int { return len(ok(b.GrantsTo(member.Account(), 2))(t)) }, 2)
	few("what it took up", func() int { return len(ok(b.HeldGrants(member.Account(), 0, 0, 100))(t)) }, own)
	if newest := ok(b.GrantsTo(member.Account(), 1))(t); len(newest) != 1 || ok(ledger.ParseGrant(newest[0]))(t).Seq < others*2/3 {
		t.Errorf("%d grants, not the newest", len(newest))
	}
}

// A grant comes again until it is acknowledged, which may be after its entry's block was pruned; and the list of what
// was taken up stays whole.
func TestPruningKeepsWhatAnswersGrants(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	o.genesis.Params.CheckpointEvery = 4
	o.issuer = ok(ledger.OpenIssuer(o.store, nil, o.key, o.genesis))(t)
	b := o.book(t)
	raw := o.grant(t, b, ledger.Credit)
	entry := ok(b.ClaimGrant(t.Context(), raw))(t)
	payee := newKey(t).Account()
	for range 20 {
		lock := ok(b.Lock(t.Context(), ledger.LockRequest{Payee: payee, Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
		ok(b.Settle(t.Context(), lock.Digest))(t)
	}
	if n := ok(b.Prune(t.Context()))(t); n == 0 {
		t.Fatal("nothing was pruned")
	}
	if again := ok(b.ClaimGrant(t.Context(), raw))(t); !bytes.Equal(again, entry) {
		t.Error("another answer")
	}
	if list := ok(b.View().Claimed())(t); len(list) != 1 || list[0].Amount != ledger.Credit {
		t.Errorf("%+v", list)
	}
}
