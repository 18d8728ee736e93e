package ledger

import "fmt"

// readMintProof is readProof for the kinds that consist of grants. Whether the signer is a mint, and what
// its cap is, the genesis tells: see againstMint.
func readMintProof(kind ProofKind, one, two []byte) (Proof, error) {
	a, err := ParseGrant(one)
	if err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	p := Proof{Kind: kind, Network: a.Network, Account: a.Mint, A: one, a: a.Digest()}
	if kind == ProofOverIssue {
		if len(two) != 0 {
			return Proof{}, fmt.Errorf("proof of over-issue by two grants: %w", ErrMalformed)
		}
	} else {
		b, err := ParseGrant(two)
		if err != nil {
			return Proof{}, fmt.Errorf("proof: %w", err)
		}
		if p.B, p.b = two, b.Digest(); a.Network != b.Network || a.Mint != b.Mint || a.follows(p.a, b, p.b) == "" {
			return Proof{}, fmt.Errorf("proof against a mint: the grants do not contradict each other: %w", ErrMalformed)
		}
	}
	return p, nil
}

// againstMint checks what only the genesis can tell of a proof: that a mint is meant, and its cap.
func (p Proof) againstMint(genesis Genesis) error {
	cap, mint := genesis.Cap(p.Account)
	if !mint {
		return fmt.Errorf("proof against %s: not a mint of network %s: %w", p.Account.Short(), genesis.Name, ErrMalformed)
	}
	if p.Kind == ProofMintFork {
		return nil
	}
	g, err := ParseGrant(p.A)
	if err == nil && g.Total <= cap {
		err = fmt.Errorf("proof of over-issue against %s: %s issued of a cap of %s: %w", p.Account.Short(), g.Total, cap, ErrMalformed)
	}
	return err
}
