package ledger

import (
	"encoding/binary"
	"fmt"
)

// kindStatement is the kind of a Statement, beside those in claim.go.
const kindStatement = 0x26

// Sizes of a statement in bytes, without and with its signature.
const (
	statementSize       = 118
	SignedStatementSize = statementSize + SignatureSize
)

// A Statement is a witness's word that one entry stands in its place of its account's chain: it has
// checked that entry as the successor of those before, and signs no other for that place, ever.
// Two statements that differ in nothing but the entry convict the witness (ProofDoubleSign).
//
// Encoding: 1 u8 · 0x26 u8 · network 32 · witness 20 · account 20 · epoch u32 · seq u64 ·
// digest 32 · signature 65.
type Statement struct {
	Network Network
	Witness Account
	Account Account // whose chain
	Epoch   uint32
	Seq     uint64
	Digest  Digest // of the entry
}

// StatementOn is what a witness says of an entry with digest d.
func StatementOn(witness Account, e Entry, d Digest) Statement {
	return Statement{e.Network, witness, e.Account, e.Epoch, e.Seq, d}
}

func (s Statement) append(b []byte) []byte {
	b = append(append(b, 1, kindStatement), s.Network[:]...)
	b = append(append(b, s.Witness[:]...), s.Account[:]...)
	b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, s.Epoch), s.Seq)
	return append(b, s.Digest[:]...)
}

// ID is the EIP-712 digest that the witness signs.
func (s Statement) ID() Digest {
	t := newTyped(statementType, 6)
	t.word(s.Network)
	t.account(s.Witness)
	t.account(s.Account)
	t.uint(uint64(s.Epoch))
	t.uint(s.Seq)
	t.word(s.Digest)
	return t.digest(s.Network)
}

// ParseStatement reads a signed statement, strictly. It does not check the signature.
func ParseStatement(raw []byte) (Statement, error) {
	if len(raw) != SignedStatementSize || raw[0] != 1 || raw[1] != kindStatement {
		return Statement{}, fmt.Errorf("not a version 1 statement of %d bytes: %w", SignedStatementSize, ErrMalformed)
	}
	r := reader{b: raw[2:]}
	return Statement{Network(r.word()), r.account(), r.account(), r.u32(), r.u64(), r.word()}, nil
}

// SignStatement returns the encoded statement with its signature, SignedStatementSize bytes.
func (k Key) SignStatement(s Statement) ([]byte, error) {
	raw := append(s.append(make([]byte, 0, SignedStatementSize)), make([]byte, SignatureSize)...)
	return raw, k.sign(s.ID(), raw)
}

// VerifyStatement reads a signed statement and checks that its witness signed it. Whether that is a
// witness of the network, the genesis says.
func VerifyStatement(raw []byte) (Statement, error) {
	s, err := ParseStatement(raw)
	if err != nil {
		return Statement{}, err
	}
	if err := verify(s.Witness, s.ID(), raw); err != nil {
		return Statement{}, fmt.Errorf("statement of %s on entry %d of %s: %w", s.Witness.Short(), s.Seq, s.Account.Short(), err)
	}
	return s, nil
}
