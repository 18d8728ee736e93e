package dht

import (
	"errors"
	"fmt"
	"time"

	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
)

// Namespace is that of offers among the DHT's value records.
const Namespace = "p3offer"

// valueKey is the DHT key of a peer's offer.
func valueKey(p peer.ID) string { return "/" + Namespace + "/" + p.String() }

// Validators decide which DHT values of ours other nodes keep and pass on: give them to
// the DHT when it is made.
func Validators(network ledger.Network) map[string]record.Validator {
	return map[string]record.Validator{Namespace: validator{network}}
}

type validator struct{ network ledger.Network }

// Validate takes only a valid, unexpired offer, of at most market.MaxSigned bytes, under its own peer's key.
func (v validator) Validate(key string, value []byte) error {
	o, err := market.ParseOffer(value, v.network, time.Now())
	if err != nil {
		return err
	}
	if key != valueKey(o.Peer) {
		return fmt.Errorf("offer of %s under the key %.80q", o.Peer, key)
	}
	return nil
}

// Select prefers the newest. It is called with valid values.
func (v validator) Select(_ string, values [][]byte) (int, error) {
	best, newest := -1, uint64(0)
	for i, b := range values {
		if h, err := market.Peek(b); err == nil && (best < 0 || h.Seq > newest) {
			best, newest = i, h.Seq
		}
	}
	if best < 0 {
		return 0, errors.New("no offer among the values")
	}
	return best, nil
}
