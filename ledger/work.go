package ledger

import "fmt"

// workSize is the length of an encoded Work, in bytes.
const workSize = 2 * SignedEntrySize

// Work is one settled lease in its shortest form that both sides signed: Payee has earned Amount from
// Payer. A payer shows its own to a provider as proof of what it did for others.
//
// Encoding: the payer's SETTLE, then the payee's EARN, both signed.
type Work struct {
	Lock         Digest // what the lease is known by: the same lock is the same work
	Payer, Payee Account
	Amount       Credits // that both signed for, above zero
}

// Work is the receipt's proof of work, nil unless both sides have signed for an amount. It is not
// checked.
func (r Receipt) Work() []byte {
	if len(r.Settle) != SignedEntrySize || len(r.Earn) != SignedEntrySize {
		return nil
	}
	return append(append(make([]byte, 0, workSize), r.Settle...), r.Earn...)
}

// ParseWork reads a Work of a network and checks all that costs no signature: that both entries are
// about the same lock, between the same two accounts, and agree. VerifyWork checks the signatures.
func ParseWork(raw []byte, network Network) (Work, error) {
	if len(raw) != workSize {
		return Work{}, fmt.Errorf("work of %d bytes, want %d: %w", len(raw), workSize, ErrMalformed)
	}
	s, err := ParseEntry(raw[:SignedEntrySize])
	if err != nil {
		return Work{}, fmt.Errorf("work: %w", err)
	}
	e, err := ParseEntry(raw[SignedEntrySize:])
	switch {
	case err != nil:
		return Work{}, fmt.Errorf("work: %w", err)
	case s.Network != network:
		return Work{}, &NetworkError{Want: network, Have: s.Network}
	case e.Network != network:
		return Work{}, &NetworkError{Want: network, Have: e.Network}
	case s.Type != TypeSettle || e.Type != TypeEarn || s.Ref.IsZero() || s.Ref != e.Ref || s.Account != e.Peer || s.Peer != e.Account || s.Account == e.Account:
		return Work{}, fmt.Errorf("work: a %s and a %s that do not belong together: %w", s.Type, e.Type, ErrConflict)
	case s.Amount <= 0 || e.Amount <= 0 || e.Flags&FlagVoucher == 0 && s.Amount != e.Amount:
		return Work{}, fmt.Errorf("work: %s paid and %s taken up: %w", s.Amount, e.Amount, ErrConflict)
	case s.IsTransfer():
		return Work{}, fmt.Errorf("work: a transfer, which nobody worked for: %w", ErrConflict)
	case e.Flags&FlagVoucher == 0 && s.Digest() != e.Evidence:
		return Work{}, fmt.Errorf("work: the earn answers another settle: %w", ErrConflict)
	}
	return Work{Lock: s.Ref, Payer: s.Account, Payee: e.Account, Amount: min(s.Amount, e.Amount)}, nil
}

// VerifyWork is ParseWork with the two signatures.
func VerifyWork(raw []byte, network Network) (Work, error) {
	w, err := ParseWork(raw, network)
	for i := 0; i < 2 && err == nil; i++ {
		_, _, err = VerifyEntry(raw[i*SignedEntrySize : (i+1)*SignedEntrySize])
	}
	if err != nil {
		return Work{}, err
	}
	return w, nil
}
