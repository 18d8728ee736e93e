package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// A Shown is an entry of a chain as it is shown to a witness: with what backs it, if it takes credit up.
type Shown struct {
	Entry []byte // signed
	// Of a TypeEarn only: the payer's lock, the certificate of the witnesses for it, and what was paid of it,
	// a settle or, with FlagVoucher, a voucher.
	Lock, Certificate, Paid []byte
	Grant                   []byte // of a TypeGrant only: what the mint signed
}

// Size is about how many bytes it takes on the wire.
func (s Shown) Size() int {
	return 16 + len(s.Entry) + len(s.Lock) + len(s.Certificate) + len(s.Paid) + len(s.Grant)
}

// A source is where an entry takes credit from.
type source struct {
	lock  Entry   // of a TypeEarn
	grant Grant   // of a TypeGrant
	to    Account // who may take it up; zero for other types
}

// source reads what is shown to back e. It checks that this belongs to e, and no signature.
func (s Shown) source(e Entry) (from source, err error) {
	if e.Type != TypeEarn && len(s.Lock)+len(s.Certificate)+len(s.Paid) > 0 || e.Type != TypeGrant && len(s.Grant) > 0 {
		return from, fmt.Errorf("%s %d: shown with what it does not need: %w", e.Type, e.Seq, ErrMalformed)
	}
	switch e.Type {
	case TypeGrant:
		if from.grant, err = ParseGrant(s.Grant); err != nil {
			return from, unbacked(e, err)
		}
		g := from.grant
		if g.Network != e.Network || g.Digest() != e.Ref || g.Mint != e.Peer || g.Amount != e.Amount {
			return from, unbacked(e, errors.New("shown with another grant"))
		}
		from.to = g.To
	case TypeEarn:
		if from.lock, err = ParseEntry(s.Lock); err != nil {
			return from, unbacked(e, err)
		}
		l := from.lock
		if l.Type != TypeLock || l.Network != e.Network || l.Digest() != e.Ref || l.Account != e.Peer || e.Amount > l.Amount {
			return from, unbacked(e, errors.New("shown with another lock"))
		}
		from.to = l.Peer
	}
	return from, nil
}

func unbacked(e Entry, why error) error {
	return fmt.Errorf("%s %d of %s: %w: %w", e.Type, e.Seq, e.Account.Short(), ErrUnbacked, why)
}

// backed checks that the credit which entry e takes up was created for it by a mint, or set aside for it,
// finally: by a lock that a quorum of witnesses signed, and of which the payer signed this much away. Statements
// of witnesses that were convicted since count: up to f of them cannot have made this lock one of two.
func (s Shown) backed(g Genesis, e Entry, from source) error {
	var err error
	switch e.Type {
	case TypeGrant:
		_, _, err = VerifyGrant(s.Grant, g)
	case TypeEarn:
		d := from.lock.Digest()
		var c Certificate
		if c, err = ParseCertificate(s.Certificate); err == nil {
			err = errors.Join(s.paid(e, from.lock), verify(from.lock.Account, d, s.Lock), c.Verify(g, from.lock, d, nil))
		}
	}
	if err != nil {
		return unbacked(e, err)
	}
	return nil
}

// paid checks that the payer of lock signed exactly what e takes up.
func (s Shown) paid(e, lock Entry) error {
	if e.Flags&FlagVoucher != 0 {
		v, err := VerifyVoucher(s.Paid, lock.Account)
		if err != nil {
			return err
		}
		if v.Network != e.Network || v.Lock != e.Ref || v.Amount != e.Amount || v.Digest() != e.Evidence {
			return errors.New("shown with another voucher")
		}
		return nil
	}
	p, err := ParseEntry(s.Paid)
	if err != nil {
		return err
	}
	d := p.Digest()
	if p.Type != TypeSettle || p.Network != e.Network || p.Account != lock.Account || p.Ref != e.Ref || p.Amount != e.Amount || d != e.Evidence {
		return errors.New("shown with another settle")
	}
	return verify(p.Account, d, s.Paid)
}

// Show yields this chain's entries from a place up to and with another, with what backs them, until yield
// returns false. A lock whose certificate is not here comes without one.
func (b *Book) Show(from, to uint64, yield func(Shown) bool) error {
	var bad error
	err := b.View().Entries(0, from, func(raw []byte) bool {
		e, err := ParseEntry(raw)
		if err != nil {
			bad = fmt.Errorf("the ledger is damaged, restore it from a backup: %w", err)
			return false
		}
		switch {
		case e.Seq < from: // of a later epoch, whose places run on
			return true
		case e.Seq > to:
			return false
		}
		s := Shown{Entry: bytes.Clone(raw)}
		switch e.Type {
		case TypeEarn:
			bad = b.showBacking(&s, e)
		case TypeGrant:
			if s.Grant, bad = b.claimedGrant(e); bad == nil && s.Grant == nil {
				bad = fmt.Errorf("grant %d: what the mint signed is not here: the ledger is damaged, restore it from a backup: %w", e.Seq, ErrNotFound)
			}
		}
		return bad == nil && yield(s)
	})
	return errors.Join(err, bad)
}

// claimedGrant is what the mint signed of the grant that an entry of ours takes up, nil if it is not here.
func (b *Book) claimedGrant(e Entry) ([]byte, error) {
	for a := range b.mine {
		grants, err := b.GrantsTo(a, math.MaxInt)
		if err != nil {
			return nil, err
		}
		for _, raw := range grants {
			if g, err := ParseGrant(raw); err != nil || g.Mint == e.Peer && g.Amount == e.Amount && g.Digest() == e.Ref {
				return raw, err
			}
		}
	}
	return nil, nil
}

func (b *Book) showBacking(s *Shown, e Entry) error {
	get := func(part byte) []byte {
		v, err := b.store.Get(partKey(e.Ref, part))
		if err != nil {
			return nil
		}
		return v
	}
	s.Lock, s.Certificate, s.Paid = get(partLock), get(partWitness), get(partSettle)
	if e.Flags&FlagVoucher != 0 {
		v := get(partVoucher)
		s.Paid = v[:min(len(v), SignedVoucherSize)]
	}
	if s.Lock == nil || s.Paid == nil {
		return fmt.Errorf("earn %d: its lease is not here: the ledger is damaged, restore it from a backup: %w", e.Seq, ErrUnknownLock)
	}
	return nil
}
