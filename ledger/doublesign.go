package ledger

import "fmt"

// readDoubleSign is readProof for statements; the witness is convicted.
func readDoubleSign(kind ProofKind, one, two []byte) (Proof, error) {
	a, err := ParseStatement(one)
	if err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	b, err := ParseStatement(two)
	if err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	same := b
	same.Digest = a.Digest
	if a != same || a == b {
		return Proof{}, fmt.Errorf("proof of double signing: the statements do not contradict each other: %w", ErrMalformed)
	}
	return Proof{Kind: kind, Network: a.Network, Account: a.Witness, A: one, B: two, a: a.ID(), b: b.ID()}, nil
}

// againstWitness checks what only the genesis can tell of a proof: that a witness is meant.
func (p Proof) againstWitness(genesis Genesis) error {
	if genesis.Witness(p.Account) < 0 {
		return fmt.Errorf("proof against %s: not a witness of network %s: %w", p.Account.Short(), genesis.Name, ErrMalformed)
	}
	return nil
}
