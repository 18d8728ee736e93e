package fraud_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/routing"
	"go.uber.org/goleak"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
	"github.com/personal-power-plant/p3/node/fraud"
	"github.com/personal-power-plant/p3/node/job"
	"github.com/personal-power-plant/p3/node/p2p"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

var genesis = ledger.MutualGenesis("fraud", ledger.DefaultFloor)

func ok[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// streams is p2p.Node as job.Network.
type streams struct{ *p2p.Node }

func (n streams) Self() peer.ID         { return n.ID() }
func (n streams) Name(p peer.ID) string { return p.String() }
func (n streams) Open(ctx context.Context, p peer.ID, id string, max int) (job.Stream, error) {
	c, err := n.Node.Open(ctx, p, protocol.ID(id))
	if err != nil {
		return nil, err
	}
	c.SetLimit(max)
	return c, nil
}
func (n streams) Handle(id string, max int, serve func(context.Context, job.Stream)) {
	n.Node.Handle(protocol.ID(id), max, func(ctx context.Context, c *p2p.Conn) { serve(ctx, c) })
}

// A node is a book and a Spreader on a real libp2p host on loopback.
type node struct {
	*p2p.Node
	key    ledger.Key
	book   *ledger.Book
	spread *fraud.Spreader
	frozen chan ledger.Proof // told of
	stop   func()
}

// start starts a node that ends with the test. change may set up its host.
func start(t testing.TB, change func(*p2p.Config, *fraud.Config)) *node {
	t.Helper()
	return startIn(t, genesis, change)
}

// startIn is start in another network.
func startIn(t testing.TB, genesis ledger.Genesis, change func(*p2p.Config, *fraud.Config)) *node {
	t.Helper()
	return startWith(t, genesis, ledgertest.NewMemory(), ok(ledger.NewKey())(t), change)
}

// startWith is startIn with the ledger of an account.
func startWith(t testing.TB, genesis ledger.Genesis, store ledger.Store, key ledger.Key, change func(*p2p.Config, *fraud.Config)) *node {
	t.Helper()
	n := &node{key: key, frozen: make(chan ledger.Proof, 64)}
	n.book = ok(ledger.OpenBook(t.Context(), store, n.key, genesis))(t)
	n.spread = fraud.New(n.book, slog.New(slog.DiscardHandler))
	n.book.OnConvict(n.spread.Convicted)
	cfg := p2p.Config{
		Key: ok(p2p.NewKey())(t), Network: n.book.Network(), Name: "node", Agent: "p3/test", Small: true, Reach: p2p.ReachPublic, Log: slog.New(slog.DiscardHandler),
		Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Validators: n.spread.Validators(),
	}
	var fc fraud.Config
	if change != nil {
		change(&cfg, &fc)
	}
	id := ok(peer.IDFromPrivateKey(cfg.Key))(t)
	if cfg.Host != nil {
		id = cfg.Host.ID()
	}
	cfg.Binding = ok(n.book.Bind([]byte(id), 1, time.Now().Add(time.Hour)))(t)
	n.Node = ok(p2p.Start(t.Context(), cfg))(t)
	fc.Net, fc.Account, fc.PubSub, fc.Prefix = streams{n.Node}, n.Account, n.PubSub(), p2p.Prefix(n.book.Network())
	if fc.Shun == nil {
		fc.Shun = n.Shun
	}
	if fc.Routing == nil {
		fc.Routing = n.DHT()
	}
	fc.Tell = func(p ledger.Proof, _ bool) { n.frozen <- p }
	n.spread.Start(fc)
	run, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	if cfg.Name != "evil" { // who gossips what it likes
		wg.Go(func() { n.spread.Run(run) })
	}
	events, stop := n.Subscribe()
	wg.Go(func() {
		for e := range events {
			if e.Kind == p2p.PeerGreeted {
				wg.Go(func() { n.spread.Met(run, e.Peer) })
			}
		}
	})
	n.stop = sync.OnceFunc(func() {
		cancel()
		stop()
		n.Close()
		wg.Wait()
		n.book.Close()
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) meet(t testing.TB, others ...*node) {
	t.Helper()
	for _, o := range others {
		if err := n.Connect(t.Context(), o.AddrInfo()); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitFrozen waits until the node has frozen the account.
func (n *node) awaitFrozen(t testing.TB, a ledger.Account) {
	t.Helper()
	for {
		select {
		case p := <-n.frozen:
			if p.Account == a {
				if raw := ok(n.book.Proof(a))(t); raw == nil {
					t.Fatal("told of a conviction that is not in the book")
				}
				return
			}
		case <-time.After(time.Minute):
			t.Fatal("the proof never arrived")
		}
	}
}

// locks signs n locks for one place in key's chain, each for another payee.
func locks(t testing.TB, key ledger.Key, payees ...ledger.Account) (out [][]byte) {
	t.Helper()
	h := ledger.Head{Network: ok(genesis.ID())(t), Account: key.Account()}
	g := h.Genesis(ledger.Digest{}, time.Now())
	h = ledger.HeadAt(g, g.Digest())
	for _, p := range payees {
		out = append(out, ok(key.SignEntry(h.Lock(p, ledger.Credit, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())))(t))
	}
	return out
}

func proofAgainst(t testing.TB, key ledger.Key) ledger.Proof {
	t.Helper()
	two := locks(t, key, ledger.Account{1}, ledger.Account{2})
	return ok(ledger.NewProof(ledger.ProofFork, two[0], two[1]))(t)
}

// inMesh waits until a node knows others that take part in the gossip.
func (n *node) inMesh(t testing.TB, others int) {
	t.Helper()
	await(t, "neighbours in the gossip", func() bool { return len(n.PubSub().ListPeers(p2p.Prefix(n.book.Network())+"/fraud")) >= others })
}

// An attacker frames an honest account by gossip and by answering on connect: nobody believes it,
// nobody passes it on, and the attacker is sent away.
func TestAttack19ForgedForkProof(t *testing.T) {
	victim := ok(ledger.NewKey())(t)
	two := locks(t, victim, ledger.Account{1})
	e := ok(ledger.ParseEntry(two[0]))(t)
	e.Peer[0]++
	invented := append(e.Append(nil), two[0][ledger.EntrySize:]...) // with the real one's signature
	forged := ok(ledger.NewProof(ledger.ProofFork, two[0], invented))(t).Encode()
	for _, way := range []string{"gossip", "answer"} {
		t.Run(way, func(t *testing.T) {
			a, b := start(t, nil), start(t, nil)
			evil := start(t, func(c *p2p.Config, _ *fraud.Config) { c.Name = "evil" })
			a.meet(t, b)
			events, stop := evil.Subscribe()
			defer stop()
			if way == "answer" {
				evil.Handle(fraud.Protocol, 1<<16, func(_ context.Context, c *p2p.Conn) {
					c.ReadFrame()
					c.WriteFrame(append([]byte{0xa1, 0x01, 0x81, 0x59, 0x02, 0xbb}, forged...)) // {1: [proof of 699 bytes]}
				})
			}
			if way == "gossip" {
				a.meet(t, evil)
				evil.inMesh(t, 1)
				publish(t, evil, forged)
			} else { // sent away perhaps before they have met
				a.Connect(t.Context(), evil.AddrInfo())
			}
			for gone := false; !gone; {
				select {
				case e := <-events:
					gone = e.Kind == p2p.PeerDisconnected && e.Peer == a.ID()
				case <-time.After(time.Minute):
					t.Fatal("the attacker is still connected")
				}
			}
			var refused *p2p.RefusedError
			if err := evil.Connect(t.Context(), a.AddrInfo()); !errors.As(err, &refused) || refused.Code != p2p.Shunned || !refused.ByThem {
				t.Errorf("the attacker came back: %v", err)
			}
			// A true proof still travels, and nothing but it has.
			cheat := ok(ledger.NewKey())(t)
			if _, _, err := a.book.Convict(t.Context(), proofAgainst(t, cheat).Encode()); err != nil {
				t.Fatal(err)
			}
			a.awaitFrozen(t, cheat.Account())
			b.awaitFrozen(t, cheat.Account())
			for _, n := range []*node{a, b} {
				if raw := ok(n.book.Proof(victim.Account()))(t); raw != nil {
					t.Error("a forged proof convicts")
				}
			}
		})
	}
}

// publish gossips bytes as they are, through a node that checks nothing.
func publish(t testing.TB, n *node, b []byte) {
	t.Helper()
	topic := ok(n.PubSub().Join(p2p.Prefix(n.book.Network()) + "/fraud"))(t)
	if err := topic.Publish(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// deaf is a DHT whose nodes keep and find nothing, as when the keys are suppressed.
type deaf struct{ routing.ValueStore }

var errDeaf = errors.New("suppressed")

func (deaf) PutValue(context.Context, string, []byte, ...routing.Option) error { return errDeaf }
func (deaf) GetValue(context.Context, string, ...routing.Option) ([]byte, error) {
	return nil, routing.ErrNotFound
}

func TestAttack28SuppressedHeads(t *testing.T) {
	deafen := func(_ *p2p.Config, c *fraud.Config) { c.Routing = deaf{} }
	a, b, c := start(t, deafen), start(t, deafen), start(t, deafen)
	a.meet(t, b)
	a.inMesh(t, 1)
	cheat := ok(ledger.NewKey())(t)
	proof := proofAgainst(t, cheat)
	if _, _, err := a.book.Convict(t.Context(), proof.Encode()); err != nil {
		t.Fatal(err)
	}
	b.awaitFrozen(t, cheat.Account()) // by gossip
	c.meet(t, b)                      // who was away asks whom it meets
	c.awaitFrozen(t, cheat.Account())
	if raw := ok(c.book.Proof(cheat.Account()))(t); !bytes.Equal(raw, proof.Encode()) {
		t.Error("another proof arrived")
	}
}

// Two payees accepted locks for one place in a chain. They never meet each other, but what they put
// into the DHT does.
func TestLocksForOnePlaceMeetInTheDHT(t *testing.T) {
	middle := start(t, nil)
	a, b := start(t, nil), start(t, nil)
	a.meet(t, middle)
	b.meet(t, middle)
	cheat := ok(ledger.NewKey())(t)
	two := locks(t, cheat, a.key.Account(), b.key.Account())
	for i, n := range []*node{a, b} {
		await(t, "somebody in the DHT", func() bool { return n.DHT().RoutingTable().Size() > 0 })
		ok(n.book.AcceptLock(t.Context(), two[i], time.Now()))(t)
		n.spread.Accepted(two[i], nil)
	}
	for _, n := range []*node{a, b, middle} {
		n.awaitFrozen(t, cheat.Account())
	}
}

// The disk was rolled back: the peer that got our newest entry shows it on connect.
func TestPeerShowsWhatTheDiskHasLost(t *testing.T) {
	payer, payee := start(t, nil), start(t, nil)
	lost := locks(t, payer.key, payee.key.Account())[0] // not in the payer's book
	ok(payee.book.AcceptLock(t.Context(), lost, time.Now()))(t)
	payer.meet(t, payee)
	await(t, "that the book which lost an entry signs no more", func() bool { return payer.book.ReadOnly() != nil })
	if _, err := payer.book.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)}); !errors.Is(err, ledger.ErrReadOnly) {
		t.Error(err)
	}
}

// Two members were granted credit for one place in a mint's chain. They never meet each other, but what they put
// into the DHT does, and everybody comes to know; nobody takes up what the mint grants after that.
func TestGrantsForOnePlaceMeetInTheDHT(t *testing.T) {
	mint := ok(ledger.NewKey())(t)
	org := ledger.GrantedGenesis("org", ledger.Mint{Account: mint.Account(), Cap: 100 * ledger.Credit})
	middle, a, b := startIn(t, org, nil), startIn(t, org, nil), startIn(t, org, nil)
	a.meet(t, middle)
	b.meet(t, middle)
	sign := func(to ledger.Account, amount ledger.Credits) []byte {
		return ok(mint.SignGrant(ledger.Grant{Network: ok(org.ID())(t), Mint: mint.Account(), To: to, Amount: amount, Total: amount}))(t)
	}
	for _, n := range []*node{a, b} {
		await(t, "somebody in the DHT", func() bool { return n.DHT().RoutingTable().Size() > 0 })
		raw := sign(n.key.Account(), 60*ledger.Credit)
		if _, err := n.book.ClaimGrant(t.Context(), raw); err != nil && !convicts(err) { // the second may have heard of the first
			t.Fatal(err)
		}
		n.spread.Claimed(raw)
	}
	for _, n := range []*node{a, b, middle} {
		n.awaitFrozen(t, mint.Account())
		if _, err := n.book.ClaimGrant(t.Context(), sign(n.key.Account(), ledger.Credit)); !convicts(err) {
			t.Errorf("a grant of a frozen mint: %v", err)
		}
	}
	late := startIn(t, org, nil) // who was away asks whom it meets
	late.meet(t, middle)
	late.awaitFrozen(t, mint.Account())
}

func convicts(err error) bool {
	return errors.Is(err, ledger.ErrFrozen) || errors.As(err, new(*ledger.MintError))
}

// Two members were granted credit for places that are far apart in a mint's chain, and whose totals contradict each other.
// In the DHT they do not meet; when the two connect they do.
func TestNewestGrantsMeetOnConnecting(t *testing.T) {
	mint := ok(ledger.NewKey())(t)
	org := ledger.GrantedGenesis("org", ledger.Mint{Account: mint.Account(), Cap: 100 * ledger.Credit})
	a, b := startIn(t, org, nil), startIn(t, org, nil)
	for i, n := range []*node{a, b} {
		g := ledger.Grant{Network: ok(org.ID())(t), Mint: mint.Account(), Seq: 3 + 700*uint64(i), Prev: ledger.Digest{1}, To: n.key.Account(), Amount: 60 * ledger.Credit, Total: 90 * ledger.Credit}
		ok(n.book.ClaimGrant(t.Context(), ok(mint.SignGrant(g))(t)))(t)
	}
	a.meet(t, b)
	a.awaitFrozen(t, mint.Account())
	b.awaitFrozen(t, mint.Account())
}

// await looks until something is so that nothing tells of, such as who is in libp2p's tables.
func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
