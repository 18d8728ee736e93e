package ledger

import (
	"bytes"
	"context"
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

var errTillMix = errors.New("the ledger here is of another kind: one that earns for an account whose key is elsewhere, and one that has its key, need a data directory each")

// A lock of a network with witnesses counts with their certificate, which a till does not hand on yet.
var errTillWitness = fmt.Errorf("in a network with witnesses every PC needs an account of its own: %w", ErrConflict)

// A till is what a book has instead of its account's key.
type till struct {
	key     Key    // of the node; signs claims only
	binding []byte // in force; guarded by Book.mu
}

// OpenTill opens the ledger of an office PC: it takes leases for an account whose key it does not hold, by a binding with EarnsOnly
// for node's key. It keeps locks, claims, vouchers and settles, and has no chain: what the account earned waits in
// Untaken until the ledger that has the key took it up (Adopt, Taken). Whatever would sign an entry fails with ErrTill.
func OpenTill(ctx context.Context, store Store, fence Fence, node Key, binding []byte, genesis Genesis) (*Book, error) {
	n, err := checkTill(node, binding, genesis)
	if err != nil {
		return nil, err
	}
	return openBook(ctx, store, fence, Key{account: n.Account}, &till{node, bytes.Clone(binding)}, genesis, Digest{})
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

// beginTill writes what the store is, once.
func (b *Book) beginTill(ctx context.Context) error {
	if known, err := b.isTill(); err != nil || known || b.broken != nil {
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

// Untaken lists what an office PC has earned and the account's key has not taken up, at most n, each with what Adopt needs.
func (b *Book) Untaken(n int) (out []Receipt, err error) {
	var ids []Digest
	err = b.store.Scan([]byte(tillPrefix), nil, func(k, _ []byte) bool {
		if id := k[len(tillPrefix):]; len(id) == len(Digest{}) {
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

// Adopt takes up what a node that this account has bound earned for it: a lease whose payer has settled, or whose best voucher is due at now.
// from is the node that shows it, the one that did the work: a lock that two nodes claim on is ErrConflict. It
// returns the earn, the stored one when it was taken up before, or nil when nothing is due yet.
func (b *Book) Adopt(ctx context.Context, r Receipt, from []byte, now time.Time) ([]byte, error) {
	sum, err := r.Verify()
	if cheat := (*UnderSettleError)(nil); err != nil && !errors.As(err, &cheat) { // which earn sees again
		return nil, err
	}
	e, d, err := VerifyEntry(r.Lock)
	if err == nil {
		err = b.checkLock(e, d, map[Account]bool{b.key.account: true})
	}
	if err == nil && len(b.genesis.Witnesses) > 0 {
		err = errTillWitness
	}
	if err != nil {
		return nil, err
	}
	c, err := ParseClaim(r.Claim)
	switch {
	case err != nil:
		return nil, err
	case c.Office == "":
		return nil, fmt.Errorf("lock %s: no claim of a bound node: %w", d.Short(), ErrConflict)
	}
	if n, err := ParseBinding([]byte(c.Office)); err != nil || !bytes.Equal(n.PeerID, from) {
		return nil, errors.Join(err, fmt.Errorf("lock %s: another node claimed on it: %w", d.Short(), ErrConflict))
	}
	if e.IsTransfer() || sum.Network != b.network {
		return nil, fmt.Errorf("lock %s: %w", d.Short(), ErrConflict)
	}
	r = Receipt{Lock: bytes.Clone(r.Lock), Claim: bytes.Clone(r.Claim), Voucher: bytes.Clone(r.Voucher), Settle: bytes.Clone(r.Settle)}
	return submitBytes(ctx, b, func(t *batch) ([]byte, error) { return b.adopt(t, e, d, c, r, now) })
}

func (b *Book) adopt(t *batch, e Entry, d Digest, c Claim, r Receipt, now time.Time) ([]byte, error) {
	if earned, err := t.get(partKey(d, partEarn)); err != nil || earned != nil {
		return earned, err
	}
	at := partKey(d, partLock)
	known, err := t.get(at)
	if err != nil {
		return nil, err
	}
	var l *lease
	if known == nil {
		if err := t.observe(e, d, r.Lock, at); err != nil {
			return nil, err
		}
		l = &lease{id: d, lock: e}
		b.admit(t, l, r.Lock)
	} else if l, err = b.find(d); err != nil {
		return nil, err
	}
	for _, mine := range l.claims {
		if !sameNode(mine.Claim, c) {
			return nil, fmt.Errorf("lock %s: another node claimed on it: %w", d.Short(), ErrConflict)
		}
	}
	var v Voucher
	if r.Voucher != nil {
		if v, err = ParseVoucher(r.Voucher); err != nil {
			return nil, err
		}
	}
	if !l.closed && (v.Amount > l.voucher.Amount || len(l.claims) == 0) {
		before := l.unpaid()
		for _, old := range l.claims {
			t.delete(claimKey(d, old.K))
		}
		l.claims = []signedClaim{{c, c.Digest(), r.Claim}}
		t.put(claimKey(d, c.K), r.Claim)
		if r.Voucher != nil {
			l.voucher, l.rawVou = v, r.Voucher
			paid := uint32(0)
			if v.Amount == c.Amount {
				paid = v.K
			}
			if err := t.payUnits(l, paid); err != nil {
				return nil, err
			}
			t.put(partKey(d, partVoucher), l.voucherValue())
		}
		b.expose(e.Account, 0, int64(l.unpaid())-int64(before))
	}
	if r.Settle != nil {
		s, sd, err := VerifyEntry(r.Settle)
		if err != nil {
			return nil, err
		}
		earned, err := b.earn(t, s, sd, r.Settle)
		if cheat := (*UnderSettleError)(nil); errors.As(err, &cheat) {
			err = nil // the voucher was taken up, and the proof is kept
		}
		return earned, err
	}
	if earned, err := b.earnVoucher(t, l, now); !errors.Is(err, ErrNotDue) {
		return earned, err
	}
	return nil, nil
}

// sameNode reports whether two claims are of one node.
func sameNode(a, b Claim) bool {
	if a.Office == "" || b.Office == "" {
		return a.Office == b.Office
	}
	x, err := ParseBinding([]byte(a.Office))
	y, err2 := ParseBinding([]byte(b.Office))
	return err == nil && err2 == nil && bytes.Equal(x.PeerID, y.PeerID)
}

// Taken notes on an office PC that the account's key has taken up a lease, and with which earn. If the payer is still silent, Pending
// lists that for it.
func (b *Book) Taken(ctx context.Context, earn []byte) error {
	e, _, err := VerifyEntry(earn)
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
		if err != nil || known != nil {
			return struct{}{}, err
		}
		settled, err := t.get(partKey(e.Ref, partSettle))
		if err != nil {
			return struct{}{}, err
		}
		st, err := t.standing(e.Peer)
		if err != nil {
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
