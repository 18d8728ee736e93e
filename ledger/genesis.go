package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"time"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/fxamacker/cbor/v2"
)

// A Genesis founds a credit network: who may create credit, who witnesses, how far an account
// may go below zero. The Keccak-256 of its canonical CBOR (RFC 8949 section 4.2.1) is the
// network's identity and stands in every signature.
//
// Without mints the network is mutual: balances start at zero, fall as far as −Floor, and
// their sum stays zero. With mints it is granted: Floor is zero, and the sum is what they granted.
type Genesis struct {
	Version   uint      `cbor:"1,keyasint" json:"version"`                       // 1
	Name      string    `cbor:"2,keyasint" json:"name"`                          // 1 to 64 bytes, for people
	Mints     []Mint    `cbor:"3,keyasint,omitempty" json:"mints,omitempty"`     // at most 64
	Witnesses []Account `cbor:"4,keyasint,omitempty" json:"witnesses,omitempty"` // at most 64
	Floor     Credits   `cbor:"5,keyasint" json:"floor_ucr"`
	Params    Params    `cbor:"6,keyasint" json:"params"`
}

// A Mint may create up to Cap credits in all.
type Mint struct {
	Account Account `cbor:"1,keyasint" json:"account"`
	Cap     Credits `cbor:"2,keyasint" json:"cap_ucr"`
}

// Params are the rules that all nodes of a network share.
type Params struct {
	GraceMs         uint64 `cbor:"1,keyasint" json:"grace_ms"`         // after a lock's expiry, before one side closes it alone
	CheckpointEvery uint64 `cbor:"2,keyasint" json:"checkpoint_every"` // entries
}

// MaxGenesis is the largest genesis document, in bytes.
const MaxGenesis = 16 << 10

// MutualGenesis founds a network without mints, whose accounts may go down to −floor µcr.
// Equal arguments give the same network.
func MutualGenesis(name string, floor Credits) Genesis {
	return Genesis{Version: 1, Name: name, Floor: floor, Params: Params{
		GraceMs: uint64(DefaultGrace.Milliseconds()), CheckpointEvery: DefaultCheckpointEvery}}
}

// DefaultGenesis founds the public network "p3", mutual with DefaultFloor.
func DefaultGenesis() Genesis { return MutualGenesis("p3", DefaultFloor) }

// GrantedGenesis founds a network whose credit comes from these mints alone, and where no balance falls
// below zero. Equal arguments give the same network.
func GrantedGenesis(name string, mints ...Mint) Genesis {
	g := MutualGenesis(name, 0)
	g.Mints = mints
	return g
}

// Cap is how much a mint may issue in all; ok is false for an account that is no mint.
func (g Genesis) Cap(mint Account) (cap Credits, ok bool) {
	for _, m := range g.Mints {
		if m.Account == mint {
			return m.Cap, true
		}
	}
	return 0, false
}

// Mutual reports whether nobody may create credit, so that balances start at zero and may fall to −Floor.
func (g Genesis) Mutual() bool { return len(g.Mints) == 0 }

// Grace is the time after a lock's expiry before one side closes it alone.
func (g Genesis) Grace() time.Duration { return time.Duration(g.Params.GraceMs) * time.Millisecond }

var (
	genesisEnc = must(cbor.CoreDetEncOptions().EncMode())
	genesisDec = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: 8, MaxArrayElements: 256, MaxMapPairs: 64,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // our own options are wrong
	}
	return v
}

// Encode is the canonical document.
func (g Genesis) Encode() ([]byte, error) {
	if err := g.validate(); err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return genesisEnc.Marshal(g)
}

// ID is the network the document founds. It fails on a document that Encode refuses.
func (g Genesis) ID() (Network, error) {
	b, err := g.Encode()
	if err != nil {
		return Network{}, err
	}
	return Network(crypto.Keccak256(b)), nil
}

// ParseGenesis reads a document. It takes only the canonical bytes, so that a document has one
// identity.
func ParseGenesis(b []byte) (Genesis, error) {
	if len(b) > MaxGenesis {
		return Genesis{}, fmt.Errorf("genesis of %d bytes, at most %d: %w", len(b), MaxGenesis, ErrMalformed)
	}
	var g Genesis
	if err := genesisDec.Unmarshal(b, &g); err != nil {
		return Genesis{}, fmt.Errorf("genesis: %w: %w", ErrMalformed, err)
	}
	again, err := g.Encode()
	if err != nil {
		return Genesis{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !bytes.Equal(again, b) {
		return Genesis{}, fmt.Errorf("genesis is not in canonical form: %w", ErrMalformed)
	}
	return g, nil
}

func (g Genesis) validate() error {
	switch {
	case g.Version != 1:
		return fmt.Errorf("version %d: this p3 knows version 1; update p3", g.Version)
	case g.Name == "" || len(g.Name) > 64 || !utf8.ValidString(g.Name):
		return errors.New("give the network a name of 1 to 64 bytes")
	case len(g.Mints) > 64 || len(g.Witnesses) > 64:
		return errors.New("at most 64 mints and 64 witnesses")
	case g.Floor < 0 || g.Floor > MaxCredits/2: // so that balance + floor cannot overflow
		return fmt.Errorf("floor %s: %w", g.Floor, ErrOverflow)
	case len(g.Mints) > 0 && g.Floor != 0:
		return fmt.Errorf("floor %s: in a network with mints no balance falls below zero", g.Floor)
	case g.Params.GraceMs == 0 || g.Grace() > MaxLease || g.Params.GraceMs > maxTimeMs:
		return fmt.Errorf("grace of %d ms: give 1 ms to %s", g.Params.GraceMs, MaxLease)
	case g.Params.CheckpointEvery < 2 || g.Params.CheckpointEvery > MaxCheckpointEvery || bits.OnesCount64(g.Params.CheckpointEvery) != 1:
		return fmt.Errorf("checkpoint interval: give a power of two from 2 to %d entries", MaxCheckpointEvery)
	}
	var total Credits
	seen := make(map[Account]bool)
	for _, m := range g.Mints {
		if m.Cap <= 0 || m.Cap > MaxCredits || m.Account.IsZero() || seen[m.Account] {
			return fmt.Errorf("mint %s: name each once, with a cap from 1 µcr to 2^62", m.Account)
		}
		seen[m.Account] = true
		var err error
		if total, err = total.Add(m.Cap); err != nil {
			return fmt.Errorf("all caps together: %w", err)
		}
	}
	clear(seen)
	for _, w := range g.Witnesses {
		if seen[w] || w.IsZero() {
			return fmt.Errorf("witness %s is there twice, or nobody", w)
		}
		seen[w] = true
	}
	return nil
}
