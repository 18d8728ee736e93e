package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// What a book knows of an account follows its chain to the next one: what was done between it and us, what we gave on the
// strength of that, its window (see succeed), its faults (see frozen) and its grants (see Backed). Edges that third parties signed name
// the account of their time; ledger/flow asks Heir whose they are now.

// MaxStrangerHeirs bounds the successions kept of accounts that never worked here nor had work done: anybody can make up
// accounts and change their keys. Those of others are kept, maxAncestors in a row.
const MaxStrangerHeirs = 4096

// heirsKey counts them, u32.
const heirsKey = "ledger/heirs"

// self is how the book names itself where a row must outlive its key: by the account of its first one.
func (b *Book) self(a Account) Account {
	if b.mine[a] {
		return b.origin
	}
	return a
}

// inherit moves what was done between us and accounts to the one that their chain goes on under. Proofs of work stay
// where they are: they name the old account, and show it.
func (b *Book) inherit(t *batch, from []Account, to Account) error {
	sum, err := t.standing(to)
	if err != nil {
		return err
	}
	used, err := decodeUsed(t.get(usedKey(b.origin, to)))
	if err != nil {
		return err
	}
	for _, a := range from {
		if a == to {
			continue
		}
		s, err := t.standing(a)
		if err != nil {
			return err
		}
		given, err := decodeUsed(t.get(usedKey(b.origin, a)))
		if err != nil {
			return err
		}
		if s.Did == 0 && s.Got == 0 && given == 0 {
			continue
		}
		sum.Did, sum.Got, used = saturating(sum.Did, s.Did), saturating(sum.Got, s.Got), saturating(used, given)
		s.Did, s.Got = 0, 0
		t.putStanding(a, s)
		t.delete(usedKey(b.origin, a))
	}
	if sum.Did == 0 && sum.Got == 0 && used == 0 {
		return nil
	}
	t.putStanding(to, sum)
	t.put(usedKey(b.origin, to), binary.BigEndian.AppendUint64(nil, uint64(used)))
	return nil
}

// Heir is the account that the chain of a goes on under now, as far as is known here; a itself if it was not told.
func (b *Book) Heir(a Account) Account {
	if b.mine[a] {
		return b.key.account
	}
	t := &batch{store: b.store}
	for range maxAncestors {
		e, err := t.heir(a)
		if err != nil || e == nil {
			break
		}
		a = e.Account
	}
	return a
}

// Before lists the accounts that the chain of a came from, newest first, as far as is known here.
func (b *Book) Before(a Account) (out []Account) {
	if b.mine[a] {
		return b.before(a)
	}
	for range maxAncestors {
		v, err := b.store.Get(accountKey(beforePrefix, a))
		if err != nil || len(v) != len(a) {
			break
		}
		a = Account(v)
		out = append(out, a)
	}
	return out
}

// before is Before for an account of ours.
func (b *Book) before(a Account) (out []Account) {
	list, err := b.Lineage() // newest first
	if err != nil {
		return nil
	}
	for _, s := range list {
		if e, err := ParseEntry(s.Second); err == nil && (e.Account == a || len(out) > 0) {
			out = append(out, e.Peer)
		}
	}
	return out
}

// Successions calls yield for the key changes of others that are known here, by old account from one on, until it returns false. A recovery that
// ended several accounts is told once for each.
func (b *Book) Successions(from Account, yield func(old Account, s Succession) bool) error {
	var first []byte
	return b.store.Scan([]byte(heirPrefix), accountKey(heirPrefix, from), func(k, v []byte) bool {
		rest := k[len(heirPrefix):]
		if len(rest) != len(from)+3 {
			return true
		}
		if rest[len(from)+2] == 1 {
			first = bytes.Clone(v)
			return true
		}
		return first == nil || yield(Account(rest), Succession{first, bytes.Clone(v)})
	})
}

// LearnSuccession is Succeed for what a peer shows, which proved to act for account shower. It takes key changes of accounts
// that this book dealt with, holds an entry of, or knows a grant to, from anybody, and those of its own from the peer itself, as long as there are not too
// many of strangers. ErrConflict tells that another one stands, and news that something changed.
func (b *Book) LearnSuccession(ctx context.Context, s Succession, shower Account) (news bool, err error) {
	two, err := ParseEntry(s.Second)
	if err != nil {
		return false, err
	}
	t := &batch{store: b.store}
	if e, err := t.heir(two.Peer); err != nil || e != nil && *e == two {
		return false, err
	}
	p, err := t.peer(two.Peer)
	if err != nil {
		return false, err
	}
	st, err := t.standing(two.Peer)
	if err != nil {
		return false, err
	}
	granted, err := b.GrantsTo(two.Peer, 1)
	if err != nil {
		return false, err
	}
	stranger := p.window == Window{} && st.Did == 0 && st.Got == 0 && !p.known && len(granted) == 0
	if len(b.Before(two.Peer)) >= maxAncestors {
		return false, fmt.Errorf("account %s changed its key %d times: %w", two.Account, maxAncestors, ErrExceeds)
	}
	if stranger {
		if b.Heir(two.Account) != shower {
			return false, nil
		}
		v, err := t.get([]byte(heirsKey))
		if err != nil || len(v) == 4 && binary.BigEndian.Uint32(v) >= MaxStrangerHeirs {
			return false, err
		}
	}
	if err := b.Succeed(ctx, s); err != nil {
		return false, err
	}
	if stranger {
		_, err = submit(ctx, b, func(t *batch) (struct{}, error) {
			v, err := t.get([]byte(heirsKey))
			if err != nil || len(v) != 0 && len(v) != 4 {
				return struct{}{}, errors.Join(err, fmt.Errorf("%s: the ledger is damaged, restore it from a backup: %w", heirsKey, ErrMalformed))
			}
			var n uint32
			if len(v) == 4 {
				n = binary.BigEndian.Uint32(v)
			}
			t.put([]byte(heirsKey), binary.BigEndian.AppendUint32(nil, n+1))
			return struct{}{}, nil
		})
	}
	return true, err
}
