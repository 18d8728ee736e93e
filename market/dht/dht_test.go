package dht

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	kad "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testNet = ledger.Network{7}

// A trader is a node with nothing but a market.
type trader struct {
	*Market
	kad     *kad.IpfsDHT
	account ledger.Account
	binding []byte
	close   func()
}

// startTrader runs a trader until the test ends.
func startTrader(t testing.TB, name string) *trader {
	t.Helper()
	x := newTrader(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Run returned %v", name, err)
		}
		x.close()
	})
	return x
}

// newTrader makes a trader that does not trade yet.
func newTrader(t testing.TB) *trader {
	t.Helper()
	key, _, err := crypto.GenerateSecp256k1Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	values := record.NamespacedValidator{}
	for ns, v := range Validators(testNet) {
		values[ns] = v
	}
	table, err := kad.New(h, kad.Mode(kad.ModeServer), kad.ProtocolPrefix("/p3/test"), kad.Validator(values), kad.DisableAutoRefresh())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	gossip, err := pubsub.NewGossipSub(ctx, h, pubsub.WithFloodPublish(true))
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{Host: h, Routing: table, PubSub: gossip, Key: key, Network: testNet, Prefix: "/p3/test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	account, err := ledger.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	binding, err := account.SignBinding(ledger.NodeBinding{Network: testNet, Account: account.Account(), PeerID: []byte(h.ID()), Seq: 1, ExpiryMs: uint64(time.Now().Add(time.Hour).UnixMilli())})
	if err != nil {
		t.Fatal(err)
	}
	return &trader{m, table, account.Account(), binding, func() { cancel(); table.Close(); h.Close() }}
}

func (x *trader) terms(free int) market.Offer {
	return market.Offer{Header: market.Header{Account: x.account, Name: "elm", Binding: x.binding}, Price: ledger.Price{Num: 1, Den: ledger.PriceFuel}, FreeSlots: free,
		Capacity: exec.Capacity{Slots: 4, Memory: 1 << 30, Engines: []string{"wasm"}, Arch: "amd64", OS: "linux", Speed: 1e9}}
}

func (x *trader) publish(t testing.TB, free int) {
	t.Helper()
	if err := x.Publish(x.terms(free)); err != nil {
		t.Fatal(err)
	}
}

func (x *trader) connect(t testing.TB, y *trader) {
	t.Helper()
	if err := x.cfg.Host.Connect(t.Context(), peer.AddrInfo{ID: y.self, Addrs: y.cfg.Host.Addrs()}); err != nil {
		t.Fatal(err)
	}
}

// sees waits until x lists an offer of y that fits.
func (x *trader) sees(t testing.TB, y *trader, fits func(o market.Offer, there bool) bool) time.Duration {
	t.Helper()
	start := time.Now()
	_, changes, cancel := x.Directory().Subscribe(start)
	defer cancel()
	late := time.After(20 * time.Second)
	for {
		if fits(x.Directory().Get(y.self, time.Now())) {
			return time.Since(start)
		}
		select {
		case <-changes:
		case <-late:
			t.Fatal("offer not seen within 20 s")
		}
	}
}

func there(_ market.Offer, there bool) bool { return there }

func TestFreshNodeSeesTheMarketAtOnce(t *testing.T) {
	hub := startTrader(t, "hub")
	var others []*trader
	for range 5 {
		x := startTrader(t, "other")
		x.publish(t, 3)
		x.connect(t, hub)
		others = append(others, x)
	}
	for _, x := range others {
		hub.sees(t, x, there)
	}
	fresh := startTrader(t, "fresh")
	start := time.Now()
	fresh.connect(t, hub)
	for _, x := range others { // none of which it is connected to
		fresh.sees(t, x, there)
	}
	took := time.Since(start)
	t.Logf("%d offers seen %s after dialling", len(others), took.Round(time.Millisecond))
	if took > 3*time.Second { // 7 ms on an idle machine; later means that only gossip or the DHT brought them
		t.Errorf("took %s", took)
	}
}

func TestChangesTravelByGossip(t *testing.T) {
	a, hub, b := startTrader(t, "a"), startTrader(t, "hub"), startTrader(t, "b")
	a.connect(t, hub)
	b.connect(t, hub)
	a.publish(t, 3)
	b.sees(t, a, there)
	terms := a.terms(3)
	terms.Price.Num = 9
	if err := a.Publish(terms); err != nil {
		t.Fatal(err)
	}
	took := b.sees(t, a, func(o market.Offer, there bool) bool { return there && o.Price.Num == 9 })
	t.Logf("price change seen over two hops after %s", took.Round(time.Millisecond))
	a.Withdraw()
	took = b.sees(t, a, func(_ market.Offer, there bool) bool { return !there })
	t.Logf("withdrawal seen after %s", took.Round(time.Millisecond))
}

func TestJobsAreFoundByProviders(t *testing.T) {
	a, b := startTrader(t, "a"), startTrader(t, "b")
	a.connect(t, b)
	_, changes, cancel := b.Jobs().Subscribe(time.Now())
	defer cancel()
	job := exec.JobID{5}
	ad := market.Advert{Header: market.Header{Account: a.account, Binding: a.binding}, Job: job, Kind: exec.KindMap, Engine: exec.EngineWASM, Waiting: 12}
	if err := a.Advertise(ad); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []bool{false, true} {
		select {
		case c := <-changes:
			if c.Gone != gone || c.Listing.Job != job || c.Listing.Waiting != 12 {
				t.Fatalf("%+v, want gone %v", c, gone)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("advert not seen within 20 s")
		}
		a.Retract(job)
	}
}

// Who is not known to listen when something is announced, and does not ask, hears of it on coming.
func TestNewcomersAreGreeted(t *testing.T) {
	a, ear := startTrader(t, "a"), newTrader(t)
	defer ear.close()
	a.publish(t, 3)
	if err := a.Advertise(market.Advert{Header: market.Header{Account: a.account, Binding: a.binding}, Job: exec.JobID{5}, Kind: exec.KindMap, Engine: exec.EngineWASM, Waiting: 12}); err != nil {
		t.Fatal(err)
	}
	for offer, ads := a.own(); offer == nil || len(ads) == 0; offer, ads = a.own() {
		time.Sleep(time.Millisecond) // until both are signed, and announced to nobody
	}
	ear.connect(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	subs := map[string]*pubsub.Subscription{}
	for _, name := range []string{"/offers", "/adverts"} {
		topic, err := ear.cfg.PubSub.Join(ear.cfg.Prefix + name)
		if err != nil {
			t.Fatal(err)
		}
		if subs[name], err = topic.Subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	for name, sub := range subs {
		msg, err := sub.Next(ctx)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h, err := market.Peek(msg.Data); err != nil || h.Peer != a.self {
			t.Errorf("%s: %+v %v", name, h, err)
		}
	}
}

// Eight nodes in a line of acquaintance; the last finds an offer through the DHT alone.
func TestOfferIsFoundThroughTheDHT(t *testing.T) {
	all := make([]*trader, 8)
	for i := range all {
		all[i] = startTrader(t, "node")
		if i > 0 {
			all[i].connect(t, all[i-1])
		}
	}
	seller, buyer := all[0], all[7]
	for _, x := range all {
		for err := range x.kad.ForceRefresh() {
			_ = err // a lonely table fills with its first neighbour
		}
	}
	seller.publish(t, 3)
	seller.sees(t, seller, there)
	if err := seller.put(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, err := buyer.cfg.Routing.GetValue(t.Context(), valueKey(seller.self))
	if err != nil {
		t.Fatal(err)
	}
	if o, err := market.ParseOffer(raw, testNet, time.Now()); err != nil || o.Peer != seller.self {
		t.Errorf("value record: %v", err)
	}
	found := false
	for _, key := range searchKeys(testNet, OfferClass("wasm"), buyer.level(), time.Now(), 8) {
		for p := range buyer.cfg.Routing.FindProvidersAsync(t.Context(), key, 10) {
			found = found || p.ID == seller.self
		}
	}
	if !found {
		t.Error("no provider record")
	}
	stranger := startTrader(t, "stranger") // never asked anybody, never heard gossip
	stranger.connect(t, all[4])
	stranger.Find(t.Context(), OfferClass("wasm"), fewOffers)
	stranger.sees(t, seller, there)
}

func TestValidatorTakesOnlyTheOwnersFreshOffer(t *testing.T) {
	x, y := startTrader(t, "x"), startTrader(t, "y")
	sign := func(by *trader, terms market.Offer, at time.Time) []byte {
		terms.Header.Network = testNet
		o, err := market.SignOffer(terms, by.cfg.Key, at)
		if err != nil {
			t.Fatal(err)
		}
		return o.Raw()
	}
	v, now := validator{testNet}, time.Now()
	good, newer := sign(x, x.terms(3), now), sign(x, x.terms(2), now.Add(time.Second))
	bad := bytes.Clone(good)
	bad[len(bad)-3] ^= 1
	key := valueKey(x.self)
	for name, c := range map[string]struct {
		v     validator
		key   string
		value []byte
		want  error
	}{
		"good":            {v, key, good, nil},
		"another's key":   {v, valueKey(y.self), good, errAny},
		"no key":          {v, "/p3offer/", good, errAny},
		"bad signature":   {v, key, bad, market.ErrBadSignature},
		"expired":         {v, key, sign(x, x.terms(3), now.Add(-market.OfferTTL)), market.ErrExpired},
		"from the future": {v, key, sign(x, x.terms(3), now.Add(time.Hour)), market.ErrFuture},
		"oversized":       {v, key, make([]byte, market.MaxSigned+1), market.ErrTooLarge},
		"another network": {validator{ledger.Network{8}}, key, good, market.ErrWrongNetwork},
		"another account": {v, valueKey(y.self), sign(y, x.terms(3), now), market.ErrBadBinding},
	} {
		err := c.v.Validate(c.key, c.value)
		if c.want == errAny && err == nil || c.want != errAny && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if i, err := v.Select(key, [][]byte{good, newer, good}); i != 1 || err != nil {
		t.Errorf("selected %d, %v", i, err)
	}
	if _, err := v.Select(key, [][]byte{{1}}); err == nil {
		t.Error("selected garbage")
	}
	if err := x.cfg.Routing.PutValue(t.Context(), valueKey(y.self), good); err == nil {
		t.Error("the DHT took a value under another's key")
	}
}

var errAny = errors.New("any error")

// Nobody publishes for others: that would let one message be repeated under many names.
func TestGossipOfAnotherIsRejected(t *testing.T) {
	x, z := startTrader(t, "x"), startTrader(t, "z")
	mallory := newTrader(t)
	t.Cleanup(mallory.close)
	topic, err := mallory.cfg.PubSub.Join("/p3/test/offers")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := topic.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Cancel()
	z.connect(t, mallory)
	for len(topic.ListPeers()) == 0 {
		runtime.Gosched()
	}
	sign := func(by *trader) []byte {
		terms := by.terms(3)
		terms.Header.Network = testNet
		o, err := market.SignOffer(terms, by.cfg.Key, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return o.Raw()
	}
	for _, raw := range [][]byte{[]byte("garbage"), sign(x), sign(x), sign(mallory)} {
		if err := topic.Publish(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	z.sees(t, mallory, there)
	if _, ok := z.Directory().Get(x.self, time.Now()); ok {
		t.Error("an offer was taken from another's gossip")
	}
}

func TestAnswersAreTakenWithCare(t *testing.T) {
	x, y, z := startTrader(t, "x"), startTrader(t, "y"), startTrader(t, "z")
	terms := x.terms(3)
	terms.Header.Network = testNet
	o, err := market.SignOffer(terms, x.cfg.Key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		kind byte
		raw  []byte
		ok   bool
	}{
		"hearsay":      {kindOffer, o.Raw(), true},
		"garbage":      {kindOffer, []byte("lie"), false},
		"a later kind": {99, []byte("of a later version"), true},
		"wrong kind":   {kindAdvert, o.Raw(), false},
	} {
		if err := z.take(c.kind, c.raw, y.self); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := z.take(kindOffer, o.Raw(), y.self); err != nil {
		t.Errorf("the same again: %v", err)
	}
}

func TestLevelKeepsKeysCool(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 0, 256: 0, 257: 1, 512: 1, 513: 2, 10_000: 6, 1_000_000: 12, 1 << 40: maxLevel} {
		if got := level(n); got != want {
			t.Errorf("level(%d) = %d, want %d", n, got, want)
		}
	}
	load := map[uint32]int{}
	for range 10_000 {
		_, pub, _ := crypto.GenerateEd25519Key(nil)
		id, _ := peer.IDFromPublicKey(pub)
		load[shardOf(id, level(10_000))]++
	}
	for s, n := range load {
		if n > 2*perShard {
			t.Errorf("shard %d holds %d", s, n)
		}
	}
	now := time.UnixMilli(epochMs*100 + epochMs/2)
	if keys := searchKeys(testNet, "c", 5, now, 8); len(keys) != 8 {
		t.Errorf("%d keys", len(keys))
	}
	if keys := searchKeys(testNet, "c", 0, now, 8); keys[0] != classKey(testNet, "c", 100, 0, 0) {
		t.Error("a small network does not ask its only shard first")
	}
}

func FuzzReadRecords(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 0, 2, 'a', 'b', 2, 0, 0})
	f.Add([]byte{1, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		readRecords(bytes.NewReader(b), func(_ byte, raw []byte) error {
			if n += 3 + len(raw); n > len(b) || len(raw) > market.MaxSigned {
				t.Fatalf("%d bytes out of %d", n, len(b))
			}
			market.Peek(raw)
			return nil
		})
	})
}
