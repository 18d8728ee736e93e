package fraud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
	"golang.org/x/sync/errgroup"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node/job"
)

// Bounds and times, all judgements.
const (
	queueSize  = 256              // proofs and locks that wait to be spread; more are left to the other ways
	putters    = 4                // DHT operations at a time
	putTimeout = time.Minute      // of one
	askAgain   = 10 * time.Minute // before the DHT is asked again for a proof against the same payer
	maxAsked   = 4096             // payers remembered as asked
	renewEvery = 20 * time.Minute // well within the hour that nodes keep DHT values
	renewMost  = 16               // proofs a node renews at a time, chosen at random
)

// A Book keeps proofs: ledger.Book.
type Book interface {
	Account() ledger.Account
	Network() ledger.Network
	Genesis() ledger.Genesis
	Convict(ctx context.Context, proof []byte) (p ledger.Proof, news bool, err error)
	Proof(ledger.Account) ([]byte, error)
	Proofs(from ledger.Account, yield func(a ledger.Account, raw []byte) bool) error
	Newest(ledger.Account) ([]byte, error)
	Till() (binding []byte, office bool)
	Lineage() ([]ledger.Succession, error)
	Successions(from ledger.Account, yield func(old ledger.Account, s ledger.Succession) bool) error
	LearnSuccession(ctx context.Context, s ledger.Succession, shower ledger.Account) (news bool, err error)
	CheckOwn(ctx context.Context, entry []byte) error
	LearnGrant(ctx context.Context, grant []byte) (ledger.Grant, error)
	NewestGrant(mint ledger.Account) ([]byte, error)
	HeldGrants(a ledger.Account, epoch uint32, seq uint64, n int) ([]ledger.TakenGrant, error)
	Held(a ledger.Account, epoch uint32, seq uint64, n int) (out []ledger.Receipt, next uint64, err error)
}

// A Config is the network that a Spreader works with. All fields but Rekeyed are required.
type Config struct {
	Net     job.Network
	Account func(peer.ID) (ledger.Account, bool) // that a connected peer has proven to act for
	Routing routing.ValueStore                   // made with Validators
	PubSub  *pubsub.PubSub
	Prefix  string                         // of the network's topics, "/p3/…"
	Shun    func(p peer.ID, why string)    // has nothing to do with a peer for a while
	Tell    func(p ledger.Proof, own bool) // an account was frozen; own: this node found out
	Rekeyed func(s ledger.Succession)      // an account goes on under another key; may be nil
}

// A Spreader tells others whom this node's book convicts, and tells the book of whom others convict.
type Spreader struct {
	book  Book
	log   *slog.Logger
	cfg   Config            // since Start
	found chan ledger.Proof // frozen just now
	forks chan ledger.Proof // not looked at yet
	locks chan []byte       // accepted just now

	grants chan []byte // taken up just now

	mu     sync.Mutex                   // guards what follows
	heard  map[ledger.Account]int       // how often from others, on their way through the book
	asked  map[ledger.Account]time.Time // the DHT, for a proof
	bucket map[peer.ID]*bucket
	asking map[peer.ID]bool // whose questions are being answered
}

// New prepares a Spreader. Validators may be used at once; Start gives it the network.
func New(book Book, log *slog.Logger) *Spreader {
	return &Spreader{
		book: book, log: log,
		found: make(chan ledger.Proof, queueSize), forks: make(chan ledger.Proof, queueSize), locks: make(chan []byte, queueSize), grants: make(chan []byte, queueSize),
		heard: map[ledger.Account]int{}, asked: map[ledger.Account]time.Time{}, bucket: map[peer.ID]*bucket{}, asking: map[peer.ID]bool{},
	}
}

// Start gives the Spreader its network and serves Protocol. Call it once, before Run and Met.
func (s *Spreader) Start(cfg Config) {
	s.cfg = cfg
	cfg.Net.Handle(Protocol, maxFrame, s.serve)
}

// Convicted takes note of an account that the book has frozen (ledger.Book.OnConvict). It never blocks.
func (s *Spreader) Convicted(p ledger.Proof) {
	select {
	case s.found <- p:
	default:
	}
}

// Accepted takes note of a LOCK that the book has accepted from a payer, with the certificate of the network's
// witnesses if it has any. It never blocks.
func (s *Spreader) Accepted(lock, certificate []byte) {
	select {
	case s.locks <- slices.Concat(lock, certificate):
	default:
	}
}

// Claimed takes note of a grant that the book has taken up: two for one place in a mint's chain meet in the
// DHT, though nobody holds both. It never blocks.
func (s *Spreader) Claimed(grant []byte) {
	select {
	case s.grants <- bytes.Clone(grant):
	default:
	}
}

// conflict takes note of two signed entries that met in the DHT, and of the witnesses that signed both.
func (s *Spreader) conflict(a, b placed) {
	s.suspect(ledger.ProofFork, a.raw, b.raw)
	for _, p := range ledger.DoubleSigns(s.book.Genesis(), a.e, a.certificate, b.e, b.certificate) {
		s.suspect(p.Kind, p.A, p.B)
	}
}

// suspect takes note of signed records that met in the DHT. It never blocks.
func (s *Spreader) suspect(kind ledger.ProofKind, a, b []byte) {
	p, err := ledger.NewProof(kind, bytes.Clone(a), bytes.Clone(b))
	if err != nil {
		return
	}
	select {
	case s.forks <- p:
	default:
	}
}

// hear hands the book a proof that somebody sent. An error is one of the proof itself.
func (s *Spreader) hear(ctx context.Context, raw []byte) (news bool, err error) {
	p, err := ledger.ParseProof(raw)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	s.heard[p.Account]++
	s.mu.Unlock()
	if _, news, err = s.book.Convict(ctx, raw); !news { // else publish takes it off
		s.unhear(p.Account)
	}
	return news, err
}

// unhear takes one hearing off and reports whether there was any.
func (s *Spreader) unhear(a ledger.Account) (was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was = s.heard[a] > 0; was {
		s.heard[a]--
	}
	if s.heard[a] == 0 {
		delete(s.heard, a)
	}
	return was
}

// forged reports whether an error shows that the proof itself is bad, not our disk.
func forged(err error) bool {
	return errors.Is(err, ledger.ErrMalformed) || errors.Is(err, ledger.ErrSignature) || errors.As(err, new(*ledger.NetworkError))
}

// Run spreads until ctx ends. It returns ctx's error, or why it could not begin.
func (s *Spreader) Run(ctx context.Context) error {
	t, err := s.join("/fraud", s.validate)
	if err != nil {
		return err
	}
	defer t.leave()
	h, err := s.join("/heirs", s.validateHeir)
	if err != nil {
		return err
	}
	defer h.leave()
	g, ctx := errgroup.WithContext(ctx)
	puts := make(chan ledger.Proof, queueSize)
	g.Go(func() error { return t.drain(ctx) })
	g.Go(func() error { return h.drain(ctx) })
	g.Go(func() error { return s.announce(ctx, h) })
	g.Go(func() error { return s.publish(ctx, t, puts) })
	g.Go(func() error { return s.judge(ctx) })
	for range putters {
		g.Go(func() error { return s.put(ctx, puts) })
	}
	g.Go(func() error { return s.renew(ctx, puts) })
	return g.Wait()
}

// publish gossips each account that was frozen; what this node found out itself goes into the DHT too.
func (s *Spreader) publish(ctx context.Context, t *topic, puts chan<- ledger.Proof) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-s.found:
			own := !s.unhear(p.Account)
			s.cfg.Tell(p, own)
			if err := t.t.Publish(ctx, p.Encode()); err != nil && ctx.Err() == nil {
				s.log.Debug("proof not gossiped", "account", p.Account, "err", err)
			}
			if own {
				select {
				case puts <- p:
				default:
				}
			}
		}
	}
}

// judge hands the book what met in the DHT.
func (s *Spreader) judge(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-s.forks:
			if _, _, err := s.book.Convict(ctx, p.Encode()); err != nil && ctx.Err() == nil {
				s.log.Warn("fork", "account", p.Account, "err", err)
			}
		}
	}
}

// put stores proofs, accepted locks and claimed grants in the DHT, and asks it for proofs against payers and mints.
func (s *Spreader) put(ctx context.Context, puts <-chan ledger.Proof) error {
	for {
		var key string
		var value []byte
		var payer *ledger.Account
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-puts:
			key, value = proofKey(p.Account), p.Encode()
		case raw := <-s.grants:
			g, err := ledger.ParseGrant(raw)
			if err != nil {
				continue
			}
			key, value, payer = grantKey(g), raw, &g.Mint
		case raw := <-s.locks:
			x, err := parsePlaced(raw)
			if err != nil {
				continue
			}
			key, value, payer = headKey(x.e), raw, &x.e.Account
		}
		s.within(ctx, func(ctx context.Context) error {
			if err := s.cfg.Routing.PutValue(ctx, key, value); err != nil {
				return fmt.Errorf("put %s: %w", key, err)
			}
			return nil
		})
		if payer != nil && s.ask(*payer, time.Now()) {
			s.within(ctx, func(ctx context.Context) error { return s.lookUp(ctx, *payer) })
			s.within(ctx, func(ctx context.Context) error { return s.lookUpHeir(ctx, *payer) })
		}
	}
}

func (s *Spreader) within(ctx context.Context, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	if err := do(ctx); err != nil && ctx.Err() == nil {
		s.log.Debug("fraud: dht", "err", err)
	}
}

// ask reports whether the DHT is to be asked about a payer now.
func (s *Spreader) ask(a ledger.Account, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.asked[a]; ok && now.Sub(at) < askAgain {
		return false
	}
	if len(s.asked) >= maxAsked {
		clear(s.asked)
	}
	s.asked[a] = now
	return true
}

// lookUp asks the DHT for a proof against an account.
func (s *Spreader) lookUp(ctx context.Context, a ledger.Account) error {
	raw, err := s.cfg.Routing.GetValue(ctx, proofKey(a))
	if err != nil {
		if errors.Is(err, routing.ErrNotFound) {
			return nil
		}
		return fmt.Errorf("look up %s: %w", proofKey(a), err)
	}
	_, err = s.hear(ctx, raw)
	return err
}

// renew keeps proofs in the DHT: each node some of those it holds.
func (s *Spreader) renew(ctx context.Context, puts chan<- ledger.Proof) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for _, raw := range s.some(renewMost, nil) {
			p, err := ledger.ParseProof(raw)
			if err != nil {
				s.log.Warn("proof in the ledger", "err", err)
				continue
			}
			select {
			case puts <- p:
			default:
			}
		}
	}
}
