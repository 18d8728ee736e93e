package ledger

import (
	"bytes"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"
)

// A ProofKind says what a Proof proves. It is the first byte of a proof and never changes.
type ProofKind byte

// Kinds of proof.
const (
	ProofFork        ProofKind = 0x31 // two entries of one place in the account's chain
	ProofUnderSettle ProofKind = 0x32 // a settle, and a higher voucher for the same lock
	ProofDoubleSign  ProofKind = 0x33 // two statements of a witness on different entries for one place
	ProofMintFork    ProofKind = 0x38 // two grants of a mint that cannot both stand in its chain
	ProofOverIssue   ProofKind = 0x39 // a grant beyond its mint's cap
)

// A proofRule is what is particular to a kind of proof.
type proofRule struct {
	text    string
	one     int                                                  // size of the first record in bytes
	two     int                                                  // of the second; 0 = there is none
	read    func(kind ProofKind, one, two []byte) (Proof, error) // checks all but signatures and the genesis
	against func(p Proof, g Genesis) error                       // what only the genesis can tell; nil = nothing
	ordered bool                                                 // the records stand in the order of their digests
	frozen  byte                                                 // how the account is marked
}

// proofRules are the kinds that this p3 can judge. Those whom the genesis names, and against asks for, are few,
// so that proofs against them are always kept.
var proofRules = map[ProofKind]proofRule{
	ProofFork: {
		text: "it signed two entries for one place in its chain", one: SignedEntrySize, two: SignedEntrySize,
		read: readEntryProof, ordered: true, frozen: frozenFork},
	ProofUnderSettle: {
		text: "it settled below a voucher it had signed", one: SignedEntrySize, two: SignedVoucherSize,
		read: readEntryProof, frozen: frozenUnderSettle},
	ProofDoubleSign: {
		text: "as a witness it signed two entries for one place in a chain", one: SignedStatementSize, two: SignedStatementSize,
		read: readDoubleSign, against: Proof.againstWitness, ordered: true, frozen: frozenDoubleSign},
	ProofMintFork: {
		text: "it signed two grants that cannot both stand in its chain", one: SignedGrantSize, two: SignedGrantSize,
		read: readMintProof, against: Proof.againstMint, ordered: true, frozen: frozenMint},
	ProofOverIssue: {
		text: "it issued more credit than its cap", one: SignedGrantSize,
		read: readMintProof, against: Proof.againstMint, frozen: frozenMint},
}

// Known reports whether this p3 can judge such a proof. Others come from a newer one.
func (k ProofKind) Known() bool { return proofRules[k].read != nil }

func (k ProofKind) String() string {
	if r, ok := proofRules[k]; ok {
		return r.text
	}
	return fmt.Sprintf("proof of kind %#x", byte(k))
}

// MaxProof is the size of the largest encoded proof, that of a fork, in bytes.
const MaxProof = 1 + 2*SignedEntrySize

// A Proof is two signed records that convict their signer to anyone, for ever: nobody else can
// make the one of them that contradicts the other. For ProofOverIssue it is one, which contradicts
// the genesis. It is immutable.
//
// Encoding: kind u8, then for ProofFork the two entries; for ProofUnderSettle the settle and the
// voucher; for ProofDoubleSign the two statements; for ProofMintFork the two grants; for
// ProofOverIssue the grant. Of two alike that of the lower digest is first. So there is one order,
// but a signer can sign one record in several ways, and ID leaves signatures out.
type Proof struct {
	Kind    ProofKind
	Network Network
	Account Account // who is convicted
	ID      Digest  // keccak256(kind ‖ digest of A ‖ digest of B)
	A, B    []byte  // the signed records, in the order of the encoding; B is nil for ProofOverIssue

	a, b Digest
}

// NewProof makes a proof of two signed records, given in any order. It checks all but their
// signatures.
func NewProof(kind ProofKind, one, two []byte) (Proof, error) {
	p, err := readProof(kind, one, two)
	if err == nil && proofRules[kind].ordered && bytes.Compare(p.a[:], p.b[:]) > 0 {
		return readProof(kind, two, one)
	}
	return p, err
}

// Encode is the proof as it is kept and sent, at most MaxProof bytes.
func (p Proof) Encode() []byte {
	b := append(make([]byte, 0, MaxProof), byte(p.Kind))
	return append(append(b, p.A...), p.B...)
}

// ParseProof reads what Encode wrote, strictly: length, order, and that the two records
// contradict each other. It checks no signature; VerifyProof does.
func ParseProof(raw []byte) (Proof, error) {
	if len(raw) == 0 {
		return Proof{}, fmt.Errorf("empty proof: %w", ErrMalformed)
	}
	kind := ProofKind(raw[0])
	rule := proofRules[kind]
	first := 1 + rule.one
	if !kind.Known() || len(raw) != first+rule.two {
		return Proof{}, fmt.Errorf("%s of %d bytes: %w", kind, len(raw), ErrMalformed)
	}
	raw = bytes.Clone(raw)
	p, err := readProof(kind, raw[1:first:first], raw[first:])
	if err == nil && rule.ordered && bytes.Compare(p.a[:], p.b[:]) > 0 {
		err = fmt.Errorf("proof in the wrong order: %w", ErrMalformed)
	}
	return p, err
}

func readProof(kind ProofKind, one, two []byte) (Proof, error) {
	if !kind.Known() {
		return Proof{}, fmt.Errorf("%s: %w", kind, ErrMalformed)
	}
	p, err := proofRules[kind].read(kind, one, two)
	if err != nil {
		return Proof{}, err
	}
	p.ID = Digest(crypto.Keccak256([]byte{byte(kind)}, p.a[:], p.b[:]))
	return p, nil
}

// readEntryProof is readProof for the kinds whose first record is an entry.
func readEntryProof(kind ProofKind, one, two []byte) (Proof, error) {
	a, err := ParseEntry(one)
	if err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	p := Proof{Kind: kind, Network: a.Network, Account: a.Account, A: one, B: two, a: a.Digest()}
	if kind == ProofFork {
		b, err := ParseEntry(two)
		if err != nil {
			return Proof{}, fmt.Errorf("proof: %w", err)
		}
		if p.b = b.Digest(); a.Network != b.Network || a.Account != b.Account || a.Epoch != b.Epoch || a.Seq != b.Seq || p.a == p.b {
			return Proof{}, fmt.Errorf("fork proof: the entries do not contradict each other: %w", ErrMalformed)
		}
		return p, nil
	}
	v, err := ParseVoucher(two)
	if err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	if p.b = v.Digest(); a.Type != TypeSettle || v.Network != a.Network || v.Lock != a.Ref || v.Amount <= a.Amount {
		return Proof{}, fmt.Errorf("proof of under-settlement: the records do not contradict each other: %w", ErrMalformed)
	}
	return p, nil
}

// VerifyProof reads a proof of the network that genesis founds and checks that the account signed its
// records: two signature checks, after all that is cheap.
func VerifyProof(raw []byte, genesis Genesis) (Proof, error) {
	p, err := ParseProof(raw)
	if err != nil {
		return Proof{}, err
	}
	network, err := genesis.ID()
	if err != nil {
		return Proof{}, err
	}
	if p.Network != network {
		return Proof{}, &NetworkError{Want: network, Have: p.Network}
	}
	if against := proofRules[p.Kind].against; against != nil {
		if err := against(p, genesis); err != nil {
			return Proof{}, err
		}
	}
	if err := verify(p.Account, p.a, p.A); err != nil {
		return Proof{}, fmt.Errorf("proof against %s: %w", p.Account.Short(), err)
	}
	if p.B == nil {
		return p, nil
	}
	if err := verify(p.Account, p.b, p.B); err != nil {
		return Proof{}, fmt.Errorf("proof against %s: %w", p.Account.Short(), err)
	}
	return p, nil
}
