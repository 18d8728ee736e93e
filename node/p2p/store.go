package p2p

import (
	"context"
	"errors"
	"sync"
	"time"

	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
)

// Bounds of what this node keeps for others in the DHT. Whoever publishes renews well within an hour.
const (
	maxValues    = 16384 // of at most some KiB: their validators see to that
	maxProviders = 65536
	maxRecordAge = time.Hour
)

var errStoreFull = errors.New("this node keeps as many DHT records for others as it will")

// boundedStore is a datastore in memory that refuses new keys beyond max.
type boundedStore struct {
	ds.Batching
	max int

	mu   sync.Mutex // guards keys, and Put and Delete as a whole
	keys map[ds.Key]struct{}
}

func newBoundedStore(max int) *boundedStore {
	return &boundedStore{Batching: dssync.MutexWrap(ds.NewMapDatastore()), max: max, keys: map[ds.Key]struct{}{}}
}

// Put refuses a new key when the store is full.
func (b *boundedStore) Put(ctx context.Context, k ds.Key, v []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.keys[k]; !ok && len(b.keys) >= b.max {
		return errStoreFull
	}
	b.keys[k] = struct{}{}
	return b.Batching.Put(ctx, k, v)
}

// Delete makes room.
func (b *boundedStore) Delete(ctx context.Context, k ds.Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.keys, k)
	return b.Batching.Delete(ctx, k)
}

// Batch goes through Put and Delete.
func (b *boundedStore) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(b), nil }
