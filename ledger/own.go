package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// Newest returns the newest entry of another account that we have seen, signed, or nil.
func (b *Book) Newest(a Account) ([]byte, error) {
	v, err := b.store.Get(accountKey(peerPrefix, a))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := decodePeer(v)
	if err != nil || !p.known {
		return nil, err
	}
	at, err := b.store.Get(seenKey(Entry{Account: a, Epoch: p.newest.Epoch, Seq: p.newest.Seq}))
	if err != nil {
		return nil, err
	}
	return b.store.Get(at)
}

// CheckOwn holds an entry that carries our signature, and that somebody showed us, against our own
// chain. If it is not part of it, the disk has lost it or another copy of this account is at work: to sign
// on would fork the chain and convict us, so the book signs nothing more, and ErrReadOnly says
// why. Entries of others are an error and change nothing.
func (b *Book) CheckOwn(ctx context.Context, entry []byte) error {
	e, d, err := VerifyEntry(entry)
	switch {
	case err != nil:
		return err
	case e.Network != b.network:
		return &NetworkError{Want: b.network, Have: e.Network}
	case e.Account != b.key.account:
		return fmt.Errorf("entry of %s, not ours: %w", e.Account.Short(), ErrConflict)
	}
	if b.till != nil {
		return nil // the chain is kept where its key is
	}
	_, err = submitForced(ctx, b, func(t *batch) (struct{}, error) {
		ours, err := t.get(entryKey(e.Epoch, e.Seq))
		switch {
		case err != nil:
			return struct{}{}, err
		case ours != nil && bytes.Equal(ours[:min(EntrySize, len(ours))], entry[:EntrySize]):
			return struct{}{}, nil
		case ours == nil && e.Epoch <= b.head.Epoch && e.Seq < b.head.Len:
			return struct{}{}, nil // pruned
		case ours == nil:
			err = fmt.Errorf("%w: a peer holds entry %d (%s) of this account, which this data folder has lost, as after a restored backup: run p3 credit recover", ErrReadOnly, e.Seq, e.Type)
		default:
			err = fmt.Errorf("%w: a peer holds another entry %d (%s) of this account: a second copy of it is at work; end one of them for good", ErrReadOnly, e.Seq, d.Short())
		}
		b.broken, b.behindFence = err, ours == nil
		if ours == nil && (b.high.Head.IsZero() || e.Epoch > b.high.Epoch || e.Epoch == b.high.Epoch && e.Seq > b.high.Seq) {
			b.high.Epoch, b.high.Seq, b.high.Head = e.Epoch, e.Seq, d
		}
		return struct{}{}, err
	})
	return err
}
