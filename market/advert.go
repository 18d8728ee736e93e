package market

import (
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

const advertDomain = "p3 advert 1"

// AdvertTTL is the life of an advert.
const AdvertTTL = 5 * time.Minute

// An Advert says that a job looks for hosts, who may come to it as they did in the original
// P3: the header's peer is where to ask, its account is who pays. One without waiting units withdraws it.
type Advert struct {
	Header
	Job     exec.JobID   `cbor:"10,keyasint"`
	Kind    string       `cbor:"11,keyasint"` // exec.KindMap, …
	Engine  string       `cbor:"12,keyasint"`
	Need    string       `cbor:"13,keyasint,omitempty"` // expression over offer attributes
	Ceiling ledger.Price `cbor:"14,keyasint"`           // highest price accepted; zero Den = any
	Memory  int64        `cbor:"15,keyasint"`           // bytes a unit needs
	Waiting uint64       `cbor:"16,keyasint"`           // units nobody runs yet

	raw []byte
}

// Raw is the signed bytes, as received. Nobody may change them.
func (a Advert) Raw() []byte { return a.raw }

// Withdrawn reports whether the job needs nobody any more.
func (a Advert) Withdrawn() bool { return a.Waiting == 0 }

// Key names the advert in a JobBoard. It holds the peer too: anybody may sign an advert for
// a job, so one peer's must never replace another's.
func (a Advert) Key() AdvertKey { return AdvertKey{string(a.Peer), a.Job} }

// An AdvertKey is a peer's advert of a job.
type AdvertKey struct {
	Peer string // peer ID, bytes
	Job  exec.JobID
}

// SignAdvert is SignOffer for adverts, with AdvertTTL.
func SignAdvert(a Advert, key crypto.PrivKey, now time.Time) (Advert, error) {
	if err := a.sign(key, now, AdvertTTL); err != nil {
		return Advert{}, err
	}
	if err := a.valid(); err != nil {
		return Advert{}, fmt.Errorf("sign advert: %w", err)
	}
	var err error
	a.raw, err = seal(advertDomain, &a, key)
	return a, err
}

// ParseAdvert is ParseOffer for adverts.
func ParseAdvert(raw []byte, network ledger.Network, now time.Time) (Advert, error) {
	var a Advert
	if err := unseal(advertDomain, raw, &a, network, now); err != nil {
		return Advert{}, fmt.Errorf("advert: %w", err)
	}
	if err := a.valid(); err != nil {
		return Advert{}, fmt.Errorf("advert: %w", err)
	}
	a.raw = slices.Clone(raw)
	return a, nil
}

func (a *Advert) valid() error {
	if len(a.Kind) > maxName || !printable(a.Kind) || len(a.Engine) > maxName || !printable(a.Engine) ||
		len(a.Need) > MaxNeed || !printable(a.Need) || a.Memory < 0 {
		return ErrMalformed
	}
	return nil
}
