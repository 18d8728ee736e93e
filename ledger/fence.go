package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Mark says how far a book has got: all that it needs to notice that its store has not.
type Mark struct {
	Network Network
	Account Account
	Commits uint64 // since the book's first
	Epoch   uint32 // of the newest entry
	Seq     uint64 // likewise
	Head    Digest // likewise; zero = there is none
}

// A Fence keeps the newest Mark apart from the Store, so that a store that was rolled back, by a
// restored backup, a damaged log or a disk that lies about its syncs, is noticed before the
// account signs for a second time what it has signed before and convicts itself.
type Fence interface {
	// Load returns the newest mark, or ErrNotFound if there never was one. Any other error
	// means that the store may not be what the fence was put around.
	Load() (Mark, error)
	// Save keeps m. When it returns m survives the end of the process; power loss only after Sync.
	Save(m Mark) error
	// Sync returns when what was saved before it survives power loss, but for a last moment that
	// the implementation names.
	Sync() error
}

// commitsKey counts the book's commits, u64. Books older than fences do not have it.
const commitsKey = "ledger/commits"

// mark is the Mark of a head.
func (b *Book) mark(h Head) Mark {
	return Mark{Network: b.network, Account: h.Account, Commits: b.commits, Epoch: h.Epoch, Seq: h.Seq, Head: h.Digest}
}

// behind holds the store against the fence when the book is opened. A store that is not what it
// was makes the book read-only, with the reason; err is only for stores that cannot be read.
func (b *Book) behind() (readOnly, err error) {
	v, err := b.store.Get([]byte(commitsKey))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	counted := err == nil
	if counted {
		if len(v) != 8 {
			return nil, fmt.Errorf("number of commits: the ledger is damaged, restore it from a backup: %w", ErrMalformed)
		}
		b.commits = binary.BigEndian.Uint64(v)
	}
	wrong := func(format string, args ...any) (error, error) {
		return fmt.Errorf("%w: "+format+": run p3 credit recover", append([]any{ErrReadOnly}, args...)...), nil
	}
	m, err := b.fence.Load()
	switch {
	case errors.Is(err, ErrNotFound) && !counted: // a new book, or one from before there were fences
		return nil, errors.Join(b.fence.Save(b.mark(b.head)), b.fence.Sync())
	case errors.Is(err, ErrNotFound):
		return wrong("the high-water file beside the ledger is missing, as after a restored backup")
	case err != nil:
		return wrong("%w", err)
	case m.Network != b.network || !b.mine[m.Account]: // one that this account followed, if the end came before the mark
		return wrong("the high-water file beside the ledger is that of account %s", m.Account.Short())
	}
	b.high = m
	switch {
	case b.commits < m.Commits && b.head.Len <= m.Seq && !m.Head.IsZero():
		return wrong("the ledger was rolled back or damaged: it ends with entry %d, entry %d was signed; %d commits are lost", int64(b.head.Len)-1, m.Seq, m.Commits-b.commits)
	case b.commits < m.Commits:
		return wrong("the ledger was rolled back or damaged: %d commits are lost, with claims, vouchers or what others sent", m.Commits-b.commits)
	case b.commits == m.Commits && b.head.Digest != m.Head, m.Seq >= b.head.Len && !m.Head.IsZero():
		return wrong("this ledger and the high-water file beside it went different ways: it is a copy, or one of them was restored")
	}
	if ours, err := b.store.Get(entryKey(m.Epoch, m.Seq)); err == nil && !m.Head.IsZero() { // pruned ones cannot be compared
		if e, err := ParseEntry(ours); err != nil || e.Digest() != m.Head {
			return wrong("entry %d is not the one that was signed: this ledger is a copy that went its own way", m.Seq)
		}
	}
	return nil, nil
}

// commit makes a batch durable, and the mark of the one before it, which has been on its
// way since then: so the two syncs cost little more than one. What the batch holds may leave the
// node only when its own mark is saved.
func (b *Book) commit(t *batch, do func() error) error {
	if b.fence == nil || b.behindFence && !t.heals {
		return do() // while the store is behind, its fence stays where it is
	}
	next := b.commits + 1
	if t.heals {
		next++
	}
	t.put([]byte(commitsKey), binary.BigEndian.AppendUint64(nil, next))
	synced := make(chan error, 1)
	go func() { synced <- b.fence.Sync() }()
	err := do()
	if err = errors.Join(err, <-synced); err != nil {
		return err
	}
	for b.commits < next { // healed, twice: nothing is left of a mark that was another's
		b.commits++
		if err := b.fence.Save(b.mark(b.head)); err != nil {
			return err
		}
	}
	return nil
}
