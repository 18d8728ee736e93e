package ledger

import (
	"encoding/binary"
	"fmt"
)

// kindGrant is the kind of a Grant, beside those in claim.go.
const kindGrant = 0x28

// Sizes of a grant in bytes, without and with its signature.
const (
	grantSize       = 130
	SignedGrantSize = grantSize + SignatureSize
)

// A Grant is credit that a mint creates for an account. A mint's grants are a chain of their own: Seq
// counts them, Prev is the digest of the one before, and Total is all that the mint has issued with this
// one. So whoever sees the newest knows how much there is, and a mint that issues more than its cap, or
// two grants in one place, has signed the proof of it (MintError).
//
// Encoding: 1 u8 · 0x28 u8 · network 32 · mint 20 · grantSeq u64 · prev 32 · to 20 · amount u64 ·
// totalIssued u64 · signature 65.
type Grant struct {
	Network Network
	Mint    Account
	Seq     uint64  // 0 for the first, then one more each
	Prev    Digest  // of the grant before; zero for the first
	To      Account // who may take it up, once
	Amount  Credits // above zero
	Total   Credits // issued by the mint so far, this grant included
}

func (g Grant) append(b []byte) []byte {
	be := binary.BigEndian
	b = append(append(b, 1, kindGrant), g.Network[:]...)
	b = append(b, g.Mint[:]...)
	b = be.AppendUint64(b, g.Seq)
	b = append(append(b, g.Prev[:]...), g.To[:]...)
	b = be.AppendUint64(b, uint64(g.Amount))
	return be.AppendUint64(b, uint64(g.Total))
}

// Digest is the EIP-712 digest that the mint signs. It identifies the grant.
func (g Grant) Digest() Digest {
	t := newTyped(grantType, 7)
	t.word(g.Network)
	t.account(g.Mint)
	t.uint(g.Seq)
	t.word(g.Prev)
	t.account(g.To)
	t.uint(uint64(g.Amount))
	t.uint(uint64(g.Total))
	return t.digest(g.Network)
}

// ParseGrant reads a signed grant, strictly, and checks what it shows alone: an amount for somebody, and a
// total that it and those before it can come to. It checks neither signature nor cap; VerifyGrant does.
func ParseGrant(raw []byte) (Grant, error) {
	if len(raw) != SignedGrantSize || raw[0] != 1 || raw[1] != kindGrant {
		return Grant{}, fmt.Errorf("not a version 1 grant of %d bytes: %w", SignedGrantSize, ErrMalformed)
	}
	r := reader{b: raw[2:]}
	g := Grant{Network: Network(r.word()), Mint: r.account(), Seq: r.u64(), Prev: r.word(), To: r.account(), Amount: r.credits(), Total: r.credits()}
	switch {
	case r.bad != "":
		return Grant{}, fmt.Errorf("grant: %s out of range: %w", r.bad, ErrMalformed)
	case g.Amount <= 0 || g.To.IsZero():
		return Grant{}, fmt.Errorf("grant %d of nothing, or to nobody: %w", g.Seq, ErrMalformed)
	case g.Total < g.Amount || uint64(g.Total-g.Amount) < g.Seq, (g.Seq == 0) != g.Prev.IsZero(), g.Seq == 0 && g.Total != g.Amount:
		return Grant{}, fmt.Errorf("grant %d: its total cannot be: %w", g.Seq, ErrMalformed) // each before it was of 1 µcr at least
	}
	return g, nil
}

// SignGrant returns the encoded grant with its signature, SignedGrantSize bytes.
func (k Key) SignGrant(g Grant) ([]byte, error) {
	raw := append(g.append(make([]byte, 0, SignedGrantSize)), make([]byte, SignatureSize)...)
	return raw, k.sign(g.Digest(), raw)
}

// VerifyGrant reads a grant, and checks from its bytes and the genesis alone that a mint of this network
// signed it and stays within its cap. A *MintError is one that the mint has signed and is convicted by.
func VerifyGrant(raw []byte, genesis Genesis) (Grant, Digest, error) {
	g, err := ParseGrant(raw)
	if err != nil {
		return g, Digest{}, err
	}
	network, err := genesis.ID()
	if err != nil {
		return g, Digest{}, err
	}
	max, mint := genesis.Cap(g.Mint)
	switch {
	case g.Network != network:
		return g, Digest{}, &NetworkError{Want: network, Have: g.Network}
	case !mint:
		return g, Digest{}, fmt.Errorf("grant by %s: %w: not a mint of network %s", g.Mint, ErrSignature, genesis.Name)
	}
	d := g.Digest()
	if err := verify(g.Mint, d, raw); err != nil {
		return g, d, fmt.Errorf("grant %d: %w", g.Seq, err)
	}
	if g.Total > max {
		return g, d, &MintError{Kind: ProofOverIssue, A: raw}
	}
	return g, d, nil
}

// A MintHead is where a mint's chain stands. The zero MintHead, with Network and Mint set, is an empty
// one. It is a pure value.
type MintHead struct {
	Network Network
	Mint    Account
	Len     uint64 // grants so far
	Digest  Digest // of the newest
	Total   Credits
}

// MintHeadAt is the head whose newest grant is g, with digest d.
func MintHeadAt(g Grant, d Digest) MintHead {
	return MintHead{g.Network, g.Mint, g.Seq + 1, d, g.Total}
}

// Grant drafts the next grant. It fails when to is nobody, when amount is nothing, and with a *CapError
// when it would exceed the cap.
func (h MintHead) Grant(to Account, amount, cap Credits) (Grant, error) {
	switch {
	case to.IsZero():
		return Grant{}, fmt.Errorf("grant to account %s: nobody can have that one: %w", to, ErrMalformed)
	case amount <= 0 || amount > MaxCredits:
		return Grant{}, fmt.Errorf("grant of %s: give an amount above zero: %w", amount, ErrOverflow)
	case amount > cap-h.Total:
		return Grant{}, &CapError{Want: amount, Issued: h.Total, Cap: cap}
	}
	return Grant{h.Network, h.Mint, h.Len, h.Digest, to, amount, h.Total + amount}, nil
}

// follows says, as a reason, why later cannot stand in one chain with g; "" if it can.
func (g Grant) follows(d Digest, later Grant, ld Digest) string {
	gap := later.Seq - g.Seq - 1 // grants between the two, of 1 µcr at least
	switch {
	case later.Seq < g.Seq:
		return later.follows(ld, g, d)
	case later.Seq == g.Seq && d != ld:
		return "two grants for one place"
	case later.Seq == g.Seq:
		return ""
	case gap == 0 && later.Prev != d:
		return "the later one names another as the one before"
	case gap == 0 && later.Total-later.Amount != g.Total, later.Total-later.Amount < g.Total, uint64(later.Total-later.Amount-g.Total) < gap:
		return "their totals do not add up"
	}
	return ""
}

// A CapError is a grant that a mint cannot sign, all in µcr.
type CapError struct{ Want, Issued, Cap Credits }

func (e *CapError) Error() string {
	return fmt.Sprintf("grant of %s refused: %s of the cap of %s are issued, %s are left: grant less, or found a network with a larger cap", e.Want, e.Issued, e.Cap, e.Cap-e.Issued)
}

// A MintError holds what a mint signed and is convicted by: for ProofMintFork two grants that cannot both
// stand in its chain, for ProofOverIssue one beyond its cap, in A.
type MintError struct {
	Kind ProofKind
	A, B []byte
}

func (e *MintError) Error() string { return "the mint is convicted: " + e.Kind.String() }
