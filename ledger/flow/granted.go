package flow

import (
	"fmt"
	"sync"

	"github.com/personal-power-plant/p3/ledger"
)

// A GrantedBook is what Granted asks of a ledger.Book.
type GrantedBook interface {
	Newest(ledger.Account) ([]byte, error)
	Backed(ledger.Account) (ledger.Credits, error)
	OpenLocks() []ledger.OpenLock
}

// Granted says how much credit a payer gets in a granted network, where no balance is negative:
//
//	limit = min(what it wants, free balance, tentative cap)
//
// Free counts only as far as grants were shown for it. The tentative cap is what one payer may claim here, in
// all its leases together, before it has settled: so much a balance that was spent elsewhere at the
// same time can cost. Safe for concurrent use.
type Granted struct {
	book GrantedBook

	mu   sync.Mutex // guards what follows
	held map[ledger.Account]map[ledger.Digest]ledger.Credits
}

// NewGranted returns the limiter of a provider's book.
func NewGranted(b GrantedBook) *Granted {
	return &Granted{book: b, held: map[ledger.Account]map[ledger.Digest]ledger.Credits{}}
}

// A GrantedLimit is what a payer of a granted network may claim now, and why. All in µcr.
type GrantedLimit struct {
	Seen     bool           // an entry of the payer, which says the next two
	Granted  ledger.Credits // in all
	Free     ledger.Credits // of its balance
	Unbacked ledger.Credits // part of Granted for which no grant was shown here
	Cap      ledger.Credits // tentative
	Held     ledger.Credits // of it, by leases that have not settled
}

// Total is what may be claimed.
func (l GrantedLimit) Total() ledger.Credits { return max(0, min(l.Free-l.Unbacked, l.Cap-l.Held)) }

// Text is the reason in words: "free balance 12.30 of 20.00 granted; unwitnessed, so at most 5.00 at a time".
func (l GrantedLimit) Text() string {
	s := "no balance of it was seen yet"
	if l.Seen {
		s = fmt.Sprintf("free balance %s, granted %s", l.Free.Decimal(), l.Granted.Decimal())
	}
	if l.Unbacked > 0 {
		s += fmt.Sprintf(" (no grant was shown for %s)", l.Unbacked.Decimal())
	}
	s += "; unwitnessed, so at most " + l.Cap.Decimal() + " at a time"
	if l.Held > 0 {
		s += fmt.Sprintf(" (%s in open leases)", l.Held.Decimal())
	}
	return s
}

// Limit is what payer may claim now, as far as its newest entry that was seen here tells.
func (g *Granted) Limit(payer ledger.Account, cap ledger.Credits) (GrantedLimit, error) {
	var free, granted ledger.Credits
	raw, err := g.book.Newest(payer)
	if raw != nil && err == nil {
		var e ledger.Entry
		if e, err = ledger.ParseEntry(raw); err == nil {
			free, granted = e.Net()-e.Locked, e.Granted
		}
	}
	if err != nil {
		return GrantedLimit{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l, err := g.limit(payer, free, granted, cap)
	l.Seen = raw != nil
	return l, err
}

// limit asks the book; mu is held.
func (g *Granted) limit(payer ledger.Account, free, granted, cap ledger.Credits) (GrantedLimit, error) {
	backed, err := g.book.Backed(payer)
	if err != nil {
		return GrantedLimit{}, err
	}
	l := GrantedLimit{Seen: true, Granted: granted, Free: free, Unbacked: max(0, granted-backed), Cap: cap}
	mine := g.held[payer]
	for _, c := range mine {
		l.Held += c
	}
	for _, o := range g.book.OpenLocks() { // left by an earlier process
		if _, live := mine[o.ID]; o.Payer == payer && !live {
			l.Held += o.Claimed
		}
	}
	return l, nil
}

// Open gives a payer as much as it may get under the lock it shows, and holds that until Close. If it is less than
// least, nothing is held and the result is nil; the limit says why.
func (g *Granted) Open(lock ledger.Entry, least, cap ledger.Credits) (*Credit, GrantedLimit, error) {
	payer, id := lock.Account, lock.Digest()
	g.mu.Lock()
	defer g.mu.Unlock()
	why, err := g.limit(payer, lock.Net()-lock.Locked+lock.Amount, lock.Granted, cap)
	if err != nil || why.Total() < least {
		return nil, why, err
	}
	c := &Credit{Limit: min(lock.Amount, why.Total()), release: sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if delete(g.held[payer], id); len(g.held[payer]) == 0 {
			delete(g.held, payer)
		}
	})}
	if g.held[payer] == nil {
		g.held[payer] = map[ledger.Digest]ledger.Credits{}
	}
	g.held[payer][id] = c.Limit
	return c, why, nil
}
