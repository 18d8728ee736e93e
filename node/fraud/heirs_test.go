package fraud_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
	"github.com/personal-power-plant/p3/node/fraud"
	"github.com/personal-power-plant/p3/node/p2p"
)

// A payer has changed its key and dealt with one provider before. That one hears of it on meeting the payer, and whoever
// dealt with the old account hears of it from that one; a node that has nothing to do with either keeps nothing.
func TestKeyChangeReachesThoseWhoKnewTheAccount(t *testing.T) {
	old, next := ok(ledger.NewKey())(t), ok(ledger.NewKey())(t)
	store := ledgertest.NewMemory()
	payer := ok(ledger.OpenBook(t.Context(), store, old, genesis))(t)
	told := make(chan ledger.Account, 8)
	hears := func(_ *p2p.Config, c *fraud.Config) {
		c.Rekeyed = func(s ledger.Succession) {
			e, err := ledger.ParseEntry(s.Second)
			if err == nil {
				told <- e.Account
			}
		}
	}
	first, second, stranger := start(t, hears), start(t, hears), start(t, nil)
	for _, host := range []*node{first, second} { // one unit each, paid
		works(t, payer, host)
	}
	payer.Close()
	payer = ok(ledger.RotateBook(t.Context(), store, nil, old, next, genesis, ledger.Digest{}))(t)
	payer.Close()

	user := startWith(t, genesis, store, next, nil)
	user.meet(t, first)
	if a := <-told; a != next.Account() {
		t.Errorf("told of %s", a)
	}
	first.meet(t, stranger)
	first.meet(t, second) // which never meets the payer
	if a := <-told; a != next.Account() {
		t.Errorf("told of %s", a)
	}
	for _, host := range []*node{first, second} {
		if h := host.book.Heir(old.Account()); h != next.Account() {
			t.Errorf("heir %s", h)
		}
	}
	if h := stranger.book.Heir(old.Account()); h != old.Account() {
		t.Errorf("a stranger keeps %s", h)
	}
}

// works is one unit that a host does for a payer, paid.
func works(t *testing.T, payer *ledger.Book, host *node) {
	t.Helper()
	lock := ok(payer.Lock(t.Context(), ledger.LockRequest{Payee: host.book.Account(), Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
	ok(host.book.AcceptLock(t.Context(), lock.Raw, time.Now()))(t)
	claim := ok(host.book.Claim(t.Context(), lock.Digest, 1, 1, ledger.Digest{}))(t)
	voucher := ok(payer.Vouch(t.Context(), lock.Digest, claim, 1))(t)
	if err := host.book.Credit(t.Context(), voucher, 1); err != nil {
		t.Fatal(err)
	}
	earn := ok(host.book.Earn(t.Context(), ok(payer.Settle(t.Context(), lock.Digest))(t)))(t)
	if err := payer.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
}

// takenOver is an account that dealt with a host before its owner took it over, and that a thief has the first key of.
func takenOver(t *testing.T, hosts ...*node) (store *ledgertest.Memory, recovery ledger.Key, stolen *ledger.Book) {
	t.Helper()
	old := ok(ledger.NewKey())(t)
	store, recovery = ledgertest.NewMemory(), ok(ledger.NewKey())(t)
	book := ok(ledger.BeginBook(t.Context(), store, nil, old, genesis, recovery.Account()))(t)
	for _, h := range hosts {
		works(t, book, h)
	}
	book.Close()
	stolen = ok(ledger.OpenBook(t.Context(), store.Clone(), old, genesis))(t)
	t.Cleanup(stolen.Close)
	ok(ledger.RecoverBook(t.Context(), store, nil, recovery, genesis, ledger.Digest{}))(t).Close()
	return store, recovery, stolen
}

// rekeyed has a node note the accounts that it is told of.
func rekeyed(told chan ledger.Account) func(*p2p.Config, *fraud.Config) {
	return func(_ *p2p.Config, c *fraud.Config) {
		c.Rekeyed = func(s ledger.Succession) {
			if e, err := ledger.ParseEntry(s.Second); err == nil {
				told <- e.Account
			}
		}
	}
}

func awaitHeir(t *testing.T, told chan ledger.Account, want ledger.Account) {
	t.Helper()
	select {
	case a := <-told:
		if a != want {
			t.Errorf("told of %s", a)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was told")
	}
}

// An owner has taken its account over and meets one node alone, which has nothing to do with the account. Who dealt with
// it, behind that one, hears of it by gossip.
func TestKeyChangeIsGossipedBeyondThoseWhoMeet(t *testing.T) {
	told := make(chan ledger.Account, 8)
	between, dealt := start(t, nil), start(t, rekeyed(told))
	store, recovery, stolen := takenOver(t, dealt)
	dealt.meet(t, between)
	owner := startWith(t, genesis, store, recovery, func(_ *p2p.Config, c *fraud.Config) { c.Routing = deaf{} }) // which would connect it to all
	owner.meet(t, between)
	awaitHeir(t, told, recovery.Account())
	for _, p := range owner.Peers() {
		if p.ID == dealt.ID() {
			t.Error("the two met")
		}
	}
	lock := ok(stolen.Lock(t.Context(), ledger.LockRequest{Payee: dealt.book.Account(), Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
	if _, err := dealt.book.AcceptLock(t.Context(), lock.Raw, time.Now()); !errors.Is(err, ledger.ErrFrozen) {
		t.Errorf("a lease for the old key: %v", err)
	}
}

// Who never heard of an account learns from the DHT that it was taken over, with the first LOCK that a thief shows under the old
// key, though the owner is away by then: the work stops at the next unit.
func TestKeyChangeIsFoundInTheDHT(t *testing.T) {
	told, kept := make(chan ledger.Account, 8), make(chan ledger.Account, 8)
	between := start(t, rekeyed(kept))
	store, recovery, stolen := takenOver(t)
	dht := &noted{ready: make(chan struct{}), put: make(chan string, 8)}
	owner := startWith(t, genesis, store, recovery, func(_ *p2p.Config, c *fraud.Config) { c.Routing = dht })
	owner.meet(t, between)
	awaitHeir(t, kept, recovery.Account())
	await(t, "somebody in the DHT", func() bool { return owner.DHT().RoutingTable().Size() > 0 })
	dht.ValueStore = owner.DHT()
	close(dht.ready)
	if k := <-dht.put; k != "/p3heir/"+stolen.Account().String() {
		t.Fatal(k)
	}
	owner.stop()

	stranger := start(t, rekeyed(told))
	stranger.meet(t, between)
	await(t, "somebody in the DHT", func() bool { return stranger.DHT().RoutingTable().Size() > 0 })
	if h := stranger.book.Heir(stolen.Account()); h != stolen.Account() {
		t.Errorf("who never dealt with it keeps %s", h)
	}
	lock := ok(stolen.Lock(t.Context(), ledger.LockRequest{Payee: stranger.book.Account(), Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
	ok(stranger.book.AcceptLock(t.Context(), lock.Raw, time.Now()))(t)
	stranger.spread.Accepted(lock.Raw, nil)
	awaitHeir(t, told, recovery.Account())
	if x := ok(stranger.book.Exposure(stolen.Account()))(t); x.MayWork(0) {
		t.Error("it works on for the old key")
	}
}

// noted is a DHT that is there once it is ready, and tells what was put.
type noted struct {
	routing.ValueStore
	ready chan struct{}
	put   chan string
}

func (n *noted) PutValue(ctx context.Context, key string, value []byte, o ...routing.Option) error {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := n.ValueStore.PutValue(ctx, key, value, o...)
	if err == nil {
		n.put <- key
	}
	return err
}

// A key change that was never signed gets whoever passes it on sent away, and goes no further.
func TestForgedKeyChangeStopsAtOnce(t *testing.T) {
	old, next := ok(ledger.NewKey())(t), ok(ledger.NewKey())(t)
	store := ledgertest.NewMemory()
	ok(ledger.OpenBook(t.Context(), store, old, genesis))(t).Close()
	b := ok(ledger.RotateBook(t.Context(), store, nil, old, next, genesis, ledger.Digest{}))(t)
	defer b.Close()
	s := ok(b.Lineage())(t)[0]
	forged := append(append([]byte(nil), s.First...), s.Second...)
	forged[ledger.SignedEntrySize-2] ^= 1 // the old key's signature
	a, c := start(t, nil), start(t, nil)
	evil := start(t, func(c *p2p.Config, _ *fraud.Config) { c.Name = "evil" })
	a.meet(t, c)
	a.meet(t, evil)
	topic := ok(evil.PubSub().Join(p2p.Prefix(b.Network()) + "/heirs"))(t)
	await(t, "neighbours in the gossip", func() bool { return len(topic.ListPeers()) > 0 })
	events, stop := evil.Subscribe()
	defer stop()
	if err := topic.Publish(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	for gone := false; !gone; {
		select {
		case e := <-events:
			gone = e.Kind == p2p.PeerDisconnected && e.Peer == a.ID()
		case <-time.After(time.Minute):
			t.Fatal("the forger is still connected")
		}
	}
	v := c.spread.Validators()["p3heir"]
	if err := v.Validate("/p3heir/"+old.Account().String(), forged); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("the DHT takes it: %v", err)
	}
	good := append(append([]byte(nil), s.First...), s.Second...)
	if err := v.Validate("/p3heir/"+old.Account().String(), good); err != nil {
		t.Errorf("the DHT refuses a true one: %v", err)
	}
	if err := v.Validate("/p3heir/"+next.Account().String(), good); err == nil {
		t.Error("the DHT takes it under another account")
	}
	for i := range 3 {
		if v.Validate("/p3heir/"+old.Account().String(), good[:len(good)-i-1]) == nil {
			t.Fatal("the DHT takes a part of one")
		}
	}
}
