package ledger

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"
)

// A Digest is 32 bytes that identify content or a record: Keccak-256 for ledger
// records (EIP-712), SHA-256 for blobs and manifests. Its text form is lower-case hex.
type Digest [32]byte

// A Network names one credit network: the Keccak-256 of its genesis document.
type Network Digest

// An Account is the last 20 bytes of the Keccak-256 of a secp256k1 public key,
// the Ethereum address of the account key.
type Account [20]byte

// Fuel counts executed WebAssembly work in the units of the cost table. It is
// deterministic: the same program on the same input burns the same fuel anywhere.
type Fuel uint64

// Credits are micro-credits (µcr): 1,000,000 of them are one credit ("cr").
// Amounts in records are never negative; balances may be.
type Credits int64

// Credit is one credit, in micro-credits.
const Credit Credits = 1_000_000

// MaxCredits caps every amount and every running total.
const MaxCredits Credits = 1 << 62

// ErrOverflow reports an amount beyond MaxCredits.
var ErrOverflow = errors.New("credit amount out of range")

func (d Digest) String() string  { return hex.EncodeToString(d[:]) }
func (n Network) String() string { return hex.EncodeToString(n[:]) }
func (a Account) String() string { return "0x" + hex.EncodeToString(a[:]) }
func (d Digest) IsZero() bool    { return d == Digest{} }
func (a Account) IsZero() bool   { return a == Account{} }
func (d Digest) Short() string   { return hex.EncodeToString(d[:4]) }
func (a Account) Short() string  { return "0x" + hex.EncodeToString(a[:4]) }

// MarshalText writes lower-case hex.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 64 hex digits.
func (d *Digest) UnmarshalText(b []byte) error { return unhex(d[:], string(b)) }

// MarshalText writes lower-case hex.
func (n Network) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads 64 hex digits.
func (n *Network) UnmarshalText(b []byte) error { return unhex(n[:], string(b)) }

// MarshalText writes "0x" and lower-case hex.
func (a Account) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads 40 hex digits, with or without "0x".
func (a *Account) UnmarshalText(b []byte) error {
	return unhex(a[:], strings.TrimPrefix(string(b), "0x"))
}

func unhex(dst []byte, s string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("want %d hex digits, have %d", 2*len(dst), len(s))
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}

// String shows credits with as many decimals as needed, two at least: "12.40 cr", "0.000131 cr".
func (c Credits) String() string { return c.Decimal() + " cr" }

// Decimal is String without the unit.
func (c Credits) Decimal() string {
	neg, u := "", uint64(c)
	if c < 0 {
		neg, u = "-", uint64(-c)
	}
	frac := strings.TrimRight(fmt.Sprintf("%06d", u%1e6), "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return fmt.Sprintf("%s%d.%s", neg, u/1e6, frac)
}

// ParseCredits reads a decimal number of credits, such as "0.5" or "12.000001".
func ParseCredits(s string) (Credits, error) {
	r, ok := new(big.Rat).SetString(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "cr")))
	if !ok || len(s) > 40 || strings.ContainsAny(s, "/eEpPxX_") {
		return 0, fmt.Errorf("%q is not an amount of credits: write a number such as 0.50", s)
	}
	r.Mul(r, big.NewRat(1e6, 1))
	if !r.IsInt() {
		return 0, fmt.Errorf("%q has more than six decimals: one micro-credit is the smallest amount", s)
	}
	if !r.Num().IsInt64() || r.Num().Int64() > int64(MaxCredits) || r.Num().Int64() < -int64(MaxCredits) {
		return 0, fmt.Errorf("%q: %w", s, ErrOverflow)
	}
	return Credits(r.Num().Int64()), nil
}

// Add returns a+b, or ErrOverflow beyond ±MaxCredits.
func (c Credits) Add(b Credits) (Credits, error) {
	s := c + b
	if (b > 0 && s < c) || (b < 0 && s > c) || s > MaxCredits || s < -MaxCredits {
		return 0, ErrOverflow
	}
	return s, nil
}

// A Price is what fuel costs: Num micro-credits for every Den fuel.
// Offers use Den = PriceFuel, so Num is µcr per 10^12 fuel ("cr/Tfuel" on screens).
type Price struct {
	Num uint64 `cbor:"1,keyasint" json:"num"`
	Den uint64 `cbor:"2,keyasint" json:"den"`
}

// PriceFuel is the fuel that an offer's price is stated for: one Tfuel, minutes of one core.
const PriceFuel = 1_000_000_000_000

// Cost is ceil(fuel × Num / Den), computed in 128 bits and rounded once, up.
// It fails with ErrOverflow when Den is zero or the result exceeds MaxCredits.
func (p Price) Cost(f Fuel) (Credits, error) {
	if p.Den == 0 {
		return 0, fmt.Errorf("price with zero denominator: %w", ErrOverflow)
	}
	hi, lo := bits.Mul64(uint64(f), p.Num)
	lo, carry := bits.Add64(lo, p.Den-1, 0)
	hi += carry
	if hi >= p.Den {
		return 0, ErrOverflow
	}
	q, _ := bits.Div64(hi, lo, p.Den)
	if q > uint64(MaxCredits) || q > math.MaxInt64 {
		return 0, ErrOverflow
	}
	return Credits(q), nil
}

// Cmp compares two prices per fuel: -1, 0 or +1. A zero Den counts as infinitely dear.
func (p Price) Cmp(q Price) int {
	if p.Den == 0 || q.Den == 0 {
		return int(min(q.Den, 1)) - int(min(p.Den, 1))
	}
	ah, al := bits.Mul64(p.Num, q.Den)
	bh, bl := bits.Mul64(q.Num, p.Den)
	switch {
	case ah < bh || ah == bh && al < bl:
		return -1
	case ah == bh && al == bl:
		return 0
	}
	return 1
}
