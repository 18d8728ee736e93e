package ledger

import (
	"fmt"
	"math"
	"time"
)

// A Head is where an account's chain stands: its newest entry, whose running totals are the
// account's position. The zero Head, with Network and Account set, is an empty chain.
//
// It is a pure value. Next and the constructors after it draft entries; Apply checks one,
// whoever drafted it.
type Head struct {
	Network                        Network
	Account                        Account
	Len                            uint64 // entries so far
	Epoch                          uint32
	Seq                            uint64 // of the newest entry
	Digest                         Digest // of the newest entry
	Granted, Earned, Spent, Locked Credits
	TimeMs                         uint64
	Heir                           Account // must take over next, see Head.HandOver; zero otherwise
	Closed                         bool    // nothing may follow
}

// HeadAt is the head whose newest entry is e, with digest d.
func HeadAt(e Entry, d Digest) Head {
	h := Head{Network: e.Network, Account: e.Account, Len: e.Seq + 1, Epoch: e.Epoch, Seq: e.Seq, Digest: d,
		Granted: e.Granted, Earned: e.Earned, Spent: e.Spent, Locked: e.Locked, TimeMs: e.TimeMs, Closed: e.Type == TypeClose}
	if e.handsOver() {
		h.Heir = e.Peer
	}
	return h
}

// Net is granted + earned − spent.
func (h Head) Net() Credits { return h.Granted + h.Earned - h.Spent }

// Free is what may still be locked when the account may go down to −floor.
func (h Head) Free(floor Credits) Credits { return h.Net() - h.Locked + floor }

// next drafts an entry in the next place, with unchanged totals. Time never runs backwards
// along a chain, whatever the clock does.
func (h Head) next(t Type, now time.Time) Entry {
	e := Entry{Type: t, Network: h.Network, Account: h.Account, Epoch: h.Epoch, Seq: h.Len, Prev: h.Digest,
		Granted: h.Granted, Earned: h.Earned, Spent: h.Spent, Locked: h.Locked}
	e.TimeMs = max(h.TimeMs, uint64(max(now.UnixMilli(), 0)))
	return e
}

// Genesis drafts the first entry. recovery commits to a recovery key and may be zero.
func (h Head) Genesis(recovery Digest, now time.Time) Entry {
	e := h.next(TypeGenesis, now)
	e.Evidence = recovery
	return e
}

// Lock drafts the reservation of amount for payee until expiry.
func (h Head) Lock(payee Account, amount Credits, job Digest, expiry, now time.Time) Entry {
	e := h.next(TypeLock, now)
	e.Peer, e.Amount, e.Evidence = payee, amount, job
	e.ExpiryMs = uint64(max(expiry.UnixMilli(), 0))
	e.Locked += amount
	return e
}

// Settle drafts the payment of amount out of lock, and the release of the rest. fuel, units and
// voucher say what for; they are zero with a zero amount.
func (h Head) Settle(lock Entry, amount Credits, fuel Fuel, units uint32, voucher Digest, now time.Time) Entry {
	e := h.next(TypeSettle, now)
	e.Peer, e.Ref, e.Amount, e.Fuel, e.Units, e.Evidence = lock.Peer, lock.Digest(), amount, fuel, units, voucher
	e.Spent += amount
	e.Locked -= lock.Amount
	return e
}

// Earn drafts the taking up of amount of a lock: evidence is the payer's settle, or with
// FlagVoucher its voucher.
func (h Head) Earn(lock Entry, amount Credits, fuel Fuel, units uint32, evidence Digest, flags uint16, now time.Time) Entry {
	e := h.next(TypeEarn, now)
	e.Flags, e.Peer, e.Ref, e.Amount, e.Fuel, e.Units, e.Evidence = flags, lock.Account, lock.Digest(), amount, fuel, units, evidence
	e.Earned += amount
	return e
}

// Claim drafts the taking up of a grant, whose digest is d.
func (h Head) Claim(g Grant, d Digest, now time.Time) Entry {
	e := h.next(TypeGrant, now)
	e.Peer, e.Ref, e.Amount = g.Mint, d, g.Amount
	e.Granted += g.Amount
	return e
}

// Apply checks that e may follow and returns the head after it. floor is the network's; lock is
// the reservation that a TypeSettle closes, and zero for other types. What it cannot know is
// whether that lock is still open, whether an earn's lock was earned or a grant claimed before, whether a mint signed that grant, and what a
// checkpoint must say and when, and what recovery key was committed to: Chain and Book keep that.
func (h Head) Apply(e Entry, floor, lock Credits) (Head, error) {
	return h.apply(e, e.Digest(), floor, lock)
}

// apply is Apply for an entry whose digest is known: making it is a tenth of a signature check.
func (h Head) apply(e Entry, d Digest, floor, lock Credits) (Head, error) {
	fail := func(format string, args ...any) (Head, error) {
		return Head{}, fmt.Errorf("%s %d of %s: %w: %s", e.Type, e.Seq, e.Account.Short(), ErrChain, fmt.Sprintf(format, args...))
	}
	switch {
	case e.Network != h.Network:
		return Head{}, &NetworkError{Want: h.Network, Have: e.Network}
	case h.Closed:
		return fail("the chain was closed")
	case !h.Heir.IsZero() && !e.takesOver():
		return fail("the key was handed over to %s, which has to take it", h.Heir.Short())
	case e.takesOver():
		if err := h.mayTakeOver(e); err != "" {
			return fail("%s", err)
		}
	case e.Account != h.Account || e.Epoch != h.Epoch:
		return fail("another account or epoch")
	}
	switch {
	case h.Len == math.MaxUint64 || e.Seq != h.Len || e.Prev != h.Digest:
		return fail("does not follow entry %d", h.Seq)
	case e.TimeMs < h.TimeMs:
		return fail("older than its predecessor")
	case (e.Type == TypeGenesis) != (h.Len == 0):
		return fail("a chain starts with genesis and has one")
	}
	want := h.next(e.Type, e.Time())
	want.Account, want.Epoch = e.Account, e.Epoch // checked above
	blank := e
	blank.Prev, blank.TimeMs = want.Prev, want.TimeMs
	var err error
	switch e.Type {
	case TypeGenesis:
		want.Evidence = e.Evidence
	case TypeLock:
		if e.Amount <= 0 || e.Peer.IsZero() || e.Peer == e.Account || e.ExpiryMs <= e.TimeMs {
			return fail("a lock names another account, an amount and a later expiry")
		}
		want.Peer, want.Amount, want.Evidence, want.ExpiryMs = e.Peer, e.Amount, e.Evidence, e.ExpiryMs
		want.Locked, err = h.Locked.Add(e.Amount)
	case TypeSettle:
		if e.Amount < 0 || e.Amount > lock || e.Ref.IsZero() || e.Peer.IsZero() {
			return fail("pays %s of a lock of %s", e.Amount, lock)
		}
		if e.Amount == 0 && (e.Units != 0 || e.Fuel != 0 || !e.Evidence.IsZero()) {
			return fail("names work but pays nothing")
		}
		want.Peer, want.Ref, want.Amount, want.Fuel, want.Units, want.Evidence = e.Peer, e.Ref, e.Amount, e.Fuel, e.Units, e.Evidence
		want.Locked = h.Locked - lock
		want.Spent, err = h.Spent.Add(e.Amount)
	case TypeEarn:
		if e.Amount <= 0 || e.Ref.IsZero() || e.Peer.IsZero() || e.Evidence.IsZero() {
			return fail("an earn names lock, payer, amount and evidence")
		}
		want.Flags = e.Flags
		want.Peer, want.Ref, want.Amount, want.Fuel, want.Units, want.Evidence = e.Peer, e.Ref, e.Amount, e.Fuel, e.Units, e.Evidence
		want.Earned, err = h.Earned.Add(e.Amount)
	case TypeGrant:
		if e.Amount <= 0 || e.Ref.IsZero() || e.Peer.IsZero() {
			return fail("a grant names mint, grant and amount")
		}
		want.Peer, want.Ref, want.Amount = e.Peer, e.Ref, e.Amount
		want.Granted, err = h.Granted.Add(e.Amount)
	case TypeCheckpoint:
		want.MMRRoot, want.Evidence = e.MMRRoot, e.Evidence
	case TypeRotate, TypeRecover:
		want.Peer = e.Peer
		if e.takesOver() {
			want.Evidence, want.Ref = e.Evidence, e.Ref
		} else if h.Locked != 0 || e.Peer.IsZero() || e.Peer == e.Account {
			return fail("a key is handed over to another, and without open locks")
		}
	case TypeClose:
		if h.Locked != 0 {
			return fail("%s are still locked", h.Locked)
		}
	default:
		return fail("this p3 cannot check a %s entry yet; update p3", e.Type)
	}
	if err != nil {
		return fail("%v", err)
	}
	if blank != want {
		return fail("wrong running totals, or an unused field is set")
	}
	if e.overflows() {
		return fail("%v", ErrOverflow)
	}
	next := HeadAt(e, d)
	if next.Locked < 0 || e.Type == TypeLock && next.Free(floor) < 0 {
		return fail("balance below the floor of -%s", floor)
	}
	return next, nil
}

// A Chain is one account's ledger checked from its first entry: head, history and
// claimed locks and grants. It keeps one map entry for each of them, which suits an audit; Book asks
// its store instead. Not safe for concurrent use.
type Chain struct {
	Head    Head
	floor   Credits
	every   uint64 // places between checkpoints
	history *history
	claimed map[Digest]bool // locks earned and grants taken up
}

// NewChain returns the empty chain of account in a network with this floor and a checkpoint
// in each place that is a multiple of every (Genesis.Params).
func NewChain(network Network, account Account, floor Credits, every uint64) *Chain {
	return &Chain{Head{Network: network, Account: account}, floor, every, newHistory(every), map[Digest]bool{}}
}

// Checkpoint drafts the checkpoint that may follow now.
func (c *Chain) Checkpoint(now time.Time) Entry {
	return c.history.checkpoint(c.Head.next(TypeCheckpoint, now))
}

// Apply checks e, moves the head and returns e's digest. An error leaves the chain as it was. It does not check the
// signature; VerifyEntry does.
func (c *Chain) Apply(e Entry) (Digest, error) {
	d := e.Digest()
	if err := c.ApplyKnown(e, d); err != nil {
		return Digest{}, err
	}
	return d, nil
}

// ApplyKnown is Apply for an entry with its digest, as VerifyEntry returns them.
func (c *Chain) ApplyKnown(e Entry, d Digest) error {
	var lock openLock
	switch e.Type {
	case TypeSettle:
		var open bool
		if lock, open = c.history.open[e.Ref]; !open || lock.peer != e.Peer {
			return fmt.Errorf("settle %d: %w %s, or another payee", e.Seq, ErrUnknownLock, e.Ref.Short())
		}
	case TypeEarn, TypeGrant:
		if c.claimed[e.Ref] {
			return fmt.Errorf("%s %d: %s was claimed before: %w", e.Type, e.Seq, e.Ref.Short(), ErrChain)
		}
	}
	head, err := c.Head.apply(e, d, c.floor, lock.amount)
	switch {
	case err != nil:
		return err
	case c.Head.Len > 0 && c.Head.Len%c.every == 0 && e.Type != TypeCheckpoint:
		return fmt.Errorf("%s %d of %s: %w: a checkpoint is due here", e.Type, e.Seq, e.Account.Short(), ErrChain)
	case e.handsOver() && (e.Seq+1)%c.every == 0:
		return fmt.Errorf("rotate %d of %s: %w: a checkpoint is due next, and would part its halves", e.Seq, e.Account.Short(), ErrChain)
	case e.Type == TypeRecover && RecoveryCommitment(e.Account) != c.history.recovery:
		return fmt.Errorf("recover %d by %s: %w: not the recovery key that %s committed to", e.Seq, e.Account.Short(), ErrChain, e.Peer.Short())
	case e.Type == TypeCheckpoint && e != c.history.checkpoint(e):
		return fmt.Errorf("checkpoint %d of %s: %w: its roots are not those of the entries before", e.Seq, e.Account.Short(), ErrChain)
	case e.Type == TypeEarn, e.Type == TypeGrant:
		c.claimed[e.Ref] = true
	}
	c.history.apply(e, d)
	c.Head = head
	return nil
}
