package ledger

import "fmt"

const kindPublication = 0x29

// Sizes of a publication in bytes, without and with its signature.
const (
	publicationSize       = 86
	SignedPublicationSize = publicationSize + SignatureSize
)

// A Publication says, signed by the account, that it publishes a program. Whoever lends a machine may trust a
// publisher rather than each program or each payer. It does not end: a program that is regretted is denied by its hash.
//
// Encoding: 1 u8 · 0x29 u8 · network 32 · account 20 · program 32 · signature 65.
type Publication struct {
	Network Network
	Account Account // the publisher
	Program Digest  // SHA-256 of the module
}

func (p Publication) append(b []byte) []byte {
	b = append(append(b, 1, kindPublication), p.Network[:]...)
	b = append(b, p.Account[:]...)
	return append(b, p.Program[:]...)
}

// Digest is the EIP-712 digest that the publisher signs.
func (p Publication) Digest() Digest {
	t := newTyped(publishType, 3)
	t.word(p.Network)
	t.account(p.Account)
	t.word(p.Program)
	return t.digest(p.Network)
}

// SignPublication returns the encoded publication with its signature, SignedPublicationSize bytes.
func (k Key) SignPublication(p Publication) ([]byte, error) {
	raw := append(p.append(make([]byte, 0, SignedPublicationSize)), make([]byte, SignatureSize)...)
	return raw, k.sign(p.Digest(), raw)
}

// ParsePublication reads a signed publication, strictly. It does not check the signature.
func ParsePublication(raw []byte) (Publication, error) {
	if len(raw) != SignedPublicationSize || raw[0] != 1 || raw[1] != kindPublication {
		return Publication{}, fmt.Errorf("not a version 1 publication of %d bytes: %w", SignedPublicationSize, ErrMalformed)
	}
	r := reader{b: raw[2:]}
	return Publication{Network: Network(r.word()), Account: r.account(), Program: r.word()}, nil
}

// VerifyPublication reads a publication of a program, and checks network and signature.
func VerifyPublication(raw []byte, network Network, program Digest) (Publication, error) {
	p, err := ParsePublication(raw)
	switch {
	case err != nil:
		return p, err
	case p.Network != network:
		return p, &NetworkError{Want: network, Have: p.Network}
	case p.Program != program:
		return p, fmt.Errorf("publication of program %s, this is %s: %w", p.Program.Short(), program.Short(), ErrConflict)
	}
	if err := verify(p.Account, p.Digest(), raw); err != nil {
		return p, fmt.Errorf("publication by %s: %w", p.Account.Short(), err)
	}
	return p, nil
}
