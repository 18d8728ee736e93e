package ledger

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"
)

// A Message is a signed entry that the other side has not answered yet. Send it again, with
// pauses, until Pending no longer lists it.
type Message struct {
	Lock  Digest
	To    Account
	Type  Type   // TypeSettle: hand the answer to AcknowledgeEarn. TypeEarn: hand it to Earn.
	Entry []byte // signed
}

// Pending lists what still has to reach others.
func (b *Book) Pending() ([]Message, error) {
	var rows []Op
	err := b.store.Scan([]byte(outPrefix), nil, func(k, v []byte) bool {
		rows = append(rows, Op{Key: bytes.Clone(k), Value: bytes.Clone(v)})
		return true
	})
	if err != nil {
		return nil, err
	}
	out := make([]Message, 0, len(rows))
	for _, row := range rows {
		raw, err := b.store.Get(row.Value)
		var e Entry
		if err == nil {
			e, err = ParseEntry(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("outbox: the ledger is damaged, restore it from a backup: %w", err)
		}
		out = append(out, Message{e.Ref, e.Peer, e.Type, raw})
	}
	return out, nil
}

// Sweep closes every lease whose expiry and grace have passed at now: as payer it settles at the
// best voucher, as payee it takes the best voucher up. Few commits serve all. It returns how many
// it closed. Call it now and then, a minute apart, and after opening the book.
func (b *Book) Sweep(ctx context.Context, now time.Time) (int, error) {
	for total := 0; ; {
		n, err := submit(ctx, b, func(t *batch) (int, error) { return b.sweep(t, now) })
		if total += n; err != nil || n == 0 {
			return total, err
		}
	}
}

// sweep closes leases until the batch is full, and returns how many.
func (b *Book) sweep(t *batch, now time.Time) (n int, err error) {
	for id, l := range b.leases {
		if l.closed || !b.due(l, now) {
			continue
		}
		if l.ours {
			_, err = b.settle(t, id)
		} else {
			_, err = b.earnVoucher(t, l, now)
		}
		if err != nil {
			return n, err
		}
		if n++; t.bytes >= maxCommit {
			break
		}
	}
	return n, nil
}

// An OpenLock is one open lease.
type OpenLock struct {
	LockInfo
	Ours    bool    // we pay
	Claimed Credits // by the newest claim we know
	Vouched Credits // by the best voucher
	Units   uint32  // claimed
}

// OpenLocks lists the open leases, oldest expiry first.
func (b *Book) OpenLocks() []OpenLock {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []OpenLock
	for _, l := range b.leases {
		if !l.closed {
			out = append(out, OpenLock{l.info(), l.ours, l.done().Amount, l.voucher.Amount, l.done().K})
		}
	}
	slices.SortFunc(out, func(x, y OpenLock) int {
		if c := x.Expiry.Compare(y.Expiry); c != 0 {
			return c
		}
		return bytes.Compare(x.ID[:], y.ID[:])
	})
	return out
}

// View reads the book without its key.
func (b *Book) View() *View { return &View{b.store, b.key.account, b.network} }

// Receipt returns what a lease left behind so far, or ErrUnknownLock.
func (b *Book) Receipt(lock Digest) (Receipt, error) { return b.View().Receipt(lock) }

// Receipts is View.Receipts.
func (b *Book) Receipts(after uint64, n int, yield func(cursor uint64, r Receipt) bool) error {
	return b.View().Receipts(after, n, yield)
}

// Entries is View.Entries.
func (b *Book) Entries(epoch uint32, seq uint64, yield func(raw []byte) bool) error {
	return b.View().Entries(epoch, seq, yield)
}
