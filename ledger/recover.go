package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A Recovery says what came of a try to get back what the disk has lost.
type Recovery struct {
	Entries int    // of ours, put back
	Leases  int    // of which something was put back
	Missing uint64 // entries that were signed and that nobody brought, as far as is known
	From    uint64 // the first of these
	Signs   bool   // the book signs again
}

// Held returns what this book holds of its leases with another account, for that account to
// get back what it lost: those with an entry of it from (epoch, seq) on, in the order of these
// entries, at most n; and, where seq is zero or the list ends, those still open. next is where to
// go on, 0 at the end.
func (b *Book) Held(a Account, epoch uint32, seq uint64, n int) (out []Receipt, next uint64, err error) {
	var ids []Digest
	seen := map[Digest]bool{}
	prefix := accountKey(seenPrefix, a)
	err = b.store.Scan(prefix, seenKey(Entry{Account: a, Epoch: epoch, Seq: seq}), func(k, v []byte) bool {
		place := k[len(prefix):]
		if len(place) != 12 || binary.BigEndian.Uint32(place) != epoch || len(v) < len(leasePrefix)+len(Digest{}) {
			return len(place) == 12
		}
		if len(ids) == n {
			next = binary.BigEndian.Uint64(place[4:])
			return false
		}
		if id := Digest(v[len(leasePrefix):][:len(Digest{})]); !seen[id] {
			seen[id], ids = true, append(ids, id)
		}
		return true
	})
	if err != nil {
		return nil, 0, err
	}
	if next == 0 {
		b.mu.RLock()
		for id, l := range b.leases {
			if (l.lock.Account == a || l.lock.Peer == a) && !seen[id] && len(ids) < n+MaxOpenLocks {
				ids = append(ids, id)
			}
		}
		b.mu.RUnlock()
	}
	for _, id := range ids {
		r, err := b.Receipt(id)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, r)
	}
	return out, next, nil
}

// Lost reports whether the book is read-only because its store is behind, so that Recover may help,
// and from which entry of its chain on it would like to know what others hold.
func (b *Book) Lost() (epoch uint32, from uint64, lost bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.settled.Epoch, b.settled.Len, b.behindFence || !b.restored.IsZero()
}

// Recover puts back what counterparties hold of leases with us: our own entries as far as they
// follow on our chain, and the newest claims and vouchers. The book signs again if nothing
// that its fence knows of is missing, and if the caller is sure that no other copy of
// the account is at work and that whoever could know of more was asked. Receipts that do not verify are left
// out. It fails with ErrReadOnly if a write failed: then a restart is the way out.
func (b *Book) Recover(ctx context.Context, receipts []Receipt, sure bool) (Recovery, error) {
	if _, _, lost := b.Lost(); !lost {
		if err := b.ReadOnly(); err != nil {
			return Recovery{}, err
		}
		return Recovery{Signs: true}, nil
	}
	var good []Receipt
	for _, r := range receipts {
		s, err := r.Verify()
		if err != nil || s.Network != b.network || s.Payer != b.key.account && s.Payee != b.key.account || s.Payer == s.Payee {
			continue
		}
		good = append(good, r)
	}
	return submitForced(ctx, b, func(t *batch) (Recovery, error) { return b.recover(t, good, sure) })
}

// recover changes nothing before the point where it can fail no more, but for what is put back.
func (b *Book) recover(t *batch, receipts []Receipt, sure bool) (Recovery, error) {
	type lostEntry struct {
		e   Entry
		raw []byte
		of  Receipt
	}
	ours := map[uint64]lostEntry{}
	for _, r := range receipts {
		for _, raw := range [][]byte{r.Lock, r.Settle, r.Earn} {
			if e, err := ParseEntry(raw); err == nil && e.Account == b.key.account && e.Epoch == b.head.Epoch {
				ours[e.Seq] = lostEntry{e, raw, r}
			}
		}
	}
	var done Recovery
	touched := map[Digest]bool{}
	for {
		x, ok := ours[b.head.Len]
		if !ok || x.e.Prev != b.head.Digest {
			break
		}
		id, err := b.putBack(t, x.e, x.raw, x.of)
		if err != nil {
			return done, err
		}
		done.Entries++
		touched[id] = true
	}
	for _, r := range receipts {
		id, err := b.putBackWork(t, r)
		if err != nil {
			return done, err
		}
		if !id.IsZero() {
			touched[id] = true
		}
	}
	done.Leases = len(touched)
	if high := b.high; !high.Head.IsZero() && b.head.Len <= high.Seq {
		done.From, done.Missing = b.head.Len, high.Seq-b.head.Len+1
		b.broken = fmt.Errorf("%w: entries %d to %d of this account were signed and are not here, and no peer asked so far holds them: connect to the peers that you dealt with last and run p3 credit recover again", ErrReadOnly, done.From, high.Seq)
	} else if sure {
		done.Signs, t.heals = true, true
		b.commits = max(b.commits, high.Commits)
		t.after = append(t.after, func() { b.broken, b.behindFence, b.restored = nil, false, time.Time{} })
		t.delete([]byte(restoredKey))
		t.put([]byte(bookKey), b.identity()) // so that there is something to commit
	}
	return done, nil
}

// putBack appends an entry of ours that we find signed, with what its lease needs.
func (b *Book) putBack(t *batch, e Entry, raw []byte, r Receipt) (Digest, error) {
	id := e.Ref
	if e.Type == TypeLock {
		id = e.Digest()
	}
	l, err := b.find(id)
	var closes Credits
	switch {
	case e.Type == TypeLock:
		l = &lease{id: id, lock: e, ours: true}
	case errors.Is(err, ErrUnknownLock) && e.Type == TypeEarn:
		lock, err := ParseEntry(r.Lock)
		if err != nil {
			return id, err
		}
		if err := t.observe(lock, id, r.Lock, partKey(id, partLock)); err != nil {
			return id, err
		}
		l = &lease{id: id, lock: lock}
	case err != nil:
		return id, err
	case e.Type == TypeSettle:
		closes = l.lock.Amount
	}
	head, err := b.head.Apply(e, b.genesis.Floor, closes)
	if err != nil {
		return id, err
	}
	at := entryKey(e.Epoch, e.Seq)
	t.put(at, raw)
	t.put([]byte(headKey), at)
	b.head = head
	t.remember(b.history, e, head.Digest)
	switch e.Type {
	case TypeLock:
		b.admit(t, l, raw)
		_, err := b.putBackWork(t, r)
		return id, err
	case TypeSettle:
		t.put(partKey(id, partSettle), raw)
		if e.Amount > 0 {
			t.put(lockKey(outPrefix, id), partKey(id, partSettle)) // sent again, and answered with the stored earn
		}
	case TypeEarn:
		if b.leases[id] == nil && !l.closed {
			b.admit(t, l, r.Lock)
			if _, err := b.putBackWork(t, r); err != nil {
				return id, err
			}
		}
		t.put(partKey(id, partEarn), raw)
		if r.Settle != nil {
			t.put(partKey(id, partSettle), r.Settle)
		} else {
			t.put(lockKey(outPrefix, id), partKey(id, partEarn))
		}
	}
	return id, b.close(t, l)
}

// putBackWork takes over the claim and voucher of an open lease if they are newer than ours, so that a payer does
// not settle below what it promised and a payee does not claim anew what it has claimed. It
// returns the lease if anything was put back.
func (b *Book) putBackWork(t *batch, r Receipt) (Digest, error) {
	lock, err := ParseEntry(r.Lock)
	if err != nil {
		return Digest{}, err
	}
	id := lock.Digest()
	l := b.leases[id]
	if l == nil && lock.Peer == b.key.account && r.Settle == nil && r.Earn == nil { // accepted, and forgotten
		known, err := t.get(partKey(id, partLock))
		if err != nil || known != nil {
			return Digest{}, err
		}
		if err := t.observe(lock, id, r.Lock, partKey(id, partLock)); err != nil {
			return Digest{}, err
		}
		l = &lease{id: id, lock: lock}
		b.admit(t, l, r.Lock)
	}
	if l == nil || l.closed || r.Claim == nil {
		return Digest{}, nil
	}
	c, err := ParseClaim(r.Claim)
	if err != nil || c.K < l.done().K || c.K == l.done().K && r.Voucher == nil {
		return Digest{}, err
	}
	before := l.unpaid()
	if r.Voucher != nil {
		v, err := ParseVoucher(r.Voucher)
		if err != nil || v.K < l.voucher.K || v.Amount <= l.voucher.Amount {
			return Digest{}, err
		}
		l.voucher, l.rawVou = v, bytes.Clone(r.Voucher)
		if !l.ours && v.Amount == c.Amount {
			l.paid = max(l.paid, v.K)
		}
		t.put(partKey(id, partVoucher), l.voucherValue())
	} else if l.ours {
		return Digest{}, nil // it waits for our voucher; the payee sends it again
	}
	for _, old := range l.claims {
		t.delete(claimKey(id, old.K))
	}
	l.claims = []signedClaim{{c, c.Digest(), bytes.Clone(r.Claim)}}
	t.put(claimKey(id, c.K), l.claims[0].raw)
	if !l.ours {
		b.expose(l.lock.Account, 0, int64(l.unpaid())-int64(before))
	}
	return id, nil
}
