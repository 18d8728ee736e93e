package ledger

import (
	"context"
	"errors"
)

// ErrNotFound is what Store.Get returns for a key that is not there.
var ErrNotFound = errors.New("not found")

// An Op is one write of a Batch: a put, or a delete when Delete is set.
type Op struct {
	Key, Value []byte
	Delete     bool
}

// A Store is a durable ordered key-value table, all that the book and the job
// journal need of a database. It is safe for concurrent use.
//
// Keys are at most 1 KiB and values at most 1 MiB. The first bytes of a key up to
// '/' name its owner: "ledger/", "job/", "node/", "witness/".
type Store interface {
	// Get returns a copy of the value, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Scan calls yield for each key with the prefix, ascending, starting at the first
	// key ≥ from (nil: at the prefix), until yield returns false. k and v are only valid
	// during the call. It sees one snapshot.
	Scan(prefix, from []byte, yield func(k, v []byte) bool) error
	// Commit applies all ops or none. When it returns nil they survive kill -9 and power
	// loss. Concurrent commits are applied in the order they were called and share one sync.
	Commit(ctx context.Context, ops ...Op) error
	// Close flushes and releases the files. No call may follow.
	Close() error
}
