package ledger_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/fence"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

func day(year, month, day, hour int) time.Time {
	return time.Date(year, time.Month(month), day, hour, 0, 0, 0, time.UTC)
}

func TestAllowanceIsGivenOnceInEachPeriod(t *testing.T) {
	for _, c := range []struct {
		every ledger.Period
		at    []time.Time
		want  []int // grants so far
	}{
		{ledger.Daily, []time.Time{day(2026, 3, 1, 9), day(2026, 3, 1, 23), day(2026, 3, 2, 0), day(2026, 3, 1, 9), day(2026, 3, 2, 23), day(2026, 3, 9, 5)}, []int{1, 1, 2, 2, 2, 3}},
		// A clock that ran years ahead does not end the allowance; nor does it give one twice when it comes back.
		{ledger.Daily, []time.Time{day(2036, 3, 1, 9), day(2026, 3, 1, 9), day(2026, 3, 1, 23), day(2026, 3, 2, 0), day(2026, 3, 2, 1)}, []int{1, 1, 1, 2, 2}},
		{ledger.Monthly, []time.Time{day(2026, 5, 1, 0), day(2026, 3, 31, 23), day(2026, 4, 1, 0), day(2026, 5, 2, 0)}, []int{1, 1, 2, 3}},
		{ledger.Weekly, []time.Time{day(2026, 3, 1, 9), day(2026, 3, 2, 0), day(2026, 3, 8, 23), day(2026, 3, 9, 0)}, []int{1, 2, 2, 3}}, // 1 March 2026 is a Sunday
		{ledger.Monthly, []time.Time{day(2026, 1, 31, 23), day(2026, 2, 1, 0), day(2026, 2, 28, 23), day(2026, 12, 31, 0), day(2027, 1, 1, 0)}, []int{1, 2, 2, 3, 4}},
	} {
		o := newOrg(t, 100*ledger.Credit)
		member := newKey(t).Account()
		ok(o.issuer.Allow(t.Context(), member, ledger.Credit, c.every))(t)
		for i, now := range c.at {
			ok(o.issuer.GrantAllowances(t.Context(), now))(t)
			if h, _ := o.issuer.Head(); h.Len != uint64(c.want[i]) {
				t.Errorf("each %s: %d grants at %s, want %d", c.every, h.Len, now, c.want[i])
			}
		}
	}
}

func TestAllowanceThatIsSetAgainIsNotGivenAgain(t *testing.T) {
	o := newOrg(t, 3*ledger.Credit)
	member, now := newKey(t).Account(), day(2026, 3, 4, 9) // a Wednesday
	for _, step := range []struct {
		amount ledger.Credits
		every  ledger.Period
		want   ledger.Credits // issued after it
	}{{ledger.Credit, ledger.Daily, ledger.Credit}, {0, ledger.Daily, ledger.Credit}, {2 * ledger.Credit, ledger.Weekly, ledger.Credit}, {ledger.Credit, ledger.Daily, ledger.Credit}} {
		ok(o.issuer.Allow(t.Context(), member, step.amount, step.every))(t)
		ok(o.issuer.GrantAllowances(t.Context(), now))(t)
		if h, _ := o.issuer.Head(); h.Total != step.want {
			t.Errorf("%+v: %s issued", step, h.Total)
		}
	}
	// When the cap is used up the others still get theirs, and it is said.
	other := newKey(t).Account()
	ok(o.issuer.Allow(t.Context(), member, 3*ledger.Credit, ledger.Daily))(t)
	ok(o.issuer.Allow(t.Context(), other, ledger.Credit, ledger.Daily))(t)
	var cap *ledger.CapError
	given, err := o.issuer.GrantAllowances(t.Context(), now.AddDate(0, 0, 1))
	if !errors.As(err, &cap) || len(given) != 1 || given[0].To != other {
		t.Errorf("given %+v, %v", given, err)
	}
	for name, bad := range map[string]func() error{
		"nobody": func() error { _, err := o.issuer.Allow(t.Context(), ledger.Account{}, 1, ledger.Daily); return err },
		"beyond the cap": func() error {
			_, err := o.issuer.Allow(t.Context(), other, 3*ledger.Credit+1, ledger.Daily)
			return err
		},
		"below nothing":   func() error { _, err := o.issuer.Allow(t.Context(), other, -1, ledger.Daily); return err },
		"a period of ten": func() error { _, err := o.issuer.Allow(t.Context(), other, 1, 10); return err },
	} {
		if bad() == nil {
			t.Errorf("an allowance for %s", name)
		}
	}
}

// The process of a mint ends at every commit in turn, before or after the disk has it. Whatever was lost or
// not, no allowance is given twice, nothing that was returned is lost, and the chain is one.
func TestKilledMintGivesNoAllowanceTwice(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			o := newOrg(t, 100*ledger.Credit)
			var members []ledger.Account
			for range 3 {
				members = append(members, newKey(t).Account())
				ok(o.issuer.Allow(t.Context(), members[len(members)-1], ledger.Credit, ledger.Daily))(t)
			}
			now := day(2026, 3, 1, 9)
			failing := &ledgertest.Failing{Store: o.store, FailAt: n, After: after}
			broken := ok(ledger.OpenIssuer(failing, nil, o.key, o.genesis))(t)
			given, err := broken.GrantAllowances(t.Context(), now)
			if err != nil && !errors.Is(err, ledger.ErrReadOnly) {
				t.Fatal(err)
			}
			if _, again := broken.Grant(t.Context(), members[0], 1); err != nil && !errors.Is(again, ledger.ErrReadOnly) {
				t.Fatalf("after a failed write the mint signs on: %v", again)
			}
			o.issuer = ok(ledger.OpenIssuer(o.store, nil, o.key, o.genesis))(t)
			for range 3 {
				ok(o.issuer.GrantAllowances(t.Context(), now))(t)
			}
			got := map[ledger.Account]ledger.Credits{}
			var head ledger.MintHead
			for i, d := range ok(o.issuer.Pending(100, nil))(t) {
				g, digest, err := ledger.VerifyGrant(d.Raw, o.genesis)
				if err != nil || g.Seq != uint64(i) || i > 0 && g.Prev != head.Digest || g.Total != head.Total+g.Amount {
					t.Fatalf("commit %d: grant %d is %+v, %v", n, i, g, err)
				}
				if g.Amount == ledger.Credit {
					got[g.To] += g.Amount
				}
				head = ledger.MintHeadAt(g, digest)
			}
			for _, m := range members {
				if got[m] != ledger.Credit {
					t.Fatalf("commit %d (after: %v): a member was given %s", n, after, got[m])
				}
			}
			if len(given) > len(got) {
				t.Fatalf("commit %d: a grant that was returned is lost", n)
			}
			if err == nil {
				break
			}
		}
	}
}

func TestMintThatWasRolledBackSignsNothing(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	mark := ok(fence.Open(filepath.Join(t.TempDir(), "mint")))(t)
	defer mark.Close()
	if err := ledger.BeginMint(mark, o.key.Account(), o.genesis); err != nil {
		t.Fatal(err)
	}
	i := ok(ledger.OpenIssuer(o.store, mark, o.key, o.genesis))(t)
	member := newKey(t).Account()
	ok(i.Grant(t.Context(), member, ledger.Credit))(t)
	old := o.store.Clone()
	ok(i.Grant(t.Context(), member, ledger.Credit))(t)
	again := ok(ledger.OpenIssuer(o.store, mark, o.key, o.genesis))(t)
	ok(again.Grant(t.Context(), member, ledger.Credit))(t)
	for name, store := range map[string]*ledgertest.Memory{"rolled back": old, "empty": ledgertest.NewMemory()} {
		back := ok(ledger.OpenIssuer(store, mark, o.key, o.genesis))(t)
		if _, err := back.Grant(t.Context(), member, 1); !errors.Is(err, ledger.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := back.Allow(t.Context(), member, 1, ledger.Daily); !errors.Is(err, ledger.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A mint whose whole disk went back in time, or whose key alone was copied, would sign for a second time what it
// signed before. It grants nothing, as soon as anybody shows what it has forgotten; and after Recover nobody is convicted,
// the cap counts all, and no allowance is given twice.
func TestMintGoesOnFromWhatOthersHold(t *testing.T) {
	for _, name := range []string{"rolled back, and its fence with it", "anew from its key"} {
		t.Run(name, func(t *testing.T) {
			o := newOrg(t, 10*ledger.Credit)
			now := day(2026, 3, 4, 9)
			open := func(store ledger.Store) (*ledger.Issuer, *ledger.Book) {
				mark := ok(fence.Open(filepath.Join(t.TempDir(), "mint")))(t)
				t.Cleanup(func() { mark.Close() })
				if name != "anew from its key" {
					m := ledger.Mark{Network: ok(o.genesis.ID())(t), Account: o.key.Account()}
					if h, _ := o.issuer.Head(); store != o.store { // as it was when the disk was copied
						m.Commits, m.Head = 2, h.Digest
					}
					if err := mark.Save(m); err != nil {
						t.Fatal(err)
					}
				}
				book := ok(ledger.OpenBook(t.Context(), store, newKey(t), o.genesis))(t)
				t.Cleanup(book.Close)
				return ok(ledger.OpenIssuer(store, mark, o.key, o.genesis))(t), book
			}
			member := o.book(t)
			ok(o.issuer.Allow(t.Context(), member.Account(), ledger.Credit, ledger.Daily))(t)
			o.grant(t, member, ledger.Credit)
			old := o.store.Clone()
			if name == "anew from its key" {
				old = ledgertest.NewMemory()
			}
			back, book := open(old)
			ok(o.issuer.GrantAllowances(t.Context(), now))(t)
			last := o.grant(t, member, 2*ledger.Credit)
			before, _ := o.issuer.Head()

			if name == "anew from its key" {
				if err := back.ReadOnly(); !errors.Is(err, ledger.ErrReadOnly) {
					t.Fatalf("it grants: %v", err)
				}
				if err := back.Recover(t.Context(), now); !errors.Is(err, ledger.ErrNotFound) || back.ReadOnly() == nil {
					t.Fatalf("it begins its chain again: %v", err)
				}
			} else if err := back.ReadOnly(); err != nil {
				t.Fatalf("nobody can know yet: %v", err)
			}
			ok(book.LearnGrant(t.Context(), last))(t)
			if _, err := back.Grant(t.Context(), member.Account(), 1); !errors.Is(err, ledger.ErrReadOnly) {
				t.Fatalf("it signs a second grant for a place: %v", err)
			}
			for range 2 {
				if err := back.Recover(t.Context(), now); err != nil {
					t.Fatal(err)
				}
			}
			if h, _ := back.Head(); h != before {
				t.Fatalf("it stands at %+v, it signed up to %+v", h, before)
			}
			if given := ok(back.GrantAllowances(t.Context(), now))(t); len(given) != 0 {
				t.Errorf("an allowance is given again: %+v", given)
			}
			g := ok(back.Grant(t.Context(), member.Account(), ledger.Credit))(t)
			if g.Seq != before.Len || g.Total != 5*ledger.Credit {
				t.Errorf("%+v", g)
			}
			for _, d := range ok(back.Pending(9, nil))(t) {
				ok(member.ClaimGrant(t.Context(), d.Raw))(t)
			}
			if proof := ok(member.Proof(o.key.Account()))(t); proof != nil {
				t.Error("an honest mint was convicted")
			}
			var cap *ledger.CapError
			if _, err := back.Grant(t.Context(), member.Account(), 6*ledger.Credit); !errors.As(err, &cap) {
				t.Errorf("beyond the cap: %v", err)
			}
		})
	}
}

func TestFrozenMintSignsNothing(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	book := ok(ledger.OpenBook(t.Context(), o.store, newKey(t), o.genesis))(t) // of the mint's own node
	defer book.Close()
	two := [][]byte{o.sign(t, 0, ledger.Digest{}, book.Account(), 1, 1), o.sign(t, 0, ledger.Digest{}, book.Account(), 2, 2)}
	proof := ok(ledger.NewProof(ledger.ProofMintFork, two[0], two[1]))(t)
	if _, _, err := book.Convict(t.Context(), proof.Encode()); err != nil {
		t.Fatal(err)
	}
	if _, err := o.issuer.Grant(t.Context(), book.Account(), 1); !errors.Is(err, ledger.ErrFrozen) {
		t.Errorf("%v", err)
	}
}

// Credit for a convicted account would be lost: nobody gives it a lease.
func TestConvictedMemberIsGrantedNothing(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	book := ok(ledger.OpenBook(t.Context(), o.store, newKey(t), o.genesis))(t) // of the mint's own node
	defer book.Close()
	cheat, other := newKey(t), newKey(t).Account()
	for _, a := range []ledger.Account{cheat.Account(), other} {
		ok(o.issuer.Allow(t.Context(), a, ledger.Credit, ledger.Daily))(t)
	}
	h := ledger.Head{Network: book.Network(), Account: cheat.Account()}
	one, two := h.Genesis(ledger.Digest{}, time.Now()), h.Genesis(ledger.Digest{7}, time.Now())
	proof := ok(ledger.NewProof(ledger.ProofFork, ok(cheat.SignEntry(one))(t), ok(cheat.SignEntry(two))(t)))(t)
	if _, _, err := book.Convict(t.Context(), proof.Encode()); err != nil {
		t.Fatal(err)
	}
	if _, err := o.issuer.Grant(t.Context(), cheat.Account(), 1); !errors.Is(err, ledger.ErrFrozen) || errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("%v", err)
	}
	given, err := o.issuer.GrantAllowances(t.Context(), day(2026, 3, 1, 9))
	if !errors.Is(err, ledger.ErrFrozen) || len(given) != 1 || given[0].To != other {
		t.Errorf("allowances: %+v, %v", given, err)
	}
}

func TestAcknowledgementAnswersItsGrant(t *testing.T) {
	o := newOrg(t, 100*ledger.Credit)
	a, b := o.book(t), o.book(t)
	for _, m := range []*ledger.Book{a, b} {
		ok(o.issuer.Grant(t.Context(), m.Account(), ledger.Credit))(t)
	}
	pending := ok(o.issuer.Pending(10, nil))(t)
	entry := ok(a.ClaimGrant(t.Context(), pending[0].Raw))(t)
	if err := o.issuer.Acknowledge(t.Context(), 1, entry); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("another grant's: %v", err)
	}
	if err := o.issuer.Acknowledge(t.Context(), 7, entry); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	for range 2 {
		if err := o.issuer.Acknowledge(t.Context(), 0, entry); err != nil {
			t.Fatal(err)
		}
	}
	if left := ok(o.issuer.Pending(10, nil))(t); len(left) != 1 || left[0].To != b.Account() {
		t.Errorf("%+v", left)
	}
}

// Whatever schedule of grants, deliveries, repeats, leases and restarts: what the books hold together is what
// was claimed, no balance is negative, the cap stands, and nobody is convicted.
func TestRandomSchedulesOfGrantsConserveCredit(t *testing.T) {
	const cap = 50 * ledger.Credit
	rapid.Check(t, func(rt *rapid.T) {
		o := newOrg(t, cap)
		var books []*ledger.Book
		var stores []*ledgertest.Memory
		var keys []ledger.Key
		for range rapid.IntRange(2, 4).Draw(rt, "members") {
			stores, keys = append(stores, ledgertest.NewMemory()), append(keys, newKey(t))
			books = append(books, ok(ledger.OpenBook(t.Context(), stores[len(stores)-1], keys[len(keys)-1], o.genesis))(t))
		}
		defer func() {
			for _, b := range books {
				b.Close()
			}
		}()
		var sent []ledger.Delivery
		now := day(2026, 3, 1, 9)
		member := func(t *rapid.T) int { return rapid.IntRange(0, len(books)-1).Draw(t, "member") }
		fine := func(err error) {
			if err != nil && !errors.As(err, new(*ledger.CapError)) && !errors.As(err, new(*ledger.NoCreditError)) {
				rt.Fatal(err)
			}
		}
		check := func(t *rapid.T) {
			a, err := ledger.NewAudit(o.genesis)
			fine(err)
			for _, b := range books {
				if err := a.Book(b); err != nil {
					t.Fatal(err)
				}
				if x := b.Balance(); x.Net < 0 || x.Free < 0 {
					t.Fatalf("%+v", x)
				}
				if proof, err := b.Proof(o.key.Account()); proof != nil || err != nil {
					t.Fatalf("an honest mint was convicted (%v)", err)
				}
			}
			s, err := a.Check()
			if err != nil {
				t.Fatal(err)
			}
			if h, _ := o.issuer.Head(); s.Granted > h.Total || h.Total > cap || s.Net()+s.InTransit != s.Granted {
				t.Fatalf("%+v of %s issued", s, h.Total)
			}
		}
		steps := 0
		rt.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				amount := ledger.Credits(rapid.Int64Range(1, int64(cap)/4).Draw(t, "amount"))
				_, err := o.issuer.Grant(rt.Context(), books[member(t)].Account(), amount)
				fine(err)
			},
			"allow": func(t *rapid.T) {
				every := ledger.Period(rapid.IntRange(1, 3).Draw(t, "every"))
				_, err := o.issuer.Allow(rt.Context(), books[member(t)].Account(), ledger.Credits(rapid.Int64Range(0, int64(ledger.Credit)).Draw(t, "amount")), every)
				fine(err)
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(-30, 60).Draw(t, "hours")) * time.Hour)
				_, err := o.issuer.GrantAllowances(rt.Context(), now)
				fine(err)
			},
			"deliver": func(t *rapid.T) {
				pending, err := o.issuer.Pending(3, nil)
				fine(err)
				if sent = append(sent, pending...); len(sent) == 0 {
					return
				}
				d := sent[rapid.IntRange(0, len(sent)-1).Draw(t, "which")] // again and again, in any order
				for i, b := range books {
					if b.Account() != d.To {
						_, err := b.LearnGrant(rt.Context(), d.Raw)
						fine(err)
						continue
					}
					entry, err := books[i].ClaimGrant(rt.Context(), d.Raw)
					fine(err)
					if rapid.Bool().Draw(t, "answered") {
						fine(o.issuer.Acknowledge(rt.Context(), d.Seq, entry))
					}
				}
			},
			"work": func(t *rapid.T) {
				from, to := books[member(t)], books[member(t)]
				if from == to {
					return
				}
				amount := ledger.Credits(rapid.Int64Range(1, int64(ledger.Credit)).Draw(t, "amount"))
				lock, err := from.Lock(rt.Context(), ledger.LockRequest{Payee: to.Account(), Amount: amount, Expiry: time.Now().Add(time.Hour)})
				if fine(err); err != nil {
					return
				}
				_, err = to.AcceptLock(rt.Context(), lock.Raw, time.Now())
				fine(err)
				claim, err := to.Claim(rt.Context(), lock.Digest, 1, amount, ledger.Digest{})
				fine(err)
				voucher, err := from.Vouch(rt.Context(), lock.Digest, claim, amount)
				fine(err)
				fine(to.Credit(rt.Context(), voucher, 0))
				settle, err := from.Settle(rt.Context(), lock.Digest)
				fine(err)
				if rapid.Bool().Draw(t, "earned") {
					_, err = to.Earn(rt.Context(), settle)
					fine(err)
				}
			},
			"crash": func(t *rapid.T) {
				i := member(t)
				books[i].Close()
				var err error
				books[i], err = ledger.OpenBook(rt.Context(), stores[i], keys[i], o.genesis)
				fine(err)
				o.issuer, err = ledger.OpenIssuer(o.store, nil, o.key, o.genesis)
				fine(err)
			},
			"": func(t *rapid.T) {
				if steps++; steps%8 == 0 { // it checks every signature of every book
					check(t)
				}
			},
		})
		check(rt)
	})
}
