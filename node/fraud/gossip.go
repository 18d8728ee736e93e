package fraud

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
)

// Proofs that are news, each of which costs two signature checks and a place on the disk: taken
// from one neighbour a second, and at once. What is beyond comes by the other ways.
const (
	newsRate  = 10
	newsBurst = 100

	maxBuckets = 1024 // neighbours
)

// topic is our part in the gossip of proofs, or of key changes.
type topic struct {
	s    *Spreader
	name string
	t    *pubsub.Topic
	sub  *pubsub.Subscription
}

// join subscribes. A message is a record and is known by its bytes, whoever publishes it.
func (s *Spreader) join(name string, validate pubsub.ValidatorEx) (*topic, error) {
	t := &topic{s: s, name: s.cfg.Prefix + name}
	err := s.cfg.PubSub.RegisterTopicValidator(t.name, validate, pubsub.WithValidatorConcurrency(64), pubsub.WithValidatorTimeout(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("join %s: %w", t.name, err)
	}
	byContent := func(m *pb.Message) string { h := sha256.Sum256(m.GetData()); return string(h[:]) }
	if t.t, err = s.cfg.PubSub.Join(t.name, pubsub.WithTopicMessageIdFn(byContent)); err == nil {
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
	t.s.cfg.PubSub.UnregisterTopicValidator(t.name)
	if t.t != nil {
		t.t.Close()
	}
}

// validate passes on valid proofs against accounts that we had none against. Every honest node
// checks before it passes on, so a neighbour that hands over a forged one made it or checks
// nothing: either way it is shunned. Kinds of a newer p3 stop here without harm.
func (s *Spreader) validate(ctx context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if from == s.cfg.Net.Self() {
		return pubsub.ValidationAccept
	}
	if len(m.Data) > 0 && !ledger.ProofKind(m.Data[0]).Known() {
		return pubsub.ValidationIgnore
	}
	p, err := ledger.ParseProof(m.Data)
	if err == nil {
		if known, err := s.book.Proof(p.Account); err != nil || known != nil {
			return pubsub.ValidationIgnore
		}
		if !s.allow(from, time.Now()) {
			return pubsub.ValidationIgnore
		}
		var news bool
		if news, err = s.hear(ctx, m.Data); news {
			return pubsub.ValidationAccept
		}
	}
	if forged(err) {
		s.cfg.Shun(from, fmt.Sprintf("it passed on a forged proof: %v", err))
		return pubsub.ValidationReject
	}
	return pubsub.ValidationIgnore
}

// A bucket is a token bucket of newsRate and newsBurst.
type bucket struct {
	tokens float64
	at     time.Time
}

// allow takes a token of the neighbour's bucket.
func (s *Spreader) allow(p peer.ID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bucket[p]
	if b == nil {
		if len(s.bucket) >= maxBuckets {
			clear(s.bucket)
		}
		b = &bucket{tokens: newsBurst, at: now}
		s.bucket[p] = b
	}
	b.tokens = min(newsBurst, b.tokens+newsRate*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
