package farm

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/personal-power-plant/p3/ledger"
)

// commitDomain separates commitments from every other SHA-256 of the protocol.
const commitDomain = "p3 commit 1"

// A Nonce salts a commitment: 32 random bytes, fresh for each, so that results with few
// possible values cannot be guessed from it.
type Nonce [32]byte

// Commitment binds a worker to a result before it has seen anyone else's:
// SHA-256(domain ‖ network ‖ lock ‖ unit ‖ worker ‖ nonce ‖ digest ‖ fuel), integers as
// 8 bytes big-endian. lock is the digest of the lease's LOCK and worker the provider's
// account, so a copied commitment cannot be revealed by another.
func Commitment(network ledger.Network, lock ledger.Digest, unit uint64, worker ledger.Account,
	nonce Nonce, digest ledger.Digest, fuel ledger.Fuel) ledger.Digest {
	b := make([]byte, 0, len(commitDomain)+32+32+8+20+32+32+8)
	b = append(b, commitDomain...)
	b = append(b, network[:]...)
	b = append(b, lock[:]...)
	b = binary.BigEndian.AppendUint64(b, unit)
	b = append(b, worker[:]...)
	b = append(b, nonce[:]...)
	b = append(b, digest[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(fuel))
	return sha256.Sum256(b)
}

// CheckReveal reports whether a revealed nonce, digest and fuel are what was committed to.
// When it is false, report Farm.Mismatch.
func CheckReveal(commitment ledger.Digest, network ledger.Network, lock ledger.Digest, unit uint64,
	worker ledger.Account, nonce Nonce, digest ledger.Digest, fuel ledger.Fuel) bool {
	return commitment == Commitment(network, lock, unit, worker, nonce, digest, fuel)
}
