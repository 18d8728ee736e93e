package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// BeginBook is OpenFenced, whose fence may be nil, for an empty store: it begins the ledger with a commitment to the account
// of a recovery key, whose secret belongs far away from this machine.
func BeginBook(ctx context.Context, store Store, fence Fence, key Key, genesis Genesis, recovery Account) (*Book, error) {
	if _, err := store.Get([]byte(bookKey)); !errors.Is(err, ErrNotFound) {
		return nil, errors.Join(err, fmt.Errorf("begin the ledger of %s: there is one already", key.account))
	}
	return openBook(ctx, store, fence, key, nil, genesis, RecoveryCommitment(recovery))
}

// RotateBook changes the key of the ledger in store, which nobody else has open, and opens it under the
// new account. fence may be nil. recovery commits to the next recovery key, see RecoveryCommitment, and may be zero. ErrBusy
// tells that leases are open or settles unanswered: the others know the old account only.
func RotateBook(ctx context.Context, store Store, fence Fence, old, next Key, genesis Genesis, recovery Digest) (*Book, error) {
	b, err := OpenFenced(ctx, store, fence, old, genesis)
	if err != nil {
		return nil, err
	}
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) { return struct{}{}, b.rotate(t, next, recovery) })
	b.Close()
	if err != nil {
		return nil, fmt.Errorf("rotate the key of %s: %w", old.account, err)
	}
	return OpenFenced(ctx, store, fence, next, genesis)
}

func (b *Book) rotate(t *batch, next Key, recovery Digest) error {
	out, err := b.Pending()
	switch {
	case err != nil:
		return err
	case len(b.leases) > 0 || len(out) > 0:
		return fmt.Errorf("%d leases are open and %d entries unanswered: %w: wait for them, a lease ends with its expiry and grace", len(b.leases), len(out), ErrBusy)
	case next.account == b.key.account:
		return errors.New("make a new key first")
	}
	if (b.head.Len+1)%b.history.every == 0 { // a checkpoint would part the halves: let it go before
		if _, _, err := b.append(t, b.history.checkpoint(b.head.next(TypeCheckpoint, time.Now())), 0); err != nil {
			return err
		}
	}
	first := b.head.HandOver(next.account, time.Now())
	if _, _, err := b.place(t, first, 0); err != nil {
		return err
	}
	return b.succeed(t, b.head.TakeOver(recovery, time.Now()), next, first)
}

// RecoverBook takes the ledger in store, which nobody else has open, over with the recovery key that its
// chain committed to, and opens it under that key's account. Whoever else has the old key can no longer spend
// with those who are shown it, see Book.Lineage. next is as in RotateBook.
func RecoverBook(ctx context.Context, store Store, fence Fence, recovery Key, genesis Genesis, next Digest) (*Book, error) {
	id, err := store.Get([]byte(bookKey))
	if err != nil || len(id) != 1+32+20 {
		return nil, errors.Join(err, fmt.Errorf("recover a ledger: there is none here: %w", ErrNotFound))
	}
	old := Key{account: Account(id[33:])} // signs nothing
	b, err := OpenFenced(ctx, store, fence, old, genesis)
	if err != nil {
		return nil, err
	}
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) {
		if RecoveryCommitment(recovery.account) != b.history.recovery {
			return struct{}{}, fmt.Errorf("%s is not its recovery key: %w", recovery.account, ErrChain)
		}
		opening, err := b.opening()
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, b.succeed(t, b.head.Recover(recovery.account, next, time.Now()), recovery, opening)
	})
	b.Close()
	if err != nil {
		return nil, fmt.Errorf("recover the ledger of %s: %w", old.account, err)
	}
	return OpenFenced(ctx, store, fence, recovery, genesis)
}

// succeed appends the entry that takes over, by another key than the book's, which can sign no more. first
// entitles it: the other half of the rotation, or the entry that committed to a recovery key.
func (b *Book) succeed(t *batch, e Entry, by Key, first Entry) error {
	from := len(t.sign)
	if _, _, err := b.append(t, e, 0); err != nil {
		return err
	}
	for i := range t.sign[from:] {
		t.sign[from+i].by = &by
	}
	id := b.identity()
	copy(id[33:], e.Account[:])
	t.put([]byte(bookKey), id)
	t.put(lineageKey(e.Epoch), append(entryKey(first.Epoch, first.Seq), entryKey(e.Epoch, e.Seq)...))
	return nil
}

func lineageKey(epoch uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte(lineagePrefix), epoch)
}

// opening is the entry that opened our present account.
func (b *Book) opening() (e Entry, err error) {
	bad := ErrNotFound
	err = b.Entries(b.head.Epoch, 0, func(raw []byte) bool { e, bad = ParseEntry(raw); return false })
	return e, errors.Join(err, bad)
}

// Lineage is how this ledger came to its account, newest first; empty while it has its first key. Show
// it to those who knew an account before (Succeed), above all after a theft.
func (b *Book) Lineage() ([]Succession, error) {
	var list []Succession
	for epoch := b.Head().Epoch; epoch > 0; epoch-- {
		at, err := b.store.Get(lineageKey(epoch))
		if err != nil {
			return nil, fmt.Errorf("how epoch %d began: the ledger is damaged, restore it from a backup: %w", epoch, err)
		}
		first, err := b.store.Get(at[:len(at)/2])
		second, err2 := b.store.Get(at[len(at)/2:])
		if err = errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("how epoch %d began: the ledger is damaged, restore it from a backup: %w", epoch, err)
		}
		list = append(list, Succession{first, second})
	}
	return list, nil
}

// loadLineage learns the accounts that this one followed.
func (b *Book) loadLineage() error {
	list, err := b.Lineage()
	for _, s := range list {
		e, parseErr := ParseEntry(s.Second)
		if err = errors.Join(err, parseErr); err == nil {
			b.mine[e.Peer], b.origin = true, e.Peer // newest first
		}
	}
	return err
}

// CloseChain appends the last entry: the account signs nothing any more. It needs all locks settled and all entries answered: ErrBusy.
func (b *Book) CloseChain(ctx context.Context) error {
	_, err := submit(ctx, b, func(t *batch) (struct{}, error) {
		if b.head.Closed {
			return struct{}{}, nil
		}
		out, err := b.Pending()
		if err != nil {
			return struct{}{}, err
		}
		if len(b.leases) > 0 || len(out) > 0 {
			return struct{}{}, fmt.Errorf("%d leases are open and %d entries unanswered: %w", len(b.leases), len(out), ErrBusy)
		}
		_, _, err = b.append(t, b.head.Close(time.Now()), 0)
		return struct{}{}, err
	})
	return err
}
