package ledger

import (
	"errors"
	"fmt"
)

// Errors that callers branch on. Each is wrapped with what it concerns.
var (
	ErrUnknownLock = errors.New("unknown lock")
	ErrClosed      = errors.New("lease is closed")                       // the lock was settled, earned or expired
	ErrNotDue      = errors.New("not due yet")                           // the lock's expiry and grace have not passed
	ErrExceeds     = errors.New("exceeds what was agreed")               // amount over lock or claim, or falling
	ErrChain       = errors.New("breaks the entry chain")                // wrong place, totals or fields
	ErrFrozen      = errors.New("account is frozen")                     // it was caught cheating
	ErrBusy        = errors.New("too many open")                         // locks or claims, see MaxOpenLocks, or 256 claims of one lease
	ErrReadOnly    = errors.New("ledger signs nothing now")              // a write failed; reopen the book
	ErrUnbacked    = errors.New("takes up credit that nobody set aside") // no witnessed lock, or not so much of it
	ErrBookClosed  = errors.New("book is closed")
	ErrConflict    = errors.New("differs from what was signed before") // two different records where one may be
)

// NoCreditError reports an amount that the balance does not cover, both in µcr.
type NoCreditError struct{ Need, Have Credits }

func (e *NoCreditError) Error() string {
	return fmt.Sprintf("not enough credit: need %s, have %s free: donate computing to earn some, wait for open leases to settle, or lower the budget", e.Need, e.Have)
}

// NetworkError reports a record of another network.
type NetworkError struct{ Want, Have Network }

func (e *NetworkError) Error() string {
	return fmt.Sprintf("record of network %s, this is %s: both sides must join the same network",
		Digest(e.Have).Short(), Digest(e.Want).Short())
}

// ForkError holds two valid entries that one account signed for one place in its chain: proof
// of double spending, to anyone, for ever. A and B are signed entries.
type ForkError struct{ A, B []byte }

func (e *ForkError) Error() string { return "two entries signed for one place: the account forked" }

// UnderSettleError holds a settle and a voucher of higher amount for the same lock, both
// signed by the payer: proof that it tried to pay less than promised.
type UnderSettleError struct{ Settle, Voucher []byte }

func (e *UnderSettleError) Error() string { return "settled below a voucher the payer signed" }
