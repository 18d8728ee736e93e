package dht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/routing"
	"golang.org/x/sync/errgroup"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
)

// Routing is what is needed of a Kademlia DHT made with Validators (*dht.IpfsDHT of go-libp2p-kad-dht).
type Routing interface {
	routing.ValueStore
	routing.ContentRouting
	NetworkSize() (int32, error)
}

// A Config is what a Market works with. All fields but Log are required.
type Config struct {
	Host    host.Host
	Routing Routing
	PubSub  *pubsub.PubSub
	Key     crypto.PrivKey // the host's node key, which signs
	Network ledger.Network
	Prefix  string       // of the network's topics, "/p3/…"
	Log     *slog.Logger // nil = slog.Default()
}

const (
	announceGap = 300 * time.Millisecond // between announcements of changed terms
	freeGap     = 30 * time.Second       // … when only the number of free slots changed: a lease request tells the truth anyway
	greetDelay  = 2 * time.Second        // from a neighbour's coming to its greeting
	renewOffer  = market.OfferTTL / 2
	renewAdvert = market.AdvertTTL / 2
	retryAfter  = 15 * time.Second // when the DHT could not be told
	searchEvery = 2 * time.Minute
	fewOffers   = 64 // below it, we search
)

// A Market is this node's part in the market of its network.
type Market struct {
	cfg       Config
	log       *slog.Logger
	self      peer.ID
	directory *market.Directory
	jobs      *market.JobBoard
	changed   chan struct{} // own terms or adverts changed; capacity 1

	mu      sync.Mutex             // guards what follows
	offer   *listing[market.Offer] // nil until the first Publish
	adverts map[exec.JobID]*listing[market.Advert]
	serving map[peer.ID]bool // whose streams are being answered
}

// A listing is something of our own that is announced again and again.
type listing[T any] struct {
	terms  T         // unsigned
	raw    []byte    // as signed last; nil = never
	signed time.Time // when
	due    time.Time // when to sign and announce it again
	toDHT  bool      // others who look it up should know the change
}

// change sets new terms, to be announced within gap of the last time.
func (l *listing[T]) change(terms T, gap time.Duration, toDHT bool) {
	l.terms = terms
	if due := l.signed.Add(gap); l.due.IsZero() || due.Before(l.due) {
		l.due = due
	}
	l.toDHT = l.toDHT || toDHT
}

// New prepares a Market; Run makes it work.
func New(cfg Config) (*Market, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	id, err := peer.IDFromPrivateKey(cfg.Key)
	if err != nil || id != cfg.Host.ID() {
		return nil, fmt.Errorf("market key is not that of host %s", cfg.Host.ID())
	}
	return &Market{
		cfg: cfg, log: cfg.Log, self: id, directory: market.NewDirectory(), jobs: market.NewJobBoard(),
		serving: map[peer.ID]bool{}, changed: make(chan struct{}, 1),
		adverts: map[exec.JobID]*listing[market.Advert]{},
	}, nil
}

// Directory lists the offers known, our own included.
func (m *Market) Directory() *market.Directory { return m.directory }

// Jobs lists the job adverts known, our own included.
func (m *Market) Jobs() *market.JobBoard { return m.jobs }

// Publish offers these terms (account, name, binding, capacity, price, free slots, policy),
// now and, renewed in time, until the next Publish or Withdraw. Terms that did not change
// cost nothing; a change of free slots alone travels within half a minute, all else at once. It fails, and changes nothing, when they cannot be signed.
func (m *Market) Publish(terms market.Offer) error {
	terms.Header.Network, terms.Header.Seq = m.cfg.Network, 0
	if _, err := market.SignOffer(terms, m.cfg.Key, time.Now()); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setOffer(terms)
	return nil
}

// Withdraw stops offering and tells others.
func (m *Market) Withdraw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.offer != nil {
		gone := m.offer.terms
		gone.Capacity.Slots, gone.FreeSlots = 0, 0
		m.setOffer(gone)
	}
}

// setOffer is called with m.mu held.
func (m *Market) setOffer(terms market.Offer) {
	if m.offer == nil {
		m.offer = &listing[market.Offer]{}
		m.offer.change(terms, announceGap, true)
		m.poke()
		return
	}
	old := m.offer.terms
	if old.Same(terms) && bytes.Equal(old.Binding, terms.Binding) {
		return
	}
	free := terms.FreeSlots
	terms.FreeSlots = old.FreeSlots
	onlyFree := old.Same(terms) && (old.FreeSlots > 0) == (free > 0)
	terms.FreeSlots = free
	if onlyFree {
		m.offer.change(terms, freeGap, false)
	} else {
		m.offer.change(terms, announceGap, true)
	}
	m.poke()
}

// Advertise announces a job that looks for hosts, renewed until Retract. It fails when the
// advert cannot be signed.
func (m *Market) Advertise(a market.Advert) error {
	a.Header.Network, a.Header.Seq = m.cfg.Network, 0
	if _, err := market.SignAdvert(a, m.cfg.Key, time.Now()); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch l := m.adverts[a.Job]; {
	case l == nil:
		l = &listing[market.Advert]{}
		l.change(a, announceGap, true)
		m.adverts[a.Job] = l
	case l.terms.Ceiling != a.Ceiling || l.terms.Need != a.Need || l.terms.Withdrawn() != a.Withdrawn():
		l.change(a, announceGap, false)
	case l.terms.Waiting != a.Waiting:
		l.change(a, freeGap, false)
	default:
		return nil
	}
	m.poke()
	return nil
}

// Retract takes a job's advert back.
func (m *Market) Retract(job exec.JobID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.adverts[job]; l != nil && !l.terms.Withdrawn() {
		gone := l.terms
		gone.Waiting = 0
		l.change(gone, announceGap, false)
		m.poke()
	}
}

func (m *Market) poke() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// own is what we serve of our own, signed.
func (m *Market) own() (offer []byte, adverts [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.adverts {
		if l.raw != nil {
			adverts = append(adverts, l.raw)
		}
	}
	if m.offer != nil {
		offer = m.offer.raw
	}
	return offer, adverts
}

// Run takes part in the market until ctx ends. It returns ctx's error, or why it could not begin.
func (m *Market) Run(ctx context.Context) error {
	offers, err := m.join("/offers", m.takeOffer)
	if err != nil {
		return err
	}
	defer offers.leave()
	adverts, err := m.join("/adverts", m.takeAdvert)
	if err != nil {
		return err
	}
	defer adverts.leave()
	events, err := m.cfg.Host.EventBus().Subscribe([]any{new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerProtocolsUpdated)})
	if err != nil {
		return fmt.Errorf("watch peers: %w", err)
	}
	defer events.Close()
	m.cfg.Host.SetStreamHandler(OfferProtocol, m.serve)
	defer m.cfg.Host.RemoveStreamHandler(OfferProtocol)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return offers.drain(ctx) })
	g.Go(func() error { return adverts.drain(ctx) })
	comers := make(chan struct{}, 1)
	g.Go(func() error { return offers.watch(ctx, comers) })
	g.Go(func() error { return adverts.watch(ctx, comers) })
	g.Go(func() error { return m.greet(ctx, comers, offers, adverts) })
	g.Go(func() error { return m.meet(ctx, events.Out()) })
	g.Go(func() error { return m.announce(ctx, offers, adverts) })
	g.Go(func() error { return m.search(ctx) })
	return g.Wait()
}

// meet asks peers for their offers once they are known to speak the protocol.
func (m *Market) meet(ctx context.Context, events <-chan any) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, 8)
	ask := func(p peer.ID) {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := m.ask(ctx, p); err != nil && ctx.Err() == nil {
				m.log.Debug("offers not fetched", "peer", p, "err", err)
			}
		})
	}
	for _, p := range m.cfg.Host.Network().Peers() {
		if ok, _ := m.cfg.Host.Peerstore().SupportsProtocols(p, OfferProtocol); len(ok) > 0 {
			ask(p)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-events:
			if !ok {
				return errors.New("host closed")
			}
			switch e := e.(type) {
			case event.EvtPeerIdentificationCompleted:
				if has(e.Protocols) {
					ask(e.Peer)
				}
			case event.EvtPeerProtocolsUpdated:
				if has(e.Added) {
					ask(e.Peer)
				}
			}
		}
	}
}

func has(ids []protocol.ID) bool {
	for _, id := range ids {
		if id == OfferProtocol {
			return true
		}
	}
	return false
}
