package job

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// A mintRig is the node of a mint and those of two members, which are connected.
type mintRig struct {
	issuer       *ledger.Issuer
	mint, member *party
	other        *party
	granter      *Granter     // of the mint
	put          atomic.Int64 // grants that the member put into the DHT
}

// withMint runs test with both Granters at work, in fake time.
func withMint(t *testing.T, test func(t *testing.T, r *mintRig)) {
	synctest.Test(t, func(t *testing.T) {
		key, err := ledger.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		org := ledger.GrantedGenesis("org", ledger.Mint{Account: key.Account(), Cap: 1000 * ledger.Credit})
		net := newHub(t)
		r := &mintRig{mint: net.partyIn(org), member: net.partyIn(org), other: net.partyIn(org)}
		if r.issuer, err = ledger.OpenIssuer(r.mint.Store, nil, key, org); err != nil {
			t.Fatal(err)
		}
		peers := func(a ledger.Account) []peer.ID {
			switch a {
			case r.member.Book.Account():
				return []peer.ID{r.member.self}
			case r.other.Book.Account():
				return []peer.ID{r.other.self}
			}
			return nil
		}
		r.granter = NewGranter(r.mint.Env, r.issuer, peers, func([]byte) {})
		theirs := NewGranter(r.member.Env, nil, peers, func([]byte) { r.put.Add(1) })
		ctx, cancel := context.WithCancel(t.Context())
		NewGranter(r.other.Env, nil, peers, func([]byte) {})
		done := make(chan error, 2)
		for _, g := range []*Granter{r.granter, theirs} {
			go func() { done <- g.Run(ctx) }()
		}
		defer func() {
			cancel()
			<-done
			<-done
		}()
		test(t, r)
	})
}

func (r *mintRig) grant(t *testing.T, amount ledger.Credits) {
	t.Helper()
	if _, err := r.issuer.Grant(t.Context(), r.member.Book.Account(), amount); err != nil {
		t.Fatal(err)
	}
	r.granter.Kick()
	synctest.Wait()
}

func (r *mintRig) pending(t *testing.T) []ledger.Delivery {
	t.Helper()
	out, err := r.issuer.Pending(100, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A grant reaches its member at once, and counts once, however often anybody sends it: it is public.
func TestGrantReachesItsMember(t *testing.T) {
	withMint(t, func(t *testing.T, r *mintRig) {
		r.grant(t, ledger.Credit)
		if left := r.pending(t); len(left) != 0 || r.member.Book.Balance().Granted != ledger.Credit {
			t.Fatalf("%d left, %+v", len(left), r.member.Book.Balance())
		}
		raws, err := r.mint.Book.GrantsTo(r.member.Book.Account(), 9)
		if err != nil || len(raws) != 1 {
			t.Fatalf("the mint's node knows %d grants, %v", len(raws), err)
		}
		for range 20 {
			reply, err := Ask[grantFrame](t.Context(), r.granter.env.Net, r.member.self, GrantProtocol, grantFrameMax, openTimeout, grantFrame{Grant: raws[0]})
			if err != nil || reply.Refuse != nil || len(reply.Entry) == 0 {
				t.Fatalf("%+v, %v", reply, err)
			}
		}
		if r.member.Book.Balance().Granted != ledger.Credit || r.put.Load() != 1 {
			t.Errorf("%+v, put into the DHT %d times", r.member.Book.Balance(), r.put.Load())
		}
	})
}

// What a member answers falsely acknowledges nothing, convicts nobody and holds nothing up: the grant comes again each
// minute until it is answered.
func TestFalseAnswersAcknowledgeNoGrant(t *testing.T) {
	withMint(t, func(t *testing.T, r *mintRig) {
		honest := r.member.served[GrantProtocol]
		key, err := ledger.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		var asked atomic.Int64
		var grant atomic.Pointer[ledger.Grant]
		by := func(signer ledger.Key, account ledger.Account, change func(*ledger.Entry)) []byte {
			g := grant.Load()
			e := ledger.Head{Network: g.Network, Account: account, Len: 1, Digest: ledger.Digest{1}}.Claim(*g, g.Digest(), time.Now())
			change(&e)
			raw, err := signer.SignEntry(e)
			if err != nil {
				t.Error(err)
			}
			return raw
		}
		answers := []func(st Stream) any{
			func(Stream) any { return nil }, // a reset
			func(Stream) any { return "nonsense" },
			func(Stream) any { return grantFrame{} },
			func(Stream) any { return grantFrame{Refuse: refuse(CodeRecord, "no").wire()} },
			func(Stream) any { return grantFrame{Entry: by(key, r.member.Book.Account(), func(*ledger.Entry) {})} }, // another signature
			func(Stream) any { return grantFrame{Entry: by(key, key.Account(), func(*ledger.Entry) {})} },           // another account
			func(Stream) any {
				return grantFrame{Entry: by(r.member.key, r.member.Book.Account(), func(e *ledger.Entry) { e.Amount--; e.Granted-- })}
			},
			func(st Stream) any { // nothing, for ever
				st.SetIdle(time.Hour)
				_, _ = st.ReadFrame()
				return nil
			},
		}
		r.member.Handle(GrantProtocol, grantFrameMax, func(ctx context.Context, st Stream) {
			n := int(asked.Add(1))
			if n > len(answers) {
				honest(ctx, st)
				return
			}
			b, err := st.ReadFrame()
			var q grantFrame
			if err != nil || canon.Unmarshal(b, &q) != nil {
				t.Error("no grant")
				return
			}
			if g, err := ledger.ParseGrant(q.Grant); err == nil {
				grant.Store(&g)
			}
			reply := answers[n-1](st)
			if b, err = canon.Marshal(reply); reply == nil || err != nil {
				st.Reset()
				return
			}
			_ = st.WriteFrame(b)
		})
		r.grant(t, ledger.Credit)
		time.Sleep(grantTick / 2) // between ticks
		for asked.Load() < int64(len(answers)) {
			time.Sleep(grantTick)
		}
		synctest.Wait()
		if left := r.pending(t); len(left) != 1 {
			t.Fatalf("%d grants wait", len(left))
		}
		for _, a := range []ledger.Account{r.member.Book.Account(), key.Account()} {
			if proof, err := r.mint.Book.Proof(a); proof != nil || err != nil {
				t.Errorf("%s was convicted, %v", a, err)
			}
		}
		for asked.Load() == int64(len(answers)) {
			time.Sleep(grantTick)
		}
		synctest.Wait()
		if left := r.pending(t); len(left) != 0 {
			t.Errorf("%d grants wait still", len(left))
		}
	})
}

// A member that takes its time for each of many grants holds up nobody else's.
func TestSlowMemberHoldsUpNobody(t *testing.T) {
	withMint(t, func(t *testing.T, r *mintRig) {
		honest := r.member.served[GrantProtocol]
		r.member.Handle(GrantProtocol, grantFrameMax, func(ctx context.Context, st Stream) {
			time.Sleep(openTimeout - time.Second)
			honest(ctx, st)
		})
		for range grantPage {
			if _, err := r.issuer.Grant(t.Context(), r.member.Book.Account(), 1); err != nil {
				t.Fatal(err)
			}
		}
		r.granter.Kick()
		synctest.Wait()
		if _, err := r.issuer.Grant(t.Context(), r.other.Book.Account(), ledger.Credit); err != nil {
			t.Fatal(err)
		}
		r.granter.Kick()
		time.Sleep(grantTick)
		synctest.Wait()
		if got := r.other.Book.Balance().Granted; got != ledger.Credit {
			t.Errorf("a minute later the other has %s", got)
		}
	})
}

// A mint grants no allowance until a peer said what it knows of it, or a minute has passed without one.
func TestAllowancesWaitForWhoKnowsMore(t *testing.T) {
	for _, met := range []bool{true, false} {
		withMint(t, func(t *testing.T, r *mintRig) {
			if _, err := r.issuer.Allow(t.Context(), r.member.Book.Account(), ledger.Credit, ledger.Daily); err != nil {
				t.Fatal(err)
			}
			r.granter.Kick()
			time.Sleep(grantTick / 2)
			synctest.Wait()
			if h, _ := r.issuer.Head(); h.Len != 0 {
				t.Error("it granted before anybody was asked")
			}
			if met {
				r.granter.Met()
			} else {
				time.Sleep(grantTick)
			}
			synctest.Wait()
			if h, _ := r.issuer.Head(); h.Len != 1 || r.member.Book.Balance().Granted != ledger.Credit {
				t.Errorf("met %v: %d grants", met, h.Len)
			}
		})
	}
}
