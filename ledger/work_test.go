package ledger_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// lease runs one lease of the pair from lock to complete receipt.
func (p *pair) lease(t testing.TB, amount ledger.Credits) {
	t.Helper()
	p.open(t, amount)
	p.unit(t, amount)
	earn := ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
	if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
}

func TestWorkProvesWhatBothSidesSigned(t *testing.T) {
	p := newPair(t, 1)
	id := p.host.Network()
	p.lease(t, 2*ledger.Credit)
	for name, b := range map[string]*ledger.Book{"payer": p.user, "payee": p.host} {
		raw := ok(b.Receipt(p.lock))(t).Work()
		w, err := ledger.VerifyWork(raw, id)
		if want := (ledger.Work{Lock: p.lock, Payer: p.user.Account(), Payee: p.host.Account(), Amount: 2 * ledger.Credit}); err != nil || w != want {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
	raw := ok(p.host.Receipt(p.lock))(t).Work()
	for i := range raw { // whatever is changed, it proves nothing any more
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if _, err := ledger.VerifyWork(bad, id); err == nil {
			t.Fatalf("byte %d changed, and it still verifies", i)
		}
	}
	settle, earn := raw[:ledger.SignedEntrySize], raw[ledger.SignedEntrySize:]
	p.lease(t, 3*ledger.Credit)
	other := ok(p.host.Receipt(p.lock))(t).Work()
	for name, b := range map[string][]byte{
		"swapped": append(bytes.Clone(earn), settle...), "one-sided": append(bytes.Clone(settle), settle...), "two leases": append(bytes.Clone(settle), other[ledger.SignedEntrySize:]...),
		"short": raw[:len(raw)-1], "none": nil,
	} {
		if _, err := ledger.ParseWork(b, id); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	var elsewhere *ledger.NetworkError
	if _, err := ledger.ParseWork(raw, ledger.Network{1}); !errors.As(err, &elsewhere) {
		t.Errorf("another network: %v", err)
	}
	if w := ok(p.user.Receipt(p.lock))(t); w.Work() == nil || (ledger.Receipt{Lock: w.Lock, Settle: w.Settle}).Work() != nil {
		t.Error("a lease that one side signed proves work")
	}
}

func TestStandingAddsUpWhatWasDone(t *testing.T) {
	p := newPair(t, 1)
	for _, amount := range []ledger.Credits{3, 1, 4, 1, 5, 9} {
		p.lease(t, amount)
	}
	p.open(t, 100) // the payer vanishes: its voucher is taken up
	p.unit(t, 50)
	earn := ok(p.host.EarnVoucher(t.Context(), p.lock, time.Now().Add(2*time.Hour)))(t)
	check := func(when string, user, host *ledger.Book, did ledger.Credits) {
		t.Helper()
		if s := ok(user.Standing(host.Account()))(t); s.Did != did || s.Got != 0 {
			t.Errorf("%s: the payer has %+v", when, s)
		}
		if s := ok(host.Standing(user.Account()))(t); s.Got != 73 || s.Did != 0 {
			t.Errorf("%s: the payee has %+v", when, s)
		}
	}
	check("one-sided", p.user, p.host, 23)
	if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again and again, it counts once
		if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
			t.Fatal(err)
		}
		ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
	}
	check("both signed", p.user, p.host, 73)
	shown := func(b *ledger.Book, n int) (amounts []ledger.Credits) {
		for _, raw := range ok(b.ShowWork(n))(t) {
			amounts = append(amounts, ok(ledger.VerifyWork(raw, b.Network()))(t).Amount)
		}
		return amounts
	}
	if got := shown(p.host, 100); len(got) != 4 || got[0] != 50 || got[1] != 9 || got[2] != 5 || got[3] != 4 {
		t.Errorf("shows %v, want the four largest", got)
	}
	if got := shown(p.host, 2); len(got) != 2 || got[1] != 9 {
		t.Errorf("shows %v", got)
	}
	if got := shown(p.user, 100); got != nil {
		t.Errorf("who did nothing shows %v", got)
	}
	p.user.Close()
	p.host.Close()
	check("reopened", openBook(t, p.userStore, p.userKey), openBook(t, p.hostStore, p.hostKey), 73)
}

func TestChargesAreKeptWithTheClaim(t *testing.T) {
	p := newPair(t, 1000)
	a, b, user := ledger.Account{1}, ledger.Account{2}, p.user.Account()
	now := time.Date(2026, 5, 1, 23, 0, 0, 0, time.UTC)
	claim := func(amount ledger.Credits, c ledger.Charges) error {
		_, err := p.host.ClaimCharged(t.Context(), p.lock, []ledger.Unit{{Amount: amount}}, c)
		return err
	}
	c := ledger.Charges{Edges: []ledger.Charge{{From: p.host.Account(), To: a, Amount: 5}, {From: a, To: user, Amount: 5}}, Starter: 7, Now: now}
	for _, err := range []error{claim(12, c), claim(12, c), claim(1, ledger.Charges{})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := claim(5000, c); !errors.Is(err, ledger.ErrExceeds) { // no claim, no charge
		t.Fatal(err)
	}
	check := func(h *ledger.Book) {
		t.Helper()
		if d := ok(h.Given())(t); d.On(now).Starter != 14 || d.On(now.Add(2*time.Hour)).Starter != 0 {
			t.Errorf("%+v", d)
		}
		for edge, want := range map[[2]ledger.Account]ledger.Credits{{h.Account(), a}: 10, {a, user}: 10, {a, b}: 0, {user, a}: 0} {
			if got := ok(h.Used(edge[0], edge[1]))(t); got != want {
				t.Errorf("edge %v: %d used, want %d", edge, got, want)
			}
		}
	}
	check(p.host)
	// Killed right here, without a close: all of it was durable when the claim was returned.
	check(openBook(t, p.hostStore, p.hostKey))
}

func TestDayBeginsAgainAtMidnightOnly(t *testing.T) {
	at := func(day, hour int) time.Time { return time.Date(2026, 5, day, hour, 30, 0, 0, time.UTC) }
	d := ledger.Day{}.On(at(10, 0))
	d.Starter = 5
	for _, c := range []struct {
		name string
		now  time.Time
		want ledger.Credits
	}{
		{"the same hour", at(10, 0), 5},
		{"its end", at(10, 23), 5},
		{"the next day", at(11, 0), 0},
		{"a clock that goes back over midnight", at(9, 23), 5},
		{"another time zone", at(10, 12).In(time.FixedZone("", 14*3600)), 0}, // there it is tomorrow
		{"the other way", at(10, 1).In(time.FixedZone("", -11*3600)), 5},
		{"a clock that was a year ahead", at(10, 0).AddDate(-1, 0, 0), 5},
		{"before 1970", time.Unix(-1e9, 0), 5},
	} {
		if got := d.On(c.now).Starter; got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	// To and fro over midnight gives one budget, not one each time.
	x := d.On(at(11, 0))
	x.Starter = 3
	for range 10 {
		x = x.On(at(10, 23)).On(at(11, 0))
	}
	if x.Starter != 3 {
		t.Errorf("a swinging clock gave %d back", 3-x.Starter)
	}
	// A year ahead and back: the count goes on, and ends at the next midnight.
	y := d.On(at(10, 1).AddDate(1, 0, 0))
	y.Starter = 4
	if y = y.On(at(10, 2)); y.Starter != 4 || y.On(at(11, 0)).Starter != 0 {
		t.Errorf("%+v", y)
	}
}

func TestDamagedStandingIsAnErrorNotAPanic(t *testing.T) {
	p := newPair(t, 1)
	p.lease(t, 5)
	user := p.user.Account()
	for prefix, read := range map[string]func(*ledger.Book) error{
		"ledger/w/":   func(b *ledger.Book) error { _, err := b.ShowWork(9); return err },
		"ledger/day":  func(b *ledger.Book) error { _, err := b.Given(); return err },
		"ledger/u/xy": func(b *ledger.Book) error { _, err := b.Used(user, user); return err },
	} {
		key := []byte(prefix)
		switch prefix {
		case "ledger/w/":
			key = append(key, user[:]...)
		case "ledger/u/xy":
			key = append(append([]byte("ledger/u/"), user[:]...), user[:]...)
		}
		for _, v := range [][]byte{{1}, {2, 3}, make([]byte, 17), bytes.Repeat([]byte{255}, 1<<10)} {
			store := ledgertest.NewMemory()
			b := openBook(t, store, newKey(t))
			if err := store.Commit(t.Context(), ledger.Op{Key: key, Value: v}); err != nil {
				t.Fatal(err)
			}
			if err := read(b); !errors.Is(err, ledger.ErrMalformed) {
				t.Errorf("%s of %d bytes: %v", prefix, len(v), err)
			}
		}
	}
}

// FuzzParseWork reads what a stranger shows: it never panics, and what is taken names two accounts and an amount.
func FuzzParseWork(f *testing.F) {
	p := newPair(f, 1)
	p.lease(f, 5)
	raw := ok(p.host.Receipt(p.lock))(f).Work()
	f.Add(raw)
	f.Add(raw[:ledger.SignedEntrySize])
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := ledger.ParseWork(b, p.host.Network())
		if err == nil && (w.Amount <= 0 || w.Amount > ledger.MaxCredits || w.Payer == w.Payee || w.Lock.IsZero()) {
			t.Fatalf("%+v", w)
		}
	})
}
