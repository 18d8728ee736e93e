package fraud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/personal-power-plant/p3/ledger"
)

// Key changes travel as proofs do, so that those hear of them who meet neither the account nor anybody who knew it: by gossip, to
// whom dealt with the account, and in the DHT under the old account, where a payee looks that accepted a LOCK of it.

const (
	heirSpace  = "p3heir"
	heirSize   = 2 * ledger.SignedEntrySize
	retryEvery = 5 * time.Second // while nobody is there to keep it
	maxOwn     = 4               // of our own changes, newest first, are kept in the DHT
)

// heirKey is the DHT key of how an account's chain goes on.
func heirKey(old ledger.Account) string { return "/" + heirSpace + "/" + old.String() }

func heirBytes(s ledger.Succession) []byte { return append(bytes.Clone(s.First), s.Second...) }

// parseHeir reads the two entries and which account goes on under which. It checks no signature.
func parseHeir(b []byte) (s ledger.Succession, two ledger.Entry, err error) {
	if len(b) != heirSize {
		return s, two, fmt.Errorf("key change of %d bytes, want %d: %w", len(b), heirSize, ledger.ErrMalformed)
	}
	b = bytes.Clone(b)
	s = ledger.Succession{First: b[:ledger.SignedEntrySize:ledger.SignedEntrySize], Second: b[ledger.SignedEntrySize:]}
	two, err = ledger.ParseEntry(s.Second)
	return s, two, err
}

// check verifies a key change of this network: two signatures, after all that is cheap.
func (s *Spreader) check(x ledger.Succession, two ledger.Entry) error {
	if network := s.book.Network(); two.Network != network {
		return &ledger.NetworkError{Want: network, Have: two.Network}
	}
	_, err := x.Verify(s.book.Genesis().Floor)
	return err
}

type heirs struct{ s *Spreader }

// Validate takes only a signed key change under the key of its old account.
func (v heirs) Validate(key string, value []byte) error {
	x, two, err := parseHeir(value)
	if err != nil {
		return err
	}
	if key != heirKey(two.Peer) {
		return fmt.Errorf("key change of %s under the key %.80q", two.Peer, key)
	}
	return v.s.check(x, two)
}

// Select prefers a recovery, which wins over a rotation, then the lowest bytes, so that all nodes come to hold the same.
func (heirs) Select(_ string, values [][]byte) (int, error) {
	best, recovers := -1, false
	for i, raw := range values {
		_, two, err := parseHeir(raw)
		if err != nil {
			continue
		}
		r := two.Type == ledger.TypeRecover
		if best < 0 || r && !recovers || r == recovers && bytes.Compare(raw, values[best]) < 0 {
			best, recovers = i, r
		}
	}
	if best < 0 {
		return 0, errors.New("no key change among the values")
	}
	return best, nil
}

// validateHeir passes on valid key changes, also those that are known here, from a meeting perhaps, and those of strangers, which are
// not kept: who knew the account may be behind us.
func (s *Spreader) validateHeir(ctx context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if from == s.cfg.Net.Self() {
		return pubsub.ValidationAccept
	}
	x, two, err := parseHeir(m.Data)
	if err == nil {
		if !s.allow(from, time.Now()) {
			return pubsub.ValidationIgnore
		}
		if err = s.check(x, two); err == nil {
			s.succeed(ctx, from, x, ledger.Account{})
			return pubsub.ValidationAccept
		}
	}
	s.cfg.Shun(from, fmt.Sprintf("it passed on a forged key change: %v", err))
	return pubsub.ValidationReject
}

// succeed has the book learn a key change, and tells of it.
func (s *Spreader) succeed(ctx context.Context, from peer.ID, x ledger.Succession, shower ledger.Account) error {
	news, err := s.book.LearnSuccession(ctx, x, shower)
	if err != nil {
		s.log.Debug("key change", "peer", from, "err", err)
	}
	if news && s.cfg.Rekeyed != nil {
		s.cfg.Rekeyed(x)
	}
	return err
}

// lookUpHeir asks the DHT under which account another's chain goes on.
func (s *Spreader) lookUpHeir(ctx context.Context, a ledger.Account) error {
	raw, err := s.cfg.Routing.GetValue(ctx, heirKey(a))
	if err != nil {
		if errors.Is(err, routing.ErrNotFound) {
			return nil
		}
		return fmt.Errorf("look up %s: %w", heirKey(a), err)
	}
	x, _, err := parseHeir(raw)
	if err == nil {
		err = s.succeed(ctx, "", x, ledger.Account{})
	}
	return err
}

// errAlone tells that nobody listens.
var errAlone = errors.New("no neighbours in the gossip")

// announce puts our own key changes into the DHT, again within the time that nodes keep them, and gossips them as often.
func (s *Spreader) announce(ctx context.Context, t *topic) error {
	own, err := s.book.Lineage() // it changes with a restart only
	if err != nil {
		s.log.Warn("own key changes", "err", err)
	}
	own = own[:min(len(own), maxOwn)]
	for len(own) > 0 {
		wait := renewEvery
		for _, x := range own {
			e, err := ledger.ParseEntry(x.Second)
			if err != nil {
				return err
			}
			put, cancel := context.WithTimeout(ctx, putTimeout)
			err = s.cfg.Routing.PutValue(put, heirKey(e.Peer), heirBytes(x))
			cancel()
			if len(t.t.ListPeers()) == 0 { // to publish now would keep it from being published soon
				err = errors.Join(err, errAlone)
			} else {
				err = errors.Join(err, t.t.Publish(ctx, heirBytes(x)))
			}
			if err != nil {
				wait = retryEvery
				s.log.Debug("key change not announced", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	<-ctx.Done()
	return ctx.Err()
}
