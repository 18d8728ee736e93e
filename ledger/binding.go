package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
)

// maxPeerID bounds a libp2p peer ID in a NodeBinding, in bytes. An Ed25519 one has 38.
const maxPeerID = 64

// EarnsOnly is the flag of a node that works for the account and does not hold its key: it claims with its node key
// (Claim.Office), and may not show a LOCK.
const EarnsOnly uint8 = 1

const bindingHead = 2 + 32 + 20 + 8 + 8 + 1 // before the peer ID

// ErrExpired reports a record that was valid until a moment now past.
var ErrExpired = errors.New("expired")

// A NodeBinding says, signed by the account, that the node PeerID works for the account. The
// node's own proof is its connection: a binding is only worth what the handshake shows.
//
// Encoding: 1 u8 · 0x23 u8 · network 32 · account 20 · seq u64 · expiryMs u64 ·
// length u8 · peerID · signature 65. With flags it begins with 2 u8 · 0x23 u8 · flags u8.
type NodeBinding struct {
	Network  Network
	Account  Account
	PeerID   []byte // binary form, 1 to 64 bytes
	Seq      uint64 // a higher one replaces a lower one of the same account and node
	ExpiryMs uint64 // Unix ms
	Flags    uint8  // EarnsOnly or none
}

// Expiry is when the binding ends.
func (n NodeBinding) Expiry() time.Time { return time.UnixMilli(int64(min(n.ExpiryMs, maxTimeMs))) }

func (n NodeBinding) append(b []byte) []byte {
	if n.Flags != 0 {
		b = append(b, 2, kindBinding, n.Flags)
	} else {
		b = append(b, 1, kindBinding)
	}
	b = append(b, n.Network[:]...)
	b = append(b, n.Account[:]...)
	b = binary.BigEndian.AppendUint64(b, n.Seq)
	b = binary.BigEndian.AppendUint64(b, n.ExpiryMs)
	b = append(b, byte(len(n.PeerID)))
	return append(b, n.PeerID...)
}

// Digest is the EIP-712 digest that the account signs.
func (n NodeBinding) Digest() Digest {
	t := newTyped(bindingType, 5)
	if n.Flags != 0 {
		t = newTyped(officeType, 6)
		t.uint(uint64(n.Flags))
	}
	t.word(n.Network)
	t.account(n.Account)
	t.word([32]byte(crypto.Keccak256(n.PeerID)))
	t.uint(n.Seq)
	t.uint(n.ExpiryMs)
	return t.digest(n.Network)
}

// SignBinding returns the encoded binding with its signature.
func (k Key) SignBinding(n NodeBinding) ([]byte, error) {
	if len(n.PeerID) == 0 || len(n.PeerID) > maxPeerID {
		return nil, fmt.Errorf("bind node: peer ID of %d bytes, want 1 to %d", len(n.PeerID), maxPeerID)
	}
	if n.Flags&^EarnsOnly != 0 {
		return nil, fmt.Errorf("bind node: unknown flags %#x: %w", n.Flags, ErrMalformed)
	}
	raw := append(n.append(nil), make([]byte, SignatureSize)...)
	return raw, k.sign(n.Digest(), raw)
}

// ParseBinding reads a signed binding, strictly. It does not check the signature.
func ParseBinding(raw []byte) (NodeBinding, error) {
	if len(raw) < bindingHead || raw[0] != 1 && raw[0] != 2 || raw[1] != kindBinding {
		return NodeBinding{}, fmt.Errorf("not a node binding of version 1 or 2: %w", ErrMalformed)
	}
	r, head := reader{b: raw[2:]}, bindingHead
	var n NodeBinding
	if raw[0] == 2 {
		head++
		if n.Flags = r.u8(); n.Flags == 0 || n.Flags&^EarnsOnly != 0 || len(raw) < head {
			return NodeBinding{}, fmt.Errorf("node binding with flags %#x: %w", n.Flags, ErrMalformed)
		}
	}
	n.Network, n.Account, n.Seq, n.ExpiryMs = Network(r.word()), r.account(), r.u64(), r.time()
	size := int(r.u8())
	if size == 0 || size > maxPeerID || len(raw) != head+size+SignatureSize || r.bad != "" {
		return NodeBinding{}, fmt.Errorf("node binding: wrong length or time: %w", ErrMalformed)
	}
	n.PeerID = append([]byte(nil), r.next(size)...)
	return n, nil
}

// VerifyBinding reads a signed binding and checks network, expiry and signature.
func VerifyBinding(raw []byte, network Network, now time.Time) (NodeBinding, error) {
	n, err := ParseBinding(raw)
	switch {
	case err != nil:
		return NodeBinding{}, err
	case n.Network != network:
		return NodeBinding{}, &NetworkError{Want: network, Have: n.Network}
	case !now.Before(n.Expiry()):
		return NodeBinding{}, fmt.Errorf("node binding of %s: %w at %s", n.Account.Short(), ErrExpired, n.Expiry().UTC().Format(time.RFC3339))
	}
	if err := verify(n.Account, n.Digest(), raw); err != nil {
		return NodeBinding{}, fmt.Errorf("node binding: %w", err)
	}
	return n, nil
}
