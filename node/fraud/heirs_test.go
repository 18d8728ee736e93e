package fraud_test

import (
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
	"github.com/personal-power-plant/p3/node/fraud"
	"github.com/personal-power-plant/p3/node/p2p"
)

// A payer has changed its key and dealt with one provider before. That one hears of it on meeting the payer, and whoever
// dealt with the old account hears of it from that one; a node that has nothing to do with either keeps nothing.
func TestKeyChangeReachesThoseWhoKnewTheAccount(t *testing.T) {
	old, next := ok(ledger.NewKey())(t), ok(ledger.NewKey())(t)
	store := ledgertest.NewMemory()
	payer := ok(ledger.OpenBook(t.Context(), store, old, genesis))(t)
	told := make(chan ledger.Account, 8)
	hears := func(_ *p2p.Config, c *fraud.Config) {
		c.Rekeyed = func(s ledger.Succession) {
			e, err := ledger.ParseEntry(s.Second)
			if err == nil {
				told <- e.Account
			}
		}
	}
	first, second, stranger := start(t, hears), start(t, hears), start(t, nil)
	for _, host := range []*node{first, second} { // one unit each, paid
		lock := ok(payer.Lock(t.Context(), ledger.LockRequest{Payee: host.book.Account(), Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
		ok(host.book.AcceptLock(t.Context(), lock.Raw, time.Now()))(t)
		claim := ok(host.book.Claim(t.Context(), lock.Digest, 1, 1, ledger.Digest{}))(t)
		voucher := ok(payer.Vouch(t.Context(), lock.Digest, claim, 1))(t)
		if err := host.book.Credit(t.Context(), voucher, 1); err != nil {
			t.Fatal(err)
		}
		earn := ok(host.book.Earn(t.Context(), ok(payer.Settle(t.Context(), lock.Digest))(t)))(t)
		if err := payer.AcknowledgeEarn(t.Context(), earn); err != nil {
			t.Fatal(err)
		}
	}
	payer.Close()
	payer = ok(ledger.RotateBook(t.Context(), store, nil, old, next, genesis, ledger.Digest{}))(t)
	payer.Close()

	user := startWith(t, genesis, store, next, nil)
	user.meet(t, first)
	if a := <-told; a != next.Account() {
		t.Errorf("told of %s", a)
	}
	first.meet(t, stranger)
	first.meet(t, second) // which never meets the payer
	if a := <-told; a != next.Account() {
		t.Errorf("told of %s", a)
	}
	for _, host := range []*node{first, second} {
		if h := host.book.Heir(old.Account()); h != next.Account() {
			t.Errorf("heir %s", h)
		}
	}
	if h := stranger.book.Heir(old.Account()); h != old.Account() {
		t.Errorf("a stranger keeps %s", h)
	}
}
