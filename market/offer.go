package market

import (
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

const offerDomain = "p3 offer 1"

// Bounds of an offer's fields.
const (
	maxName    = 64 // bytes
	maxPolicy  = 256
	maxEngines = 8
	maxSlots   = 4096
)

// An Offer is what a provider sells until it expires. A newer one of the same peer replaces
// it; one without slots withdraws it.
type Offer struct {
	Header
	Capacity  exec.Capacity `cbor:"10,keyasint"`
	Price     ledger.Price  `cbor:"11,keyasint"`
	FreeSlots int           `cbor:"12,keyasint"`           // when it was signed
	Policy    string        `cbor:"13,keyasint,omitempty"` // for people, at most 256 bytes: "idle only, nights"

	raw []byte
}

// Raw is the signed bytes, as received. Nobody may change them.
func (o Offer) Raw() []byte { return o.raw }

// Withdrawn reports whether the offer only says that its peer offers nothing now.
func (o Offer) Withdrawn() bool { return o.Capacity.Slots == 0 }

// Key names the offer in a Directory: its peer.
func (o Offer) Key() peer.ID { return o.Peer }

// Same reports whether o and p state the same terms, whenever they were signed.
func (o Offer) Same(p Offer) bool {
	a, b := o.Capacity, p.Capacity
	return o.FreeSlots == p.FreeSlots && o.Price == p.Price && o.Policy == p.Policy && o.Name == p.Name &&
		o.Account == p.Account && a.Slots == b.Slots && a.Memory == b.Memory && a.Disk == b.Disk &&
		a.Arch == b.Arch && a.OS == b.OS && a.Speed == b.Speed && slices.Equal(a.Engines, b.Engines)
}

// SignOffer fills in version, peer, signing time, expiry (OfferTTL) and, if zero, Seq (the
// signing time, so that it grows across restarts), signs the offer with the node key, and returns it with its Raw bytes.
func SignOffer(o Offer, key crypto.PrivKey, now time.Time) (Offer, error) {
	if err := o.sign(key, now, OfferTTL); err != nil {
		return Offer{}, err
	}
	o.Capacity.Engines = slices.Sorted(slices.Values(o.Capacity.Engines))
	if err := o.valid(); err != nil {
		return Offer{}, fmt.Errorf("sign offer: %w", err)
	}
	var err error
	o.raw, err = seal(offerDomain, &o, key)
	return o, err
}

// ParseOffer decodes and verifies an offer of the network. It fails with one of the errors
// above, keeps a copy of raw, and never panics.
func ParseOffer(raw []byte, network ledger.Network, now time.Time) (Offer, error) {
	var o Offer
	if err := unseal(offerDomain, raw, &o, network, now); err != nil {
		return Offer{}, fmt.Errorf("offer: %w", err)
	}
	if err := o.valid(); err != nil {
		return Offer{}, fmt.Errorf("offer: %w", err)
	}
	o.raw = slices.Clone(raw)
	return o, nil
}

func (o *Offer) valid() error {
	c := o.Capacity
	switch {
	case c.Slots < 0 || c.Slots > maxSlots || o.FreeSlots < 0 || o.FreeSlots > c.Slots:
		return fmt.Errorf("%d of %d slots free: %w", o.FreeSlots, c.Slots, ErrMalformed)
	case c.Memory < 0 || c.Disk < 0 || len(c.Engines) > maxEngines || !slices.IsSorted(c.Engines):
		return fmt.Errorf("capacity: %w", ErrMalformed)
	case len(c.Arch) > maxName || len(c.OS) > maxName || len(o.Policy) > maxPolicy || !printable(o.Policy) || !printable(c.Arch) || !printable(c.OS):
		return fmt.Errorf("text: %w", ErrMalformed)
	case o.Price.Den == 0:
		return fmt.Errorf("price without denominator: %w", ErrMalformed)
	}
	for _, e := range c.Engines {
		if e == "" || len(e) > maxName || !printable(e) {
			return fmt.Errorf("engine: %w", ErrMalformed)
		}
	}
	return nil
}

// sign fills in the header's own facts.
func (h *Header) sign(key crypto.PrivKey, now time.Time, ttl time.Duration) error {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return fmt.Errorf("node key: %w", err)
	}
	if !validName(h.Name) {
		return fmt.Errorf("name %q: use at most %d bytes and no control characters", h.Name, maxName)
	}
	h.Version, h.Peer = 1, id
	h.Signed, h.Expires = now.UnixMilli(), now.Add(ttl).UnixMilli()
	if h.Seq == 0 {
		h.Seq = uint64(h.Signed)
	}
	return nil
}

func validName(s string) bool { return len(s) <= maxName && printable(s) }

// printable keeps escape sequences and the like off other people's terminals.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
