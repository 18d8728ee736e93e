package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
)

// takenPrefix holds GRANT entries of other accounts: ledger/taken/GRANT → the entry, signed.
const takenPrefix = "ledger/taken/"

// A TakenGrant is a mint's grant with the GRANT entry that took it up, both signed. The mint's node gives them
// back to a member whose disk has lost the entry.
type TakenGrant struct{ Grant, Entry []byte }

// MeetClaim takes the GRANT entry of another account, or of the one that its chain goes on under, as the answer to a grant, and holds it against what that
// account signed before: *ForkError if that convicts it. From then on the account can have it back.
func (b *Book) MeetClaim(ctx context.Context, grant, entry []byte) error {
	if _, err := b.LearnGrant(ctx, grant); err != nil && !errors.Is(err, ErrFrozen) {
		return err
	}
	g, err := ParseGrant(grant)
	if err != nil {
		return err
	}
	e, d, err := VerifyEntry(entry)
	if err != nil {
		return err
	}
	if id := g.Digest(); e.Network != b.network || e.Type != TypeGrant || e.Ref != id || e.Amount != g.Amount || e.Peer != g.Mint || b.Heir(g.To) != b.Heir(e.Account) || b.mine[e.Account] {
		return fmt.Errorf("%s %d of %s does not take up grant %d: %w", e.Type, e.Seq, e.Account.Short(), g.Seq, ErrConflict)
	}
	raw := bytes.Clone(entry)
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) {
		at := lockKey(takenPrefix, e.Ref)
		known, err := t.get(at)
		if err != nil {
			return struct{}{}, err
		}
		if known != nil && bytes.Equal(known[:min(EntrySize, len(known))], raw[:EntrySize]) {
			return struct{}{}, nil
		}
		if err := t.observe(e, d, raw, at); err != nil {
			return struct{}{}, err
		}
		if known == nil {
			t.put(at, raw)
			return struct{}{}, nil
		}
		return struct{}{}, fmt.Errorf("a second entry for grant %s: %w", e.Ref.Short(), ErrConflict)
	})
	return err
}

// HeldGrants returns what this book holds of grants that another account took up from (epoch, seq) on, in the
// order of its entries, at most n.
func (b *Book) HeldGrants(a Account, epoch uint32, seq uint64, n int) (out []TakenGrant, err error) {
	var keys [][]byte
	err = b.store.Scan(accountKey(seenPrefix, a), seenKey(Entry{Account: a, Epoch: epoch, Seq: seq}), func(_, v []byte) bool {
		if bytes.HasPrefix(v, []byte(takenPrefix)) && len(v) == len(takenPrefix)+len(Digest{}) {
			keys = append(keys, bytes.Clone(v))
		}
		return len(keys) < n
	})
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	byID := make(map[Digest][]byte)
	for _, to := range append(b.Before(a), a) {
		grants, err := b.GrantsTo(to, math.MaxInt)
		if err != nil {
			return nil, err
		}
		for _, raw := range grants {
			g, err := ParseGrant(raw)
			if err != nil {
				return nil, err
			}
			byID[g.Digest()] = raw
		}
	}
	for _, k := range keys {
		entry, err := b.store.Get(k)
		if err != nil {
			return nil, err
		}
		if grant := byID[Digest(k[len(takenPrefix):])]; grant != nil {
			out = append(out, TakenGrant{grant, entry})
		}
	}
	return out, nil
}

// Verify checks that Entry is a GRANT of account in the network that genesis founds, and takes up Grant, which may be to an account
// before it.
func (x TakenGrant) Verify(genesis Genesis, account Account) (g Grant, e Entry, err error) {
	if g, _, err = VerifyGrant(x.Grant, genesis); err != nil {
		return g, e, err
	}
	if e, _, err = VerifyEntry(x.Entry); err != nil {
		return g, e, err
	}
	if e.Network != g.Network || e.Type != TypeGrant || e.Account != account || e.Ref != g.Digest() || e.Amount != g.Amount || e.Peer != g.Mint {
		return g, e, fmt.Errorf("%s %d of %s: %w", e.Type, e.Seq, e.Account.Short(), ErrConflict)
	}
	return g, e, nil
}

// putBackGrant appends a GRANT entry of ours that we find signed, with its grant.
func (b *Book) putBackGrant(t *batch, e Entry, raw, grant []byte) error {
	head, err := b.head.Apply(e, b.genesis.Floor, 0)
	if err != nil {
		return err
	}
	g, err := ParseGrant(grant)
	if err != nil {
		return err
	}
	if err := t.meetGrant(g, g.Digest(), grant); err != nil && !errors.Is(err, ErrFrozen) && !errors.As(err, new(*MintError)) {
		return err
	}
	at := entryKey(e.Epoch, e.Seq)
	t.put(at, raw)
	t.put([]byte(headKey), at)
	t.put(lockKey(claimedPrefix, e.Ref), at)
	b.head = head
	t.remember(b.history, e, head.Digest)
	return nil
}
