package ledger

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// A movement is what the chains of an audit say of one lock.
type movement struct {
	payer, payee Account
	settled      Credits
	earned       Credits
	earn         *known // the first that took it up
}

// merged is an audit's chains put in order, and the locks between them.
type merged struct {
	audit   *Audit
	locks   map[Digest]*movement
	digests map[Digest]known
	claims  map[Digest]known    // GRANT entries, by grant
	heirs   map[Account]Account // under which an account's chain goes on
	seen    map[Account]bool    // accounts whose entries were looked at
}

// succession finds the heir of each account, and returns 1 for each heir. Anybody can sign that it takes a chain over; of
// several the recovery counts, then the lowest digest. Whether it may, its entry's place in the chain shows.
func (m *merged) succession() (follows map[Account]int) {
	by := make(map[Account]known)
	for _, k := range m.audit.entries {
		if !k.takesOver() || k.Account == k.Peer || m.audit.chains[k.Account] == nil || m.audit.chains[k.Peer] == nil {
			continue
		}
		old, had := by[k.Peer]
		if !had || k.Type == TypeRecover && old.Type != TypeRecover || k.Type == old.Type && bytes.Compare(k.digest[:], old.digest[:]) < 0 {
			by[k.Peer] = k
		}
	}
	follows = make(map[Account]int)
	for account, k := range by {
		m.heirs[account], follows[k.Account] = k.Account, 1
	}
	return follows
}

// leadsTo reports whether account is a, or one under which the chain of a goes on.
func (m *merged) leadsTo(a, account Account) bool {
	for range len(m.heirs) + 1 {
		if a == account {
			return true
		}
		next, more := m.heirs[a]
		if !more {
			return false
		}
		a = next
	}
	return false
}

func (m *merged) lock(id Digest) *movement {
	l := m.locks[id]
	if l == nil {
		l = &movement{}
		m.locks[id] = l
	}
	return l
}

// chain applies an account's own entries in order, and those of the accounts under which its chain goes
// on, up to the first that does not fit. It returns where that leads and how many fitted.
func (m *merged) chain(account Account) (Head, int) {
	c := NewChain(m.audit.network, account, m.audit.genesis.Floor, m.audit.genesis.Params.CheckpointEvery)
	for total := 0; ; account = m.heirs[account] {
		m.seen[account] = true
		n, whole := m.follow(c, account)
		total += n
		if next, more := m.heirs[account]; !whole || !more || m.seen[next] {
			return c.Head, total
		}
	}
}

// follow applies the entries of one account to a chain, and returns how many and whether they all fitted.
func (m *merged) follow(c *Chain, account Account) (int, bool) {
	for n, at := range slices.SortedFunc(maps.Keys(m.audit.chains[account]), place.compare) {
		k := m.audit.entries[at]
		p := AuditProblem{Kind: ProblemChain, Account: account, Epoch: at.epoch, Seq: at.seq, A: k.raw, SourceA: k.source}
		if at.seq > c.Head.Len {
			p.Kind, p.Err = ProblemMissing, fmt.Errorf("entries %d to %d of %s are missing: add a whole export of its ledger: %w", c.Head.Len, at.seq-1, account, ErrChain)
			m.audit.note(p)
			return n, false
		}
		if p.Err = c.ApplyKnown(k.Entry, k.digest); p.Err != nil {
			m.audit.note(p)
			return n, false
		}
		m.move(k)
	}
	return len(m.audit.chains[account]), true
}

// move notes what an entry does to a lock.
func (m *merged) move(k known) {
	p := AuditProblem{Kind: ProblemUnbacked, Account: k.Account, Epoch: k.Epoch, Seq: k.Seq, Lock: k.Ref, A: k.raw, SourceA: k.source}
	switch k.Type {
	case TypeLock:
		l := m.lock(k.digest)
		l.payer, l.payee = k.Account, k.Peer
	case TypeSettle:
		l := m.lock(k.Ref)
		l.payer, l.payee, l.settled = k.Account, k.Peer, k.Amount
	case TypeGrant:
		m.claim(k)
	case TypeEarn:
		if p.Err = m.backed(k); p.Err != nil {
			m.audit.note(p)
		}
		l := m.lock(k.Ref)
		if l.earn == nil {
			l.earned, l.earn = k.Amount, &k
			return
		}
		p.Kind, p.B, p.SourceB = ProblemEarnedTwice, l.earn.raw, l.earn.source
		p.Err = fmt.Errorf("lock %s was taken up by %s and by %s: %w", k.Ref.Short(), l.earn.Account, k.Account, ErrChain)
		m.audit.note(p)
	}
}

// backed checks that the evidence an earn names is a record of its payer, over as much.
func (m *merged) backed(k known) error {
	if k.Flags&FlagVoucher != 0 {
		v, ok := m.audit.vouchers[k.Evidence]
		switch {
		case !ok:
			return fmt.Errorf("earns %s, and its voucher %s is not among what was given: %w", k.Amount, k.Evidence.Short(), ErrNotFound)
		case v.lock != k.Ref || v.payer != k.Peer || !m.leadsTo(v.payee, k.Account):
			return fmt.Errorf("earns %s, and the voucher it names is of another lock: %w", k.Amount, ErrConflict)
		case k.Amount > v.amount:
			return fmt.Errorf("earns %s on a voucher of %s: %w", k.Amount, v.amount, ErrExceeds)
		}
		return nil
	}
	s, ok := m.digests[k.Evidence]
	switch {
	case !ok:
		return fmt.Errorf("earns %s, and its settle %s is not among what was given: %w", k.Amount, k.Evidence.Short(), ErrNotFound)
	case s.Type != TypeSettle || s.Account != k.Peer || s.Ref != k.Ref || !m.leadsTo(s.Peer, k.Account) || s.Amount != k.Amount:
		return fmt.Errorf("earns %s, and the %s it names pays something else: %w", k.Amount, s.Type, ErrConflict)
	}
	return nil
}

// sums adds up what is on its way and what left or came.
func (m *merged) sums(t *Totals) {
	others := make(map[Account]bool)
	for _, l := range m.locks {
		if l.earn != nil {
			l.payer, l.payee = l.earn.Peer, l.earn.Account
		}
		payer, payee := m.audit.chains[l.payer] != nil, m.audit.chains[l.payee] != nil
		switch {
		case payer && payee:
			t.InTransit += l.settled - l.earned
		case l.settled == 0 && l.earned == 0:
		case payer:
			t.Outside += l.settled
			others[l.payee] = true
		default:
			t.Outside -= l.earned
			others[l.payer] = true
		}
	}
	t.Outsiders = len(others)
}

// What can be wrong in an audit. The texts are part of the JSON output and never change.
const (
	ProblemInvalid      = "invalid"       // a record that is malformed, not signed, or of another network
	ProblemFork         = "fork"          // two entries signed for one place: proof against the account
	ProblemChain        = "chain"         // an entry that breaks the rules of its chain
	ProblemMissing      = "missing"       // a chain with a hole
	ProblemUnbacked     = "unbacked"      // an earn without the payer's settle or voucher, a GRANT without a mint's grant
	ProblemEarnedTwice  = "earned-twice"  // two earns of one lock
	ProblemUnderSettled = "under-settled" // a settle below a voucher: proof against the payer
	ProblemSum          = "sum"           // the books do not add up
	ProblemClaimedTwice = "claimed-twice" // two GRANT entries for one grant
	ProblemMint         = "mint"          // grants that convict their mint
)

// An AuditProblem is one thing that is wrong, with the exact records.
type AuditProblem struct {
	Kind    string
	Account Account // whose record it is; zero if that cannot be told
	Epoch   uint32
	Seq     uint64
	Lock    Digest
	A, B    []byte // the record; for a conflict between two, both

	SourceA, SourceB string // where they come from, as From named it
	Err              error
}

func (p *AuditProblem) Error() string { return p.Kind + ": " + p.Err.Error() }

// Unwrap is the reason; for a fork a *ForkError.
func (p *AuditProblem) Unwrap() error { return p.Err }

// same reports whether both are about the same records.
func (p *AuditProblem) same(q *AuditProblem) bool {
	return p.Kind == q.Kind && p.Account == q.Account && p.Epoch == q.Epoch && p.Seq == q.Seq && p.Lock == q.Lock &&
		string(p.A) == string(q.A) && string(p.B) == string(q.B)
}
