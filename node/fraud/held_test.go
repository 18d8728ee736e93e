package fraud_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

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

// A peer that shows a grant which no mint has signed is shunned; of more grants than there are mints none is looked at.
func TestForgedGrantsAreRefusedOnMeeting(t *testing.T) {
	mint := ok(ledger.NewKey())(t)
	org := ledger.GrantedGenesis("org", ledger.Mint{Account: mint.Account(), Cap: 100 * ledger.Credit})
	grant := func(by ledger.Key) []byte {
		return ok(by.SignGrant(ledger.Grant{Network: ok(org.ID())(t), Mint: mint.Account(), To: by.Account(), Amount: 1, Total: 1}))(t)
	}
	for name, c := range map[string]struct {
		minted  [][]byte
		shunned bool
	}{
		"forged":   {[][]byte{grant(ok(ledger.NewKey())(t))}, true},
		"too many": {[][]byte{grant(mint), grant(mint)}, false},
	} {
		var shunned atomic.Bool
		us := startIn(t, org, func(_ *p2p.Config, fc *fraud.Config) { fc.Shun = func(peer.ID, string) { shunned.Store(true) } })
		evil := startIn(t, org, nil)
		evil.Handle(fraud.Protocol, 1<<20, func(_ context.Context, c2 *p2p.Conn) {
			c2.ReadFrame()
			b, err := canon.Marshal(struct {
				Minted [][]byte `cbor:"6,keyasint,omitempty"`
			}{c.minted})
			if err != nil {
				t.Error(err)
			}
			c2.WriteFrame(b)
		})
		if err := us.Connect(t.Context(), evil.AddrInfo()); err != nil {
			t.Fatal(err)
		}
		us.spread.Met(t.Context(), evil.ID())
		if known := ok(us.book.NewestGrant(mint.Account()))(t); known != nil {
			t.Errorf("%s: it was believed", name)
		}
		if shunned.Load() != c.shunned {
			t.Errorf("%s: shunned: %v", name, !c.shunned)
		}
	}
}

// A member gets back all grants that it took up, though they fill more than one answer.
func TestManyLostGrantsComeBack(t *testing.T) {
	const many = 300
	mint := ok(ledger.NewKey())(t)
	org := ledger.GrantedGenesis("org", ledger.Mint{Account: mint.Account(), Cap: ledger.MaxCredits})
	us, holder := startIn(t, org, nil), startIn(t, org, nil)
	head := ledger.MintHead{Network: us.book.Network(), Mint: mint.Account()}
	for range many {
		g := ok(head.Grant(us.book.Account(), 1, ledger.MaxCredits))(t)
		head = ledger.MintHeadAt(g, g.Digest())
		raw := ok(mint.SignGrant(g))(t)
		if err := holder.book.MeetClaim(t.Context(), raw, ok(us.book.ClaimGrant(t.Context(), raw))(t)); err != nil {
			t.Fatal(err)
		}
	}
	us.meet(t, holder)
	_, grants, err := us.spread.Held(t.Context(), holder.ID(), 0, 0)
	if err != nil || len(grants) != many {
		t.Errorf("%d grants of %d, %v", len(grants), many, err)
	}
}
