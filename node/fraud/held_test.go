package fraud_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node/fraud"
	"github.com/personal-power-plant/p3/node/p2p"
)

// Who asks for lost receipts takes from a peer only what it has signed itself, each lease once, and leaves at a page
// with nothing on it: LOCKs that a stranger makes for us cost it nothing.
func TestHeldTakesOnlyWhatWeSigned(t *testing.T) {
	us, evil := start(t, nil), start(t, func(c *p2p.Config, _ *fraud.Config) { c.Name = "evil" })
	made := ok(evil.book.Lock(t.Context(), ledger.LockRequest{Payee: us.book.Account(), Amount: ledger.Credit, Expiry: time.Now().Add(time.Hour)}))(t)
	forgotten := ledger.Receipt{Lock: made.Raw}.Encode()
	ours := ok(us.book.Lock(t.Context(), ledger.LockRequest{Payee: evil.book.Account(), Amount: ledger.Credit, Expiry: time.Now().Add(time.Hour)}))(t)
	open := ledger.Receipt{Lock: ours.Raw}.Encode()
	var asked atomic.Int64
	evil.Handle(fraud.Protocol, 1<<20, func(_ context.Context, c *p2p.Conn) {
		c.ReadFrame()
		n := asked.Add(1)
		page := struct {
			Receipts [][]byte `cbor:"3,keyasint,omitempty"`
			Next     uint64   `cbor:"4,keyasint"`
		}{Next: uint64(n)}
		if n <= 5 {
			page.Receipts = [][]byte{forgotten, open, open}
		}
		b, err := canon.Marshal(page)
		if err != nil {
			t.Error(err)
		}
		c.WriteFrame(b)
	})
	us.meet(t, evil)
	asked.Store(0) // whatever was asked on meeting
	held, _, err := us.spread.Held(t.Context(), evil.ID(), 0, 0)
	if err != nil || len(held) != 1 || ok(held[0].Verify())(t).ID != ours.Digest {
		t.Errorf("%d receipts, %v; want the one of our own LOCK", len(held), err)
	}
	if n := asked.Load(); n > 7 {
		t.Errorf("asked %d times", n)
	}
}
