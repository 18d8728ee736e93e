package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
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
		if !bytes.HasPrefix(v, []byte(leasePrefix)) {
			return true // a grant: HeldGrants
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
//
// Of grants it puts back those that a mint's node holds the GRANT entries of.
func (b *Book) Recover(ctx context.Context, receipts []Receipt, sure bool, grants ...TakenGrant) (Recovery, error) {
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
	var taken []TakenGrant
	for _, x := range grants {
		if g, _, err := x.Verify(b.genesis, b.key.account); err == nil && b.mine[g.To] {
			taken = append(taken, x)
		}
	}
	ours := b.lostEntries(good, taken)
	var done Recovery
	touched := map[Digest]bool{}
	for {
		ids, err := submitForced(ctx, b, func(t *batch) ([]Digest, error) { return b.putBackEntries(t, ours) })
		for _, id := range ids {
			if !id.IsZero() {
				touched[id] = true
			}
		}
		if done.Entries += len(ids); err != nil {
			return done, err
		}
		if len(ids) < recoverStep {
			break
		}
	}
	for some := range slices.Chunk(good, recoverStep) {
		ids, err := submitForced(ctx, b, func(t *batch) ([]Digest, error) { return b.putBackWorks(t, some) })
		for _, id := range ids {
			touched[id] = true
		}
		if err != nil {
			return done, err
		}
	}
	done.Leases = len(touched)
	return submitForced(ctx, b, func(t *batch) (Recovery, error) { return b.heal(t, done, sure) })
}

const (
	recoverStep = 64     // entries or receipts that are put back with one commit, whose size the store bounds
	rebuildMs   = 60_000 // within which a checkpoint was signed after the entry before it
)

type lostEntry struct {
	e     Entry
	raw   []byte
	of    Receipt
	grant []byte // of a GRANT, instead
}

// lostEntries are the entries of ours in receipts and grants, by their place.
func (b *Book) lostEntries(receipts []Receipt, grants []TakenGrant) map[uint64]lostEntry {
	epoch, _, _ := b.Lost()
	ours := map[uint64]lostEntry{}
	for _, x := range grants {
		if e, err := ParseEntry(x.Entry); err == nil && e.Epoch == epoch {
			ours[e.Seq] = lostEntry{e: e, raw: bytes.Clone(x.Entry), grant: bytes.Clone(x.Grant)}
		}
	}
	for _, r := range receipts {
		for _, raw := range [][]byte{r.Lock, r.Settle, r.Earn} {
			if e, err := ParseEntry(raw); err == nil && e.Account == b.key.account && e.Epoch == epoch {
				ours[e.Seq] = lostEntry{e: e, raw: raw, of: r}
			}
		}
	}
	return ours
}

// putBackEntries puts back the next of our entries, as far as they follow, and returns the lease of each, zero for a
// checkpoint or a grant.
func (b *Book) putBackEntries(t *batch, ours map[uint64]lostEntry) (ids []Digest, err error) {
	for len(ids) < recoverStep {
		if e, ok := b.rebuilt(ours); ok {
			if _, _, err := b.place(t, e, 0); err != nil {
				return ids, err
			}
			ids = append(ids, Digest{})
			continue
		}
		x, ok := ours[b.head.Len]
		if !ok || x.e.Prev != b.head.Digest {
			break
		}
		if x.grant != nil {
			if err := b.putBackGrant(t, x.e, x.raw, x.grant); err != nil {
				return ids, err
			}
			ids = append(ids, Digest{})
			continue
		}
		id, err := b.putBack(t, x.e, x.raw, x.of)
		if err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// rebuilt is the checkpoint that is due next, if it was signed: nobody else keeps it, but all that it says follows from the
// entries before it, except for its time, and its digest stands in the entry after it or in the fence's mark.
func (b *Book) rebuilt(ours map[uint64]lostEntry) (e Entry, ok bool) {
	if !b.history.due() {
		return e, false
	}
	var want Digest
	if after, ok := ours[b.head.Len+1]; ok {
		want = after.e.Prev
	} else if b.high.Seq == b.head.Len && b.high.Epoch == b.head.Epoch {
		want = b.high.Head
	}
	if want.IsZero() {
		return e, false
	}
	e = b.history.checkpoint(b.head.next(TypeCheckpoint, time.Time{})) // at the time of the entry before it
	for range rebuildMs {
		if e.Digest() == want {
			return e, true
		}
		e.TimeMs++
	}
	return e, false
}

// putBackWorks puts back claims and vouchers and returns the leases of which there were any.
func (b *Book) putBackWorks(t *batch, receipts []Receipt) (ids []Digest, err error) {
	for _, r := range receipts {
		id, err := b.putBackWork(t, r)
		if err != nil {
			return ids, err
		}
		if !id.IsZero() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// heal lets the book sign again, or says what it still lacks.
func (b *Book) heal(t *batch, done Recovery, sure bool) (Recovery, error) {
	if err := b.ownConviction(); err != nil {
		return done, err
	}
	if high := b.high; !high.Head.IsZero() && b.head.Len <= high.Seq {
		done.From, done.Missing = b.head.Len, high.Seq-b.head.Len+1
		b.broken = fmt.Errorf("%w: entries %d to %d of this account were signed and are not here, and no peer asked so far holds them: connect to the peers that you dealt with last and run p3 credit recover again", ErrReadOnly, done.From, high.Seq)
	} else if sure {
		if b.history.due() { // and not known to have been signed; if it was, then most likely at this time
			if _, _, err := b.place(t, b.history.checkpoint(b.head.next(TypeCheckpoint, time.Time{})), 0); err != nil {
				return done, err
			}
		}
		// What was given since is forgotten, strangers' part of today's budget too: they get nothing more until tomorrow.
		t.put([]byte(dayKey), Day{}.On(time.Now()).add(MaxCredits).encode())
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
		st, err := t.standing(l.lock.Account)
		if err != nil {
			return id, err
		}
		st.Got = saturating(st.Got, e.Amount)
		if s, err := ParseEntry(r.Settle); err == nil {
			t.put(partKey(id, partSettle), r.Settle)
			st.prove(id, min(s.Amount, e.Amount))
		} else { // its answer will be the settle
			t.put(lockKey(outPrefix, id), partKey(id, partEarn))
		}
		t.putStanding(l.lock.Account, st)
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
	if l == nil && lock.Peer == b.key.account && r.Claim != nil && r.Settle == nil && r.Earn == nil { // accepted, worked on, and forgotten
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
