package ledger

import (
	"bytes"
	"errors"
	"fmt"
)

// A Shown is an entry of a chain as it is shown to a witness: with what backs it, if it takes credit up.
type Shown struct {
	Entry []byte // signed
	// Of a TypeEarn only: the payer's lock, the certificate of the witnesses for it, and what was paid of it,
	// a settle or, with FlagVoucher, a voucher.
	Lock, Certificate, Paid []byte
}

// Size is about how many bytes it takes on the wire.
func (s Shown) Size() int { return 16 + len(s.Entry) + len(s.Lock) + len(s.Certificate) + len(s.Paid) }

// names is the lock whose credit e takes up, zero for other types. It checks that what is shown belongs to
// e, and no signature.
func (s Shown) names(e Entry) (Entry, error) {
	switch {
	case e.Type == TypeGrant:
		return Entry{}, fmt.Errorf("grant %d of %s: %w: this p3 cannot check a grant; update p3", e.Seq, e.Account.Short(), ErrUnbacked)
	case e.Type != TypeEarn && len(s.Lock)+len(s.Certificate)+len(s.Paid) > 0:
		return Entry{}, fmt.Errorf("%s %d: needs no backing: %w", e.Type, e.Seq, ErrMalformed)
	case e.Type != TypeEarn:
		return Entry{}, nil
	}
	lock, err := ParseEntry(s.Lock)
	if err != nil {
		return Entry{}, unbacked(e, err)
	}
	if lock.Type != TypeLock || lock.Network != e.Network || lock.Digest() != e.Ref || lock.Account != e.Peer || e.Amount > lock.Amount {
		return Entry{}, unbacked(e, errors.New("shown with another lock"))
	}
	return lock, nil
}

func unbacked(e Entry, why error) error {
	return fmt.Errorf("%s %d of %s: %w: %w", e.Type, e.Seq, e.Account.Short(), ErrUnbacked, why)
}

// backed checks that the credit which entry e takes up was set aside for it, finally: by a lock that a
// quorum of witnesses signed, and of which the payer signed this much away. Statements of witnesses that
// were convicted since count: up to f of them cannot have made this lock one of two.
func (s Shown) backed(g Genesis, e Entry) error {
	lock, err := s.names(e)
	if err != nil || e.Type != TypeEarn {
		return err
	}
	c, err := ParseCertificate(s.Certificate)
	if err != nil {
		return unbacked(e, err)
	}
	d := lock.Digest()
	if err := errors.Join(s.paid(e, lock), verify(lock.Account, d, s.Lock), c.Verify(g, lock, d, nil)); err != nil {
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
		if e.Type == TypeEarn {
			bad = b.showBacking(&s, e)
		}
		return bad == nil && yield(s)
	})
	return errors.Join(err, bad)
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
