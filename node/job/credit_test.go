package job

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec/canon"
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

// A record that a peer refuses, or has no answer to yet, keeps no other waiting; a peer that is gone is asked once.
func TestRecordWithoutAnAnswerKeepsNoOtherWaiting(t *testing.T) {
	for name, want := range map[string]int{"silent": 3, "refuses": 3, "gone": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newHub(t)
				me, them := net.party(), net.party()
				got := 0
				them.Handle(CreditProtocol, creditFrameMax, func(_ context.Context, st Stream) {
					st.SetIdle(time.Minute)
					if _, err := st.ReadFrame(); err != nil {
						t.Error(err)
					}
					got++
					var reply creditFrame
					switch name {
					case "gone":
						st.Reset()
						return
					case "refuses":
						reply.Refuse = refuse(CodeRecord, "never heard of it").wire()
					}
					b, err := canon.Marshal(reply)
					if err := errors.Join(err, st.WriteFrame(b), st.Close()); err != nil {
						t.Error(err)
					}
				})
				var rows []ledger.Message
				for i := range byte(3) {
					rows = append(rows, ledger.Message{Lock: ledger.Digest{i}, To: them.Book.Account(), Type: ledger.TypeEarn, Entry: []byte{i}})
				}
				me.settler.deliverAll(t.Context(), them.self, rows)
				synctest.Wait()
				if got != want {
					t.Errorf("%d of 3 records were brought, want %d", got, want)
				}
				if r := me.settler.retry[them.self]; r == nil || r.wait != retryMin {
					t.Errorf("the next try: %+v", r)
				}
			})
		})
	}
}
