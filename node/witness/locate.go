package witness

import (
	"context"
	"errors"
	"fmt"
	"time"

	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
)

const (
	space      = "p3witness"
	renewEvery = 20 * time.Minute // well within the hour that nodes keep DHT values
	retryEvery = 5 * time.Second  // while nobody is there to keep it
	putTimeout = time.Minute
)

func key(witness ledger.Account) string { return "/" + space + "/" + witness.String() }

// Validators decide which DHT values of ours other nodes keep and pass on.
func Validators(genesis ledger.Genesis, network ledger.Network) map[string]record.Validator {
	return map[string]record.Validator{space: bindings{genesis, network}}
}

type bindings struct {
	genesis ledger.Genesis
	network ledger.Network
}

// Validate takes only a valid binding of a witness under its own key.
func (v bindings) Validate(k string, value []byte) error {
	b, err := ledger.ParseBinding(value) // cheap things first
	if err != nil {
		return err
	}
	if v.genesis.Witness(b.Account) < 0 || k != key(b.Account) {
		return fmt.Errorf("binding of %s under the key %.80q: not a witness, or another", b.Account, k)
	}
	_, err = ledger.VerifyBinding(value, v.network, time.Now())
	return err
}

// Select prefers the newest.
func (bindings) Select(_ string, values [][]byte) (int, error) {
	best, seq := -1, uint64(0)
	for i, raw := range values {
		if b, err := ledger.ParseBinding(raw); err == nil && (best < 0 || b.Seq > seq) {
			best, seq = i, b.Seq
		}
	}
	if best < 0 {
		return 0, errors.New("no binding among the values")
	}
	return best, nil
}

// Announce puts a witness' binding into the DHT until ctx ends.
func (c *Client) Announce(ctx context.Context, witness ledger.Account, binding func() []byte) {
	for {
		wait := renewEvery
		put, cancel := context.WithTimeout(ctx, putTimeout)
		if err := c.cfg.Routing.PutValue(put, key(witness), binding()); err != nil {
			wait = retryEvery
			c.log.Debug("witness not announced", "err", err)
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// A seat is a witness as a client knows it.
type seat struct {
	account ledger.Account
	turn    chan struct{} // holds one token: who has it asks
	// Guarded by Client.mu:
	peer peer.ID // where it is asked; "" = not known
	name string  // of that peer
	lost bool    // not reached there: it may have moved
	seq  uint64  // of the binding that says so
	next uint64  // what it knows of our chain ends before this place
	last error   // of the last question; nil = it signed
	at   time.Time
}

// Met asks a peer that has said hello whether it is a witness.
func (c *Client) Met(ctx context.Context, p peer.ID) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := c.cfg.Net.Open(ctx, p, Protocol, maxFrame)
	if err != nil {
		return // it is none, or gone
	}
	defer s.Reset()
	a, err := say(s, question{Who: true})
	if err == nil {
		err = c.learn(a.Binding, p)
	}
	if err != nil && ctx.Err() == nil {
		c.log.Debug("no witness", "peer", p, "err", err)
	}
	s.Close()
}

// learn takes a binding of a witness; by is who showed it, "" for the DHT.
func (c *Client) learn(raw []byte, by peer.ID) error {
	b, err := ledger.VerifyBinding(raw, c.network, time.Now())
	if err != nil {
		return err
	}
	at := c.genesis.Witness(b.Account)
	id, err := peer.IDFromBytes(b.PeerID)
	if err != nil || at < 0 || by != "" && id != by {
		return fmt.Errorf("binding of %s: not a witness, or not at this peer: %w", b.Account, ledger.ErrMalformed)
	}
	s := c.seats[at]
	c.mu.Lock()
	if b.Seq >= s.seq {
		s.peer, s.seq, s.lost = id, b.Seq, false
	}
	here := s.peer == by
	c.mu.Unlock()
	if here {
		c.reached(s, by)
	}
	return nil
}

// where is the peer at which a witness is asked.
func (c *Client) where(ctx context.Context, s *seat) (peer.ID, error) {
	c.mu.Lock()
	p, lost := s.peer, s.lost
	c.mu.Unlock()
	if p != "" && !lost {
		return p, nil
	}
	raw, err := c.cfg.Routing.GetValue(ctx, key(s.account))
	if err == nil {
		err = c.learn(raw, "")
	}
	if err != nil {
		c.log.Debug("witness not found", "witness", s.account, "err", err)
		if p == "" {
			return "", errAway
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.peer, nil
}
