package flow

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// Terms are the owner's: what strangers may get, in µcr.
type Terms struct {
	Starter   ledger.Credits // one account that has not worked for us
	DayBudget ledger.Credits // all of them together, in a day
	Tentative ledger.Credits // in a granted network: one account, before it has settled; see Granted
}

// A Book is what the Limiter asks of a ledger.Book.
type Book interface {
	Account() ledger.Account
	Network() ledger.Network
	Standing(ledger.Account) (ledger.Standing, error)
	Used(from, to ledger.Account) (ledger.Credits, error)
	Given() (ledger.Day, error)
	Heir(ledger.Account) ledger.Account
}

// MaxShown is how many proofs of work a payer may show with a lease request: at most twice as many signatures are
// checked, some 2 ms.
const MaxShown = 16

// A Limiter says how much credit a payer gets:
//
//	limit = min(what it wants, flow + starter)
//
// Credit that was given is used up along the path it came by, and a starter on the edge to the payer
// itself, so that nobody's work counts twice: all that is ever given on the strength of flow is at most what
// was done for us, however many accounts share in it, and each unit of a starter is owed until the payer
// works for us. What was claimed is kept in the book; what leases that stand may still claim is held here
// meanwhile. Safe for concurrent use.
type Limiter struct {
	book   Book
	direct string // see Limit

	mu      sync.Mutex // guards what follows
	told    *told
	held    map[[2]ledger.Account]ledger.Credits
	starter ledger.Credits // held of the day's budget
}

// NewLimiter returns the limiter of a provider's book.
func NewLimiter(b Book) *Limiter {
	return &Limiter{book: b, direct: "its own work here", told: newTold(), held: map[[2]ledger.Account]ledger.Credits{}}
}

// Learn takes proofs of work that payer shows, at most MaxShown of them. check is asked before signatures
// are checked, with how many; when it says no the rest is left unread. An error means that payer showed
// something false, or that the book cannot be read.
//
// The cheap comes first: what cannot carry flow to this payer or from somebody who worked for us, what we
// know first-hand and what was checked before costs no signature.
func (l *Limiter) Learn(payer ledger.Account, works [][]byte, check func(signatures int) bool) error {
	self := l.book.Account()
	for _, raw := range works[:min(len(works), MaxShown)] {
		w, err := ledger.ParseWork(raw, l.book.Network())
		if err != nil {
			return err
		}
		w.Payer, w.Payee = l.book.Heir(w.Payer), l.book.Heir(w.Payee) // whoever has their chains now
		if w.Payer == self || w.Payee == self || w.Payer == w.Payee {
			continue
		}
		st, err := l.book.Standing(w.Payer)
		if err != nil {
			return err
		}
		near := st.Did > 0
		if l.knows(w) || w.Payee != payer && !near {
			continue
		}
		if !check(2) {
			return nil
		}
		if _, err = ledger.VerifyWork(raw, l.book.Network()); err != nil {
			return err
		}
		l.mu.Lock()
		l.told.add(w, near)
		l.mu.Unlock()
	}
	return nil
}

func (l *Limiter) knows(w ledger.Work) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told.known[keyOf(w)]
}

// A Limit is how much a payer may claim of us now, and why.
type Limit struct {
	Flow    ledger.Credits // over Paths, which may be used together
	Paths   []Path
	Starter ledger.Credits // left for this payer
	Owes    ledger.Credits // of its starter, until it works for us
	Today   ledger.Credits // left for all strangers today

	direct string // what flow without others stands on, in words
}

// Total is flow and starter together.
func (l Limit) Total() ledger.Credits {
	sum, err := l.Flow.Add(l.Starter)
	if err != nil {
		return ledger.MaxCredits
	}
	return sum
}

// Text is the reason in words: "flow 12.30 via maple, oak; starter left today 4.00". name is how people
// know an account.
func (l Limit) Text(name func(ledger.Account) string) string {
	var from []string
	seen := map[ledger.Account]bool{}
	for _, p := range l.Paths {
		who := ledger.Account{} // the payer
		if len(p.Via) > 0 {
			who = p.Via[0]
		}
		switch {
		case seen[who]:
			continue
		case len(seen) >= 3: // is counted
		case len(p.Via) == 0:
			from = append(from, l.direct)
		default:
			from = append(from, name(who))
		}
		seen[who] = true
	}
	if n := len(seen); n > 3 {
		from = append(from, fmt.Sprintf("%d more", n-3))
	}
	s := "flow " + l.Flow.Decimal()
	if len(from) > 0 {
		s += " via " + strings.Join(from, ", ")
	}
	s += "; starter left today " + l.Today.Decimal()
	if l.Starter < l.Today {
		s += ", for this account " + l.Starter.Decimal()
	}
	if l.Owes > 0 {
		s += " (it owes " + l.Owes.Decimal() + ")"
	}
	return s
}

// Limit is what payer may claim now.
func (l *Limiter) Limit(payer ledger.Account, terms Terms, now time.Time) (Limit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit(payer, terms, now)
}

// limit asks graph and book; mu is held.
func (l *Limiter) limit(payer ledger.Account, terms Terms, now time.Time) (Limit, error) {
	self := l.book.Account()
	var bad error
	note := func(err error) { bad = errors.Join(bad, err) }
	// What is left of an edge, negative when more was given than done.
	left := func(from, to ledger.Account, earned ledger.Credits) ledger.Credits {
		if from == self {
			st, err := l.book.Standing(to)
			if err != nil {
				note(err)
			}
			earned = st.Did
		}
		used, err := l.book.Used(from, to)
		if err != nil {
			note(err)
		}
		return earned - used - l.held[[2]ledger.Account{from, to}]
	}
	day, err := l.book.Given()
	if err != nil {
		return Limit{}, err
	}
	r := Limit{direct: l.direct}
	r.Paths = l.told.graph.Max(self, payer, left)
	r.Flow = Sum(r.Paths)
	r.Owes = max(0, -left(self, payer, 0))
	r.Today = max(0, terms.DayBudget-day.On(now).Starter-l.starter)
	r.Starter = max(0, min(terms.Starter-r.Owes, r.Today))
	if bad != nil {
		return Limit{}, fmt.Errorf("credit limit of %s: %w", payer.Short(), bad)
	}
	return r, nil
}

// A Credit is the limit of one lease, held for it until Close. Its methods are called by one goroutine at a
// time. A nil *Credit limits nothing.
type Credit struct {
	Limit ledger.Credits // what may be claimed under the lease in all
	Why   Limit          // as it was before

	l       *Limiter
	payer   ledger.Account
	paths   []Path // what is left of them
	starter ledger.Credits
	claimed ledger.Credits

	release func() // of Granted, besides; nil without one
}

// Open gives payer as much as it may get of want, and holds that. If it is less than least, nothing is
// held and the result is nil; the Limit says why.
func (l *Limiter) Open(payer ledger.Account, want, least ledger.Credits, terms Terms, now time.Time) (*Credit, Limit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	why, err := l.limit(payer, terms, now)
	if err != nil || why.Total() < least {
		return nil, why, err
	}
	c := &Credit{Limit: min(want, why.Total()), Why: why, l: l, payer: payer}
	left := c.Limit
	for _, p := range why.Paths {
		if p.Amount = min(p.Amount, left); p.Amount > 0 {
			c.paths = append(c.paths, p)
			left -= p.Amount
		}
	}
	c.starter = left
	for _, e := range c.edges(c.paths, c.starter) {
		l.hold(e, 1)
	}
	l.starter += c.starter
	return c, why, nil
}

// hold takes or gives back; mu is held.
func (l *Limiter) hold(e ledger.Charge, sign ledger.Credits) {
	k := [2]ledger.Account{e.From, e.To}
	if l.held[k] += sign * e.Amount; l.held[k] <= 0 {
		delete(l.held, k)
	}
}

// edges is what paths and a starter use up, each edge once.
func (c *Credit) edges(paths []Path, starter ledger.Credits) []ledger.Charge {
	var list []ledger.Charge
	add := func(from, to ledger.Account, amount ledger.Credits) {
		i := slices.IndexFunc(list, func(e ledger.Charge) bool { return e.From == from && e.To == to })
		if i < 0 {
			i, list = len(list), append(list, ledger.Charge{From: from, To: to})
		}
		list[i].Amount += amount
	}
	self := c.l.book.Account()
	for _, p := range paths {
		at := self
		for _, to := range p.Via {
			add(at, to, p.Amount)
			at = to
		}
		add(at, c.payer, p.Amount)
	}
	if starter > 0 {
		add(self, c.payer, starter)
	}
	return list
}

// Claim says what claims of total under the lease use up beyond those before: flow first, then the starter.
// Hand it to ledger.Book.ClaimCharged, and call done when that has returned, whatever it says: until then it
// counts as held, from then on as far as the book has it.
func (c *Credit) Claim(total ledger.Credits, now time.Time) (used ledger.Charges, done func()) {
	if c == nil {
		return ledger.Charges{}, func() {}
	}
	left := max(total-c.claimed, 0)
	c.claimed += left
	var paths []Path
	for i := range c.paths {
		p := c.paths[i]
		if p.Amount = min(p.Amount, left); p.Amount > 0 {
			paths = append(paths, p)
			c.paths[i].Amount -= p.Amount
			left -= p.Amount
		}
	}
	used = ledger.Charges{Edges: c.edges(paths, left), Starter: left, Now: now}
	c.starter -= left
	return used, func() { c.l.free(used) }
}

func (l *Limiter) free(used ledger.Charges) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range used.Edges {
		l.hold(e, -1)
	}
	l.starter = max(l.starter-used.Starter, 0)
}

// Close gives back what was not claimed.
func (c *Credit) Close() {
	if c == nil {
		return
	}
	if c.release != nil {
		c.release()
	}
	c.l.free(ledger.Charges{Edges: c.edges(c.paths, max(c.starter, 0)), Starter: max(c.starter, 0)})
	c.paths, c.starter = nil, 0
}
