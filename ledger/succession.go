package ledger

import (
	"math"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
)

// How an account changes its key. An account is the address of the key that signs, so that every
// entry is verified by itself; a chain with another key goes on under another account, one epoch
// later. Places go on counting, and totals and history stay.
//
// A rotation is two entries of the usual form: the old key hands over to the new account, and the
// new key takes over, naming the digest of the first. So both have signed, and the old key
// cannot spend beside it without two entries in one place, a proof of a fork. The alternatives: one entry
// with the second signature spread over unused fields does not stand in the old account's chain, so
// that a spend beside it is no fork; an account that outlives its keys needs a list of keys beside every
// record that is verified.
//
// A recovery is one entry, signed by a key whose hash an earlier entry committed to: see
// RecoveryCommitment. It needs nothing of the old key, and wins over whatever that signs from the
// same place on.

// handsOver tells the first half of a rotation.
func (e Entry) handsOver() bool { return e.Type == TypeRotate && e.Ref.IsZero() }

// takesOver tells an entry that continues another account's chain.
func (e Entry) takesOver() bool {
	return e.Type == TypeRotate && !e.Ref.IsZero() || e.Type == TypeRecover
}

// RecoveryCommitment is what an entry that opens an account (the first, a rotation's second half, or a
// recovery) puts into Evidence, for the account of the recovery key: keccak256("P3 recovery 1" ‖
// account). The key stays unknown until it is used.
func RecoveryCommitment(recovery Account) Digest {
	return Digest(crypto.Keccak256Hash([]byte("P3 recovery 1"), recovery[:]))
}

// mayTakeOver says why e may not continue the chain under its account, or "".
func (h Head) mayTakeOver(e Entry) string {
	switch {
	case h.Epoch == math.MaxUint32 || e.Epoch != h.Epoch+1:
		return "another epoch than the next"
	case e.Peer != h.Account || e.Account == h.Account:
		return "it takes over from " + e.Peer.Short() + ", not from " + h.Account.Short()
	case e.Type == TypeRotate && (e.Account != h.Heir || e.Ref != h.Digest):
		return "the key was not handed over to " + e.Account.Short()
	case e.Type == TypeRecover && !e.Ref.IsZero():
		return "a recovery names no other entry"
	}
	return ""
}

// HandOver drafts the first half of a rotation, for the old key to sign.
func (h Head) HandOver(heir Account, now time.Time) Entry {
	e := h.next(TypeRotate, now)
	e.Peer = heir
	return e
}

// TakeOver drafts the second half, for the heir to sign. recovery commits to a recovery key, and
// may be zero.
func (h Head) TakeOver(recovery Digest, now time.Time) Entry {
	e := h.next(TypeRotate, now)
	e.Account, e.Peer, e.Epoch, e.Ref, e.Evidence = h.Heir, h.Account, h.Epoch+1, h.Digest, recovery
	return e
}

// Recover drafts the taking over of a chain by its recovery key, for that to sign. next commits to
// the following recovery key, and may be zero.
func (h Head) Recover(recovery Account, next Digest, now time.Time) Entry {
	e := h.next(TypeRecover, now)
	e.Account, e.Peer, e.Epoch, e.Evidence = recovery, h.Account, h.Epoch+1, next
	return e
}

// Close drafts the last entry of a chain.
func (h Head) Close(now time.Time) Entry { return h.next(TypeClose, now) }
