package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// AcceptLock takes a payer's lock for us, which opens the lease on our side. It checks all
// that the entry itself can show, and holds it against what the payer sent before:
// *ForkError if that convicts it, ErrFrozen if something did before, ErrBusy if it holds
// too many open, ErrExpired, and ErrClosed if this lock's lease is over. In a network with witnesses
// it takes AcceptWitnessed.
func (b *Book) AcceptLock(ctx context.Context, lock []byte, now time.Time) (LockInfo, error) {
	return b.AcceptWitnessed(ctx, lock, nil, now)
}

// AcceptWitnessed is AcceptLock with the certificate of the witnesses, nil in a network that has none: a lock
// counts only with it, and is then final. ErrUnwitnessed tells that they are too few. A *ForkError with
// certificates for both entries has convicted witnesses too.
func (b *Book) AcceptWitnessed(ctx context.Context, lock, certificate []byte, now time.Time) (LockInfo, error) {
	e, d, err := VerifyEntry(lock)
	if err != nil {
		return LockInfo{}, err
	}
	if err := b.checkLock(e, d, map[Account]bool{b.key.account: true}); err != nil {
		return LockInfo{}, err
	}
	switch {
	case e.IsTransfer():
		return LockInfo{}, fmt.Errorf("lock %s is a transfer, not for a lease: %w", d.Short(), ErrConflict)
	case !e.Expiry().After(now):
		return LockInfo{}, fmt.Errorf("lock %s: %w at %s", d.Short(), ErrExpired, e.Expiry().UTC().Format(time.RFC3339))
	case e.Expiry().After(now.Add(MaxLease + b.genesis.Grace())): // grace allows for clocks that differ
		return LockInfo{}, fmt.Errorf("lock %s until %s: at most %s ahead: %w", d.Short(), e.Expiry().UTC().Format(time.RFC3339), MaxLease, ErrExceeds)
	}
	if certificate, err = b.checkCertificate(e, d, certificate); err != nil {
		return LockInfo{}, err
	}
	l := &lease{id: d, lock: e}
	raw := bytes.Clone(lock)
	return submit(ctx, b, func(t *batch) (LockInfo, error) {
		if err := t.frozen(e.Account); err != nil {
			return LockInfo{}, fmt.Errorf("payer %w", err)
		}
		if b.leases[d] != nil && !b.leases[d].closed {
			return l.info(), nil
		}
		at := partKey(d, partLock)
		if known, err := t.get(at); err != nil || known != nil {
			if err == nil {
				err = ErrClosed
			}
			return LockInfo{}, fmt.Errorf("lock %s: %w", d.Short(), err)
		}
		if open := b.exposed[e.Account].leases; open >= MaxOpenLocks {
			return LockInfo{}, fmt.Errorf("payer %s holds %d locks: %w: let some settle first", e.Account.Short(), open, ErrBusy)
		}
		if err := t.observe(e, d, raw, at); err != nil {
			if fork := (*ForkError)(nil); errors.As(err, &fork) && certificate != nil {
				b.blame(t, fork.A, e, certificate)
			}
			return LockInfo{}, err
		}
		b.admit(t, l, raw)
		if certificate != nil {
			t.put(partKey(d, partWitness), certificate)
		}
		return l.info(), nil
	})
}

// checkCertificate checks that a quorum of the network's witnesses signed a lock, and returns a copy of their certificate:
// nil in a network that has none.
func (b *Book) checkCertificate(e Entry, d Digest, certificate []byte) ([]byte, error) {
	if len(b.genesis.Witnesses) == 0 {
		return nil, nil
	}
	if len(certificate) == 0 {
		return nil, fmt.Errorf("lock %s: %w: it came without a certificate of network %s's witnesses", d.Short(), ErrUnwitnessed, b.genesis.Name)
	}
	c, err := ParseCertificate(certificate)
	if err == nil {
		err = c.Verify(b.genesis, e, d, b.distrusts)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", d.Short(), err)
	}
	return bytes.Clone(certificate), nil
}

// checkLock checks all that a verified lock for one of some accounts of ours can show by itself, but its time.
func (b *Book) checkLock(e Entry, d Digest, payees map[Account]bool) error {
	switch {
	case e.Network != b.network:
		return &NetworkError{Want: b.network, Have: e.Network}
	case e.Type != TypeLock || !payees[e.Peer] || b.mine[e.Account]:
		return fmt.Errorf("%s by %s for %s, want a lock for this account: %w", e.Type, e.Account.Short(), e.Peer.Short(), ErrConflict)
	case e.Amount == 0 || e.Locked < e.Amount || e.Seq == 0 || e.ExpiryMs <= e.TimeMs || e.Units != 0 || e.Fuel != 0 || !e.Ref.IsZero() || !e.MMRRoot.IsZero():
		return fmt.Errorf("lock %s: %w", d.Short(), ErrChain)
	case len(b.genesis.Mints) == 0 && e.Granted != 0:
		return fmt.Errorf("lock %s: %w: claims a grant in a network without mints", d.Short(), ErrChain)
	case HeadAt(e, d).Free(b.genesis.Floor) < 0:
		return fmt.Errorf("lock %s: %w: the payer's balance is below the floor", d.Short(), ErrChain)
	}
	return nil
}

// A Unit is one unit's work: what it burnt, what that costs and the digest of its result.
type Unit struct {
	Fuel   Fuel
	Amount Credits
	Result Digest
}

// Claim adds one unit to what we did under a lock and returns the claim to send with its
// result. Unlike most calls it counts anew each time. ErrExceeds tells that the lock does not
// cover it, ErrBusy that 256 claims wait for a voucher.
func (b *Book) Claim(ctx context.Context, lock Digest, fuel Fuel, amount Credits, result Digest) ([]byte, error) {
	return b.ClaimMany(ctx, lock, []Unit{{fuel, amount, result}})
}

// ClaimMany is Claim for several units, in order, with one claim and one signature.
func (b *Book) ClaimMany(ctx context.Context, lock Digest, units []Unit) ([]byte, error) {
	return b.ClaimCharged(ctx, lock, units, Charges{})
}

// ClaimCharged is ClaimMany that also writes down, in the same commit, what the units use up of what the
// payer was trusted with: what is shown to a stranger has been counted, whatever happens next.
func (b *Book) ClaimCharged(ctx context.Context, lock Digest, units []Unit, used Charges) ([]byte, error) {
	if _, err := b.as(false, lock); err != nil {
		return nil, err
	}
	for i, e := range used.Edges {
		used.Edges[i].From, used.Edges[i].To = b.self(e.From), b.self(e.To)
	}
	return submitBytes(ctx, b, func(t *batch) ([]byte, error) { return b.claim(t, lock, units, used) })
}

func (b *Book) claim(t *batch, lock Digest, units []Unit, used Charges) ([]byte, error) {
	l, err := b.find(lock)
	if err != nil {
		return nil, err
	}
	c := l.done()
	switch {
	case l.closed:
		return nil, fmt.Errorf("lock %s: %w", lock.Short(), ErrClosed)
	case len(l.claims) >= maxOutstanding:
		return nil, fmt.Errorf("lock %s: %d claims without a voucher: %w", lock.Short(), len(l.claims), ErrBusy)
	case len(units) == 0 || uint64(c.K)+uint64(len(units)) > math.MaxUint32:
		return nil, fmt.Errorf("claim of %d units: %w", len(units), ErrExceeds)
	}
	for _, u := range units {
		if u.Amount < 0 || u.Amount > l.lock.Amount-c.Amount || c.Fuel+u.Fuel < c.Fuel {
			return nil, fmt.Errorf("claim %s more on a lock of %s with %s claimed: %w", u.Amount, l.lock.Amount, c.Amount, ErrExceeds)
		}
		c.K, c.Fuel, c.Amount, c.Results = c.K+1, c.Fuel+u.Fuel, c.Amount+u.Amount, ResultRoot(c.Results, u.Result)
	}
	if err := t.charge(used); err != nil {
		return nil, err
	}
	before := l.unpaid()
	var by *Key
	if b.till != nil {
		c.Office, by = string(b.till.binding), &b.till.key
	}
	raw := c.unsigned()
	sc := signedClaim{c, c.Digest(), raw}
	t.sign = append(t.sign, unsigned{digest: sc.digest, raw: raw, by: by})
	t.put(claimKey(lock, c.K), raw)
	l.claims = append(l.claims, sc)
	b.expose(l.lock.Account, 0, int64(l.unpaid())-int64(before))
	return raw, nil
}

// Credit takes a voucher for a claim of ours and keeps the best one. ErrConflict tells that it
// answers no claim of ours, *UnderSettleError that the payer settled for less before; that
// convicts it.
//
// The voucher pays every unit of the claim it answers if it covers the whole of it. Where some are
// never paid, as outvoted ones, it does not; then units is how many of the lease's units the caller
// knows to be paid so far: together they cost no more than the voucher. 0 if it does not know.
func (b *Book) Credit(ctx context.Context, voucher []byte, units uint32) error {
	v, err := ParseVoucher(voucher)
	if err != nil {
		return err
	}
	if v.Network != b.network {
		return &NetworkError{Want: b.network, Have: v.Network}
	}
	info, err := b.as(false, v.Lock)
	if err != nil {
		return err
	}
	if v, err = VerifyVoucher(voucher, info.Payer); err != nil {
		return err
	}
	raw := bytes.Clone(voucher)
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) { return struct{}{}, b.credit(t, v, raw, units) })
	return err
}

func (b *Book) credit(t *batch, v Voucher, raw []byte, units uint32) error {
	l, err := b.find(v.Lock)
	if err != nil {
		return err
	}
	if l.closed {
		settle, err := t.get(partKey(v.Lock, partSettle))
		if err != nil || settle == nil {
			return err
		}
		return b.checkSettled(t, l, settle, v, raw)
	}
	i := slices.IndexFunc(l.claims, func(c signedClaim) bool { return c.K == v.K })
	switch {
	case i < 0 && v.K < l.voucher.K && v.Amount <= l.voucher.Amount:
		return nil // an older one that came late
	case i < 0 || l.claims[i].digest != v.Claim:
		return fmt.Errorf("voucher %d on lock %s answers no claim of ours: %w", v.K, v.Lock.Short(), ErrConflict)
	case v.Amount > l.claims[i].Amount:
		return fmt.Errorf("voucher of %s for a claim of %s: %w", v.Amount, l.claims[i].Amount, ErrExceeds)
	case v.Amount < l.voucher.Amount || v.Amount == l.voucher.Amount && v.K <= l.voucher.K:
		return nil
	}
	before := l.unpaid()
	paid := max(l.paid, min(units, v.K))
	if v.Amount == l.claims[i].Amount {
		paid = max(paid, v.K)
	}
	if err := t.payUnits(l, paid); err != nil {
		return err
	}
	for _, c := range l.claims[:i] {
		t.delete(claimKey(v.Lock, c.K))
	}
	l.claims, l.voucher, l.rawVou = slices.Clone(l.claims[i:]), v, raw
	t.put(partKey(v.Lock, partVoucher), l.voucherValue())
	b.expose(l.lock.Account, 0, int64(l.unpaid())-int64(before))
	return nil
}

// payUnits notes that paid units of a lease in all are paid, which opens the payer's window.
func (t *batch) payUnits(l *lease, paid uint32) error {
	if paid <= l.paid {
		return nil
	}
	p, err := t.peer(l.lock.Account)
	if err != nil {
		return err
	}
	p.window = p.window.Paid(paid - l.paid)
	t.putPeer(l.lock.Account, p)
	l.paid = paid
	return nil
}

// checkSettled convicts a payer whose settle is below a voucher it signed.
func (b *Book) checkSettled(t *batch, l *lease, settle []byte, v Voucher, voucher []byte) error {
	e, err := ParseEntry(settle)
	if err != nil || e.Amount >= v.Amount {
		return err
	}
	proof, err := NewProof(ProofUnderSettle, settle, voucher)
	if err == nil {
		err = t.freeze(proof)
	}
	if err != nil {
		return err
	}
	return &UnderSettleError{Settle: settle, Voucher: voucher}
}

// Earn takes the payer's settle, takes up what it pays and returns the entry to send back; nil
// for a settle of zero, which needs no answer. If it pays less than the best voucher, we take
// up the voucher instead, keep the proof, and return the entry together with an
// *UnderSettleError.
func (b *Book) Earn(ctx context.Context, settle []byte) ([]byte, error) {
	s, d, err := VerifyEntry(settle)
	switch {
	case err != nil:
		return nil, err
	case s.Network != b.network:
		return nil, &NetworkError{Want: b.network, Have: s.Network}
	case s.Type != TypeSettle || !b.mine[s.Peer]:
		return nil, fmt.Errorf("%s for %s, want a settle for this account: %w", s.Type, s.Peer.Short(), ErrConflict)
	}
	info, err := b.as(false, s.Ref)
	switch {
	case err != nil:
		return nil, err
	case info.Payer != s.Account:
		return nil, fmt.Errorf("settle by %s of a lock of %s: %w", s.Account.Short(), info.Payer.Short(), ErrConflict)
	case s.Amount > info.Amount:
		return nil, fmt.Errorf("settle of %s on a lock of %s: %w", s.Amount, info.Amount, ErrExceeds)
	}
	raw := bytes.Clone(settle)
	var convicted error
	earn, err := submitBytes(ctx, b, func(t *batch) ([]byte, error) {
		earn, err := b.earn(t, s, d, raw)
		if _, ok := err.(*UnderSettleError); ok {
			convicted, err = err, nil
		}
		return earn, err
	})
	if err != nil {
		return nil, err
	}
	return earn, convicted
}

func (b *Book) earn(t *batch, s Entry, d Digest, raw []byte) ([]byte, error) {
	l, err := b.find(s.Ref)
	if err != nil {
		return nil, err
	}
	at := partKey(s.Ref, partSettle)
	known, err := t.get(at)
	if err != nil {
		return nil, err
	}
	earned, err := t.get(partKey(s.Ref, partEarn))
	if err != nil {
		return nil, err
	}
	if known != nil {
		if bytes.Equal(known[:EntrySize], raw[:EntrySize]) {
			return earned, nil
		}
		if err := t.observe(s, d, raw, at); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("a second settle of lock %s: %w", s.Ref.Short(), ErrConflict)
	}
	if err := t.observe(s, d, raw, at); err != nil {
		return nil, err
	}
	t.put(at, raw)
	t.delete(lockKey(outPrefix, s.Ref))
	convicted := b.checkSettled(t, l, raw, l.voucher, l.rawVou)
	if earned == nil {
		switch {
		case b.till != nil && (convicted != nil || s.Amount > 0):
			t.await(l.id, max(s.Amount, l.voucher.Amount))
		case convicted != nil:
			earned, err = b.takeUp(t, l, l.voucher.Amount, l.vouched().Fuel, l.voucher.K, l.voucherDigest(), FlagVoucher)
		case s.Amount > 0:
			earned, err = b.takeUp(t, l, s.Amount, s.Fuel, s.Units, d, 0)
		}
		if err != nil {
			return nil, err
		}
	}
	if earned != nil {
		e, err := ParseEntry(earned)
		if err != nil {
			return nil, err
		}
		if b.till != nil {
			t.await(l.id, 0) // it was taken up by the voucher; with the settle it is work that the account can show
		}
		st, err := t.standing(s.Account)
		if err != nil {
			return nil, err
		}
		if !s.IsTransfer() {
			st.prove(s.Ref, min(s.Amount, e.Amount))
			t.putStanding(s.Account, st)
		}
	}
	if convicted == nil && !l.closed && s.Amount >= l.done().Amount { // all is paid, though the last voucher got lost
		before := l.unpaid()
		if err := t.payUnits(l, l.done().K); err != nil {
			return nil, err
		}
		b.expose(l.lock.Account, 0, int64(l.unpaid())-int64(before))
	}
	if err := b.close(t, l); err != nil {
		return nil, err
	}
	return earned, convicted
}

// takeUp appends the earn of a lease.
func (b *Book) takeUp(t *batch, l *lease, amount Credits, fuel Fuel, units uint32, evidence Digest, flags uint16) ([]byte, error) {
	st, err := t.standing(l.lock.Account)
	if err != nil {
		return nil, err
	}
	raw, _, err := b.append(t, b.head.Earn(l.lock, amount, fuel, units, evidence, flags, time.Now()), 0)
	if err != nil {
		return nil, err
	}
	t.put(partKey(l.id, partEarn), raw)
	if !l.lock.IsTransfer() { // which nobody worked for
		st.Got = saturating(st.Got, amount)
		t.putStanding(l.lock.Account, st)
	}
	return raw, nil
}

// EarnVoucher takes up the best voucher of a lease whose payer has not settled by expiry and
// grace, and returns the entry, which Pending lists until the settle comes. Without a voucher
// the lease just ends, and the result is nil. It returns ErrNotDue before then, and the stored
// entry when the lease was earned.
func (b *Book) EarnVoucher(ctx context.Context, lock Digest, now time.Time) ([]byte, error) {
	if _, err := b.as(false, lock); err != nil {
		return nil, err
	}
	return submitBytes(ctx, b, func(t *batch) ([]byte, error) {
		l, err := b.find(lock)
		if err != nil {
			return nil, err
		}
		return b.earnVoucher(t, l, now)
	})
}

func (b *Book) earnVoucher(t *batch, l *lease, now time.Time) ([]byte, error) {
	if l.closed {
		return t.get(partKey(l.id, partEarn))
	}
	if !b.due(l, now) {
		return nil, fmt.Errorf("lock %s until %s: %w", l.id.Short(), l.lock.Expiry().UTC().Format(time.RFC3339), ErrNotDue)
	}
	var raw []byte
	if l.voucher.Amount > 0 && b.till != nil {
		t.await(l.id, l.voucher.Amount)
	} else if l.voucher.Amount > 0 {
		var err error
		if raw, err = b.takeUp(t, l, l.voucher.Amount, l.vouched().Fuel, l.voucher.K, l.voucherDigest(), FlagVoucher); err != nil {
			return nil, err
		}
		t.put(lockKey(outPrefix, l.id), partKey(l.id, partEarn))
	}
	return raw, b.close(t, l)
}
