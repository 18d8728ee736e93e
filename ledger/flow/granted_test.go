package flow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/flow"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// In a granted network the limit is the least of lock, free balance as far as grants were shown for it, and tentative cap.
func TestGrantedLimitIsTheLeastOfThree(t *testing.T) {
	ctx := t.Context()
	key := func() ledger.Key {
		k, err := ledger.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
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
	g := flow.NewGranted(host)
	if l, err := g.Limit(payer.Account(), 50); err != nil || l.Total() != 0 || !strings.HasPrefix(l.Text(), "no balance of it was seen yet") {
		t.Errorf("%s, %v", l.Text(), err)
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
	if c, why, err := g.Open(lock(5, 30), 1, 50); c != nil || err != nil || why.Unbacked != 80 || why.Total() != 0 {
		t.Errorf("nothing shown: %s, %v", why.Text(), err)
	}
	if _, err := host.LearnGrant(ctx, grants[0].Raw); err != nil {
		t.Fatal(err)
	}
	c, why, err := g.Open(lock(5, 30), 1, 50) // 65 free, 40 of it not shown
	if err != nil || c == nil || c.Limit != 25 || why.Text() != "free balance 0.000065, granted 0.00008 (no grant was shown for 0.00004); unwitnessed, so at most 0.00005 at a time" {
		t.Fatalf("half shown: %+v, %s, %v", c, why.Text(), err)
	}
	c.Close()
	if _, err := host.LearnGrant(ctx, grants[1].Raw); err != nil {
		t.Fatal(err)
	}
	first, _, err := g.Open(lock(5, 30), 1, 50)
	if err != nil || first == nil || first.Limit != 30 {
		t.Fatalf("%+v, %v", first, err)
	}
	second, why, err := g.Open(lock(6, 35), 1, 50)
	if err != nil || second == nil || second.Limit != 20 || why.Held != 30 {
		t.Fatalf("the cap is for all leases together: %+v, %s, %v", second, why.Text(), err)
	}
	if third, why, err := g.Open(lock(7, 10), 1, 50); third != nil || err != nil || why.Total() != 0 {
		t.Errorf("%s, %v", why.Text(), err)
	}
	used, done := second.Claim(20, time.Now())
	if done(); len(used.Edges) != 0 || used.Starter != 0 {
		t.Errorf("a grant uses up nobody's trust: %+v", used)
	}
	first.Close()
	first.Close()
	second.Close()
	if again, _, err := g.Open(lock(5, 30), 1, 50); err != nil || again == nil || again.Limit != 30 {
		t.Errorf("what was closed is free again: %+v, %v", again, err)
	}
}
