package dht

import (
	"context"
	"fmt"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/market"
)

// A topic carries one kind of listing.
type topic struct {
	m    *Market
	name string
	t    *pubsub.Topic
	sub  *pubsub.Subscription
	ears *pubsub.TopicEventHandler // who begins or ceases to listen
}

// join subscribes to a topic. Its validator does all the work: what is valid and news goes
// to the board and on to others, the rest stops here.
func (m *Market) join(name string, take func(raw []byte, from peer.ID) error) (*topic, error) {
	t := &topic{m: m, name: m.cfg.Prefix + name}
	validate := func(_ context.Context, from peer.ID, msg *pubsub.Message) pubsub.ValidationResult {
		if from == m.self {
			return pubsub.ValidationAccept
		}
		if h, err := market.Peek(msg.Data); err != nil || h.Peer != msg.GetFrom() {
			return pubsub.ValidationReject // nobody publishes for others
		}
		switch err := take(msg.Data, from); {
		case err == nil:
			return pubsub.ValidationAccept
		case harmless(err):
			return pubsub.ValidationIgnore
		}
		return pubsub.ValidationReject
	}
	var err error
	if err = m.cfg.PubSub.RegisterTopicValidator(t.name, validate, pubsub.WithValidatorConcurrency(64), pubsub.WithValidatorTimeout(2*time.Second)); err != nil {
		return nil, fmt.Errorf("join %s: %w", t.name, err)
	}
	if t.t, err = m.cfg.PubSub.Join(t.name); err == nil {
		t.sub, err = t.t.Subscribe()
	}
	if err == nil {
		t.ears, err = t.t.EventHandler()
	}
	if err != nil {
		t.leave()
		return nil, fmt.Errorf("join %s: %w", t.name, err)
	}
	return t, nil
}

// drain empties the subscription, which keeps us in the topic's mesh.
func (t *topic) drain(ctx context.Context) error {
	for {
		if _, err := t.sub.Next(ctx); err != nil {
			return err
		}
	}
}

// watch pokes comers when a neighbour begins to listen.
func (t *topic) watch(ctx context.Context, comers chan<- struct{}) error {
	for {
		e, err := t.ears.NextPeerEvent(ctx)
		if err != nil {
			return err
		}
		if e.Type == pubsub.PeerJoin {
			select {
			case comers <- struct{}{}:
			default:
			}
		}
	}
}

func (t *topic) publish(ctx context.Context, raw []byte) {
	if err := t.t.Publish(ctx, raw); err != nil && ctx.Err() == nil {
		t.m.log.Warn("listing not announced", "topic", t.name, "err", err)
	}
}

func (t *topic) leave() {
	if t.ears != nil {
		t.ears.Cancel()
	}
	if t.sub != nil {
		t.sub.Cancel()
	}
	t.m.cfg.PubSub.UnregisterTopicValidator(t.name)
	if t.t != nil {
		t.t.Close()
	}
}
