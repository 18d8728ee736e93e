package flow

import (
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// buys is one lease, from the limit to the settle, in which user claims amount of its credit at host.
func buys(t *testing.T, user, host *node, l *Limiter, amount ledger.Credits) {
	t.Helper()
	c, _, err := l.Open(user.Account(), amount, amount, terms, noon)
	if err != nil || c == nil {
		t.Fatalf("no credit: %v", err)
	}
	defer c.Close()
	lock := ok(user.Lock(t.Context(), ledger.LockRequest{Payee: host.Account(), Amount: amount, Expiry: time.Now().Add(time.Hour)}))(t)
	ok(host.AcceptLock(t.Context(), lock.Raw, time.Now()))(t)
	used, done := c.Claim(amount, noon)
	claim := ok(host.ClaimCharged(t.Context(), lock.Digest, []ledger.Unit{{Fuel: 1, Amount: amount}}, used))(t)
	done()
	voucher := ok(user.Vouch(t.Context(), lock.Digest, claim, amount))(t)
	if err := host.Credit(t.Context(), voucher, 1); err != nil {
		t.Fatal(err)
	}
	earn := ok(host.Earn(t.Context(), ok(user.Settle(t.Context(), lock.Digest))(t)))(t)
	if err := user.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
}

// What a payer may claim follows it to its new key, after a rotation and after a recovery, whether its key changes are
// shown in turn or the newest first; what it used up does too, and the old keys get nothing more.
func TestLimitFollowsTheAccount(t *testing.T) {
	const cr = ledger.Credit
	for name, order := range map[string][]int{"in turn": {1, 0}, "the newest first": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			recovery := ok(ledger.NewKey())(t)
			host, maple := newNode(t), newNode(t)
			user := &node{key: ok(ledger.NewKey())(t), store: ledgertest.NewMemory()}
			user.Book = ok(ledger.BeginBook(t.Context(), user.store, nil, user.key, mutual, ledger.Account{}))(t)
			first := user.key
			l := NewLimiter(host)
			user.worksFor(t, host, 3*cr)
			buys(t, user, host, l, cr)
			maple.worksFor(t, host, 4*cr)
			proof := user.worksFor(t, maple, 4*cr)
			limit := func(a ledger.Account) ledger.Credits {
				t.Helper()
				if err := l.Learn(a, [][]byte{proof}, always); err != nil {
					t.Fatal(err)
				}
				return ok(l.Limit(a, terms, noon))(t).Total()
			}
			want := limit(first.Account())
			if want != 2*cr+4*cr+2*cr {
				t.Fatalf("before: %s", want)
			}

			// Rotated, to a key with a recovery key; then that one is stolen, and the account recovered.
			user.Close()
			second := ok(ledger.NewKey())(t)
			book := ok(ledger.RotateBook(t.Context(), user.store, nil, first, second, mutual, ledger.RecoveryCommitment(recovery.Account())))(t)
			book.Close()
			book = ok(ledger.RecoverBook(t.Context(), user.store, nil, recovery, mutual, ledger.Digest{}))(t)
			defer book.Close()
			lineage := ok(book.Lineage())(t)
			for _, i := range order {
				for range 2 {
					news, err := host.LearnSuccession(t.Context(), lineage[i], recovery.Account())
					if err != nil {
						t.Fatal(err)
					}
					t.Logf("%d: news %v", i, news)
				}
			}
			if got := limit(recovery.Account()); got != want {
				t.Errorf("after: %s, want %s", got, want)
			}
			if h := host.Heir(first.Account()); h != recovery.Account() {
				t.Errorf("heir %s", h)
			}
			x, was := ok(host.Exposure(recovery.Account()))(t), ok(host.Exposure(first.Account()))(t)
			if x.Window != was.Window || x.Window == (ledger.Window{}) {
				t.Errorf("window %+v, was %+v", x.Window, was.Window)
			}
			for _, k := range []ledger.Key{first, second} {
				p := newTaker(t, k)
				lock := p.head.Lock(host.Account(), cr, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())
				if _, err := host.AcceptLock(t.Context(), ok(k.SignEntry(lock))(t), time.Now()); !errors.Is(err, ledger.ErrFrozen) {
					t.Errorf("old key %s: %v", k.Account().Short(), err)
				}
				if st := ok(host.Standing(k.Account()))(t); st.Did != 0 {
					t.Errorf("%s still has a standing: %+v", k.Account().Short(), st)
				}
			}
		})
	}
}

// When it is the provider that changes its key, nothing that it gave is forgotten.
func TestGivenCreditIsRememberedUnderANewKey(t *testing.T) {
	host, user := newNode(t), newNode(t)
	user.worksFor(t, host, 3*ledger.Credit)
	buys(t, user, host, NewLimiter(host), ledger.Credit)
	before := ok(NewLimiter(host).Limit(user.Account(), terms, noon))(t).Total()
	host.Close()
	next := ok(ledger.NewKey())(t)
	b := ok(ledger.RotateBook(t.Context(), host.store, nil, host.key, next, mutual, ledger.Digest{}))(t)
	defer b.Close()
	if got := ok(NewLimiter(b).Limit(user.Account(), terms, noon))(t).Total(); got != before || got != 4*ledger.Credit {
		t.Errorf("%s, want %s", got, before)
	}
}
