package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// checkpoint appends the entry that commits to all before it. Its roots are right by
// construction, so that it cannot fail.
func (b *Book) checkpoint(t *batch) error {
	_, _, err := b.place(t, b.history.checkpoint(b.head.next(TypeCheckpoint, time.Now())), 0)
	return err
}

// remember adds an entry to the history, and what a full block leaves to the batch.
func (t *batch) remember(s *history, e Entry, d Digest) {
	if record := s.apply(e, d); record != nil {
		t.put(blockKey(nodesPrefix, s.blocks.size-1), record)
		t.put(blockKey(statePrefix, s.blocks.size-1), s.state())
	}
}

// loadHistory reads what the blocks before the head left, and the entries after them, whose
// links it checks. A chain that a p3 without checkpoints wrote is read from its start, once.
// The open locks are left to loadLeases.
func (b *Book) loadHistory() error {
	s := b.history
	full := b.head.Len / s.every
	if err := s.resume(b.store, full); errors.Is(err, ErrNotFound) {
		full = 0
	} else if err != nil {
		return fmt.Errorf("damaged, restore it from a backup: %w", err)
	}
	next, prev := full*s.every, Digest{}
	t := &batch{store: b.store, at: make(map[string]int)}
	var bad error
	err := b.scan(next, func(raw []byte) bool {
		e, err := ParseEntry(raw)
		if bad = err; err != nil {
			return false
		}
		if e.Seq != next || !prev.IsZero() && e.Prev != prev {
			bad = fmt.Errorf("entry %d: %w", next, ErrChain)
			return false
		}
		next, prev = next+1, e.Digest()
		t.remember(s, e, prev)
		return next < b.head.Len
	})
	if err == nil && bad == nil && (next != b.head.Len || prev != b.head.Digest && next > full*s.every) {
		bad = fmt.Errorf("%d of %d entries: %w", next, b.head.Len, ErrChain)
	}
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("damaged, restore it from a backup: %w", err)
	}
	for ops := t.ops; len(ops) > 0; {
		n := min(len(ops), 256)
		if err := b.store.Commit(context.Background(), ops[:n]...); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// resume sets the history to what it was after the first full blocks, but for the open locks. It
// changes nothing when it fails, with ErrNotFound where a block left nothing.
func (s *history) resume(store Store, full uint64) error {
	if full == 0 {
		return nil
	}
	state, err := store.Get(blockKey(statePrefix, full-1))
	if err != nil {
		return err
	}
	recovery, claimed, err := parseState(state)
	if err != nil {
		return err
	}
	blocks := mmr{size: full}
	for end, rest := uint64(0), full; rest > 0; {
		height := bits.Len64(rest) - 1
		end, rest = end+1<<height, rest-1<<height
		root, err := s.node(store, end-1, height)
		if err != nil {
			return err
		}
		blocks.peaks = append(blocks.peaks, root)
	}
	s.recovery, s.claimed, s.blocks = recovery, claimed, blocks
	return nil
}

// node is the root of the tree over 2^height blocks that ends with block.
func (s *history) node(store getter, block uint64, height int) (Digest, error) {
	record, err := store.Get(blockKey(nodesPrefix, block))
	if err != nil {
		return Digest{}, err
	}
	at := 32 * (bits.Len64(s.every) - 1 + height)
	if len(record) < at+32 {
		return Digest{}, fmt.Errorf("nodes of block %d: %w", block, ErrMalformed)
	}
	return Digest(record[at : at+32]), nil
}

// scan calls yield for our signed entries from place seq on, in order, until it returns false. The
// place may lie in an earlier epoch.
func (b *Book) scan(seq uint64, yield func(raw []byte) bool) error {
	epoch, _, err := b.entryAt(b.head.Epoch, seq)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return b.Entries(epoch, seq, yield)
}

// entryAt is the signed entry in place seq, and its epoch, which is at most epoch.
func (b *Book) entryAt(epoch uint32, seq uint64) (uint32, []byte, error) {
	for ; ; epoch-- {
		raw, err := b.store.Get(entryKey(epoch, seq))
		if !errors.Is(err, ErrNotFound) || epoch == 0 {
			return epoch, raw, err
		}
	}
}
