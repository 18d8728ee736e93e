package p2p

import (
	"errors"
	"fmt"
	"testing"

	ds "github.com/ipfs/go-datastore"
)

func TestDHTSpamMeetsTheBound(t *testing.T) {
	b, ctx := newBoundedStore(10), t.Context()
	var full int
	for i := range 100 {
		if err := b.Put(ctx, ds.NewKey(fmt.Sprint(i)), []byte("v")); errors.Is(err, errStoreFull) {
			full++
		}
	}
	if full != 90 {
		t.Errorf("%d refused, want 90", full)
	}
	batch, _ := b.Batch(ctx)
	batch.Put(ctx, ds.NewKey("new"), nil)
	if err := batch.Commit(ctx); !errors.Is(err, errStoreFull) {
		t.Errorf("batch: %v", err)
	}
	if err := b.Put(ctx, ds.NewKey("3"), []byte("w")); err != nil {
		t.Errorf("a known key was not renewed: %v", err)
	}
	b.Delete(ctx, ds.NewKey("3"))
	if err := b.Put(ctx, ds.NewKey("new"), nil); err != nil {
		t.Errorf("after a delete: %v", err)
	}
}
