package job

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// The receiver of a transfer said that it takes it, was killed before the settle arrived, and changed its key. The settle, which nothing
// takes back, arrives at the node that has the account's chain now, once the sender has heard of that.
func TestTransferArrivesUnderANewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		from, to := net.party(), net.party()
		at := map[ledger.Account]peer.ID{to.Book.Account(): to.self}
		var mu sync.Mutex // guards at
		from.Env.Find = func(a ledger.Account) (peer.ID, bool) {
			mu.Lock()
			defer mu.Unlock()
			p, ok := at[a]
			return p, ok
		}
		from.settler = NewSettler(from.Env)
		killed := make(chan struct{}, 64)
		to.Handle(CreditProtocol, creditFrameMax, func(ctx context.Context, st Stream) {
			b, err := st.ReadFrame()
			var f creditFrame
			if err != nil || canon.Unmarshal(b, &f) != nil {
				t.Error("no frame")
				return
			}
			if len(f.Settle) > 0 {
				killed <- struct{}{}
				st.Reset()
				return
			}
			reply := creditFrame{}
			if err := to.Book.MayReceive(f.Lock, nil); err == nil {
				e, _ := ledger.ParseEntry(f.Lock)
				reply.Ready = e.Digest()
			}
			if b, err = canon.Marshal(reply); err == nil {
				_ = st.WriteFrame(b)
			}
			st.Close()
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- from.settler.Run(ctx) }()
		defer func() { cancel(); <-done }()
		if _, err := from.settler.Give(t.Context(), to.Book.Account(), 3*ledger.Credit, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		<-killed

		to.Book.Close()
		next, err := ledger.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		book, err := ledger.RotateBook(t.Context(), to.Store, nil, to.key, next, to.Book.Genesis(), ledger.Digest{})
		if err != nil {
			t.Fatal(err)
		}
		net.books = append(net.books, book)
		to.Env.Book = book
		to.settler = NewSettler(to.Env)
		mu.Lock()
		at[book.Account()] = to.self
		delete(at, to.key.Account())
		mu.Unlock()
		time.Sleep(10 * time.Minute) // nobody acts for the old account any more
		if b := book.Balance(); b.Earned != 0 {
			t.Fatalf("%+v", b)
		}
		line, err := book.Lineage()
		if err != nil {
			t.Fatal(err)
		}
		if err := from.Book.Succeed(t.Context(), line[0]); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Hour); ; time.Sleep(time.Second) {
			left, err := from.Book.Pending()
			if err != nil {
				t.Fatal(err)
			}
			if len(left) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d records wait still", len(left))
			}
		}
		if got, gave := book.Balance(), from.Book.Balance(); got.Earned != 3*ledger.Credit || gave.Spent != 3*ledger.Credit {
			t.Errorf("%+v, %+v", got, gave)
		}
	})
}
