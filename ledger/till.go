package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	tillKey    = "ledger/till"
	tillPrefix = "ledger/t/"
)

// ErrTill tells that this ledger has no key that signs entries, see OpenTill.
var ErrTill = errors.New("this machine earns for an account whose key is elsewhere: it cannot spend")

// ErrTillFull tells that a till cannot go on for another account, see OpenTill.
var ErrTillFull = errors.New("hand it on to the PC with the key of that account first")

var errTillMix = errors.New("the ledger here is of another kind: one that earns for an account whose key is elsewhere, and one that has its key, need a data directory each")

// A lock of a network with witnesses counts with their certificate, which a till does not hand on yet.
var errTillWitness = fmt.Errorf("in a network with witnesses every PC needs an account of its own: %w", ErrConflict)

// A till is what a book has instead of its account's key.
type till struct {
	key     Key    // of the node; signs claims only
	binding []byte // in force; guarded by Book.mu
	moved   bool   // from another account, when it was opened
}

// OpenTill opens the ledger of an office PC: it takes leases for an account whose key it does not hold, by a binding with EarnsOnly
// for node's key. It keeps locks, claims, vouchers and settles, and has no chain: what the account earned waits in
// Untaken until the ledger that has the key took it up (Adopt, Taken). Whatever would sign an entry fails with ErrTill.
func OpenTill(ctx context.Context, store Store, fence Fence, node Key, binding []byte, genesis Genesis) (*Book, error) {
	n, err := checkTill(node, binding, genesis)
	if err != nil {
		return nil, err
	}
	return openBook(ctx, store, fence, Key{account: n.Account}, &till{key: node, binding: bytes.Clone(binding)}, genesis, Digest{})
}

func checkTill(node Key, binding []byte, genesis Genesis) (NodeBinding, error) {
	network, err := genesis.ID()
	if err != nil {
		return NodeBinding{}, err
	}
	n, err := ParseBinding(binding)
	switch {
	case err != nil:
		return n, err
	case len(genesis.Witnesses) > 0:
		return n, errTillWitness
	case n.Network != network:
		return n, &NetworkError{Want: network, Have: n.Network}
	case n.Flags&EarnsOnly == 0:
		return n, fmt.Errorf("binding of %s: it is not one to earn with: %w", n.Account.Short(), ErrConflict)
	}
	if err := verify(n.Account, n.Digest(), binding); err != nil {
		return n, fmt.Errorf("node binding: %w", err)
	}
	if a, err := nodeAccount(n.PeerID); err != nil || a != node.account {
		return n, errors.Join(err, fmt.Errorf("binding of %s: it is for another node: %w", n.Account.Short(), ErrConflict))
	}
	return n, nil
}

// BindOffice is Bind for an office PC, see EarnsOnly.
func (b *Book) BindOffice(peerID []byte, seq uint64, expiry time.Time) ([]byte, error) {
	if b.till != nil {
		return nil, ErrTill
	}
	if len(b.genesis.Witnesses) > 0 {
		return nil, errTillWitness
	}
	if _, err := nodeAccount(peerID); err != nil {
		return nil, err
	}
	return b.key.SignBinding(NodeBinding{Network: b.network, Account: b.key.account, PeerID: peerID, Seq: seq, ExpiryMs: uint64(max(expiry.UnixMilli(), 0)), Flags: EarnsOnly})
}

// Till reports whether this is the ledger of an office PC, and the binding it claims with.
func (b *Book) Till() (binding []byte, ok bool) {
	if b.till == nil {
		return nil, false
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.till.binding, true
}

// Rebind makes later claims show another binding of the same account and node.
func (b *Book) Rebind(binding []byte) error {
	if b.till == nil {
		return errTillMix
	}
	n, err := checkTill(b.till.key, binding, b.genesis)
	if err == nil && n.Account != b.key.account {
		err = fmt.Errorf("binding of %s, not of %s: %w", n.Account, b.key.account, ErrConflict)
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.till.binding = bytes.Clone(binding)
	return nil
}

func (b *Book) isTill() (bool, error) {
	_, err := b.store.Get([]byte(tillKey))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// moveTill lets a till go on for another account, such as that of its account's next key, when the account before has taken up all of it.
func (b *Book) moveTill(from Account) error {
	if known, err := b.isTill(); err != nil || !known {
		return errors.Join(err, errTillMix)
	}
	for _, prefix := range []string{tillPrefix, openPrefix} {
		found := false
		if err := b.store.Scan([]byte(prefix), nil, func([]byte, []byte) bool { found = true; return false }); err != nil {
			return err
		}
		if found {
			return fmt.Errorf("something earned for account %s is not taken up yet: %w", from, ErrTillFull)
		}
	}
	b.till.moved = true
	return nil
}

// beginTill writes what the store is, once.
func (b *Book) beginTill(ctx context.Context) error {
	if known, err := b.isTill(); err != nil || known && !b.till.moved || b.broken != nil {
		return err
	}
	genesis, err := b.genesis.Encode()
	if err != nil {
		return err
	}
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) {
		t.put([]byte(bookKey), b.identity())
		t.put([]byte(genesisKey), genesis)
		t.put([]byte(tillKey), []byte{1})
		return struct{}{}, nil
	})
	return err
}

// Untaken lists what an office PC has earned and the account's key has not taken up: at most n leases, those after lock after in the order
// of their digests, each with what Adopt needs.
func (b *Book) Untaken(after Digest, n int) (out []Receipt, err error) {
	var ids []Digest
	err = b.store.Scan([]byte(tillPrefix), lockKey(tillPrefix, after), func(k, _ []byte) bool {
		if id := k[len(tillPrefix):]; len(id) == len(Digest{}) && Digest(id) != after {
			ids = append(ids, Digest(id))
		}
		return len(ids) < n
	})
	for _, id := range ids {
		r, e := b.Receipt(id)
		if e != nil {
			return nil, e
		}
		out = append(out, r)
	}
	return out, err
}

// Waiting is how many leases Untaken lists, and what was earned by them.
func (b *Book) Waiting() (leases int, amount Credits, err error) {
	err = b.store.Scan([]byte(tillPrefix), nil, func(_, v []byte) bool {
		leases++
		if len(v) == 8 {
			amount = saturating(amount, Credits(min(binary.BigEndian.Uint64(v), uint64(MaxCredits))))
		}
		return true
	})
	return leases, amount, err
}

// await notes that the account's key has to take up a lease.
func (t *batch) await(id Digest, amount Credits) {
	t.put(lockKey(tillPrefix, id), binary.BigEndian.AppendUint64(nil, uint64(amount)))
}

// Taken notes on an office PC that the account's key has taken up a lease, and with which earn. If the payer is still silent, Pending
// lists that for it.
func (b *Book) Taken(ctx context.Context, earn []byte) error {
	e, d, err := VerifyEntry(earn)
	switch {
	case err != nil:
		return err
	case b.till == nil:
		return errTillMix
	case e.Network != b.network:
		return &NetworkError{Want: b.network, Have: e.Network}
	case e.Type != TypeEarn || e.Account != b.key.account:
		return fmt.Errorf("%s of %s, want an earn of this account: %w", e.Type, e.Account.Short(), ErrConflict)
	}
	info, err := b.as(false, e.Ref)
	if err != nil {
		return err
	}
	if e.Peer != info.Payer || e.Amount > info.Amount {
		return fmt.Errorf("earn of %s from %s for lock %s: %w", e.Amount, e.Peer.Short(), e.Ref.Short(), ErrConflict)
	}
	raw := bytes.Clone(earn)
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) {
		at := partKey(e.Ref, partEarn)
		known, err := t.get(at)
		if err != nil {
			return struct{}{}, err
		}
		if known != nil { // its settle, which came later, was handed on as well
			t.delete(lockKey(tillPrefix, e.Ref))
			return struct{}{}, nil
		}
		settled, err := t.get(partKey(e.Ref, partSettle))
		if err != nil {
			return struct{}{}, err
		}
		st, err := t.standing(e.Peer)
		if err != nil {
			return struct{}{}, err
		}
		// The entry may be here and nowhere else: it is remembered by its place, so that a PC with the key that lost it learns so (Newest, Held).
		if err := t.observe(e, d, raw, at); err != nil {
			return struct{}{}, err
		}
		st.Got = saturating(st.Got, e.Amount)
		t.putStanding(e.Peer, st)
		t.put(at, raw)
		t.delete(lockKey(tillPrefix, e.Ref))
		if settled == nil {
			t.put(lockKey(outPrefix, e.Ref), at)
		}
		return struct{}{}, nil
	})
	return err
}
