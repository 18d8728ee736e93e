package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// grantsToShow are the grants that this account has claimed, the largest if a proof has no room for all,
// by mint and place.
func (b *Book) grantsToShow(epoch uint32) ([][]byte, error) {
	known, err := b.GrantsTo(b.key.account, math.MaxInt)
	if err != nil {
		return nil, err
	}
	var out []signedGrant
	for _, raw := range known {
		g, err := ParseGrant(raw)
		if err != nil {
			return nil, err
		}
		switch at, err := b.store.Get(lockKey(claimedPrefix, g.Digest())); {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		case bytes.Compare(at, entryKey(epoch+1, 0)) < 0:
			out = append(out, signedGrant{g, raw})
		}
	}
	if len(out) > maxProofGrants {
		slices.SortStableFunc(out, func(x, y signedGrant) int { return cmp.Compare(y.Amount, x.Amount) })
		out = out[:maxProofGrants]
		slices.SortFunc(out, func(x, y signedGrant) int {
			return cmp.Or(bytes.Compare(x.Mint[:], y.Mint[:]), cmp.Compare(x.Seq, y.Seq))
		})
	}
	raws := make([][]byte, len(out))
	for i, g := range out {
		raws[i] = g.raw
	}
	return raws, nil
}

type signedGrant struct {
	Grant
	raw []byte
}

// verifyGrants checks the grants of a proof and sums them up: each by a mint of the network within its
// cap, to the account, in order, and together no more than the head says was granted. Of a tail's claims
// each must be of a grant that is shown, unless the proof had no room, or the grant may be to an account before
// this one, which a proof does not show.
func (p BalanceProof) verifyGrants(head Head) (backed Credits, err error) {
	shown := make(map[Digest]Credits, len(p.grants))
	var last Grant
	for i, raw := range p.grants {
		g, d, err := VerifyGrant(raw, p.genesis)
		if err != nil {
			return 0, err
		}
		switch c := cmp.Or(bytes.Compare(last.Mint[:], g.Mint[:]), cmp.Compare(last.Seq, g.Seq)); {
		case g.To != head.Account:
			return 0, fmt.Errorf("grant %d to %s: %w", g.Seq, g.To.Short(), ErrConflict)
		case i > 0 && c >= 0:
			return 0, fmt.Errorf("grant %d: out of order: %w", g.Seq, ErrMalformed)
		}
		if backed, err = backed.Add(g.Amount); err != nil {
			return 0, err
		}
		shown[d], last = g.Amount, g
	}
	for _, raw := range p.tail {
		e, err := ParseEntry(raw)
		if err != nil {
			return 0, err
		}
		if e.Type != TypeGrant || e.Account != head.Account {
			continue
		}
		if amount, ok := shown[e.Ref]; ok && amount != e.Amount || !ok && len(p.grants) < maxProofGrants && head.Epoch == 0 {
			return 0, fmt.Errorf("grant %d of %s: %w: no mint's grant of %s is shown for it", e.Seq, e.Account.Short(), ErrChain, e.Amount)
		}
	}
	if backed > head.Granted {
		return 0, fmt.Errorf("%w: grants of %s are shown, %s were claimed", ErrChain, backed, head.Granted)
	}
	return backed, nil
}
