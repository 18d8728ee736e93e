package ledger

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// A LockRequest reserves Amount for Payee until Expiry, for the job that Evidence identifies.
type LockRequest struct {
	Payee    Account
	Amount   Credits
	Evidence Digest
	Expiry   time.Time // at most MaxLease ahead
}

// A SignedEntry is an entry as it was signed, and its digest.
type SignedEntry struct {
	Raw    []byte
	Digest Digest
}

// Lock reserves credit and returns the entry to send to the payee; its digest names the lease.
// It fails with *NoCreditError when the free balance is too small. What is not spent returns
// by Settle.
func (b *Book) Lock(ctx context.Context, r LockRequest) (SignedEntry, error) {
	return submit(ctx, b, func(t *batch) (SignedEntry, error) {
		now := time.Now()
		switch {
		case r.Amount <= 0 || r.Amount > MaxCredits:
			return SignedEntry{}, fmt.Errorf("lock %s: give an amount above zero: %w", r.Amount, ErrOverflow)
		case r.Payee == b.key.account || r.Payee.IsZero():
			return SignedEntry{}, fmt.Errorf("lock for %s: name another account", r.Payee)
		case !r.Expiry.After(now) || r.Expiry.After(now.Add(MaxLease)):
			return SignedEntry{}, fmt.Errorf("lock until %s: give a time within %s from now", r.Expiry.Format(time.RFC3339), MaxLease)
		}
		if err := t.frozen(r.Payee); err != nil {
			return SignedEntry{}, fmt.Errorf("lock for payee %w", err)
		}
		if free := b.head.Free(b.genesis.Floor); r.Amount > free {
			return SignedEntry{}, &NoCreditError{Need: r.Amount, Have: free}
		}
		e := b.head.Lock(r.Payee, r.Amount, r.Evidence, r.Expiry, now)
		raw, id, err := b.append(t, e, 0)
		if err != nil {
			return SignedEntry{}, err
		}
		b.admit(t, &lease{id: id, lock: e, ours: true}, raw)
		return SignedEntry{raw, id}, nil
	})
}

// Vouch promises to pay accept µcr of a lock in all, for the units that claim covers: at most
// what it claims, never less than before. It returns the voucher to send. A claim older than
// the newest voucher gets that one. ErrExceeds and ErrConflict tell that the payee, or accept,
// is out of bounds; ErrClosed that the lock is settled.
func (b *Book) Vouch(ctx context.Context, lock Digest, claim []byte, accept Credits) ([]byte, error) {
	info, err := b.as(true, lock)
	if err != nil {
		return nil, err
	}
	c, err := VerifyClaim(claim, info.Payee)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Network != b.network:
		return nil, &NetworkError{Want: b.network, Have: c.Network}
	case c.Lock != lock:
		return nil, fmt.Errorf("claim on lock %s, want %s: %w", c.Lock.Short(), lock.Short(), ErrConflict)
	case c.Amount > info.Amount:
		return nil, fmt.Errorf("claim of %s on a lock of %s: %w", c.Amount, info.Amount, ErrExceeds)
	case c.boundUntil() <= info.lockedMs:
		return nil, fmt.Errorf("claim by a node that was bound until before the lock: %w", ErrExpired)
	case accept < 0 || accept > c.Amount:
		return nil, fmt.Errorf("accept %s of a claim of %s: %w", accept, c.Amount, ErrExceeds)
	}
	sc := signedClaim{c, c.Digest(), bytes.Clone(claim)}
	return submitBytes(ctx, b, func(t *batch) ([]byte, error) { return b.vouch(t, lock, sc, accept) })
}

func (b *Book) vouch(t *batch, lock Digest, c signedClaim, accept Credits) ([]byte, error) {
	l, err := b.find(lock)
	if err != nil {
		return nil, err
	}
	old, last := l.voucher, l.vouched()
	switch {
	case c.K < old.K:
		return l.rawVou, nil
	case c.K == old.K && c.digest != old.Claim:
		return nil, fmt.Errorf("claim %d on lock %s: %w", c.K, lock.Short(), ErrConflict)
	case c.K == old.K && accept <= old.Amount:
		return l.rawVou, nil
	case l.closed:
		return nil, fmt.Errorf("lock %s: %w", lock.Short(), ErrClosed)
	case accept < old.Amount:
		return nil, fmt.Errorf("accept %s after %s: %w", accept, old.Amount, ErrExceeds)
	case c.Amount < last.Amount || c.Fuel < last.Fuel:
		return nil, fmt.Errorf("claim %d falls below claim %d: %w", c.K, last.K, ErrExceeds)
	}
	l.voucher = Voucher{b.network, lock, c.K, accept, c.digest}
	l.rawVou = l.voucher.unsigned()
	value := append(l.rawVou, 0, 0, 0, 0) // the payer does not count paid units
	l.rawVou = value[:SignedVoucherSize:SignedVoucherSize]
	t.sign = append(t.sign, unsigned{digest: l.voucher.Digest(), raw: l.rawVou})
	t.put(partKey(lock, partVoucher), value)
	if c.K != last.K {
		if last.K != 0 {
			t.delete(claimKey(lock, last.K))
		}
		l.claims = []signedClaim{c}
		t.put(claimKey(lock, c.K), c.raw)
	}
	return l.rawVou, nil
}

// Settle pays what the best voucher promises, nothing without one, and frees the rest of the
// lock. It returns the entry to send until the payee's earn arrives (AcknowledgeEarn); Pending
// lists it meanwhile, unless it pays nothing.
func (b *Book) Settle(ctx context.Context, lock Digest) ([]byte, error) {
	if _, err := b.as(true, lock); err != nil {
		return nil, err
	}
	return submitBytes(ctx, b, func(t *batch) ([]byte, error) { return b.settle(t, lock) })
}

func (b *Book) settle(t *batch, lock Digest) ([]byte, error) {
	l, err := b.find(lock)
	if err != nil {
		return nil, err
	}
	if l.closed {
		return t.get(partKey(lock, partSettle))
	}
	var fuel Fuel
	var units uint32
	if l.voucher.Amount > 0 {
		fuel, units = l.vouched().Fuel, l.voucher.K
	}
	raw, _, err := b.append(t, b.head.Settle(l.lock, l.voucher.Amount, fuel, units, l.voucherDigest(), time.Now()), l.lock.Amount)
	if err != nil {
		return nil, err
	}
	t.put(partKey(lock, partSettle), raw)
	if l.voucher.Amount > 0 {
		t.put(lockKey(outPrefix, lock), partKey(lock, partSettle))
	}
	return raw, b.close(t, l)
}

// AcknowledgeEarn takes the payee's earn for a lock of ours and so completes the receipt. If
// the payee took up a voucher before we settled, the lock is settled with it; the reply to
// send is then Settle(lock), as for every earn that keeps coming back.
func (b *Book) AcknowledgeEarn(ctx context.Context, earn []byte) error {
	e, d, err := VerifyEntry(earn)
	switch {
	case err != nil:
		return err
	case e.Network != b.network:
		return &NetworkError{Want: b.network, Have: e.Network}
	case e.Type != TypeEarn || !b.mine[e.Peer]:
		return fmt.Errorf("%s for %s, want an earn from this account: %w", e.Type, e.Peer.Short(), ErrConflict)
	}
	info, err := b.as(true, e.Ref)
	if err != nil {
		return err
	}
	if info.Payee != e.Account && b.Heir(info.Payee) != b.Heir(e.Account) { // its chain may go on under another account by now
		return fmt.Errorf("earn by %s of a lock for %s: %w", e.Account.Short(), info.Payee.Short(), ErrConflict)
	}
	raw := bytes.Clone(earn)
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) { return struct{}{}, b.acknowledge(t, e, d, raw) })
	return err
}

func (b *Book) acknowledge(t *batch, e Entry, d Digest, raw []byte) error {
	l, err := b.find(e.Ref)
	if err != nil {
		return err
	}
	at := partKey(e.Ref, partEarn)
	known, err := t.get(at)
	if err != nil {
		return err
	}
	if known != nil {
		if !bytes.Equal(known[:EntrySize], raw[:EntrySize]) {
			if err := t.observe(e, d, raw, at); err != nil {
				return err
			}
			return fmt.Errorf("a second earn of lock %s: %w", e.Ref.Short(), ErrConflict)
		}
		return nil
	}
	if e.Amount > l.voucher.Amount && !l.lock.IsTransfer() { // which must answer our settle
		return fmt.Errorf("earn of %s, vouched for %s: %w", e.Amount, l.voucher.Amount, ErrExceeds)
	}
	if e.Flags&FlagVoucher == 0 || l.lock.IsTransfer() {
		settled, err := t.get(partKey(e.Ref, partSettle))
		if err != nil {
			return err
		}
		s, err := ParseEntry(settled)
		if err != nil || s.Digest() != e.Evidence || s.Amount != e.Amount {
			return fmt.Errorf("earn %d of %s does not answer our settle: %w", e.Seq, e.Account.Short(), ErrConflict)
		}
	}
	st, err := t.standing(e.Account)
	if err != nil {
		return err
	}
	if err := t.observe(e, d, raw, at); err != nil {
		return err
	}
	if _, err := b.settle(t, e.Ref); err != nil {
		return err
	}
	if !l.lock.IsTransfer() {
		st.Did = saturating(st.Did, e.Amount)
		t.putStanding(e.Account, st)
	}
	t.put(at, raw)
	t.delete(lockKey(outPrefix, e.Ref))
	return nil
}
