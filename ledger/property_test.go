package ledger_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// A world is a few accounts whose messages are delivered, lost, repeated and reordered at
// will, and whose processes crash between any two calls.
type world struct {
	t     *rapid.T
	tb    *testing.T
	books []*ledger.Book
	store []*ledgertest.Memory
	keys  []ledger.Key
	heads []ledger.Head
	sent  []message // everything ever sent; delivering leaves it there
	locks []ledger.Digest
	now   time.Time
}

type message struct {
	to   int
	kind byte // 'L' lock, 'c' claim, 'v' voucher, 's' settle, 'e' earn
	raw  []byte
}

// expected are refusals that an honest book may give under reordering and loss.
var expected = []error{ledger.ErrClosed, ledger.ErrUnknownLock, ledger.ErrNotDue, ledger.ErrExceeds, ledger.ErrBusy, ledger.ErrExpired, ledger.ErrConflict}

func (w *world) must(err error) {
	var no *ledger.NoCreditError
	if err == nil || errors.As(err, &no) {
		return
	}
	for _, e := range expected {
		if errors.Is(err, e) {
			return
		}
	}
	w.t.Fatalf("%v", err)
}

func (w *world) index(a ledger.Account) int {
	for i, k := range w.keys {
		if k.Account() == a {
			return i
		}
	}
	w.t.Fatalf("unknown account %s", a)
	return 0
}

func (w *world) send(to ledger.Account, kind byte, raw []byte, err error) {
	w.must(err)
	if raw != nil {
		w.sent = append(w.sent, message{w.index(to), kind, raw})
	}
}

func (w *world) lease() (ledger.Digest, ledger.LockInfo, bool) {
	if len(w.locks) == 0 {
		return ledger.Digest{}, ledger.LockInfo{}, false
	}
	id := w.locks[rapid.IntRange(0, len(w.locks)-1).Draw(w.t, "lease")]
	for _, b := range w.books {
		if info, err := b.Info(id); err == nil {
			return id, info, true
		}
	}
	w.t.Fatalf("lock %s is nowhere", id)
	return id, ledger.LockInfo{}, false
}

func (w *world) lock(t *rapid.T) {
	from := rapid.IntRange(0, len(w.books)-1).Draw(t, "from")
	to := rapid.IntRange(0, len(w.books)-1).Draw(t, "to")
	if from == to {
		return
	}
	amount := ledger.Credits(rapid.Int64Range(1, int64(4*ledger.Credit)).Draw(t, "amount"))
	e, err := w.books[from].Lock(w.tb.Context(), ledger.LockRequest{Payee: w.keys[to].Account(), Amount: amount, Expiry: w.now.Add(time.Hour)})
	if err == nil {
		w.locks = append(w.locks, e.Digest)
	}
	w.send(w.keys[to].Account(), 'L', e.Raw, err)
}

func (w *world) claim(t *rapid.T) {
	if id, info, ok := w.lease(); ok {
		units := make([]ledger.Unit, rapid.IntRange(1, 3).Draw(t, "units"))
		for i := range units {
			units[i] = ledger.Unit{Fuel: 5, Amount: ledger.Credits(rapid.Int64Range(0, int64(info.Amount)/2+1).Draw(t, "price"))}
		}
		raw, err := w.books[w.index(info.Payee)].ClaimMany(w.tb.Context(), id, units)
		w.send(info.Payer, 'c', raw, err)
	}
}

func (w *world) settle(*rapid.T) {
	if id, info, ok := w.lease(); ok {
		raw, err := w.books[w.index(info.Payer)].Settle(w.tb.Context(), id)
		w.send(info.Payee, 's', raw, err)
	}
}

func (w *world) earnVoucher(t *rapid.T) {
	if id, info, ok := w.lease(); ok {
		at := w.now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "due")) * 2 * time.Hour)
		raw, err := w.books[w.index(info.Payee)].EarnVoucher(w.tb.Context(), id, at)
		w.send(info.Payer, 'e', raw, err)
	}
}

// deliver hands over any message ever sent, and sends what it is answered with.
func (w *world) deliver(t *rapid.T) {
	if len(w.sent) == 0 {
		return
	}
	w.hand(t, w.sent[rapid.IntRange(0, len(w.sent)-1).Draw(t, "message")])
}

func (w *world) hand(t *rapid.T, m message) {
	b, ctx := w.books[m.to], w.tb.Context()
	switch m.kind {
	case 'L':
		_, err := b.AcceptLock(ctx, m.raw, w.now)
		w.must(err)
	case 'c':
		c, err := ledger.ParseClaim(m.raw)
		w.must(err)
		info, err := b.Info(c.Lock)
		w.must(err)
		accept := c.Amount
		if rapid.IntRange(0, 3).Draw(t, "dispute") == 0 {
			accept = ledger.Credits(rapid.Int64Range(0, int64(c.Amount)).Draw(t, "accept"))
		}
		raw, err := b.Vouch(ctx, c.Lock, m.raw, accept)
		w.send(info.Payee, 'v', raw, err)
	case 'v':
		w.must(b.Credit(ctx, m.raw, 0))
	case 's':
		raw, err := b.Earn(ctx, m.raw)
		e, _ := ledger.ParseEntry(m.raw)
		w.send(e.Account, 'e', raw, err)
	case 'e':
		w.must(b.AcknowledgeEarn(ctx, m.raw))
	}
}

// crash ends a process and starts it again on what was committed.
func (w *world) crash(t *rapid.T) {
	i := rapid.IntRange(0, len(w.books)-1).Draw(t, "book")
	before := w.books[i].Balance()
	w.books[i].Close()
	b, err := ledger.OpenBook(w.tb.Context(), w.store[i], w.keys[i], network)
	if err != nil {
		w.t.Fatal(err)
	}
	w.books[i] = b
	if b.Balance() != before {
		w.t.Fatalf("balance %+v before the crash, %+v after", before, b.Balance())
	}
}

func (w *world) sweep(t *rapid.T) {
	i := rapid.IntRange(0, len(w.books)-1).Draw(t, "book")
	_, err := w.books[i].Sweep(w.tb.Context(), w.now.Add(2*time.Hour))
	w.must(err)
	w.resend(i)
}

func (w *world) resend(i int) {
	pending, err := w.books[i].Pending()
	w.must(err)
	for _, m := range pending {
		kind := byte('s')
		if m.Type == ledger.TypeEarn {
			kind = 'e'
		}
		w.send(m.To, kind, m.Entry, nil)
	}
}

// check holds after every step: no credit out of nothing, totals never fall, every receipt
// verifies, nobody honest is convicted.
func (w *world) check(t *rapid.T) {
	a, err := ledger.NewAudit(network)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range w.books {
		if err := a.Book(b); err != nil {
			t.Fatalf("book %d: %v", i, err)
		}
		h, old := b.Head(), w.heads[i]
		if h.Earned < old.Earned || h.Spent < old.Spent || h.Len < old.Len {
			t.Fatalf("totals fell from %+v to %+v", old, h)
		}
		w.heads[i] = h
		for _, k := range w.keys {
			if one, _, err := b.Frozen(k.Account()); one != nil || err != nil {
				t.Fatalf("an honest account was convicted (%v)", err)
			}
		}
	}
	if _, err := a.Check(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) drain(t *rapid.T) {
	for i := range w.books {
		_, err := w.books[i].Sweep(w.tb.Context(), w.now.Add(2*time.Hour))
		w.must(err)
	}
	// Everything pending, delivered twice over, with the answers in between, comes to rest.
	for range 3 {
		start := len(w.sent)
		for i := range w.books {
			w.resend(i)
		}
		for ; start < len(w.sent); start++ {
			m := w.sent[start]
			if m.kind == 'e' {
				w.hand(t, m)
				e, _ := ledger.ParseEntry(m.raw)
				raw, err := w.books[m.to].Settle(w.tb.Context(), e.Ref)
				w.must(err)
				if raw != nil {
					_, err := w.books[w.index(e.Account)].Earn(w.tb.Context(), raw)
					w.must(err)
				}
				continue
			}
			w.hand(t, m)
		}
	}
	for i, b := range w.books {
		if m, err := b.Pending(); err != nil || len(m) != 0 {
			t.Fatalf("book %d still has %d messages to send (%v)", i, len(m), err)
		}
		if b.Balance().Locked != 0 {
			t.Fatalf("book %d still has %s locked", i, b.Balance().Locked)
		}
	}
}

func TestRandomSchedulesConserveCredit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, tb: t, now: time.Now()}
		for range rapid.IntRange(2, 4).Draw(rt, "books") {
			k, err := ledger.NewKey()
			if err != nil {
				rt.Fatal(err)
			}
			s := ledgertest.NewMemory()
			b, err := ledger.OpenBook(t.Context(), s, k, network)
			if err != nil {
				rt.Fatal(err)
			}
			w.books, w.store, w.keys = append(w.books, b), append(w.store, s), append(w.keys, k)
			w.heads = append(w.heads, b.Head())
		}
		defer func() {
			for _, b := range w.books {
				b.Close()
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"":            w.check,
			"lock":        w.lock,
			"claim":       w.claim,
			"settle":      w.settle,
			"earnVoucher": w.earnVoucher,
			"deliver":     w.deliver,
			"deliver2":    w.deliver, // deliveries are most of what happens
			"deliver3":    w.deliver,
			"crash":       w.crash,
			"sweep":       w.sweep,
		})
		w.drain(rt)
		w.check(rt)
	})
}
