package market

import (
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// Bounds of whatever is signed and published.
const (
	MaxSigned = 2 << 10          // bytes of a signed offer or advert
	MaxTTL    = time.Hour        // longest life that is believed
	MaxSkew   = 2 * time.Minute  // by which a signer's clock may be ahead of ours
	OfferTTL  = 10 * time.Minute // life of an offer; it is renewed at half of it
)

// Refusals of signed bytes. They come wrapped with what was found.
var (
	ErrTooLarge     = errors.New("larger than 2 KiB")
	ErrMalformed    = errors.New("malformed")
	ErrVersion      = errors.New("version not known here: update p3")
	ErrBadSignature = errors.New("signature does not match its peer")
	ErrBadBinding   = errors.New("peer may not act for this account")
	ErrWrongNetwork = errors.New("belongs to another network")
	ErrExpired      = errors.New("expired")
	ErrFuture       = errors.New("signed in the future: compare the clocks of both machines")
	ErrLifetime     = errors.New("lives longer than an hour")
)

// A Header opens everything that is signed and published: who says it, for how long.
type Header struct {
	Version uint           `cbor:"1,keyasint"` // 1
	Network ledger.Network `cbor:"2,keyasint"`
	Account ledger.Account `cbor:"3,keyasint"` // who is paid, or pays
	Peer    peer.ID        `cbor:"4,keyasint"` // whose node key signs
	Name    string         `cbor:"5,keyasint"` // what the peer calls itself, at most 64 bytes; proves nothing
	Seq     uint64         `cbor:"6,keyasint"` // a higher one replaces a lower one of the same peer
	Signed  int64          `cbor:"7,keyasint"` // Unix ms
	Expires int64          `cbor:"8,keyasint"` // Unix ms
	Binding []byte         `cbor:"9,keyasint"` // ledger.NodeBinding: the account lets this peer act for it
}

// SignedAt is when the record was signed, by its signer's clock.
func (h Header) SignedAt() time.Time { return time.UnixMilli(h.Signed) }

// ExpiresAt is when the record ends, by its signer's clock.
func (h Header) ExpiresAt() time.Time { return time.UnixMilli(h.Expires) }

func (h Header) head() Header { return h }

// check looks at everything that costs no signature verification.
func (h Header) check(network ledger.Network, now time.Time) error {
	signed, expires := h.SignedAt(), h.ExpiresAt()
	switch {
	case h.Version != 1:
		return fmt.Errorf("version %d: %w", h.Version, ErrVersion)
	case h.Network != network:
		return fmt.Errorf("network %s: %w", h.Network.String()[:8], ErrWrongNetwork)
	case h.Peer.Validate() != nil || !validName(h.Name):
		return ErrMalformed
	case h.Signed <= 0 || h.Expires <= h.Signed:
		return fmt.Errorf("ends before it begins: %w", ErrMalformed)
	case !now.Before(expires):
		return fmt.Errorf("%s ago: %w", now.Sub(expires).Round(time.Second), ErrExpired)
	case signed.After(now.Add(MaxSkew)):
		return fmt.Errorf("by %s: %w", signed.Sub(now).Round(time.Second), ErrFuture)
	case expires.Sub(signed) > MaxTTL:
		return ErrLifetime
	}
	return nil
}

// A body is what a libp2p envelope (RFC 0002) carries: the canonical CBOR of v under a domain
// of its own, so that no signature of one kind of record passes for another kind.
type body struct {
	domain string
	v      any
}

func (b body) Domain() string                 { return b.domain }
func (b body) Codec() []byte                  { return []byte(b.domain) }
func (b body) MarshalRecord() ([]byte, error) { return canon.Marshal(b.v) }
func (b body) UnmarshalRecord(p []byte) error { return canon.Unmarshal(p, b.v) }

// seal signs v with the node key.
func seal(domain string, v any, key crypto.PrivKey) ([]byte, error) {
	env, err := record.Seal(body{domain, v}, key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", domain, err)
	}
	raw, err := env.Marshal()
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", domain, err)
	}
	if len(raw) > MaxSigned {
		return nil, fmt.Errorf("%s of %d bytes: %w; shorten its name or policy", domain, len(raw), ErrTooLarge)
	}
	return raw, nil
}

// unseal decodes raw into v and verifies it, cheap checks first.
func unseal(domain string, raw []byte, v interface{ head() Header }, network ledger.Network, now time.Time) error {
	if len(raw) > MaxSigned {
		return fmt.Errorf("%d bytes: %w", len(raw), ErrTooLarge)
	}
	env, err := record.UnmarshalEnvelope(raw)
	if err != nil || string(env.PayloadType) != domain {
		return ErrMalformed
	}
	if err := canon.Unmarshal(env.RawPayload, v); err != nil {
		return ErrMalformed
	}
	h := v.head()
	if err := h.check(network, now); err != nil {
		return err
	}
	if !h.Peer.MatchesPublicKey(env.PublicKey) {
		return ErrBadSignature
	}
	if _, err := record.ConsumeTypedEnvelope(raw, body{domain, v}); err != nil {
		return ErrBadSignature
	}
	return checkBinding(h, now)
}

// Peek reads the header of signed bytes without verifying anything: enough to see whether
// they are news.
func Peek(raw []byte) (Header, error) {
	if len(raw) > MaxSigned {
		return Header{}, fmt.Errorf("%d bytes: %w", len(raw), ErrTooLarge)
	}
	env, err := record.UnmarshalEnvelope(raw)
	if err != nil {
		return Header{}, ErrMalformed
	}
	var h Header
	if err := canon.Unmarshal(env.RawPayload, &h); err != nil {
		return Header{}, ErrMalformed
	}
	return h, nil
}
