package dht

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/market"
)

// OfferClass is the class under which providers of an engine are found.
func OfferClass(engine string) string { return "offer/" + engine }

// AdvertClass is the class under which jobs that look for hosts are found.
const AdvertClass = "advert"

// announce signs what we list whenever it changes, and again at half its life, and tells
// the neighbours at once and the DHT in the background.
func (m *Market) announce(ctx context.Context, offers, adverts *topic) error {
	toDHT := make(chan struct{}, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { m.putLoop(ctx, toDHT) })
	due := time.NewTimer(0)
	defer due.Stop()
	expire := time.NewTicker(5 * time.Second)
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-expire.C:
			now := time.Now()
			m.directory.Expire(now)
			m.jobs.Expire(now)
			continue
		case <-m.changed:
		case <-due.C:
		}
		now := time.Now()
		next, put, out := m.sign(now)
		for _, o := range out {
			if o.advert {
				adverts.publish(ctx, o.raw)
			} else {
				offers.publish(ctx, o.raw)
			}
		}
		if put {
			select {
			case toDHT <- struct{}{}:
			default:
			}
		}
		due.Reset(next.Sub(now))
	}
}

// greet tells neighbours who have begun to listen what we list. What was announced after they fetched it (see ask)
// and before it could be sent to them would else reach them with its renewal only. In the meantime others come, and
// our own stream to them opens, without which pubsub sends nothing.
func (m *Market) greet(ctx context.Context, comers <-chan struct{}, offers, adverts *topic) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-comers:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(greetDelay):
		}
		offer, ads := m.own()
		if offer != nil {
			offers.publish(ctx, offer)
		}
		for _, a := range ads {
			adverts.publish(ctx, a)
		}
	}
}

// outgoing is a signed listing to gossip.
type outgoing struct {
	raw    []byte
	advert bool
}

// sign signs what is due and puts it on our own boards. It returns when to come again,
// whether the DHT should hear of it, and what to gossip.
func (m *Market) sign(now time.Time) (next time.Time, put bool, out []outgoing) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next = now.Add(renewAdvert)
	if l := m.offer; l != nil {
		if !l.due.After(now) {
			o, err := market.SignOffer(l.terms, m.cfg.Key, now)
			if err == nil {
				l.raw, put = o.Raw(), put || l.toDHT
				out = append(out, outgoing{o.Raw(), false})
				err = m.directory.Add(o, true, now)
			}
			if !harmless(err) {
				m.log.Warn("own offer not listed", "err", err)
			}
			l.signed, l.due, l.toDHT = now, now.Add(renewOffer), true
		}
		next = earlier(next, l.due)
	}
	for job, l := range m.adverts {
		if !l.due.After(now) {
			a, err := market.SignAdvert(l.terms, m.cfg.Key, now)
			if err == nil {
				l.raw, put = a.Raw(), put || l.toDHT
				out = append(out, outgoing{a.Raw(), true})
				err = m.jobs.Add(a, true, now)
			}
			if !harmless(err) {
				m.log.Warn("own advert not listed", "job", job.Short(), "err", err)
			}
			l.signed, l.due, l.toDHT = now, now.Add(renewAdvert), true
			if l.terms.Withdrawn() {
				delete(m.adverts, job)
				continue
			}
		}
		next = earlier(next, l.due)
	}
	return next, put, out
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// putLoop keeps the DHT informed: whenever told to, and again soon after it failed.
func (m *Market) putLoop(ctx context.Context, due <-chan struct{}) {
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due:
		case <-retry.C:
		}
		if err := m.put(ctx); err != nil && ctx.Err() == nil {
			m.log.Debug("offer not in the DHT yet", "err", err)
			retry.Reset(retryAfter)
		}
	}
}

// put stores our offer and announces our classes. A withdrawn offer replaces the one before.
func (m *Market) put(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	offer, adverts := m.own()
	if offer != nil {
		if err := m.cfg.Routing.PutValue(ctx, valueKey(m.self), offer); err != nil {
			return fmt.Errorf("put offer: %w", err)
		}
	}
	now := time.Now()
	var classes []string
	if o, ok := m.directory.Get(m.self, now); ok {
		for _, e := range o.Capacity.Engines {
			classes = append(classes, OfferClass(e))
		}
	}
	if len(adverts) > 0 {
		classes = append(classes, AdvertClass)
	}
	l := m.level()
	for _, c := range classes {
		if err := m.cfg.Routing.Provide(ctx, classKey(m.cfg.Network, c, epoch(now), l, shardOf(m.self, l)), true); err != nil {
			return fmt.Errorf("provide class %s: %w", c, err)
		}
	}
	return nil
}

func (m *Market) level() int {
	n, err := m.cfg.Routing.NetworkSize()
	if err != nil { // too few look-ups to tell, so few nodes
		return 0
	}
	return level(int(n))
}

// search asks the DHT while we know few offers, now and then.
func (m *Market) search(ctx context.Context) error {
	wait := time.Second
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		if m.directory.Len() < fewOffers {
			m.Find(ctx, OfferClass(exec.EngineWASM), fewOffers)
		}
		wait = min(4*wait, searchEvery)
	}
}

// Find asks the DHT for providers of a class until the directory holds want offers or no
// more are found, and returns how many were new. What it finds is in Directory and Jobs.
func (m *Market) Find(ctx context.Context, class string, want int) (found int) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var mu sync.Mutex // guards found, asked
	asked := map[peer.ID]bool{m.self: true}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, key := range searchKeys(m.cfg.Network, class, m.level(), time.Now(), 8) {
		if m.directory.Len() >= want {
			break
		}
		for p := range m.cfg.Routing.FindProvidersAsync(ctx, key, want) {
			mu.Lock()
			known := asked[p.ID]
			asked[p.ID] = true
			mu.Unlock()
			if known || len(asked) > 4*perShard {
				continue
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if m.fetch(ctx, class, p) {
					mu.Lock()
					found++
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return found
}

// fetch gets what a provider lists: an offer from the DHT, which costs its owner nothing,
// else from the owner.
func (m *Market) fetch(ctx context.Context, class string, p peer.AddrInfo) (news bool) {
	if class != AdvertClass {
		if _, known := m.directory.Get(p.ID, time.Now()); known {
			return false
		}
		if raw, err := m.cfg.Routing.GetValue(ctx, valueKey(p.ID)); err == nil {
			return m.takeOffer(raw, "") == nil
		}
	}
	if m.cfg.Host.Connect(ctx, p) != nil {
		return false
	}
	return m.ask(ctx, p.ID) == nil
}
