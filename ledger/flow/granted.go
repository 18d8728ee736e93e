package flow

import (
	"fmt"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A GrantedBook is what Granted asks of a ledger.Book.
type GrantedBook interface {
	Book
	Genesis() ledger.Genesis
	Newest(ledger.Account) ([]byte, error)
	Backed(ledger.Account) (ledger.Credits, error)
	OpenLocks() []ledger.OpenLock
}

// backed is a GrantedBook in which a grant counts as work that was done for us.
type backed struct{ GrantedBook }

func (b backed) Standing(a ledger.Account) (ledger.Standing, error) {
	st, err := b.GrantedBook.Standing(a)
	if err != nil {
		return st, err
	}
	granted, err := b.Backed(a)
	if st.Did += granted; st.Did > ledger.MaxCredits { // each is at most that, so the sum does not overflow
		st.Did = ledger.MaxCredits
	}
	return st, err
}

// Granted says how much credit a payer gets in a granted network, where no balance is negative:
//
//	limit = min(what it wants, free balance, tentative cap, flow + starter)
//
// Free counts only as far as grants were shown for it. The tentative cap is what one payer may claim here, in
// all its leases together, before it has settled: so much a balance that was spent elsewhere at the
// same time can cost.
//
// The balance is the payer's word, and what it says it earned may be invented, by as many accounts as somebody
// cares to make. So the last term is that of Limiter, in which whoever shows a mint's grant has done as much
// work for us: credit flows from grants, and from work done here, along work that was paid for. All that is
// ever given without a path from there is the day's budget, however many accounts ask.
//
// In a network with witnesses a quorum of them has seen to all of this before there is a lease: limit is what it wants,
// and Open is not asked. Safe for concurrent use.
type Granted struct {
	book      GrantedBook
	flow      *Limiter
	witnessed bool

	mu   sync.Mutex // guards what follows
	held map[ledger.Account]map[ledger.Digest]ledger.Credits
}

// NewGranted returns the limiter of a provider's book.
func NewGranted(b GrantedBook) *Granted {
	l := NewLimiter(backed{b})
	l.direct = "its own grants and work here"
	return &Granted{book: b, flow: l, witnessed: len(b.Genesis().Witnesses) > 0, held: map[ledger.Account]map[ledger.Digest]ledger.Credits{}}
}

// Learn is Limiter.Learn.
func (g *Granted) Learn(payer ledger.Account, works [][]byte, check func(signatures int) bool) error {
	return g.flow.Learn(payer, works, check)
}

// A GrantedLimit is what a payer of a granted network may claim now, and why. All in µcr.
type GrantedLimit struct {
	Seen     bool           // an entry of the payer, which says the next two
	Granted  ledger.Credits // in all
	Free     ledger.Credits // of its balance
	Unbacked ledger.Credits // part of Granted for which no grant was shown here
	Cap      ledger.Credits // tentative
	Held     ledger.Credits // of it, by leases that have not settled
	Trust    Limit          // what comes from grants and work that are known here, and the starter

	Witnessed bool // a quorum of witnesses vouches for the balance; the last four are zero then
}

// Total is what may be claimed.
func (l GrantedLimit) Total() ledger.Credits {
	if l.Witnessed {
		return max(0, l.Free)
	}
	return min(l.own(), l.Trust.Total())
}

// own is the limit without Trust.
func (l GrantedLimit) own() ledger.Credits { return max(0, min(l.Free-l.Unbacked, l.Cap-l.Held)) }

// Text is the reason in words: "free balance 12.30, granted 20.00; unwitnessed, so at most 5.00 at a time"; and
// Limit.Text, if that is the least. name is how people know an account.
func (l GrantedLimit) Text(name func(ledger.Account) string) string {
	s := "no balance of it was seen yet"
	if l.Seen {
		s = fmt.Sprintf("free balance %s, granted %s", l.Free.Decimal(), l.Granted.Decimal())
	}
	if l.Witnessed {
		return s + "; witnessed"
	}
	if l.Unbacked > 0 {
		s += fmt.Sprintf(" (no grant was shown for %s)", l.Unbacked.Decimal())
	}
	s += "; unwitnessed, so at most " + l.Cap.Decimal() + " at a time"
	if l.Held > 0 {
		s += fmt.Sprintf(" (%s in open leases)", l.Held.Decimal())
	}
	if l.Trust.Total() < l.own() {
		s += "; what it earned is known here only in part: " + l.Trust.Text(name)
	}
	return s
}

// Limit is what payer may claim now, as far as its newest entry that was seen here tells.
func (g *Granted) Limit(payer ledger.Account, terms Terms, now time.Time) (GrantedLimit, error) {
	var free, granted ledger.Credits
	raw, err := g.book.Newest(payer)
	if raw != nil && err == nil {
		var e ledger.Entry
		if e, err = ledger.ParseEntry(raw); err == nil {
			free, granted = e.Net()-e.Locked, e.Granted
		}
	}
	if err != nil || g.witnessed {
		return GrantedLimit{Seen: raw != nil, Granted: granted, Free: free, Witnessed: g.witnessed}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l, err := g.limit(payer, free, granted, terms.Tentative)
	if err == nil {
		l.Trust, err = g.flow.Limit(payer, terms, now)
	}
	l.Seen = raw != nil
	return l, err
}

// limit asks the book for all but Trust; mu is held.
func (g *Granted) limit(payer ledger.Account, free, granted, cap ledger.Credits) (GrantedLimit, error) {
	backed, err := g.book.Backed(payer)
	if err != nil {
		return GrantedLimit{}, err
	}
	l := GrantedLimit{Seen: true, Granted: granted, Free: free, Unbacked: max(0, granted-backed), Cap: cap}
	live := map[ledger.Digest]bool{}
	same := func(a ledger.Account) bool { return a == payer || g.book.Heir(a) == payer } // a key that changed opens no second cap
	for a, leases := range g.held {
		if !same(a) {
			continue
		}
		for id, c := range leases {
			l.Held, live[id] = l.Held+c, true
		}
	}
	for _, o := range g.book.OpenLocks() { // left by an earlier process
		if !o.Ours && !live[o.ID] && same(o.Payer) {
			l.Held += o.Claimed
		}
	}
	return l, nil
}

// Open gives a payer as much as it may get under the lock it shows, and holds that until Close. If it is less than
// least, nothing is held and the result is nil; the limit says why.
func (g *Granted) Open(lock ledger.Entry, least ledger.Credits, terms Terms, now time.Time) (*Credit, GrantedLimit, error) {
	payer, id := lock.Account, lock.Digest()
	g.mu.Lock()
	defer g.mu.Unlock()
	why, err := g.limit(payer, lock.Net()-lock.Locked+lock.Amount, lock.Granted, terms.Tentative)
	if err != nil {
		return nil, why, err
	}
	if why.own() < least {
		why.Trust, err = g.flow.Limit(payer, terms, now)
		return nil, why, err
	}
	c, trust, err := g.flow.Open(payer, min(lock.Amount, why.own()), least, terms, now)
	if why.Trust = trust; c == nil || err != nil {
		return nil, why, err
	}
	c.release = sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if delete(g.held[payer], id); len(g.held[payer]) == 0 {
			delete(g.held, payer)
		}
	})
	if g.held[payer] == nil {
		g.held[payer] = map[ledger.Digest]ledger.Credits{}
	}
	g.held[payer][id] = c.Limit
	return c, why, nil
}
