package ledger

import (
	"encoding/binary"
	"fmt"
)

// Sizes of a voucher in bytes, without and with its signature.
const (
	voucherSize       = 110
	SignedVoucherSize = voucherSize + SignatureSize
)

// A Voucher is the payer's promise to pay Amount of a lock. It is cumulative like the Claim it
// answers, and with the lock alone it entitles the payee (TypeEarn with FlagVoucher). It names
// no account; the lock's payer signs.
//
// Encoding: 1 u8 · 0x22 u8 · network 32 · lock 32 · k u32 · cumAmount u64 · claimDigest 32 ·
// signature 65.
type Voucher struct {
	Network Network
	Lock    Digest
	K       uint32  // of the claim
	Amount  Credits // at most the claim's
	Claim   Digest  // of the claim
}

func (v Voucher) append(b []byte) []byte {
	b = append(b, 1, kindVoucher)
	b = append(b, v.Network[:]...)
	b = append(b, v.Lock[:]...)
	b = binary.BigEndian.AppendUint32(b, v.K)
	b = binary.BigEndian.AppendUint64(b, uint64(v.Amount))
	return append(b, v.Claim[:]...)
}

// unsigned is the encoding with room for the signature.
func (v Voucher) unsigned() []byte {
	return append(v.append(make([]byte, 0, SignedVoucherSize)), make([]byte, SignatureSize)...)
}

// Digest is the EIP-712 digest that the payer signs.
func (v Voucher) Digest() Digest {
	t := newTyped(voucherType, 5)
	t.word(v.Network)
	t.word(v.Lock)
	t.uint(uint64(v.K))
	t.uint(uint64(v.Amount))
	t.word(v.Claim)
	return t.digest(v.Network)
}

// ParseVoucher reads a signed voucher, strictly. It does not check the signature.
func ParseVoucher(raw []byte) (Voucher, error) {
	if len(raw) != SignedVoucherSize || raw[0] != 1 || raw[1] != kindVoucher {
		return Voucher{}, fmt.Errorf("not a version 1 voucher of %d bytes: %w", SignedVoucherSize, ErrMalformed)
	}
	r := reader{b: raw[2:]}
	v := Voucher{Network: Network(r.word()), Lock: r.word(), K: r.u32(), Amount: r.credits(), Claim: r.word()}
	if r.bad != "" || v.K == 0 {
		return Voucher{}, fmt.Errorf("voucher number or amount out of range: %w", ErrMalformed)
	}
	return v, nil
}

// SignVoucher returns the encoded voucher with its signature, SignedVoucherSize bytes.
func (k Key) SignVoucher(v Voucher) ([]byte, error) {
	raw := v.unsigned()
	return raw, k.sign(v.Digest(), raw)
}

// VerifyVoucher reads a signed voucher and checks that payer signed it.
func VerifyVoucher(raw []byte, payer Account) (Voucher, error) {
	v, err := ParseVoucher(raw)
	if err != nil {
		return Voucher{}, err
	}
	if err := verify(payer, v.Digest(), raw); err != nil {
		return Voucher{}, fmt.Errorf("voucher %d on lock %s: %w", v.K, v.Lock.Short(), err)
	}
	return v, nil
}
