package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A Type says what an Entry records. The numbers are signed and stored; they never change.
type Type uint8

// Types of an entry.
const (
	TypeGenesis    Type = 1 // opens an account's chain; Evidence may commit to a recovery key
	TypeGrant      Type = 2 // takes up a mint's grant
	TypeLock       Type = 3 // reserves Amount for Peer until Expiry; Evidence is the job
	TypeSettle     Type = 4 // pays Amount of lock Ref to Peer and releases the rest; Evidence is the voucher
	TypeEarn       Type = 5 // takes up Amount of lock Ref from Peer; Evidence is the settle, or the voucher with FlagVoucher
	TypeCheckpoint Type = 6 // totals and roots
	TypeRotate     Type = 7 // hands the chain over to Peer; with Ref, the digest of that, takes it over from Peer
	TypeRecover    Type = 8 // takes the chain over from Peer by the recovery key, which signs
	TypeClose      Type = 9 // ends the chain
)

var typeNames = [...]string{TypeGenesis: "genesis", TypeGrant: "grant", TypeLock: "lock", TypeSettle: "settle", TypeEarn: "earn",
	TypeCheckpoint: "checkpoint", TypeRotate: "rotate", TypeRecover: "recover", TypeClose: "close"}

func (t Type) String() string {
	if t > 0 && int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// FlagVoucher marks a TypeEarn whose Evidence is a voucher, not a settle: the payer was silent
// or settled below what it had vouched for.
const FlagVoucher uint16 = 1

// Sizes of an entry in bytes, without and with its signature.
const (
	EntrySize       = 284
	SignedEntrySize = EntrySize + SignatureSize
)

// maxTimeMs bounds every time in a record, in Unix milliseconds, so that arithmetic on it
// cannot overflow. It lies in the year 10889.
const maxTimeMs = 1 << 48

// ErrMalformed reports bytes that are not a record in its one valid form.
var ErrMalformed = errors.New("malformed record")

// An Entry is one link of its account's hash chain. Its encoding is fixed: the fields in
// this order, big-endian, EntrySize bytes, then the signature over Digest.
//
// Granted, Earned, Spent and Locked are running totals that include the entry itself, so
// that the newest entry alone states the account's position. Fields that a type does not use
// are zero.
type Entry struct {
	// Ver, the format version, is 1 and is not kept.
	Type     Type
	Flags    uint16
	Network  Network
	Account  Account
	Epoch    uint32 // counts key changes
	Seq      uint64 // 0 for TypeGenesis, then one more each
	Prev     Digest // of the entry before; zero for the first
	Peer     Account
	Ref      Digest // the lock
	Amount   Credits
	Fuel     Fuel
	Units    uint32
	Evidence Digest
	Granted  Credits
	Earned   Credits
	Spent    Credits
	Locked   Credits
	MMRRoot  Digest
	TimeMs   uint64 // Unix ms, by the signer's clock
	ExpiryMs uint64 // Unix ms
}

// Time is when the signer says it signed.
func (e Entry) Time() time.Time { return time.UnixMilli(int64(min(e.TimeMs, maxTimeMs))) }

// Expiry is when a TypeLock ends.
func (e Entry) Expiry() time.Time { return time.UnixMilli(int64(min(e.ExpiryMs, maxTimeMs))) }

// Net is granted + earned − spent.
func (e Entry) Net() Credits { return e.Granted + e.Earned - e.Spent }

// overflows reports totals whose sums leave the supply cap, so that Net cannot overflow.
func (e Entry) overflows() bool {
	return uint64(e.Granted)+uint64(e.Earned) > uint64(MaxCredits) || uint64(e.Spent)+uint64(e.Locked) > uint64(MaxCredits)
}

// Append appends the EntrySize bytes that are signed as Digest.
func (e Entry) Append(b []byte) []byte {
	be := binary.BigEndian
	b = append(b, 1, byte(e.Type))
	b = be.AppendUint16(b, e.Flags)
	b = append(b, e.Network[:]...)
	b = append(b, e.Account[:]...)
	b = be.AppendUint32(b, e.Epoch)
	b = be.AppendUint64(b, e.Seq)
	b = append(b, e.Prev[:]...)
	b = append(b, e.Peer[:]...)
	b = append(b, e.Ref[:]...)
	b = be.AppendUint64(b, uint64(e.Amount))
	b = be.AppendUint64(b, uint64(e.Fuel))
	b = be.AppendUint32(b, e.Units)
	b = append(b, e.Evidence[:]...)
	b = be.AppendUint64(b, uint64(e.Granted))
	b = be.AppendUint64(b, uint64(e.Earned))
	b = be.AppendUint64(b, uint64(e.Spent))
	b = be.AppendUint64(b, uint64(e.Locked))
	b = append(b, e.MMRRoot[:]...)
	b = be.AppendUint64(b, e.TimeMs)
	return be.AppendUint64(b, e.ExpiryMs)
}

// ParseEntry reads a signed entry, strictly: exact length, known version, type and flags,
// amounts and times in range. It checks neither signature (VerifyEntry) nor place in a chain
// (Head.Apply).
func ParseEntry(raw []byte) (Entry, error) {
	if len(raw) != SignedEntrySize {
		return Entry{}, fmt.Errorf("entry of %d bytes, want %d: %w", len(raw), SignedEntrySize, ErrMalformed)
	}
	r := reader{b: raw}
	ver := r.u8()
	e := Entry{
		Type: Type(r.u8()), Flags: r.u16(), Network: Network(r.word()), Account: r.account(), Epoch: r.u32(), Seq: r.u64(),
		Prev: r.word(), Peer: r.account(), Ref: r.word(), Amount: r.credits(), Fuel: Fuel(r.u64()), Units: r.u32(),
		Evidence: r.word(), Granted: r.credits(), Earned: r.credits(), Spent: r.credits(), Locked: r.credits(),
		MMRRoot: r.word(), TimeMs: r.time(), ExpiryMs: r.time(),
	}
	switch {
	case ver != 1:
		return Entry{}, fmt.Errorf("entry version %d: this p3 knows version 1; update p3: %w", ver, ErrMalformed)
	case e.Type < TypeGenesis || e.Type > TypeClose:
		return Entry{}, fmt.Errorf("entry of unknown %s: %w", e.Type, ErrMalformed)
	case e.Flags&^FlagVoucher != 0 || e.Flags != 0 && e.Type != TypeEarn:
		return Entry{}, fmt.Errorf("%s with flags %#x: %w", e.Type, e.Flags, ErrMalformed)
	case r.bad != "":
		return Entry{}, fmt.Errorf("%s: %s out of range: %w", e.Type, r.bad, ErrMalformed)
	case e.overflows():
		return Entry{}, fmt.Errorf("%s: totals: %w: %w", e.Type, ErrMalformed, ErrOverflow)
	}
	return e, nil
}

// Digest is the EIP-712 digest that the account signs. It identifies the entry; the
// signature is not part of it.
func (e Entry) Digest() Digest {
	t := newTyped(entryType, 21)
	t.uint(1)
	t.uint(uint64(e.Type))
	t.uint(uint64(e.Flags))
	t.word(e.Network)
	t.account(e.Account)
	t.uint(uint64(e.Epoch))
	t.uint(e.Seq)
	t.word(e.Prev)
	t.account(e.Peer)
	t.word(e.Ref)
	t.uint(uint64(e.Amount))
	t.uint(uint64(e.Fuel))
	t.uint(uint64(e.Units))
	t.word(e.Evidence)
	t.uint(uint64(e.Granted))
	t.uint(uint64(e.Earned))
	t.uint(uint64(e.Spent))
	t.uint(uint64(e.Locked))
	t.word(e.MMRRoot)
	t.uint(e.TimeMs)
	t.uint(e.ExpiryMs)
	return t.digest(e.Network)
}

// SignEntry returns the encoded entry with its signature, SignedEntrySize bytes.
func (k Key) SignEntry(e Entry) ([]byte, error) {
	raw := append(e.Append(make([]byte, 0, SignedEntrySize)), make([]byte, SignatureSize)...)
	return raw, k.sign(e.Digest(), raw)
}

// VerifyEntry reads a signed entry and checks that its account signed it.
func VerifyEntry(raw []byte) (Entry, Digest, error) {
	e, err := ParseEntry(raw)
	if err != nil {
		return Entry{}, Digest{}, err
	}
	d := e.Digest()
	if err := verify(e.Account, d, raw); err != nil {
		return Entry{}, Digest{}, fmt.Errorf("%s %s: %w", e.Type, d.Short(), err)
	}
	return e, d, nil
}
