package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrRestored is why a book that came out of a backup signs nothing: entries that it signed after the
// backup was made may be in other hands, and to sign others for their places is a fork, which convicts
// the account. It comes with ErrReadOnly. Recover ends it.
var ErrRestored = errors.New("restored from a backup, and counterparties have not been asked yet for newer entries of this account: be connected to those you dealt with and run p3 credit recover")

// MarkRestored is the write that marks a store as restored from a backup made at that time.
func MarkRestored(made time.Time) Op {
	return Op{Key: []byte(restoredKey), Value: binary.BigEndian.AppendUint64(nil, uint64(max(made.UnixMilli(), 0)))}
}

// loadRestored reads the mark.
func (b *Book) loadRestored() error {
	v, err := b.store.Get([]byte(restoredKey))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil && len(v) != 8 {
		err = ErrMalformed
	}
	if err != nil {
		return fmt.Errorf("mark of a restored backup: %w", err)
	}
	b.restored = time.UnixMilli(int64(min(binary.BigEndian.Uint64(v), maxTimeMs)))
	return nil
}

// Restored is when the backup was made that this book was restored from, if it waits for
// Recover; the zero time otherwise.
func (b *Book) Restored() time.Time {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.restored
}

// readOnly is ReadOnly under mu.
func (b *Book) readOnly() error {
	if !b.restored.IsZero() { // says more than what a fence makes of it
		return fmt.Errorf("%w: %w (backup of %s)", ErrReadOnly, ErrRestored, b.restored.UTC().Format(time.RFC3339))
	}
	return b.broken
}
