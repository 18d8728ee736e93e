package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// prunedKey holds the number of blocks that Prune has gone through, u64.
const prunedKey = "ledger/pruned"

// Prune removes from the disk those of our entries that nothing needs any more, and returns how many. It
// keeps the newest checkpoint and what follows it, the first entry of each block, which balance proofs
// show, whatever changed the key, and what took up grants, which answers them when they come again. Open locks, earned locks and all else that was ever exchanged over
// a lease stay with the lease, and so do all proofs against others; only the chain's own copies go.
//
// The balance is proven as before, byte for byte. But a pruned ledger can no longer be audited or
// exported from its first entry; so a node prunes only when it is told to.
func (b *Book) Prune(ctx context.Context) (int, error) { return b.PruneTo(ctx, b.Head().Seq) }

// PruneTo is Prune as if the chain ended with the entry in a place.
func (b *Book) PruneTo(ctx context.Context, end uint64) (int, error) {
	for total := 0; ; {
		n, err := submit(ctx, b, func(t *batch) (int, error) { return b.pruneBlock(t, end) })
		if err != nil || n < 0 {
			return total, err
		}
		total += n
	}
}

// pruneBlock prunes the next full block, and returns how many entries that removed, or -1 if there is none.
func (b *Book) pruneBlock(t *batch, end uint64) (n int, err error) {
	v, err := t.get([]byte(prunedKey))
	if err != nil {
		return 0, err
	}
	var block uint64
	if len(v) == 8 {
		block = binary.BigEndian.Uint64(v)
	}
	every := b.history.every
	if block >= min(end, b.settled.Seq)/every { // what is being committed is not in the store yet
		return -1, nil
	}
	epoch, _, err := b.entryAt(b.settled.Epoch, block*every)
	if err != nil {
		return 0, fmt.Errorf("prune: entry %d: %w", block*every, err)
	}
	var bad error
	err = b.Entries(epoch, block*every, func(raw []byte) bool {
		var e Entry
		if e, bad = ParseEntry(raw); bad != nil || e.Seq >= (block+1)*every {
			return false
		}
		if e.Seq%every != 0 && e.Type != TypeRotate && e.Type != TypeRecover && e.Type != TypeGrant {
			t.delete(entryKey(e.Epoch, e.Seq))
			n++
		}
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return 0, fmt.Errorf("prune: the ledger is damaged, restore it from a backup: %w", err)
	}
	t.put([]byte(prunedKey), binary.BigEndian.AppendUint64(nil, block+1))
	return n, nil
}
