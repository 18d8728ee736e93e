package ledger

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
)

// Credit that is given and not earned, such as between two accounts of one owner, is a LOCK and a SETTLE of zero
// units. The lock names no job but transferMark, so that it is known for what it is after a crash, and
// nobody takes it for a lease. Until the SETTLE the credit comes back by itself when the lock expires.
var transferMark = Digest(crypto.Keccak256Hash([]byte("P3 transfer 1")))

// Transfer tells a lock that gives its amount away, see Book.Give.
func (i LockInfo) Transfer() bool { return i.Job == transferMark }

// Transfer tells the receipt of a transfer.
func (s Summary) Transfer() bool { return s.Job == transferMark }

// IsTransfer tells the lock of a transfer, or a settle that pays without work: no units, no voucher. Such credit was given,
// not earned: it is no Work.
func (e Entry) IsTransfer() bool {
	switch e.Type {
	case TypeLock:
		return e.Evidence == transferMark
	case TypeSettle:
		return e.Amount > 0 && e.Units == 0 && e.Fuel == 0 && e.Evidence.IsZero()
	}
	return false
}

// MaxGift is the most of one transfer. In a mutual network anybody can invent a payer who owes all credit there can be, and with
// a few such gifts an account's totals could grow no further: it would never earn again. Of these, at one in ten
// seconds, it would take 14 years.
const MaxGift = 100_000 * Credit

// Give reserves amount for another account until expiry, at most MaxLease ahead. Show it the lock; when it says that it
// is there, Pay. Settle, and Sweep after expiry and grace, take the credit back. It fails as Lock does, and like Lock,
// each call is a new one.
func (b *Book) Give(ctx context.Context, to Account, amount Credits, expiry time.Time) (SignedEntry, error) {
	if amount > MaxGift {
		return SignedEntry{}, fmt.Errorf("%s at once, at most %s: %w", amount, MaxGift, ErrExceeds)
	}
	return b.Lock(ctx, LockRequest{Payee: to, Amount: amount, Evidence: transferMark, Expiry: expiry})
}

// Pay settles a transfer for all of its amount, which nothing takes back, and returns the settle; Pending lists it until
// the account has taken it up. A transfer that was taken back returns ErrClosed.
func (b *Book) Pay(ctx context.Context, lock Digest) ([]byte, error) {
	info, err := b.as(true, lock)
	switch {
	case err != nil:
		return nil, err
	case !info.Transfer():
		return nil, fmt.Errorf("lock %s is a lease: %w", lock.Short(), ErrConflict)
	}
	return submitBytes(ctx, b, func(t *batch) ([]byte, error) {
		l, err := b.find(lock)
		if err != nil {
			return nil, err
		}
		if l.closed {
			raw, err := t.get(partKey(lock, partSettle))
			if e, parseErr := ParseEntry(raw); err == nil && (parseErr != nil || !e.IsTransfer()) {
				err = fmt.Errorf("transfer %s: %w", lock.Short(), ErrClosed)
			}
			return raw, err
		}
		raw, _, err := b.append(t, b.head.Settle(l.lock, l.lock.Amount, 0, 0, Digest{}, time.Now()), l.lock.Amount)
		if err != nil {
			return nil, err
		}
		t.put(partKey(lock, partSettle), raw)
		t.put(lockKey(outPrefix, lock), partKey(lock, partSettle))
		return raw, b.close(t, l)
	})
}

// MayReceive checks the lock of a transfer to us, with the certificate of the witnesses, and remembers nothing: nil says
// that Receive would take it up now.
func (b *Book) MayReceive(lock, certificate []byte) error {
	e, d, err := b.readGift(lock)
	if err == nil {
		_, err = b.checkCertificate(e, d, certificate)
	}
	if err != nil {
		return err
	}
	if one, _, err := b.Frozen(e.Account); err != nil || one != nil {
		if err == nil {
			err = fmt.Errorf("sender %s: %w", e.Account.Short(), ErrFrozen)
		}
		return err
	}
	return b.ReadOnly()
}

func (b *Book) readGift(lock []byte) (Entry, Digest, error) {
	e, d, err := VerifyEntry(lock)
	if err == nil {
		err = b.checkLock(e, d, b.mine) // one to an earlier account of ours may have been on its way when that changed its key
	}
	switch {
	case err != nil:
	case !e.IsTransfer():
		err = fmt.Errorf("lock %s is for a lease: %w", d.Short(), ErrConflict)
	case e.Amount > MaxGift:
		err = fmt.Errorf("transfer of %s, at most %s: %w", e.Amount, MaxGift, ErrExceeds)
	}
	return e, d, err
}

// Receive takes up a transfer to us, the lock of Give and the settle of Pay, and returns the earn to send back. It checks
// what AcceptWitnessed and Earn check, but not whether the lock has expired: it is settled. certificate is nil in a network
// without witnesses.
func (b *Book) Receive(ctx context.Context, lock, settle, certificate []byte) ([]byte, error) {
	e, d, err := b.readGift(lock)
	if err == nil {
		certificate, err = b.checkCertificate(e, d, certificate)
	}
	if err != nil {
		return nil, err
	}
	s, sd, err := VerifyEntry(settle)
	switch {
	case err != nil:
		return nil, err
	case s.Network != b.network:
		return nil, &NetworkError{Want: b.network, Have: s.Network}
	case !s.IsTransfer() || s.Account != e.Account || s.Peer != e.Peer || s.Ref != d || s.Amount != e.Amount || s.Epoch != e.Epoch || s.Seq <= e.Seq:
		return nil, fmt.Errorf("%s %s is not the transfer of lock %s: %w", s.Type, sd.Short(), d.Short(), ErrConflict)
	}
	rawLock, rawSettle := bytes.Clone(lock), bytes.Clone(settle)
	return submitBytes(ctx, b, func(t *batch) ([]byte, error) {
		at := partKey(d, partLock)
		known, err := t.get(at)
		if err != nil {
			return nil, err
		}
		if known == nil {
			if err := t.frozen(e.Account); err != nil {
				return nil, fmt.Errorf("sender %w", err)
			}
			if err := t.observe(e, d, rawLock, at); err != nil {
				return nil, err
			}
			b.admit(t, &lease{id: d, lock: e}, rawLock)
			if certificate != nil {
				t.put(partKey(d, partWitness), certificate)
			}
		}
		return b.earn(t, s, sd, rawSettle)
	})
}
