package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A grant is a verified one of an audit.
type grant struct {
	Grant
	digest Digest
	raw    []byte
	source string
}

// Grant adds a grant of a mint. Its error is an *AuditProblem, which the report will hold too: it is
// malformed, not signed by a mint of the network, or beyond the mint's cap. What two grants prove
// against their mint is in the report.
func (a *Audit) Grant(raw []byte) error {
	g, d, err := VerifyGrant(raw, a.genesis)
	raw = bytes.Clone(raw)
	if err != nil {
		p := AuditProblem{Kind: ProblemInvalid, Account: g.Mint, Seq: g.Seq, A: raw, Err: err}
		if errors.As(err, new(*MintError)) {
			p.Kind = ProblemMint
		}
		return a.note(p)
	}
	if _, had := a.grants[d]; !had {
		a.grants[d] = grant{g, d, raw, a.source}
	}
	return nil
}

// judgeMints holds the grants of each mint against each other.
func (a *Audit) judgeMints() {
	all := slices.SortedFunc(maps.Values(a.grants), func(x, y grant) int {
		return cmp.Or(bytes.Compare(x.Mint[:], y.Mint[:]), cmp.Compare(x.Seq, y.Seq), bytes.Compare(x.digest[:], y.digest[:]))
	})
	for i := 1; i < len(all); i++ {
		x, y := all[i-1], all[i]
		if x.Mint != y.Mint {
			continue
		}
		if why := x.follows(x.digest, y.Grant, y.digest); why != "" {
			a.note(AuditProblem{Kind: ProblemMint, Account: x.Mint, Seq: y.Seq, A: x.raw, B: y.raw, SourceA: x.source, SourceB: y.source,
				Err: fmt.Errorf("grants %d and %d: %s: %w", x.Seq, y.Seq, why, &MintError{ProofMintFork, x.raw, y.raw})})
		}
	}
}

// claim checks that a GRANT entry takes up a mint's grant to its account, of as much, and the only time.
func (m *merged) claim(k known) {
	p := AuditProblem{Kind: ProblemUnbacked, Account: k.Account, Epoch: k.Epoch, Seq: k.Seq, Lock: k.Ref, A: k.raw, SourceA: k.source}
	g, ok := m.audit.grants[k.Ref]
	switch {
	case !ok:
		p.Err = fmt.Errorf("claims %s, and the grant %s it names is not among what was given: %w", k.Amount, k.Ref.Short(), ErrNotFound)
	case g.Mint != k.Peer || g.Amount != k.Amount:
		p.Err = fmt.Errorf("claims %s of mint %s, and the grant it names is of %s by %s: %w", k.Amount, k.Peer.Short(), g.Amount, g.Mint.Short(), ErrConflict)
	case !m.leadsTo(g.To, k.Account):
		p.Err = fmt.Errorf("claims a grant to %s: %w", g.To, ErrConflict)
	}
	if p.Err != nil {
		m.audit.note(p)
	}
	first, twice := m.claims[k.Ref]
	if !twice {
		m.claims[k.Ref] = k
		return
	}
	p.Kind, p.B, p.SourceB = ProblemClaimedTwice, first.raw, first.source
	p.Err = fmt.Errorf("grant %s was claimed by %s and by %s: %w", k.Ref.Short(), first.Account, k.Account, ErrChain)
	m.audit.note(p)
}
