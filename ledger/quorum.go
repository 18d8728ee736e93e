package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrUnwitnessed reports a lock without a quorum of witnesses in a network that has them.
var ErrUnwitnessed = errors.New("not witnessed by a quorum")

// Witnessed is the genesis with these witnesses, sorted: equal sets found equal networks. A lock then
// counts only with the statements of a quorum of them.
func (g Genesis) Witnessed(witnesses ...Account) Genesis {
	g.Witnesses = slices.Clone(witnesses)
	slices.SortFunc(g.Witnesses, func(a, b Account) int { return bytes.Compare(a[:], b[:]) })
	return g
}

// Faulty is f, how many of the n ≥ 3f+1 witnesses may be dead, or lie and sign what they like, together, so
// that locks are still witnessed and no two conflicting ones ever are. 0 for fewer than four.
func (g Genesis) Faulty() int { return max(0, len(g.Witnesses)-1) / 3 }

// Quorum is how many witnesses must sign: ⌈(n+f+1)/2⌉, so that two quorums share an honest one (Malkhi
// and Reiter, "Byzantine Quorum Systems", 1998, masked by signatures). 0 without witnesses.
func (g Genesis) Quorum() int {
	if len(g.Witnesses) == 0 {
		return 0
	}
	return (len(g.Witnesses) + g.Faulty() + 2) / 2
}

// Witness is the place of an account among the witnesses, or −1.
func (g Genesis) Witness(a Account) int { return slices.Index(g.Witnesses, a) }

// MaxCertificate bounds an encoded certificate in bytes: of 64 witnesses.
const MaxCertificate = 3 + 64*cosignatureSize

const (
	kindCertificate = 0x27
	cosignatureSize = 1 + SignatureSize
)

// A Certificate holds the signatures of witnesses on one entry. With those of a quorum the entry is
// final: no other can come to stand in its place. The rest of each statement follows from the entry.
//
// Encoding: 1 u8 · 0x27 u8 · number u8 · each: place of the witness in the genesis u8, ascending ·
// signature 65.
type Certificate []Cosignature

// A Cosignature is one witness's part of a Certificate.
type Cosignature struct {
	Witness   uint8 // its place in Genesis.Witnesses
	Signature [SignatureSize]byte
}

// Certify makes a certificate of statements on one entry, whose signatures it does not check. There
// may be too few of them for a quorum.
func (g Genesis) Certify(statements ...[]byte) (Certificate, error) {
	var c Certificate
	for _, raw := range statements {
		s, err := ParseStatement(raw)
		if err != nil {
			return nil, err
		}
		at := g.Witness(s.Witness)
		if at < 0 {
			return nil, fmt.Errorf("statement of %s: not a witness of this network: %w", s.Witness, ErrSignature)
		}
		c = append(c, Cosignature{uint8(at), [SignatureSize]byte(raw[statementSize:])})
	}
	slices.SortFunc(c, func(a, b Cosignature) int { return int(a.Witness) - int(b.Witness) })
	return c, nil
}

// Encode is the certificate as it is kept and sent.
func (c Certificate) Encode() []byte {
	b := append(make([]byte, 0, 3+len(c)*cosignatureSize), 1, kindCertificate, byte(len(c)))
	for _, s := range c {
		b = append(append(b, s.Witness), s.Signature[:]...)
	}
	return b
}

// ParseCertificate reads what Encode wrote, strictly: length, and witnesses ascending. It checks no signature.
func ParseCertificate(raw []byte) (Certificate, error) {
	if len(raw) < 3 || raw[0] != 1 || raw[1] != kindCertificate || len(raw) != 3+int(raw[2])*cosignatureSize || raw[2] == 0 || raw[2] > 64 {
		return nil, fmt.Errorf("not a version 1 certificate: %w", ErrMalformed)
	}
	c := make(Certificate, raw[2])
	for i := range c {
		at := raw[3+i*cosignatureSize:]
		c[i] = Cosignature{at[0], [SignatureSize]byte(at[1:])}
		if c[i].Witness >= 64 || i > 0 && c[i].Witness <= c[i-1].Witness {
			return nil, fmt.Errorf("certificate: witnesses out of order: %w", ErrMalformed)
		}
	}
	return c, nil
}

// Statement is the statement on e, with digest d, that the i-th cosignature is part of; nil for a witness
// that the genesis does not name.
func (c Certificate) Statement(i int, g Genesis, e Entry, d Digest) []byte {
	if int(c[i].Witness) >= len(g.Witnesses) {
		return nil
	}
	s := StatementOn(g.Witnesses[c[i].Witness], e, d)
	return append(s.append(make([]byte, 0, SignedStatementSize)), c[i].Signature[:]...)
}

// Verify checks from the bytes alone that a quorum of the genesis' witnesses signed e, whose digest is
// d. Those that distrust names (it may be nil) do not count. A bad signature fails the whole; ErrUnwitnessed
// tells that all are good and too few.
func (c Certificate) Verify(g Genesis, e Entry, d Digest, distrust func(Account) bool) error {
	if len(c) < g.Quorum() { // before any signature is checked
		return fmt.Errorf("%w: %d of %d witnesses signed, it takes %d", ErrUnwitnessed, len(c), len(g.Witnesses), g.Quorum())
	}
	counted, convicted := 0, 0
	for i, s := range c {
		raw := c.Statement(i, g, e, d)
		if raw == nil {
			return fmt.Errorf("certificate: witness %d of %d: %w", s.Witness, len(g.Witnesses), ErrMalformed)
		}
		if distrust != nil && distrust(g.Witnesses[s.Witness]) {
			convicted++
			continue
		}
		if _, err := VerifyStatement(raw); err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		counted++
	}
	if counted < g.Quorum() {
		return fmt.Errorf("%w: %d of %d witnesses count, it takes %d; %d that signed were convicted", ErrUnwitnessed, counted, len(g.Witnesses), g.Quorum(), convicted)
	}
	return nil
}

// DoubleSigns are the proofs against witnesses that signed both of two entries for one place, which
// certificates for them show: at least f+1 of them if both are of a quorum. Signatures are not checked; who
// takes a proof does.
func DoubleSigns(g Genesis, a Entry, ofA Certificate, b Entry, ofB Certificate) (out []Proof) {
	da, db := a.Digest(), b.Digest()
	for i := range ofA {
		for j := range ofB {
			if ofA[i].Witness != ofB[j].Witness {
				continue
			}
			if p, err := NewProof(ProofDoubleSign, ofA.Statement(i, g, a, da), ofB.Statement(j, g, b, db)); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// A QuorumError says how far one is from a quorum, and what became of each witness that did not sign, or answer.
type QuorumError struct {
	Signed, Need, Of int      // as asked: signed, or answered
	Why              []string // one line a witness
}

func (e *QuorumError) Error() string {
	s := fmt.Sprintf("%d of %d witnesses answer, it takes %d", e.Signed, e.Of, e.Need)
	if len(e.Why) > 0 {
		s += ": " + strings.Join(e.Why, "; ")
	}
	return s
}

// Unwrap lets errors.Is find ErrUnwitnessed.
func (e *QuorumError) Unwrap() error { return ErrUnwitnessed }
