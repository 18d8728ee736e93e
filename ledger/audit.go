package ledger

import (
	"errors"
	"fmt"
)

// An Audit merges the ledgers of several accounts and checks that no credit was made out of
// nothing: Σ(granted + earned − spent) + in transit = granted by mints, which is 0 in a mutual
// network. In transit is what was settled and not yet earned; it is negative while an earn
// made from a voucher waits for its settle. Not safe for concurrent use.
type Audit struct {
	genesis Genesis
	network Network
	totals  Totals
	chains  map[Account]*Chain
	locks   map[Digest]*audited
}

type audited struct {
	payer           Account
	settled, earned Credits
	vouched         Credits
}

// Totals are the sums of an audit.
type Totals struct {
	Accounts, Entries              int
	Granted, Earned, Spent, Locked Credits
	InTransit                      Credits
}

// Net is granted + earned − spent.
func (t Totals) Net() Credits { return t.Granted + t.Earned - t.Spent }

// NewAudit begins an audit of the network that genesis founds.
func NewAudit(genesis Genesis) (*Audit, error) {
	network, err := genesis.ID()
	return &Audit{genesis: genesis, network: network, chains: make(map[Account]*Chain), locks: make(map[Digest]*audited)}, err
}

func (a *Audit) lock(id Digest) *audited {
	l := a.locks[id]
	if l == nil {
		l = &audited{}
		a.locks[id] = l
	}
	return l
}

// Entry adds the next entry of its account's chain; every chain starts with its first. It
// checks signature and place.
func (a *Audit) Entry(raw []byte) error {
	e, _, err := VerifyEntry(raw)
	if err != nil {
		return err
	}
	c := a.chains[e.Account]
	if c == nil {
		c = NewChain(a.network, e.Account, a.genesis.Floor)
	}
	d, err := c.Apply(e)
	if err != nil {
		return err
	}
	a.chains[e.Account] = c
	a.totals.Entries++
	switch e.Type {
	case TypeLock:
		a.lock(d).payer = e.Account
	case TypeSettle:
		a.lock(e.Ref).settled = e.Amount
	case TypeEarn:
		l := a.lock(e.Ref)
		if l.earned != 0 {
			return fmt.Errorf("earn %d of %s: lock %s was earned by another account: %w", e.Seq, e.Account, e.Ref, ErrChain)
		}
		l.earned, l.payer = e.Amount, e.Peer
	}
	return nil
}

// Receipt adds the voucher of a lease, which backs an earn without a settle. Receipts of both
// sides may be added.
func (a *Audit) Receipt(r Receipt) error {
	s, err := r.Verify()
	var under *UnderSettleError
	if err != nil && !errors.As(err, &under) {
		return err
	}
	if s.Network != a.network {
		return &NetworkError{Want: a.network, Have: s.Network}
	}
	l := a.lock(s.ID)
	l.vouched = max(l.vouched, s.Vouched)
	return nil
}

// Book adds all of one book.
func (a *Audit) Book(b *Book) error {
	var bad error
	err := b.Entries(0, 0, func(raw []byte) bool {
		bad = a.Entry(raw)
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	err = b.Receipts(0, 0, func(_ uint64, r Receipt) bool {
		bad = a.Receipt(r)
		return bad == nil
	})
	return errors.Join(err, bad)
}

// Check returns the sums, and the first earn that neither settle nor voucher backs. An earn
// whose payer is not part of the audit cannot be judged and counts as in transit.
func (a *Audit) Check() (Totals, error) {
	t := a.totals
	t.Accounts = len(a.chains)
	for _, c := range a.chains {
		t.Granted += c.Head.Granted
		t.Earned += c.Head.Earned
		t.Spent += c.Head.Spent
		t.Locked += c.Head.Locked
	}
	for id, l := range a.locks {
		t.InTransit += l.settled - l.earned
		if a.chains[l.payer] != nil && l.earned > max(l.settled, l.vouched) {
			return t, fmt.Errorf("lock %s: %s earned, %s settled, %s vouched for: %w", id, l.earned, l.settled, l.vouched, ErrExceeds)
		}
	}
	if t.Net()+t.InTransit != t.Granted {
		return t, fmt.Errorf("net %s and %s in transit do not add up to %s granted: %w", t.Net(), t.InTransit, t.Granted, ErrChain)
	}
	return t, nil
}
