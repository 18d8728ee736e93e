package ledger

import (
	"encoding/binary"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"
)

// Leading bytes of the records that are not entries: version 1 and a kind that never changes.
const (
	kindClaim   = 0x21
	kindVoucher = 0x22
	kindBinding = 0x23
	kindOffice  = 0x2a // a claim signed by a node
)

// Sizes of a claim in bytes, without and with its signature.
const (
	claimSize       = 118
	SignedClaimSize = claimSize + SignatureSize

	// MaxClaim is the longest signed claim, one of a node with its binding.
	MaxClaim = SignedClaimSize + 1 + bindingHead + 1 + maxPeerID + SignatureSize
)

// A Claim is the provider's word on what it has done under a lock so far. It is cumulative: a
// newer claim replaces every older one of its lock. It names no account; the lock's payee signs.
//
// Encoding: 1 u8 · 0x21 u8 · network 32 · lock 32 · k u32 · cumFuel u64 · cumAmount u64 ·
// resultRoot 32 · signature 65. That of a node which does not hold the payee's key has kind 0x2a, and between resultRoot
// and signature: length u8 · its signed NodeBinding. So it shows by itself that the node may claim for the payee.
type Claim struct {
	Network Network
	Lock    Digest
	K       uint32  // units done, from 1
	Fuel    Fuel    // of all K units
	Amount  Credits // price of all K units
	Results Digest  // ResultRoot over the K result digests
	Office  string  // signed NodeBinding of the node that signs, with EarnsOnly; "" = the payee itself signs
}

// ResultRoot is keccak256(previous root ‖ result digest). The root of no results is zero.
func ResultRoot(previous, result Digest) Digest {
	return Digest(crypto.Keccak256(previous[:], result[:]))
}

func (c Claim) append(b []byte) []byte {
	kind := byte(kindClaim)
	if c.Office != "" {
		kind = kindOffice
	}
	b = append(b, 1, kind)
	b = append(b, c.Network[:]...)
	b = append(b, c.Lock[:]...)
	b = binary.BigEndian.AppendUint32(b, c.K)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Fuel))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Amount))
	b = append(b, c.Results[:]...)
	if c.Office != "" {
		b = append(append(b, byte(len(c.Office))), c.Office...)
	}
	return b
}

// unsigned is the encoding with room for the signature.
func (c Claim) unsigned() []byte {
	return append(c.append(make([]byte, 0, SignedClaimSize)), make([]byte, SignatureSize)...)
}

// Digest is the EIP-712 digest that the payee signs, or its node.
func (c Claim) Digest() Digest {
	t := newTyped(claimType, 6)
	if c.Office != "" {
		t = newTyped(officeClaim, 7)
	}
	t.word(c.Network)
	t.word(c.Lock)
	t.uint(uint64(c.K))
	t.uint(uint64(c.Fuel))
	t.uint(uint64(c.Amount))
	t.word(c.Results)
	if c.Office != "" {
		var d Digest
		if n, err := ParseBinding([]byte(c.Office)); err == nil { // ParseClaim has read it
			d = n.Digest()
		}
		t.word(d)
	}
	return t.digest(c.Network)
}

// ParseClaim reads a signed claim, strictly. It does not check the signature.
func ParseClaim(raw []byte) (Claim, error) {
	if len(raw) < SignedClaimSize || raw[0] != 1 || raw[1] != kindClaim && raw[1] != kindOffice || raw[1] == kindClaim && len(raw) != SignedClaimSize {
		return Claim{}, fmt.Errorf("not a version 1 claim: %w", ErrMalformed)
	}
	r := reader{b: raw[2:]}
	c := Claim{Network: Network(r.word()), Lock: r.word(), K: r.u32(), Fuel: Fuel(r.u64()), Amount: r.credits(), Results: r.word()}
	if r.bad != "" || c.K == 0 {
		return Claim{}, fmt.Errorf("claim number or amount out of range: %w", ErrMalformed)
	}
	if raw[1] == kindClaim {
		return c, nil
	}
	n := int(r.u8())
	if len(raw) != SignedClaimSize+1+n {
		return Claim{}, fmt.Errorf("claim of %d bytes with a binding of %d: %w", len(raw), n, ErrMalformed)
	}
	c.Office = string(r.next(n))
	b, err := ParseBinding([]byte(c.Office))
	if err == nil && (b.Flags&EarnsOnly == 0 || b.Network != c.Network) {
		err = fmt.Errorf("its binding is not for earning here: %w", ErrMalformed)
	}
	if err == nil {
		_, err = nodeAccount(b.PeerID)
	}
	if err != nil {
		return Claim{}, fmt.Errorf("claim: %w", err)
	}
	return c, nil
}

// SignClaim returns the encoded claim with its signature, SignedClaimSize bytes.
func (k Key) SignClaim(c Claim) ([]byte, error) {
	raw := c.unsigned()
	return raw, k.sign(c.Digest(), raw)
}

// VerifyClaim reads a signed claim and checks that payee signed it, or a node that payee has bound. When a binding ends is
// for the caller to hold against the lock.
func VerifyClaim(raw []byte, payee Account) (Claim, error) {
	c, err := ParseClaim(raw)
	if err != nil {
		return Claim{}, err
	}
	signer := payee
	if c.Office != "" {
		b, err := ParseBinding([]byte(c.Office))
		if err == nil {
			err = verify(payee, b.Digest(), []byte(c.Office))
		}
		if err == nil {
			signer, err = nodeAccount(b.PeerID)
		}
		if err != nil {
			return Claim{}, fmt.Errorf("claim %d on lock %s: its binding: %w", c.K, c.Lock.Short(), err)
		}
	}
	if err := verify(signer, c.Digest(), raw); err != nil {
		return Claim{}, fmt.Errorf("claim %d on lock %s: %w", c.K, c.Lock.Short(), err)
	}
	return c, nil
}
