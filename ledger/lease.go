package ledger

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Keys of the book in its Store. Numbers in keys are big-endian, so that they sort.
//
//	ledger/book                     format 1 u8 · network · account
//	ledger/genesis                  the document that founds the network
//	ledger/restored                 Unix ms u64: restored from a backup of that time, see restored.go
//	ledger/head                     key of the newest entry
//	ledger/e/EPOCH u32 SEQ u64      our entries, signed
//	ledger/m/BLOCK u64              nodes of a full block of entries, see history.apply
//	ledger/c/BLOCK u64              history.state at its end
//	ledger/pruned                   number of blocks pruned, u64
//	ledger/l/LOCK/PART              the parts of a lease, see below
//	ledger/o/LOCK                   open leases
//	ledger/r/^N u64                 leases in the order we met them, newest first → LOCK
//	ledger/x/LOCK                   outbox → key of the entry that waits for an answer
//	ledger/p/ACCOUNT                what we know of another account, see peer
//	ledger/s/ACCOUNT EPOCH SEQ      entry of another account → key of its bytes
//	ledger/f/ACCOUNT                proof against it
//	ledger/strangers                number of proofs against accounts without ledger/p, u32
//	ledger/w, ledger/u, ledger/day  who worked for whom, see standing.go
//	ledger/a/EPOCH u32              keys of the two entries that show how we got our key of that epoch
//	ledger/h/ACCOUNT/TYPE PART      the two that show how another account's chain went on
//	ledger/b/ACCOUNT                the account whose chain it continues
//	ledger/till                     of an office PC, which has no chain, see OpenTill
//	ledger/t/LOCK                   leases there that the account's key has not taken up → µcr u64
//	ledger/k/PEER                   where the key is: what was taken up of a node, see Taking
//	ledger/heirs                    number of successions kept of strangers, u32
const (
	bookKey       = "ledger/book"
	genesisKey    = "ledger/genesis"
	restoredKey   = "ledger/restored"
	headKey       = "ledger/head"
	entryPrefix   = "ledger/e/"
	nodesPrefix   = "ledger/m/"
	statePrefix   = "ledger/c/"
	leasePrefix   = "ledger/l/"
	openPrefix    = "ledger/o/"
	orderPrefix   = "ledger/r/"
	outPrefix     = "ledger/x/"
	peerPrefix    = "ledger/p/"
	seenPrefix    = "ledger/s/"
	proofPrefix   = "ledger/f/"
	lineagePrefix = "ledger/a/"
	heirPrefix    = "ledger/h/"
	beforePrefix  = "ledger/b/"
)

// Parts of a lease. partClaim is followed by the claim's number, u32.
const (
	partLock    = 'L'
	partClaim   = 'c'
	partWitness = 'w' // the certificate of a lock that we accepted
	partVoucher = 'v' // voucher, then the number of units it fully pays, u32
	partSettle  = 's'
	partEarn    = 'e'
)

func entryKey(epoch uint32, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32([]byte(entryPrefix), epoch), seq)
}

func blockKey(prefix string, block uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefix), block)
}

func lockKey(prefix string, lock Digest) []byte { return append([]byte(prefix), lock[:]...) }

func partKey(lock Digest, part byte) []byte { return append(lockKey(leasePrefix, lock), '/', part) }

func claimKey(lock Digest, k uint32) []byte {
	return binary.BigEndian.AppendUint32(partKey(lock, partClaim), k)
}

func accountKey(prefix string, a Account) []byte { return append([]byte(prefix), a[:]...) }

func orderKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte(orderPrefix), ^n) }

// A lease is one lock in memory. Its first three fields never change and may be read without
// the book's lock.
type lease struct {
	id   Digest
	lock Entry
	ours bool // we pay

	claims  []signedClaim // ascending: the payer's one that is vouched for, the payee's from the vouched one on
	voucher Voucher       // K = 0: none yet
	rawVou  []byte
	paid    uint32 // units whose price the voucher covers
	closed  bool
}

type signedClaim struct {
	Claim
	digest Digest
	raw    []byte
}

// LockInfo is what a lock says.
type LockInfo struct {
	ID     Digest
	Payer  Account
	Payee  Account
	Amount Credits
	Job    Digest
	Expiry time.Time

	lockedMs uint64 // when the payer says it signed
}

func (l *lease) info() LockInfo {
	return LockInfo{l.id, l.lock.Account, l.lock.Peer, l.lock.Amount, l.lock.Evidence, l.lock.Expiry(), l.lock.TimeMs}
}

// done is the newest claim, or the zero one.
func (l *lease) done() Claim {
	if len(l.claims) == 0 {
		return Claim{Network: l.lock.Network, Lock: l.id}
	}
	return l.claims[len(l.claims)-1].Claim
}

// vouched is the claim the voucher answers, or the zero one.
func (l *lease) vouched() Claim {
	for _, c := range l.claims {
		if c.K == l.voucher.K {
			return c.Claim
		}
	}
	return Claim{}
}

// unpaid is the number of units claimed and not paid for.
func (l *lease) unpaid() uint32 { return l.done().K - min(l.paid, l.done().K) }

// voucherDigest is zero without a voucher over more than nothing.
func (l *lease) voucherDigest() Digest {
	if l.voucher.Amount == 0 {
		return Digest{}
	}
	return l.voucher.Digest()
}

func (l *lease) voucherValue() []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, SignedVoucherSize+4), l.rawVou...), l.paid)
}

// signedBy is raw if account signed it. What a later key of a recovered account signed is not part of a receipt,
// which could not show that it was that key's to sign.
func signedBy(account Account, raw []byte) []byte {
	if e, err := ParseEntry(raw); err == nil && e.Account != account {
		return nil
	}
	return raw
}

// loadLease reads a lease from its folder. It trusts signatures, which were checked before it
// was written, and refuses bytes that do not decode.
func loadLease(store Store, mine map[Account]bool, id Digest) (*lease, Receipt, error) {
	l := &lease{id: id}
	var r Receipt
	var bad error
	prefix := append(lockKey(leasePrefix, id), '/')
	err := store.Scan(prefix, nil, func(k, v []byte) bool {
		v = append([]byte(nil), v...)
		switch k[len(prefix)] {
		case partLock:
			r.Lock = v
			l.lock, bad = ParseEntry(v)
		case partClaim:
			var c Claim
			c, bad = ParseClaim(v)
			l.claims = append(l.claims, signedClaim{c, c.Digest(), v})
			r.Claim = v
		case partVoucher:
			if len(v) != SignedVoucherSize+4 {
				bad = ErrMalformed
				break
			}
			l.paid = binary.BigEndian.Uint32(v[SignedVoucherSize:])
			l.rawVou = v[:SignedVoucherSize:SignedVoucherSize]
			r.Voucher = l.rawVou
			l.voucher, bad = ParseVoucher(l.rawVou)
		case partSettle:
			r.Settle = signedBy(l.lock.Account, v)
		case partEarn:
			r.Earn = signedBy(l.lock.Peer, v)
		case partWitness:
			r.Certificate = v
		}
		return bad == nil
	})
	switch {
	case err != nil:
		return nil, r, fmt.Errorf("read lease %s: %w", id.Short(), err)
	case bad != nil:
		return nil, r, fmt.Errorf("read lease %s: the ledger is damaged, restore it from a backup: %w", id.Short(), bad)
	case r.Lock == nil:
		return nil, r, fmt.Errorf("lease %s: %w", id.Short(), ErrUnknownLock)
	}
	for _, c := range l.claims { // ascending; the receipt shows the claim that is vouched for
		if l.voucher.K != 0 && c.K == l.voucher.K {
			r.Claim = c.raw
		}
	}
	l.ours = mine[l.lock.Account]
	return l, r, nil
}
