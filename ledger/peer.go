package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Why an account is frozen. The numbers are stored and never change.
const (
	frozenFork        = 1
	frozenUnderSettle = 2
	frozenMint        = 3
	frozenDoubleSign  = 4
	frozenHeir        = 5 // it did not cheat: its chain goes on under another account
)

const peerSize = 1 + 1 + 3*4 + 4 + 8 + 32 + 4*8

// A peer is what the book remembers of another account: whether it cheated, how much it is
// trusted, and the newest of its entries seen, against which every other is held.
type peer struct {
	frozen byte
	window Window
	known  bool // the fields below are set
	newest Head
}

func (p peer) encode() []byte {
	be := binary.BigEndian
	b := append(make([]byte, 0, peerSize), 1, p.frozen)
	b = be.AppendUint32(b, p.window.size)
	b = be.AppendUint32(b, p.window.progress)
	b = be.AppendUint32(b, p.window.defaults)
	if !p.known {
		return b
	}
	b = be.AppendUint32(b, p.newest.Epoch)
	b = be.AppendUint64(b, p.newest.Seq)
	b = append(b, p.newest.Digest[:]...)
	for _, total := range []Credits{p.newest.Granted, p.newest.Earned, p.newest.Spent, p.newest.Locked} {
		b = be.AppendUint64(b, uint64(total))
	}
	return b
}

func decodePeer(b []byte) (peer, error) {
	if len(b) == 0 {
		return peer{}, nil
	}
	if b[0] != 1 || len(b) != peerSize && len(b) != 14 {
		return peer{}, fmt.Errorf("peer record: the ledger is damaged, restore it from a backup: %w", ErrMalformed)
	}
	r := reader{b: b[1:]}
	p := peer{frozen: r.u8(), window: Window{r.u32(), r.u32(), r.u32()}, known: len(b) == peerSize}
	if p.window.size > MaxWindow {
		r.note("window")
	}
	if p.known {
		p.newest = Head{Epoch: r.u32(), Seq: r.u64(), Digest: r.word(),
			Granted: r.credits(), Earned: r.credits(), Spent: r.credits(), Locked: r.credits()}
	}
	if r.bad != "" {
		return peer{}, fmt.Errorf("peer record: %s: the ledger is damaged, restore it from a backup: %w", r.bad, ErrMalformed)
	}
	return p, nil
}

func (t *batch) peer(a Account) (peer, error) {
	b, err := t.get(accountKey(peerPrefix, a))
	if err != nil {
		return peer{}, err
	}
	return decodePeer(b)
}

func (t *batch) putPeer(a Account, p peer) { t.put(accountKey(peerPrefix, a), p.encode()) }

func seenKey(e Entry) []byte {
	k := append(accountKey(seenPrefix, e.Account), entryKey(e.Epoch, e.Seq)[len(entryPrefix):]...)
	return k
}

// observe holds a verified entry of another account against what we saw of it before, and
// remembers it. at is the key where the caller will keep its bytes, unless observe fails.
// A *ForkError has frozen the account; its proof is part of the batch.
func (t *batch) observe(e Entry, d Digest, raw, at []byte) error {
	p, err := t.peer(e.Account)
	if err != nil {
		return err
	}
	if heir, err := t.heir(e.Account); err != nil {
		return err
	} else if heir != nil && e.Epoch < heir.Epoch && e.Seq >= heir.Seq {
		return fmt.Errorf("%s %d of %s: %w: its chain went on under %s before that", e.Type, e.Seq, e.Account.Short(), ErrFrozen, heir.Account.Short())
	}
	seen, err := t.get(seenKey(e))
	if err != nil {
		return err
	}
	if seen != nil {
		other, err := t.get(seen)
		if err != nil {
			return err
		}
		if other == nil {
			return fmt.Errorf("entry of %s seen before: the ledger is damaged, restore it from a backup: %w", e.Account.Short(), ErrNotFound)
		}
		o, err := ParseEntry(other)
		if err != nil {
			return fmt.Errorf("entry of %s seen before: the ledger is damaged, restore it from a backup: %w", e.Account.Short(), err)
		}
		if o.Digest() == d {
			return nil
		}
		proof, err := NewProof(ProofFork, other, raw)
		if err == nil {
			err = t.freeze(proof)
		}
		if err != nil {
			return err
		}
		return &ForkError{A: other, B: raw}
	}
	if p.known {
		older, newer := p.newest, HeadAt(e, d)
		late := e.Epoch < older.Epoch || e.Epoch == older.Epoch && e.Seq < older.Seq
		if late {
			older, newer = newer, older
		} else {
			p.newest = newer
		}
		if older.Granted > newer.Granted || older.Earned > newer.Earned || older.Spent > newer.Spent {
			return fmt.Errorf("%s %d of %s: %w: its totals fall", e.Type, e.Seq, e.Account.Short(), ErrChain)
		}
		if !late && older.Epoch == newer.Epoch && newer.Seq == older.Seq+1 && e.Prev != older.Digest {
			return fmt.Errorf("%s %d of %s: %w: its predecessor is not the entry we know", e.Type, e.Seq, e.Account.Short(), ErrChain)
		}
	} else {
		p.newest = HeadAt(e, d)
	}
	p.known = true
	t.put(seenKey(e), at)
	t.putPeer(e.Account, p)
	return nil
}

// Frozen returns the two signed records that convict an account, or nil. They are two entries
// of one place in its chain, or a settle and the higher voucher.
func (b *Book) Frozen(a Account) (one, two []byte, err error) {
	v, err := b.Proof(a)
	if err != nil || v == nil {
		return nil, nil, err
	}
	p, err := ParseProof(v)
	return p.A, p.B, err
}

// An Exposure is what we risk on one payer now.
type Exposure struct {
	Window Window
	Leases int    // open, with us as payee
	Unpaid uint32 // units claimed and not paid for
	Frozen bool   // it was convicted: no more work for it
}

// MayWork reports whether a further unit stays inside the window, with running units at work
// that have not been claimed yet. Nothing is done for a frozen account.
func (e Exposure) MayWork(running uint32) bool {
	return !e.Frozen && uint64(e.Unpaid)+uint64(running) < uint64(e.Window.Allowed())
}

// Exposure is what we risk on payer now.
func (b *Book) Exposure(payer Account) (Exposure, error) {
	v, err := b.store.Get(accountKey(peerPrefix, payer))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Exposure{}, err
	}
	p, err := decodePeer(v)
	if err != nil {
		return Exposure{}, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	x := b.exposed[payer]
	return Exposure{p.window, x.leases, x.unpaid, p.frozen != 0}, nil
}
