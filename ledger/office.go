package ledger

import (
	"bytes"
	"fmt"
	"math"

	"github.com/ethereum/go-ethereum/crypto"
)

// An office PC is a node that works for an account whose key it does not hold. It claims with its node key, which is a
// secp256k1 key too, in records of types of their own: neither passes for one of an account.

// secp256k1ID is how the peer ID of a secp256k1 key begins (libp2p peer-ids specification): identity multihash of 37 bytes, then the
// protobuf message PublicKey{Type: Secp256k1, Data: 33 bytes}. The compressed key follows.
var secp256k1ID = []byte{0x00, 0x25, 0x08, 0x02, 0x12, 0x21}

// nodeAccount is the address of a node's key. It signs claims, never entries.
func nodeAccount(peerID []byte) (Account, error) {
	if len(peerID) != len(secp256k1ID)+33 || !bytes.HasPrefix(peerID, secp256k1ID) {
		return Account{}, fmt.Errorf("peer ID without a secp256k1 key: %w", ErrMalformed)
	}
	public, err := crypto.DecompressPubkey(peerID[len(secp256k1ID):])
	if err != nil {
		return Account{}, fmt.Errorf("peer ID: %w: %w", ErrMalformed, err)
	}
	return Account(crypto.PubkeyToAddress(*public)), nil
}

// boundUntil is when the binding of a node's claim ends, Unix ms; never for one that the account signed.
func (c Claim) boundUntil() uint64 {
	if c.Office == "" {
		return math.MaxUint64
	}
	b, err := ParseBinding([]byte(c.Office))
	if err != nil {
		return 0
	}
	return b.ExpiryMs
}

// LockEvidence is what a LOCK for a job must name when the node that is hired is bound with EarnsOnly: keccak256("P3 office 1" ‖ job ‖
// peer ID). So a LOCK is for one node: several that earn into one account cannot be paid with the same one.
func LockEvidence(job Digest, peerID []byte) Digest {
	return Digest(crypto.Keccak256([]byte("P3 office 1"), job[:], peerID))
}
