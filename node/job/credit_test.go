package job

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// served is a Network on which nobody calls.
type served struct{ Network }

func (served) Handle(string, int, func(context.Context, Stream)) {}

func TestSweepLeavesLocksOfNewLeasesAlone(t *testing.T) {
	ctx := t.Context()
	key, err := ledger.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	payee, err := ledger.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	store := ledgertest.NewMemory()
	book, err := ledger.OpenBook(ctx, store, key, ledger.MutualGenesis("test", ledger.DefaultFloor))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	s := NewSettler(Env{Net: served{}, Book: book, Store: store, Log: slog.New(slog.DiscardHandler)})
	sweeping, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for sweeping.Err() == nil {
			if err := s.sweep(ctx, time.Now()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 500 {
		_, settle, err := s.lock(ctx, ledger.LockRequest{Payee: payee.Account(), Amount: 1, Expiry: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		defer settle()
	}
	stop()
	wg.Wait()
	if n := len(book.OpenLocks()); n != 500 {
		t.Errorf("%d of 500 locks are open while their leases run", n)
	}
}
