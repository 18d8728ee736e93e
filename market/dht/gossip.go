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

func (t *topic) leave() {
	if t.sub != nil {
		t.sub.Cancel()
	}
	t.m.cfg.PubSub.UnregisterTopicValidator(t.name)
	if t.t != nil {
		t.t.Close()
	}
}
