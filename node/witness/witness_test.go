package witness

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"go.uber.org/goleak"

	"github.com/personal-power-plant/p3/exec/canon"
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

// A world is a network with witnesses, all on loopback.
type world struct {
	t       testing.TB
	genesis ledger.Genesis
	keys    []ledger.Key // of the witnesses, in the order of the genesis
	nodes   []*node      // who are they
	all     []*node
}

// A node is a book, what spreads proofs, and a client, on a real libp2p host.
type node struct {
	*p2p.Node
	key    ledger.Key
	store  *ledgertest.Memory // nil = on disk
	book   *ledger.Book
	spread *fraud.Spreader
	client *Client
	server *Server
	disk   ledger.Store // of the witness
	fence  ledger.Fence // likewise, nil = none
	stop   func()
}

func newWorld(t testing.TB, witnesses int) *world {
	t.Helper()
	w := &world{t: t, genesis: ledger.MutualGenesis("council", 10*ledger.Credit)}
	keys := map[ledger.Account]ledger.Key{}
	var accounts []ledger.Account
	for range witnesses {
		k := ok(ledger.NewKey())(t)
		keys[k.Account()] = k
		accounts = append(accounts, k.Account())
	}
	w.genesis = w.genesis.Witnessed(accounts...)
	for _, a := range w.genesis.Witnesses {
		w.keys = append(w.keys, keys[a])
		w.nodes = append(w.nodes, w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory()))
	}
	return w
}

// add starts a node that ends with the test, and connects it to all others.
func (w *world) add(key ledger.Key, store ledger.Store) *node {
	t := w.t
	t.Helper()
	n := &node{key: key}
	n.store, _ = store.(*ledgertest.Memory)
	n.book = ok(ledger.OpenBook(t.Context(), store, key, w.genesis))(t)
	quiet := slog.New(slog.DiscardHandler)
	n.spread = fraud.New(n.book, quiet)
	n.book.OnConvict(n.spread.Convicted)
	validators := n.spread.Validators()
	for space, v := range Validators(w.genesis, n.book.Network()) {
		validators[space] = v
	}
	cfg := p2p.Config{
		Key: ok(p2p.NewKey())(t), Network: n.book.Network(), Name: "node", Agent: "p3/test", Small: true, Reach: p2p.ReachPublic, Log: quiet,
		Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Validators: validators,
	}
	cfg.Binding = ok(n.book.Bind([]byte(ok(peer.IDFromPrivateKey(cfg.Key))(t)), 1, time.Now().Add(time.Hour)))(t)
	n.Node = ok(p2p.Start(t.Context(), cfg))(t)
	n.client = New(n.book, Config{Net: streams{n.Node}, Routing: n.DHT()}, quiet)
	n.spread.Start(fraud.Config{Net: streams{n.Node}, Account: n.Account, Routing: n.DHT(), PubSub: n.PubSub(), Prefix: p2p.Prefix(n.book.Network()),
		Shun: n.Shun, Tell: func(ledger.Proof, bool) {}})
	run, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.spread.Run(run) })
	events, unsubscribe := n.Subscribe()
	wg.Go(func() {
		for e := range events {
			if e.Kind == p2p.PeerGreeted {
				wg.Go(func() { n.spread.Met(run, e.Peer) })
			}
		}
	})
	n.stop = sync.OnceFunc(func() {
		cancel()
		unsubscribe()
		n.client.Close()
		n.Close()
		wg.Wait()
		n.book.Close()
	})
	t.Cleanup(n.stop)
	for _, o := range w.all {
		if err := n.Connect(t.Context(), o.AddrInfo()); err != nil {
			t.Fatal(err)
		}
	}
	w.all = append(w.all, n)
	return n
}

// binding is where the i-th witness is asked.
func (w *world) binding(i int) []byte {
	w.t.Helper()
	network := ok(w.genesis.ID())(w.t)
	return ok(w.keys[i].SignBinding(ledger.NodeBinding{Network: network, Account: w.keys[i].Account(), PeerID: []byte(w.nodes[i].ID()), Seq: 1,
		ExpiryMs: uint64(time.Now().Add(time.Hour).UnixMilli())}))(w.t)
}

// serve makes witnesses answer, honestly.
func (w *world) serve(which ...int) {
	w.t.Helper()
	for _, i := range which {
		n := w.nodes[i]
		if n.disk == nil {
			n.disk = ledgertest.NewMemory()
		}
		x := ok(ledger.OpenWitness(w.t.Context(), n.disk, n.fence, w.keys[i], w.genesis, n.book))(w.t)
		binding := w.binding(i)
		n.server = Serve(x, ServerConfig{Net: streams{n.Node}, Genesis: w.genesis, Account: n.Account, Binding: func() []byte { return binding }, Log: slog.New(slog.DiscardHandler),
			Convict: func(ctx context.Context, proof []byte) {
				if _, _, err := n.book.Convict(ctx, proof); err != nil {
					w.t.Error(err)
				}
			}})
	}
}

// corrupt makes witnesses sign whatever they are shown.
func (w *world) corrupt(which ...int) {
	for _, i := range which {
		key, binding := w.keys[i], w.binding(i)
		streams{w.nodes[i].Node}.Handle(Protocol, maxFrame, func(_ context.Context, s job.Stream) {
			for {
				b, err := s.ReadFrame()
				if err != nil {
					return
				}
				q, _, err := parseQuestion(b, 3)
				if err != nil {
					return
				}
				a := answer{Binding: binding}
				if !q.Who {
					e, err := ledger.ParseEntry(q.Shown[len(q.Shown)-1].Entry)
					if err != nil {
						return
					}
					raw, err := key.SignStatement(ledger.StatementOn(key.Account(), e, e.Digest()))
					if err != nil {
						return
					}
					a = answer{Statement: raw}
				}
				if write(s, a) != nil {
					return
				}
			}
		})
	}
}

// meet has a node find out who the witnesses are.
func (n *node) meet(t testing.TB, w *world) {
	t.Helper()
	for _, o := range w.nodes {
		n.client.Met(t.Context(), o.ID())
	}
}

func (n *node) reserve(t testing.TB, payee ledger.Account, amount ledger.Credits, life time.Duration) ledger.SignedEntry {
	t.Helper()
	return ok(n.book.Lock(t.Context(), ledger.LockRequest{Payee: payee, Amount: amount, Evidence: ledger.Digest{7}, Expiry: time.Now().Add(life)}))(t)
}

// await waits for something that others bring about.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func TestQuorumSignsAndADeadWitnessIsNotMissed(t *testing.T) {
	w := newWorld(t, 4)
	w.serve(0, 1, 2, 3)
	payer, payee := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory()), w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	payer.meet(t, w)
	for i := range 4 { // the fourth is seen to be dead by all but the first
		if i == 1 {
			w.nodes[3].stop()
		}
		lock := payer.reserve(t, payee.book.Account(), ledger.Credit, time.Hour)
		cert := ok(payer.client.Certify(t.Context(), lock.Raw))(t)
		ok(payee.book.AcceptWitnessed(t.Context(), lock.Raw, cert, time.Now()))(t)
		last, known := payer.client.Last()
		signed := ok(ledger.ParseCertificate(cert))(t)
		if !known || last.Lock != lock.Digest || len(last.By) != 3 || last.By[2] != w.genesis.Witnesses[signed[2].Witness] {
			t.Errorf("last certificate %+v", last)
		}
	}
	w.nodes[2].stop() // one more is one too many
	lock := payer.reserve(t, payee.book.Account(), ledger.Credit, time.Hour)
	_, err := payer.client.Certify(t.Context(), lock.Raw)
	var few *ledger.QuorumError
	if !errors.As(err, &few) || few.Signed != 2 || few.Need != 3 || few.Of != 4 || len(few.Why) != 2 || !errors.Is(err, ledger.ErrUnwitnessed) {
		t.Errorf("%v", err)
	}
	if !strings.Contains(err.Error(), "2 of 4 witnesses answer, it takes 3") {
		t.Errorf("%v", err)
	}
}

// A payer who has had a lease witnessed, and its work, wants the credit back: it signs another past, in which that
// lock never was, and offers its credit to somebody else.
func TestAttack08RetroactiveFork(t *testing.T) {
	w := newWorld(t, 4)
	w.serve(0, 1, 2)
	w.corrupt(3) // f of them sign whatever they get
	key, store := ok(ledger.NewKey())(t), ledgertest.NewMemory()
	payer := w.add(key, store)
	past := payer.store.Clone() // before the lock
	payee, other := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory()), w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	for _, n := range []*node{payer, payee, other} {
		n.meet(t, w)
	}
	const all = 10 * ledger.Credit
	lock := payer.reserve(t, payee.book.Account(), all, time.Hour)
	cert := ok(payer.client.Certify(t.Context(), lock.Raw))(t)
	ok(payee.book.AcceptWitnessed(t.Context(), lock.Raw, cert, time.Now()))(t)
	claim := ok(payee.book.Claim(t.Context(), lock.Digest, 1000, all, ledger.Digest{1}))(t)
	voucher := ok(payer.book.Vouch(t.Context(), lock.Digest, claim, all))(t)
	if err := payee.book.Credit(t.Context(), voucher, 0); err != nil {
		t.Fatal(err)
	}
	payer.stop()
	w.all = slices.DeleteFunc(w.all, func(n *node) bool { return n == payer })

	alone := ok(ledger.OpenBook(t.Context(), past, key, w.genesis))(t) // a node that peers showed its lock to would not sign
	fork := (&node{book: alone}).reserve(t, other.book.Account(), all, time.Hour)
	alone.Close()
	again := w.add(key, past)
	again.meet(t, w)
	var signed [][]byte // this payer's client asks each of them, whatever others say
	for _, s := range again.client.seats {
		raw, err := again.client.chain(t.Context(), s, target{fork.Raw, ok(ledger.ParseEntry(fork.Raw))(t), fork.Digest})
		if err == nil {
			signed = append(signed, raw)
		}
	}
	if len(signed) > 2 { // the bad one, and one that has not seen the lock
		t.Fatalf("another past has %d statements", len(signed))
	}
	for _, c := range [][]byte{nil, ok(w.genesis.Certify(signed...))(t).Encode(), cert} {
		if _, err := other.book.AcceptWitnessed(t.Context(), fork.Raw, c, time.Now()); err == nil {
			t.Error("the second payee takes a lock that no quorum signed")
		}
	}
	if _, err := again.client.Certify(t.Context(), fork.Raw); err == nil {
		t.Error("another past is witnessed")
	}
	if again.book.ReadOnly() == nil { // had it been an accident, this would end it
		t.Error("the payer's own book signs on")
	}
	for _, n := range []*node{payee, other, w.nodes[0]} {
		await(t, "the proof against the payer", func() bool { return n.book.Convicted(key.Account()) })
	}

	// The payee keeps what it earned, though the payer never settles; and can spend it, on the word of the witnesses.
	later := time.Now().Add(time.Hour + w.genesis.Grace() + time.Second)
	earn := ok(payee.book.EarnVoucher(t.Context(), lock.Digest, later))(t)
	if e := ok(ledger.ParseEntry(earn))(t); e.Amount != all {
		t.Errorf("earned %s", e.Amount)
	}
	spend := payee.reserve(t, other.book.Account(), 2*all, time.Hour) // its floor, and all that it earned
	cert = ok(payee.client.Certify(t.Context(), spend.Raw))(t)
	ok(other.book.AcceptWitnessed(t.Context(), spend.Raw, cert, time.Now()))(t)
}

// Witnesses that sign everything. One of four can neither put through two locks nor hold up one; two of four can, and
// then everybody learns who they were, and nothing is witnessed by them any more.
func TestAttack33WitnessEquivocation(t *testing.T) {
	fork := func(w *world) (payers, payees [2]*node, locks [2]ledger.SignedEntry) {
		key, store := ok(ledger.NewKey())(w.t), ledgertest.NewMemory()
		payers[0] = w.add(key, store)
		payers[1] = w.add(key, payers[0].store.Clone())
		for i := range payees {
			payees[i] = w.add(ok(ledger.NewKey())(w.t), ledgertest.NewMemory())
			locks[i] = payers[i].reserve(w.t, payees[i].book.Account(), ledger.Credit, time.Hour)
		}
		return payers, payees, locks
	}
	t.Run("f", func(t *testing.T) {
		w := newWorld(t, 4)
		w.serve(0, 1, 2)
		w.corrupt(3)
		payers, payees, locks := fork(w)
		honest := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
		var wg sync.WaitGroup
		var certs [2][]byte
		for i, p := range payers {
			p.meet(t, w)
			wg.Go(func() { certs[i], _ = p.client.Certify(context.Background(), locks[i].Raw) })
		}
		wg.Wait()
		accepted := 0
		for i, p := range payees {
			if _, err := p.book.AcceptWitnessed(t.Context(), locks[i].Raw, certs[i], time.Now()); err == nil {
				accepted++
			}
		}
		if accepted > 1 {
			t.Fatal("two locks for one place are witnessed")
		}
		honest.meet(t, w)
		lock := honest.reserve(t, payees[0].book.Account(), ledger.Credit, time.Hour)
		ok(honest.client.Certify(t.Context(), lock.Raw))(t)
	})
	t.Run("f+1", func(t *testing.T) {
		w := newWorld(t, 4)
		w.serve(0, 1)
		w.corrupt(2, 3)
		payers, payees, locks := fork(w)
		honest := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
		for i, p := range payers { // each honest one is shown another past
			for _, at := range []int{i, 2, 3} {
				p.client.Met(t.Context(), w.nodes[at].ID())
			}
			cert := ok(p.client.Certify(t.Context(), locks[i].Raw))(t)
			ok(payees[i].book.AcceptWitnessed(t.Context(), locks[i].Raw, cert, time.Now()))(t)
			await(t, "a DHT", func() bool { return payees[i].DHT().RoutingTable().Size() > 0 })
			payees[i].spread.Accepted(locks[i].Raw, cert)
		}
		for _, n := range []*node{payees[0], payees[1], honest} {
			for _, bad := range []ledger.Account{payers[0].book.Account(), w.keys[2].Account(), w.keys[3].Account()} {
				await(t, "the proof against "+bad.Short(), func() bool { return n.book.Convicted(bad) })
			}
			for _, good := range w.keys[:2] {
				if n.book.Convicted(good.Account()) {
					t.Error("an honest witness was convicted")
				}
			}
		}
		honest.meet(t, w)
		lock := honest.reserve(t, payees[0].book.Account(), ledger.Credit, time.Hour)
		_, err := honest.client.Certify(t.Context(), lock.Raw)
		var few *ledger.QuorumError
		if !errors.As(err, &few) || few.Signed != 2 || few.Need != 3 || strings.Count(err.Error(), "convicted of signing twice") != 2 {
			t.Errorf("with two of four convicted: %v", err)
		}
	})
}

// A witness is killed after it has signed and before it could say so: it has the same answer when it is back.
func TestWitnessKilledBetweenSigningAndSending(t *testing.T) {
	w := newWorld(t, 1)
	w.nodes[0].disk = ledgertest.NewMemory()
	first := ok(ledger.OpenWitness(t.Context(), w.nodes[0].disk, nil, w.keys[0], w.genesis, nil))(t)
	signed, died := make(chan []byte, 1), make(chan struct{})
	streams{w.nodes[0].Node}.Handle(Protocol, maxFrame, func(ctx context.Context, s job.Stream) {
		for {
			b, err := s.ReadFrame()
			if err != nil {
				return
			}
			q, _, err := parseQuestion(b, 1)
			switch {
			case err != nil:
				return
			case q.Who:
				_ = write(s, answer{Binding: w.binding(0)})
				continue
			}
			list := make([]ledger.Shown, len(q.Shown))
			for i, x := range q.Shown {
				list[i] = ledger.Shown(x)
			}
			statement, err := first.Sign(ctx, list)
			if a := answerOf(statement, err); a.Statement == nil {
				_ = write(s, a)
				continue
			}
			signed <- statement
			close(died)
			_ = s.Reset()
			return
		}
	})
	payer := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	payer.meet(t, w)
	lock := payer.reserve(t, ledger.Account{1}, ledger.Credit, time.Hour)
	if _, err := payer.client.Certify(t.Context(), lock.Raw); !errors.Is(err, ledger.ErrUnwitnessed) {
		t.Fatal(err)
	}
	<-died
	w.serve(0) // from what is on its disk
	payer.meet(t, w)
	cert := ok(ledger.ParseCertificate(ok(payer.client.Certify(t.Context(), lock.Raw))(t)))(t)
	if !bytes.Equal(cert.Statement(0, w.genesis, ok(ledger.ParseEntry(lock.Raw))(t), lock.Digest), <-signed) {
		t.Error("another statement after the restart")
	}
}

// The payer's whole folder was put back from a backup, with its fence. Before it signs anything it asks the witnesses, who
// hold more of its chain than it does: it signs nothing, is not convicted, and gets back what it lost.
func TestRolledBackPayerAsksItsWitnesses(t *testing.T) {
	w := newWorld(t, 4)
	w.serve(0, 1, 2) // one is away
	key := ok(ledger.NewKey())(t)
	payer := w.add(key, ledgertest.NewMemory())
	payer.meet(t, w)
	if err := payer.client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := payer.reserve(t, ledger.Account{1}, ledger.Credit, time.Hour)
	ok(payer.client.Certify(t.Context(), kept.Raw))(t)
	backup := payer.store.Clone()
	ok(payer.book.Settle(t.Context(), kept.Digest))(t)
	lost := payer.reserve(t, ledger.Account{2}, ledger.Credit, time.Hour)
	ok(payer.client.Certify(t.Context(), lost.Raw))(t)
	payer.stop()
	w.all = slices.DeleteFunc(w.all, func(n *node) bool { return n == payer })

	again := w.add(key, backup)
	again.meet(t, w)
	if err := again.client.Ready(t.Context()); !errors.Is(err, ledger.ErrReadOnly) || !strings.Contains(err.Error(), "p3 credit recover") {
		t.Fatalf("ready: %v", err)
	}
	if _, err := again.book.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{3}, Amount: 1, Evidence: ledger.Digest{7}, Expiry: time.Now().Add(time.Hour)}); !errors.Is(err, ledger.ErrReadOnly) {
		t.Fatalf("it signs on a chain that has lost its end: %v", err)
	}
	_, from, _ := again.book.Lost()
	r := ok(again.book.Recover(t.Context(), again.client.Held(t.Context(), from), true))(t)
	if !r.Signs || r.Entries != 2 || again.book.Head().Len != 4 {
		t.Fatalf("%+v, at %d", r, again.book.Head().Len)
	}
	if err := again.client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	ok(again.client.Certify(t.Context(), again.reserve(t, ledger.Account{3}, ledger.Credit, time.Hour).Raw))(t)
	for _, n := range w.nodes {
		if n.book.Convicted(key.Account()) {
			t.Error("an accident was taken for fraud")
		}
	}
	stranger := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	if a := w.nodes[0].server.answer(t.Context(), stranger.ID(), ok(canon.Marshal(question{Own: &own{Account: key.Account()}}))(t)); a.Refuse == nil || len(a.Entries) > 0 {
		t.Errorf("a stranger reads the payer's chain: %+v", a)
	}
}

// A payer settles for nothing behind its payee's back. The payee has its voucher: once the witnesses are shown what it took up by
// that, they hold the payer's settle against it, convict the payer, and let the payee spend what it was promised.
func TestWitnessesConvictWhoSettlesBelowAVoucher(t *testing.T) {
	w := newWorld(t, 4)
	w.serve(0, 1, 2, 3)
	key := ok(ledger.NewKey())(t)
	payer, payee := w.add(key, ledgertest.NewMemory()), w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	payer.meet(t, w)
	payee.meet(t, w)
	lock := payer.reserve(t, payee.book.Account(), 10*ledger.Credit, time.Minute)
	ok(payee.book.AcceptWitnessed(t.Context(), lock.Raw, ok(payer.client.Certify(t.Context(), lock.Raw))(t), time.Now()))(t)
	claim := ok(ledger.ParseClaim(ok(payee.book.Claim(t.Context(), lock.Digest, 1, 10*ledger.Credit, ledger.Digest{1}))(t)))(t)
	voucher := ok(key.SignVoucher(ledger.Voucher{Network: claim.Network, Lock: lock.Digest, K: 1, Amount: 10 * ledger.Credit, Claim: claim.Digest()}))(t)
	if err := payee.book.Credit(t.Context(), voucher, 1); err != nil {
		t.Fatal(err)
	}
	low := ok(ledger.ParseEntry(ok(payer.book.Settle(t.Context(), lock.Digest))(t)))(t) // its book knows of no voucher
	if low.Amount != 0 {
		t.Fatalf("settled for %s", low.Amount)
	}
	for range 2 {
		ok(payer.client.Certify(t.Context(), payer.reserve(t, w.nodes[0].book.Account(), 1, time.Minute).Raw))(t)
	}
	earn := ok(payee.book.EarnVoucher(t.Context(), lock.Digest, time.Now().Add(time.Hour)))(t)
	ok(payee.client.Certify(t.Context(), earn))(t)
	for i, n := range append(w.nodes, payee) {
		await(t, "the proof", func() bool { return n.book.Convicted(key.Account()) })
		if raw := ok(n.book.Proof(key.Account()))(t); ledger.ProofKind(raw[0]) != ledger.ProofUnderSettle {
			t.Errorf("node %d: %x", i, raw)
		}
	}
	again := payee.reserve(t, w.nodes[1].book.Account(), 20*ledger.Credit-2, time.Minute) // its floor, and all but what the payer locked since
	ok(payee.client.Certify(t.Context(), again.Raw))(t)
	if more, err := payer.book.Lock(t.Context(), ledger.LockRequest{Payee: w.nodes[2].book.Account(), Amount: 1, Evidence: ledger.Digest{7}, Expiry: time.Now().Add(time.Minute)}); err == nil {
		if _, err := payer.client.Certify(t.Context(), more.Raw); !errors.Is(err, ledger.ErrUnwitnessed) {
			t.Errorf("the payer goes on: %v", err)
		}
	}
}

// A witness that was away while a payer pruned could never be shown what is gone. So all are shown the chain before; then each
// signs what follows, and what one was not shown in time it asks for with the way out.
func TestEveryWitnessSeesWhatIsPruned(t *testing.T) {
	w := newWorld(t, 4)
	w.serve(0, 1, 2)
	payer := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	payer.meet(t, w)
	for payer.book.Head().Len < 2*w.genesis.Params.CheckpointEvery {
		lock := payer.reserve(t, ledger.Account{1}, 1, time.Hour)
		ok(payer.book.Settle(t.Context(), lock.Digest))(t)
	}
	var few *ledger.QuorumError
	if _, err := payer.client.ShowAll(t.Context()); !errors.As(err, &few) || few.Signed != 3 || few.Need != 4 {
		t.Fatalf("one is away: %v", err)
	}
	w.serve(3)
	payer.meet(t, w)
	end := ok(payer.client.ShowAll(t.Context()))(t)
	if n := ok(payer.book.PruneTo(t.Context(), end))(t); n < int(w.genesis.Params.CheckpointEvery) {
		t.Fatalf("%d pruned", n)
	}
	lock := payer.reserve(t, ledger.Account{1}, 1, time.Hour)
	e := ok(ledger.ParseEntry(lock.Raw))(t)
	for _, s := range payer.client.seats {
		ok(payer.client.turn(t.Context(), s, target{lock.Raw, e, lock.Digest}))(t)
	}

	hasty := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	hasty.meet(t, w)
	for hasty.book.Head().Len < 2*w.genesis.Params.CheckpointEvery {
		lock := hasty.reserve(t, ledger.Account{1}, 1, time.Hour)
		ok(hasty.book.Settle(t.Context(), lock.Digest))(t)
	}
	ok(hasty.book.Prune(t.Context()))(t)
	lock = hasty.reserve(t, ledger.Account{1}, 1, time.Hour)
	if _, err := hasty.client.Certify(t.Context(), lock.Raw); !errors.Is(err, ledger.ErrUnwitnessed) || !strings.Contains(err.Error(), "pruned here (p3 credit prune)") {
		t.Errorf("pruned before it was shown: %v", err)
	}
}

// With too few witnesses nothing is signed at all: a lock that nobody will witness would only lengthen the chain.
func TestTooFewWitnessesAreKnownBeforeALock(t *testing.T) {
	w := newWorld(t, 4)
	w.serve(0, 1)
	payer := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	payer.meet(t, w)
	var few *ledger.QuorumError
	if err := payer.client.Ready(t.Context()); !errors.As(err, &few) || few.Signed != 2 || len(few.Why) != 2 {
		t.Errorf("%v", err)
	}
	w.serve(2)
	payer.meet(t, w)
	if err := payer.client.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// The payee's disk has lost the certificate of a lock it earned from; the witnesses give theirs again.
func TestLostCertificateIsGatheredAgain(t *testing.T) {
	w := newWorld(t, 4)
	w.serve(0, 1, 2, 3)
	payer, payee := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory()), w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	payer.meet(t, w)
	payee.meet(t, w)
	lock := payer.reserve(t, payee.book.Account(), ledger.Credit, time.Hour)
	cert := ok(payer.client.Certify(t.Context(), lock.Raw))(t)
	ok(payee.book.AcceptWitnessed(t.Context(), lock.Raw, cert, time.Now()))(t)
	claim := ok(payee.book.Claim(t.Context(), lock.Digest, 1000, ledger.Credit, ledger.Digest{1}))(t)
	ok(payer.book.Vouch(t.Context(), lock.Digest, claim, ledger.Credit))(t)
	ok(payee.book.Earn(t.Context(), ok(payer.book.Settle(t.Context(), lock.Digest))(t)))(t)
	at := append(append([]byte("ledger/l/"), lock.Digest[:]...), "/w"...)
	if err := payee.store.Commit(t.Context(), ledger.Op{Key: at, Delete: true}); err != nil {
		t.Fatal(err)
	}
	ok(payee.client.Certify(t.Context(), payee.reserve(t, ledger.Account{1}, 11*ledger.Credit, time.Hour).Raw))(t)
	ok(payee.store.Get(at))(t)
}

// Nobody greets anybody here: where the witnesses are, the DHT says.
func TestWitnessesAreFoundInTheDHT(t *testing.T) {
	w := newWorld(t, 1)
	w.serve(0)
	payer := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	await(t, "a DHT", func() bool {
		return w.nodes[0].DHT().RoutingTable().Size() > 0 && payer.DHT().RoutingTable().Size() > 0
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { w.nodes[0].client.Announce(ctx, w.keys[0].Account(), func() []byte { return w.binding(0) }) })
	defer wg.Wait()
	defer cancel()
	await(t, "its announcement", func() bool {
		_, err := payer.client.where(t.Context(), payer.client.seats[0])
		return err == nil
	})
	lock := payer.reserve(t, ledger.Account{1}, ledger.Credit, time.Hour)
	ok(payer.client.Certify(t.Context(), lock.Raw))(t)
	stranger := &world{t: t, genesis: w.genesis, keys: []ledger.Key{ok(ledger.NewKey())(t)}, nodes: w.nodes}
	v := Validators(w.genesis, payer.book.Network())[space]
	if err := v.Validate(key(stranger.keys[0].Account()), stranger.binding(0)); err == nil {
		t.Error("the binding of who is no witness is kept")
	}
	if err := v.Validate(key(ledger.Account{1}), w.binding(0)); err == nil {
		t.Error("a binding is kept under another key")
	}
	if err := payer.client.learn(w.binding(0), payer.ID()); err == nil {
		t.Error("a peer says that another's witness is there")
	}
}

// What one peer asks is bounded: of checks, and of streams; others are answered meanwhile, and however many strangers ask,
// whose chain the witness follows.
func TestWitnessServesEachPeerItsShare(t *testing.T) {
	w := newWorld(t, 1)
	w.serve(0)
	s, now := w.nodes[0].server, time.Now()
	for range maxPerPeer {
		if !s.admit("a") {
			t.Fatal("refused within its share")
		}
	}
	if s.admit("a") || !s.admit("b") {
		t.Error("streams of a peer are not bounded, or bound others")
	}
	s.leave("a")
	if !s.admit("a") {
		t.Error("a stream that ended counts on")
	}
	payer := w.add(ok(ledger.NewKey())(t), ledgertest.NewMemory())
	payer.meet(t, w)
	ok(payer.client.Certify(t.Context(), payer.reserve(t, ledger.Account{1}, ledger.Credit, time.Hour).Raw))(t)
	spent := 0
	for s.allow("a", 100, now) {
		spent += 100
	}
	if spent > burstPerPeer || spent < burstPerPeer-100 {
		t.Errorf("%d checks at once, want %d", spent, burstPerPeer)
	}
	if !s.allow("b", 100, now) || !s.allow("a", 100, now.Add(time.Second)) {
		t.Error("others are held up, or for ever")
	}
	for i := range 100 { // strangers
		for s.allow(peer.ID([]byte{'x', byte(i)}), 100, now) {
		}
	}
	if s.allow("c", 100, now) {
		t.Error("strangers are not bounded together")
	}
	if !s.allow(payer.ID(), 100, now) {
		t.Error("strangers hold up a payer whose chain is followed")
	}
}

func TestWitnessAnswersGarbageWithARefusal(t *testing.T) {
	w := newWorld(t, 1)
	w.serve(0)
	for _, b := range [][]byte{nil, {0xff}, {0xa0}, {0xa1, 0x02, 0xf4}} {
		if a := w.nodes[0].server.answer(t.Context(), "p", b); a.Refuse == nil || a.Refuse.Code != CodeRecord {
			t.Errorf("%x: %+v", b, a)
		}
	}
}

func FuzzQuestion(f *testing.F) {
	k, err := ledger.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	g := ledger.MutualGenesis("fuzz", 0).Witnessed(k.Account())
	network, err := g.ID()
	if err != nil {
		f.Fatal(err)
	}
	h := ledger.Head{Network: network, Account: k.Account()}
	raw, err := k.SignEntry(h.Genesis(ledger.Digest{}, time.UnixMilli(1)))
	if err != nil {
		f.Fatal(err)
	}
	w, err := ledger.OpenWitness(f.Context(), ledgertest.NewMemory(), nil, k, g, nil)
	if err != nil {
		f.Fatal(err)
	}
	good := append([]byte{0xa1, 0x01, 0x81, 0xa1, 0x01, 0x59, 0x01, 0x5d}, raw...)
	f.Add(good)
	f.Add([]byte{0xa1, 0x02, 0xf5})
	if _, _, err := parseQuestion(good, 1); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, checks, err := parseQuestion(b, 1)
		if err != nil || q.Who {
			return
		}
		if len(q.Shown) > maxShown || checks > maxChecks+4 {
			t.Fatalf("%d entries, %d checks", len(q.Shown), checks)
		}
		list := make([]ledger.Shown, len(q.Shown))
		for i, x := range q.Shown {
			list[i] = ledger.Shown(x)
		}
		if s, err := w.Sign(t.Context(), list); err == nil {
			if _, err := ledger.VerifyStatement(s); err != nil {
				t.Fatal(err)
			}
		}
	})
}
