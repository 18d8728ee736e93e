package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// quotaPrefix is of what was taken up of a node, on the side that has the key: ledger/k/PEER → taken.
const quotaPrefix = "ledger/k/"

// maxAdopted bounds the leases that are taken up of one node a day: one in ten seconds, as of transfers. Each adds some 2 KB to the ledger.
const maxAdopted = 24 * 60 * 60 / 10

// A Quota bounds what is taken up of a bound node: Day µcr for each day since Since, of which those of at most Days days are saved up. What
// exceeds it waits. Whoever holds the node's key can invent payers; this is how much of them the account can be made to take.
type Quota struct {
	Day   Credits // above zero
	Days  int     // at least 1
	Since time.Time
}

func (q Quota) most() Credits { return q.over(time.Duration(q.Days) * 24 * time.Hour) }

// over is what a time adds to the quota, at most MaxCredits.
func (q Quota) over(t time.Duration) Credits {
	ms := uint64(max(t, 0).Milliseconds())
	c, err := Price{Num: ms, Den: uint64((24 * time.Hour).Milliseconds())}.Cost(Fuel(max(q.Day, 0)))
	if err != nil {
		return MaxCredits
	}
	return c
}

// A Taking is what was taken up of one node so far.
type Taking struct {
	Leases uint64
	Amount Credits
	Last   time.Time // zero: nothing yet

	left Credits // of the quota, at Last
}

// in is what may still be taken up at now. A clock that went back adds nothing.
func (x Taking) in(q Quota, now time.Time) Credits {
	if x.Last.IsZero() {
		x.left, x.Last = q.Day, q.Since
	}
	return min(q.most(), saturating(x.left, q.over(now.Sub(x.Last))))
}

func (x Taking) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{1}, x.Leases)
	b = binary.BigEndian.AppendUint64(b, uint64(x.Amount))
	b = binary.BigEndian.AppendUint64(b, uint64(x.left))
	return binary.BigEndian.AppendUint64(b, uint64(x.Last.UnixMilli()))
}

func decodeTaking(b []byte) (x Taking, err error) {
	if b == nil {
		return x, nil
	}
	r := reader{b: b[min(len(b), 1):]}
	if len(b) == 1+4*8 && b[0] == 1 {
		x = Taking{Leases: r.u64(), Amount: r.credits(), left: r.credits(), Last: time.UnixMilli(int64(r.time()))}
	}
	if len(b) != 1+4*8 || r.bad != "" {
		return Taking{}, fmt.Errorf("what was taken up of a node: the ledger is damaged, restore it from a backup: %w", ErrMalformed)
	}
	return x, nil
}

func quotaKey(peerID []byte) []byte { return append([]byte(quotaPrefix), peerID...) }

// TakenFrom is what was taken up of a node, named by its peer ID in binary form.
func (b *Book) TakenFrom(peerID []byte) (Taking, error) {
	v, err := b.store.Get(quotaKey(peerID))
	if errors.Is(err, ErrNotFound) {
		return Taking{}, nil
	}
	if err != nil {
		return Taking{}, err
	}
	return decodeTaking(v)
}

// Adopt takes up what a node that this account has bound earned for it: a lease whose payer has settled, or whose best voucher is due at now.
// from is the node that shows it; job is what the lock was made for, which with from makes up the lock's evidence
// (LockEvidence), so that no node can show the lock of another. Adopt returns the earn, the stored one when the lease was taken up before, or
// nil when nothing is due yet, of which it keeps nothing. ErrBusy tells that it exceeds the quota now, other errors that
// the lease is not to be taken up.
//
// It credits the account and nothing else: what a node claims moves no window and no default of a payer here.
func (b *Book) Adopt(ctx context.Context, r Receipt, job Digest, from []byte, q Quota, now time.Time) ([]byte, error) {
	e, err := ParseEntry(r.Lock)
	if err != nil {
		return nil, err
	}
	d := e.Digest()
	c, err := ParseClaim(r.Claim)
	switch {
	case len(b.genesis.Witnesses) > 0:
		err = errTillWitness
	case err == nil:
		err = checkAdoption(e, d, c, job, from)
	}
	if err == nil {
		err = b.checkLock(e, d, map[Account]bool{b.key.account: true})
	}
	if err != nil {
		return nil, err
	}
	if earned, err := b.store.Get(partKey(d, partEarn)); err == nil && r.Settle == nil {
		return earned, nil // said again
	}
	if _, err := r.Verify(); err != nil && !errors.As(err, new(*UnderSettleError)) { // which earn sees again
		return nil, err
	}
	r = Receipt{Lock: bytes.Clone(r.Lock), Claim: bytes.Clone(r.Claim), Voucher: bytes.Clone(r.Voucher), Settle: bytes.Clone(r.Settle)}
	return submitBytes(ctx, b, func(t *batch) ([]byte, error) { return b.adopt(t, e, d, c, r, quotaKey(from), q, now) })
}

// checkAdoption checks that a lock for this account is for work of node from, and that the claim is its.
func checkAdoption(e Entry, d Digest, c Claim, job Digest, from []byte) error {
	if c.Office == "" {
		return fmt.Errorf("lock %s: no claim of a bound node: %w", d.Short(), ErrConflict)
	}
	n, err := ParseBinding([]byte(c.Office))
	if err != nil {
		return err
	}
	if !bytes.Equal(n.PeerID, from) || e.Evidence != LockEvidence(job, from) {
		return fmt.Errorf("lock %s is for another node: %w", d.Short(), ErrConflict)
	}
	return nil
}

// adopt checks all before it changes anything: what it returns with an error, but a proof of a fork, leaves no trace.
func (b *Book) adopt(t *batch, e Entry, d Digest, c Claim, r Receipt, quota []byte, q Quota, now time.Time) ([]byte, error) {
	if known, err := t.get(partKey(d, partLock)); err != nil {
		return nil, err
	} else if known != nil {
		return b.adoptAgain(t, d, r, now)
	}
	l := &lease{id: d, lock: e, claims: []signedClaim{{c, c.Digest(), r.Claim}}, paid: c.K} // paid: nothing is held against the payer
	var s Entry
	var sd Digest
	var err error
	if r.Voucher != nil {
		if l.voucher, err = ParseVoucher(r.Voucher); err != nil {
			return nil, err
		}
		l.rawVou = r.Voucher
	}
	if r.Settle != nil {
		if s, sd, err = VerifyEntry(r.Settle); err != nil {
			return nil, err
		}
	} else if !b.due(l, now) {
		return nil, nil
	}
	amount := max(s.Amount, l.voucher.Amount)
	if amount == 0 {
		return nil, fmt.Errorf("lock %s: nothing was paid: %w", d.Short(), ErrConflict)
	}
	if _, err := b.head.Apply(b.head.Earn(e, amount, c.Fuel, c.K, d, FlagVoucher, now), b.genesis.Floor, 0); err != nil {
		return nil, err
	}
	v, err := t.get(quota)
	if err != nil {
		return nil, err
	}
	taking, err := decodeTaking(v)
	if err != nil {
		return nil, err
	}
	cost, left := max(amount, q.Day/maxAdopted, 1), taking.in(q, now)
	switch {
	case cost > q.most():
		return nil, fmt.Errorf("lock %s: %s in one lease, at most %s are taken from this node: %w", d.Short(), amount, q.most(), ErrExceeds)
	case cost > left:
		return nil, fmt.Errorf("lock %s: %s a day are taken from this node, the rest later: %w", d.Short(), q.Day, ErrBusy)
	}
	if err := t.observe(e, d, r.Lock, partKey(d, partLock)); err != nil {
		return nil, err
	}
	taking = Taking{Leases: taking.Leases + 1, Amount: saturating(taking.Amount, amount), left: left - cost, Last: now}
	t.put(quota, taking.encode())
	b.admit(t, l, r.Lock)
	t.put(claimKey(d, c.K), r.Claim)
	if r.Voucher != nil {
		t.put(partKey(d, partVoucher), l.voucherValue())
	}
	if r.Settle == nil {
		return b.earnVoucher(t, l, now)
	}
	return b.adoptSettle(t, s, sd, r.Settle)
}

// adoptAgain is adopt of a lease that is here: it returns its earn. If that was by the voucher, and the payer has settled since, it
// completes the receipt. A settle that contradicts another one leaves the lease open until the voucher is due.
func (b *Book) adoptAgain(t *batch, d Digest, r Receipt, now time.Time) ([]byte, error) {
	l, err := b.find(d)
	if err != nil {
		return nil, err
	}
	settled, err := t.get(partKey(d, partSettle))
	if err != nil {
		return nil, err
	}
	if r.Settle != nil && settled == nil {
		s, sd, err := VerifyEntry(r.Settle)
		if err != nil {
			return nil, err
		}
		return b.adoptSettle(t, s, sd, r.Settle)
	}
	if l.closed || !b.due(l, now) {
		return t.get(partKey(d, partEarn))
	}
	return b.earnVoucher(t, l, now)
}

// adoptSettle is earn, for which a payer that settled too little is no error: the voucher was taken up, and the proof is kept.
func (b *Book) adoptSettle(t *batch, s Entry, d Digest, raw []byte) ([]byte, error) {
	earned, err := b.earn(t, s, d, raw)
	if errors.As(err, new(*UnderSettleError)) {
		err = nil
	}
	return earned, err
}
