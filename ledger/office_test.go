package ledger_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// invented is a settled lease of a payer that a thief of the office PC makes up: its chain says whatever lets it pay.
func (o *office) invented(t *testing.T, amount ledger.Credits) ledger.Receipt {
	t.Helper()
	payer := newKey(t)
	now := time.Now()
	rich := ledger.Head{Network: o.home.Network(), Account: payer.Account(), Len: 7, Digest: ledger.Digest{1}, Earned: amount}
	lock := rich.Lock(o.home.Account(), amount, ledger.LockEvidence(officeJob, peerID(t, o.node)), now.Add(time.Hour), now)
	after := ok(rich.Apply(lock, network.Floor, 0))(t)
	claim := ok(o.node.SignClaim(ledger.Claim{Network: o.home.Network(), Lock: lock.Digest(), K: 1, Amount: amount, Office: string(o.binding)}))(t)
	settle := after.Settle(lock, amount, 0, 1, ledger.Digest{2}, now)
	return ledger.Receipt{Lock: ok(payer.SignEntry(lock))(t), Claim: claim, Settle: ok(payer.SignEntry(settle))(t)}
}

func (o *office) take(t *testing.T, r ledger.Receipt, now time.Time) error {
	t.Helper()
	q := officeQuota
	q.Since = o.since
	return errOf(o.home.Adopt(t.Context(), r, officeJob, peerID(t, o.node), q, now))
}

// Payers that a thief makes up have the account take up no more than the quota, over kills too; and no amount ends its chain, as
// one near the largest would: nothing could be earned after that.
func TestOfficeInventedPayersMeetTheQuota(t *testing.T) {
	o := newOffice(t, time.Now().Add(24*time.Hour))
	now := time.Now()
	o.since = now
	if err := o.take(t, o.invented(t, ledger.MaxCredits), now); !errors.Is(err, ledger.ErrExceeds) {
		t.Errorf("all credit there can be: %v", err)
	}
	attack := func(now time.Time) (taken int) {
		for i := range 30 {
			if err := o.take(t, o.invented(t, 100), now); err == nil {
				taken++
			} else if !errors.Is(err, ledger.ErrBusy) {
				t.Fatal(err)
			}
			if i == 5 {
				o.home.Close()
				o.home = openBook(t, o.homeStore, o.key)
			}
		}
		return taken
	}
	for i, day := range []struct {
		at    time.Duration
		taken int
	}{{0, 10}, {time.Minute, 0}, {12 * time.Hour, 5}, {-48 * time.Hour, 0}, {-47 * time.Hour, 0}} {
		if n := attack(now.Add(day.at)); n != day.taken {
			t.Errorf("attack %d: %d leases of 100 taken up at a quota of %d a day, want %d", i, n, officeQuota.Day, day.taken)
		}
	}
	if b := o.home.Balance(); b.Net != 1500 {
		t.Errorf("%+v", b)
	}
	if x := ok(o.home.TakenFrom(peerID(t, o.node)))(t); x.Leases != 15 || x.Amount != 1500 {
		t.Errorf("%+v", x)
	}
	// An honest lease goes through when the quota allows it.
	lock := o.works(t, 50)
	ok(o.till.Earn(t.Context(), ok(o.payer.Settle(t.Context(), lock))(t)))(t)
	r := ok(o.till.Untaken(ledger.Digest{}, 1))(t)[0]
	if err := o.take(t, r, now.Add(24*time.Hour)); err != nil {
		t.Error(err)
	}
}

// Many small leases are bounded by their number.
func TestOfficeSmallLeasesMeetTheQuota(t *testing.T) {
	o := newOffice(t, time.Now().Add(24*time.Hour))
	q := ledger.Quota{Day: 86_400, Days: 1} // a lease counts for at least 10
	taken, now := 0, time.Now()
	ok(o.home.Adopt(t.Context(), o.invented(t, 86_200), officeJob, peerID(t, o.node), q, now))(t)
	for range 30 {
		if _, err := o.home.Adopt(t.Context(), o.invented(t, 1), officeJob, peerID(t, o.node), q, now); err == nil {
			taken++
		}
	}
	if taken != 20 {
		t.Errorf("%d taken, want 20", taken)
	}
}

// What a thief claims moves nothing of an honest payer at the PC with the key, and what is not due leaves nothing there.
func TestOfficeClaimsAreHeldAgainstNobody(t *testing.T) {
	o := newOffice(t, time.Now().Add(24*time.Hour))
	ctx := t.Context()
	before := ok(o.home.Exposure(o.payer.Account()))(t)
	lock := o.works(t, 40)
	honest := ok(o.till.Receipt(lock))(t)
	c := ok(ledger.ParseClaim(honest.Claim))(t)
	c.K, c.Amount = 9, 40
	boast := ok(o.node.SignClaim(c))(t)
	if earn, err := o.home.Adopt(ctx, ledger.Receipt{Lock: honest.Lock, Claim: boast}, officeJob, peerID(t, o.node), officeQuota, time.Now()); earn != nil || err != nil {
		t.Errorf("not due, taken up: %x, %v", earn, err)
	}
	if n := len(o.home.OpenLocks()); n != 0 {
		t.Errorf("%d leases are open at home", n)
	}
	settle := ok(o.payer.Settle(ctx, lock))(t)
	if err := o.take(t, ledger.Receipt{Lock: honest.Lock, Claim: boast, Settle: settle}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if x := ok(o.home.Exposure(o.payer.Account()))(t); x != before {
		t.Errorf("an honest payer stands at %+v, was at %+v", x, before)
	}
}

// A settle that comes after the voucher was taken up completes the receipt, which is then work to show.
func TestOfficeHandsOnTheSettleThatCameLate(t *testing.T) {
	o := newOffice(t, time.Now().Add(24*time.Hour))
	lock := o.works(t, 50)
	late := time.Now().Add(3 * time.Hour)
	ok(o.till.Sweep(t.Context(), late))(t)
	if n := o.adopt(t, late); n != 1 {
		t.Fatalf("%d taken up", n)
	}
	for range 2 {
		ok(o.till.Earn(t.Context(), ok(o.payer.Settle(t.Context(), lock))(t)))(t)
		o.open(t)
		o.adopt(t, late)
	}
	if rest := ok(o.till.Untaken(ledger.Digest{}, 1))(t); len(rest) != 0 {
		t.Error("something still waits")
	}
	if s := ok(ok(o.home.Receipt(lock))(t).Verify())(t); s.State(late) != ledger.StateComplete || o.home.Balance().Net != 50 {
		t.Errorf("%+v", s)
	}
	if w := ok(o.home.ShowWork(8))(t); len(w) != 1 {
		t.Errorf("%d works to show", len(w))
	}
}

// A PC with the key whose disk was rolled back learns from its office PC what it signed, which nobody else may hold: the payer has not
// heard of it yet. It signs nothing until that is back.
func TestOfficeRemembersWhatItsAccountSigned(t *testing.T) {
	o := newOffice(t, time.Now().Add(24*time.Hour))
	ctx := t.Context()
	old := o.homeStore.Clone()
	lock := o.works(t, 50)
	ok(o.till.Earn(ctx, ok(o.payer.Settle(ctx, lock))(t)))(t)
	o.adopt(t, time.Now())
	signed := o.home.Head()
	o.home.Close()
	o.home = openBook(t, old, o.key)
	newest := ok(o.till.Newest(o.home.Account()))(t)
	if err := o.home.CheckOwn(ctx, newest); !errors.Is(err, ledger.ErrReadOnly) || o.home.ReadOnly() == nil {
		t.Fatalf("%v, %v", err, o.home.ReadOnly())
	}
	epoch, from, lost := o.home.Lost()
	if !lost {
		t.Fatal("not known to be behind")
	}
	held, _, err := o.till.Held(o.home.Account(), epoch, from, 32)
	if err != nil || len(held) != 1 {
		t.Fatalf("%d receipts, %v", len(held), err)
	}
	if r := ok(o.home.Recover(ctx, held, true))(t); !r.Signs || o.home.Head().Digest != signed.Digest {
		t.Errorf("%+v, %+v", r, o.home.Head())
	}
}

// When the account has another key, its office PC goes on for that once all is taken up, and not before.
func TestOfficeGoesOnForTheNextKey(t *testing.T) {
	o := newOffice(t, time.Now().Add(24*time.Hour))
	lock := o.works(t, 50)
	next := newKey(t)
	heir := openBook(t, ledgertest.NewMemory(), next)
	binding := ok(heir.BindOffice(peerID(t, o.node), 2, time.Now().Add(time.Hour)))(t)
	move := func() error {
		o.till.Close()
		b, err := ledger.OpenTill(t.Context(), o.store, nil, o.node, binding, network)
		if err == nil {
			t.Cleanup(b.Close)
			o.till = b
		}
		return err
	}
	if err := move(); !errors.Is(err, ledger.ErrTillFull) {
		t.Errorf("an open lease: %v", err)
	}
	o.till = nil
	o.open(t)
	ok(o.till.Earn(t.Context(), ok(o.payer.Settle(t.Context(), lock))(t)))(t)
	if err := move(); !errors.Is(err, ledger.ErrTillFull) {
		t.Errorf("a lease that waits: %v", err)
	}
	o.till = nil
	o.open(t)
	o.adopt(t, time.Now())
	if err := move(); err != nil || o.till.Account() != next.Account() {
		t.Fatal(err)
	}
	o.home, o.key, o.binding = heir, next, binding
	lock = o.works(t, 30)
	ok(o.till.Earn(t.Context(), ok(o.payer.Settle(t.Context(), lock))(t)))(t)
	if n := o.adopt(t, time.Now()); n != 1 || heir.Balance().Net != 30 {
		t.Errorf("%d taken up, %+v", n, heir.Balance())
	}
}

// Witnessed networks have no office PCs: a witness has to see what backs an EARN, in the order of the chain.
func TestOfficeIsRefusedWhereThereAreWitnesses(t *testing.T) {
	g := network
	for range 4 {
		g.Witnesses = append(g.Witnesses, newKey(t).Account())
	}
	b, err := ledger.OpenBook(t.Context(), ledgertest.NewMemory(), newKey(t), g)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.BindOffice(peerID(t, newKey(t)), 1, time.Now().Add(time.Hour)); !errors.Is(err, ledger.ErrConflict) {
		t.Error(err)
	}
	if _, err := b.Adopt(t.Context(), newOffice(t, time.Now().Add(time.Hour)).invented(t, 5), officeJob, []byte("node"), officeQuota, time.Now()); !errors.Is(err, ledger.ErrConflict) {
		t.Error(err)
	}
}

// Whatever is killed, lost or said twice between payer, office PC and the PC with the key: all that was settled or due is taken up
// once, and what is not taken up still waits.
func TestOfficeRandomSchedulesConserveCredit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := &office{key: newKey(t), node: newKey(t), homeStore: ledgertest.NewMemory(), store: ledgertest.NewMemory()}
		payerStore, payerKey := ledgertest.NewMemory(), newKey(t)
		open := func() {
			var err error
			if o.home, err = ledger.OpenBook(t.Context(), o.homeStore, o.key, network); err == nil {
				o.payer, err = ledger.OpenBook(t.Context(), payerStore, payerKey, network)
			}
			if err == nil && o.binding == nil {
				o.binding, err = o.home.BindOffice(peerID(t, o.node), 1, time.Now().Add(time.Hour))
			}
			if err == nil {
				o.till, err = ledger.OpenTill(t.Context(), o.store, nil, o.node, o.binding, network)
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		stop := func() { o.home.Close(); o.payer.Close(); o.till.Close() }
		open()
		defer func() { stop() }()
		ctx, now := t.Context(), time.Now()
		quota := ledger.Quota{Day: ledger.Credit, Days: 8}
		var locks []ledger.SignedEntry
		must := func(err error, but ...error) {
			for _, b := range but {
				if errors.Is(err, b) {
					return
				}
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		one := func() ledger.SignedEntry {
			return locks[rapid.IntRange(0, len(locks)-1).Draw(rt, "lock")]
		}
		handOn := func(lossy bool) {
			list, err := o.till.Untaken(ledger.Digest{}, 100)
			must(err)
			for _, r := range list {
				earn, err := o.home.Adopt(ctx, r, officeJob, peerID(t, o.node), quota, now)
				must(err)
				if earn != nil && !(lossy && rapid.Bool().Draw(rt, "lost")) {
					must(o.till.Taken(ctx, earn))
				}
			}
		}
		settle := func(id ledger.Digest) {
			s, err := o.payer.Settle(ctx, id)
			must(err)
			if rapid.Bool().Draw(rt, "arrives") {
				earn, err := o.till.Earn(ctx, s)
				must(err, ledger.ErrUnknownLock)
				if earn != nil {
					must(o.payer.AcknowledgeEarn(ctx, earn))
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"lock": func(*rapid.T) {
				e, err := o.payer.Lock(ctx, ledger.LockRequest{Payee: o.key.Account(), Amount: 100, Evidence: ledger.LockEvidence(officeJob, peerID(t, o.node)), Expiry: time.Now().Add(time.Hour)})
				must(err)
				locks = append(locks, e)
				_, err = o.till.AcceptLock(ctx, e.Raw, time.Now())
				must(err)
			},
			"work": func(r *rapid.T) {
				if len(locks) == 0 {
					r.Skip()
				}
				id := one().Digest
				c, err := o.till.Claim(ctx, id, 1, 7, ledger.Digest{1})
				must(err, ledger.ErrClosed, ledger.ErrExceeds, ledger.ErrBusy)
				if err != nil {
					return
				}
				v, err := o.payer.Vouch(ctx, id, c, ok(ledger.ParseClaim(c))(t).Amount)
				must(err, ledger.ErrClosed)
				if err == nil && rapid.Bool().Draw(r, "voucher arrives") {
					must(o.till.Credit(ctx, v, 0))
				}
			},
			"settle": func(r *rapid.T) {
				if len(locks) == 0 {
					r.Skip()
				}
				settle(one().Digest)
			},
			"time passes": func(r *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(r, "minutes")) * time.Minute)
				_, err := o.till.Sweep(ctx, now)
				must(err)
			},
			"hand on":  func(*rapid.T) { handOn(true) },
			"kill all": func(*rapid.T) { stop(); open() },
			"": func(*rapid.T) {
				n, _, err := o.till.Waiting()
				must(err)
				if list, err := o.till.Untaken(ledger.Digest{}, 1000); err != nil || len(list) != n {
					rt.Fatalf("%d wait, %d are listed, %v", n, len(list), err)
				}
				if x, err := o.home.TakenFrom(peerID(t, o.node)); err != nil || x.Amount != o.home.Head().Earned {
					rt.Fatalf("%+v, %v: earned %s", x, err, o.home.Head().Earned)
				}
			},
		})
		now = now.Add(100 * time.Hour)
		_, err := o.till.Sweep(ctx, now)
		must(err)
		handOn(false)
		for range 2 { // the payer comes back, and hears
			for _, e := range locks {
				s, err := o.payer.Settle(ctx, e.Digest)
				must(err)
				if _, err := o.till.Earn(ctx, s); err != nil {
					rt.Fatal(err)
				}
			}
			handOn(false)
		}
		vouched := ledger.Credits(0)
		for _, e := range locks { // a voucher that never arrived, of a lease that was taken up by the one before, is the known gap
			r, err := o.home.Receipt(e.Digest)
			if errors.Is(err, ledger.ErrUnknownLock) {
				continue
			}
			must(err)
			x, err := ledger.ParseEntry(r.Earn)
			must(err)
			vouched += x.Amount
		}
		if b := o.home.Balance(); b.Earned != vouched || b.Earned > o.payer.Balance().Spent {
			rt.Fatalf("earned %s, by receipts %s, the payer spent %s", b.Earned, vouched, o.payer.Balance().Spent)
		}
		audit, err := ledger.NewAudit(network)
		must(err)
		must(audit.Book(o.home))
		must(audit.Book(o.payer))
		sum, err := audit.Check()
		must(err)
		if sum.Net()+sum.InTransit != 0 || sum.Outside != 0 {
			rt.Fatalf("%+v", sum)
		}
	})
}
