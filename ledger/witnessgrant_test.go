package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// newGrantedCouncil is a granted network with witnesses, each of which has a book.
func newGrantedCouncil(t testing.TB, n int) (*council, *org) {
	t.Helper()
	c := newCouncil(t, n, 0)
	o := &org{key: newKey(t), store: ledgertest.NewMemory()}
	c.genesis = ledger.GrantedGenesis("org", ledger.Mint{Account: o.key.Account(), Cap: 100 * ledger.Credit}).Witnessed(c.genesis.Witnesses...)
	c.genesis.Params.CheckpointEvery = 8
	o.genesis = c.genesis
	o.issuer = ok(ledger.OpenIssuer(o.store, nil, o.key, o.genesis))(t)
	for i := range c.all {
		c.all[i] = ok(ledger.OpenWitness(t.Context(), ledgertest.NewMemory(), nil, c.keys[i], c.genesis, o.book(t)))(t)
	}
	return c, o
}

// Credit that a mint granted, and what is earned of it, can be spent on the word of the witnesses, and no more.
func TestGrantedCreditIsWitnessed(t *testing.T) {
	c, o := newGrantedCouncil(t, 4)
	a, b := o.book(t), o.book(t)
	o.grant(t, a, 20*ledger.Credit)
	c.lease(t, a, b, 15*ledger.Credit, 0, 1, 2)
	o.grant(t, a, 5*ledger.Credit)
	c.lease(t, a, b, 10*ledger.Credit, 1, 2, 3)
	c.lease(t, b, a, 25*ledger.Credit, 0, 1, 3)
	if r := o.audit(t, a, b); len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
}

func TestWitnessRefusesCreditThatNoMintGranted(t *testing.T) {
	c, o := newGrantedCouncil(t, 1)
	key := newKey(t)
	network := ok(c.genesis.ID())(t)
	h := ledger.Head{Network: network, Account: key.Account()}
	first := h.Genesis(ledger.Digest{}, time.Now())
	h = ledger.HeadAt(first, first.Digest())
	start := ledger.Shown{Entry: ok(key.SignEntry(first))(t)}
	real := o.sign(t, 0, ledger.Digest{}, key.Account(), 5*ledger.Credit, 5*ledger.Credit)
	claims := func(raw []byte, more ledger.Credits) ledger.Shown {
		g := ok(ledger.ParseGrant(raw))(t)
		d := g.Digest()
		g.Amount += more
		return ledger.Shown{Entry: ok(key.SignEntry(h.Claim(g, d, time.Now())))(t), Grant: raw}
	}
	forged := ok(newKey(t).SignGrant(ok(ledger.ParseGrant(real))(t)))(t)
	twin := o.sign(t, 0, ledger.Digest{}, key.Account(), 6*ledger.Credit, 6*ledger.Credit)
	good := claims(real, 0)
	hers := claims(o.sign(t, 0, ledger.Digest{}, ledger.Account{7}, 5*ledger.Credit, 5*ledger.Credit), 0)
	for name, shown := range map[string]ledger.Shown{
		"no grant shown":           {Entry: good.Entry},
		"more than was granted":    claims(real, 1),
		"a grant that others sign": claims(forged, 0),
		"a grant to somebody else": hers,
		"beyond the cap":           claims(o.sign(t, 0, ledger.Digest{}, key.Account(), 101*ledger.Credit, 101*ledger.Credit), 0),
	} {
		if _, err := c.all[0].Sign(t.Context(), []ledger.Shown{start, shown}); !errors.Is(err, ledger.ErrUnbacked) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.all[0].Sign(t.Context(), []ledger.Shown{start}); !errors.Is(err, ledger.ErrUnbacked) {
		t.Errorf("a chain that nothing was granted takes a place: %v", err)
	}
	if s := c.all[0].Stats(); s.Accounts != 0 || s.Entries != 0 {
		t.Errorf("a refused request left something: %+v", s)
	}
	ok(c.all[0].Sign(t.Context(), []ledger.Shown{start, good}))(t)
	e := ok(ledger.ParseEntry(good.Entry))(t)
	h = ledger.HeadAt(e, e.Digest())
	if _, err := c.all[0].Sign(t.Context(), []ledger.Shown{claims(real, 0)}); !errors.Is(err, ledger.ErrChain) {
		t.Errorf("taken up twice: %v", err)
	}
	// The mint signs another for that place: whoever comes second gets nothing, and it is convicted.
	if _, err := c.all[0].Sign(t.Context(), []ledger.Shown{claims(twin, 0)}); !errors.Is(err, ledger.ErrFrozen) {
		t.Errorf("a mint's second grant for one place: %v", err)
	}
}
