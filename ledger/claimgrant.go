package ledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Rows of grants, beside those in lease.go:
//
//	ledger/grant/MINT SEQ u64    a mint's grants, as far as they were seen, signed
//	ledger/newest/MINT           place of the newest of them, u64
//	ledger/to/ACCOUNT MINT SEQ   those to an account → empty
//	ledger/backed/ACCOUNT        their sum, µcr u64
//	ledger/claimed/DIGEST        key of our GRANT entry that took it up
//	ledger/taken/DIGEST          another account's GRANT entry that took it up, see heldgrant.go
const (
	grantPrefix   = "ledger/grant/"
	newestPrefix  = "ledger/newest/"
	toPrefix      = "ledger/to/"
	backedPrefix  = "ledger/backed/"
	claimedPrefix = "ledger/claimed/"
)

func grantKey(mint Account, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(accountKey(grantPrefix, mint), seq)
}

// LearnGrant takes a grant that somebody shows, whoever it is for, and keeps it: every other of its mint is
// held against it from then on. A *MintError tells that the mint is convicted, and now frozen;
// ErrFrozen that it was before, and that this grant came after. What is known costs no signature check.
func (b *Book) LearnGrant(ctx context.Context, raw []byte) (Grant, error) {
	g, d, err := b.readGrant(ctx, raw)
	if err != nil || d.IsZero() {
		return g, err
	}
	raw = bytes.Clone(raw)
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) { return struct{}{}, t.meetGrant(g, d, raw) })
	return g, err
}

// LearnGrants is LearnGrant for several, in one commit. Those of convicted mints are left out; an error is
// one of a record that no mint has signed, or of the book.
func (b *Book) LearnGrants(ctx context.Context, raws [][]byte) error {
	type news struct {
		g   Grant
		d   Digest
		raw []byte
	}
	convicted := func(err error) bool { return errors.Is(err, ErrFrozen) || errors.As(err, new(*MintError)) }
	var list []news
	for _, raw := range raws {
		g, d, err := b.readGrant(ctx, raw)
		switch {
		case err != nil && !convicted(err):
			return err
		case err == nil && !d.IsZero():
			list = append(list, news{g, d, bytes.Clone(raw)})
		}
	}
	if len(list) == 0 {
		return nil
	}
	_, err := submit(ctx, b, func(t *batch) (struct{}, error) {
		for _, x := range list {
			if err := t.meetGrant(x.g, x.d, x.raw); err != nil && !convicted(err) {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return err
}

// ClaimGrant takes up a grant to this account, or to one whose chain it continues: the GRANT entry that it returns counts it in the balance, once.
// It is the answer to send, and the same for the same grant.
func (b *Book) ClaimGrant(ctx context.Context, raw []byte) ([]byte, error) {
	g, _, err := b.readGrant(ctx, raw)
	if err != nil {
		return nil, err
	}
	if !b.mine[g.To] {
		return nil, fmt.Errorf("grant to %s, not to this account: %w", g.To, ErrConflict)
	}
	raw = bytes.Clone(raw)
	return submitBytes(ctx, b, func(t *batch) ([]byte, error) {
		d := g.Digest()
		at, err := t.get(lockKey(claimedPrefix, d))
		if err != nil {
			return nil, err
		}
		if at != nil {
			return t.get(at)
		}
		if err := t.meetGrant(g, d, raw); err != nil {
			return nil, err
		}
		if err := t.frozen(g.Mint); err != nil {
			return nil, fmt.Errorf("claim a grant of mint %w", err)
		}
		e := b.head.Claim(g, d, time.Now())
		entry, _, err := b.append(t, e, 0)
		if err != nil {
			return nil, err
		}
		t.put(lockKey(claimedPrefix, d), entryKey(e.Epoch, e.Seq))
		return entry, nil
	})
}

// readGrant verifies a grant. The digest is zero for one that is known.
func (b *Book) readGrant(ctx context.Context, raw []byte) (Grant, Digest, error) {
	g, err := ParseGrant(raw)
	if err != nil {
		return g, Digest{}, err
	}
	known, err := b.store.Get(grantKey(g.Mint, g.Seq))
	if err == nil && bytes.Equal(known[:min(grantSize, len(known))], raw[:grantSize]) {
		return g, Digest{}, nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return g, Digest{}, err
	}
	g, d, err := VerifyGrant(raw, b.genesis)
	if bad := (*MintError)(nil); errors.As(err, &bad) {
		p, e := NewProof(bad.Kind, bytes.Clone(bad.A), bad.B)
		if e == nil {
			_, _, e = b.Convict(ctx, p.Encode())
		}
		err = errors.Join(err, e)
	}
	return g, d, err
}

// meetGrant holds a verified grant against those seen before and remembers it. A *MintError has frozen the
// mint; the proof is part of the batch.
func (t *batch) meetGrant(g Grant, d Digest, raw []byte) error {
	at := grantKey(g.Mint, g.Seq)
	known, err := t.get(at)
	if err != nil {
		return err
	}
	if known != nil && bytes.Equal(known[:min(grantSize, len(known))], raw[:grantSize]) {
		return nil
	}
	below, above, err := t.neighbours(g.Mint, g.Seq)
	if err != nil {
		return err
	}
	for _, other := range [][]byte{known, below, above} {
		if other == nil {
			continue
		}
		o, err := ParseGrant(other)
		if err != nil {
			return fmt.Errorf("grant seen before: the ledger is damaged, restore it from a backup: %w", err)
		}
		if g.follows(d, o, o.Digest()) == "" {
			continue
		}
		p, err := NewProof(ProofMintFork, other, raw)
		if err == nil {
			err = t.freeze(p)
		}
		if err != nil {
			return err
		}
		return &MintError{Kind: ProofMintFork, A: other, B: raw}
	}
	if err := t.frozen(g.Mint); err != nil {
		return fmt.Errorf("grant by mint %w", err)
	}
	backed, err := decodeUsed(t.get(accountKey(backedPrefix, g.To)))
	if err != nil {
		return err
	}
	t.put(at, raw)
	if above == nil {
		t.put(accountKey(newestPrefix, g.Mint), at[len(at)-8:])
	}
	t.put(append(accountKey(toPrefix, g.To), at[len(grantPrefix):]...), []byte{})
	t.put(accountKey(backedPrefix, g.To), binary.BigEndian.AppendUint64(nil, uint64(saturating(backed, g.Amount))))
	return nil
}

// neighbours are the grants of a mint that are known nearest to a place, on both sides; nil where there is none.
func (t *batch) neighbours(mint Account, seq uint64) (below, above []byte, err error) {
	prefix := accountKey(grantPrefix, mint)
	var lower, higher []byte // their keys
	look := func(k, v []byte) {
		switch c := bytes.Compare(k, grantKey(mint, seq)); {
		case c < 0 && bytes.Compare(k, lower) > 0:
			lower, below = bytes.Clone(k), bytes.Clone(v)
		case c > 0 && (higher == nil || bytes.Compare(k, higher) < 0):
			higher, above = bytes.Clone(k), bytes.Clone(v)
		}
	}
	// first is the place of the first grant from a place on, if that is below seq.
	first := func(from uint64) (at uint64, ok bool) {
		err = errors.Join(err, t.store.Scan(prefix, grantKey(mint, from), func(k, v []byte) bool {
			if ok = len(k) == len(prefix)+8 && bytes.Compare(k, grantKey(mint, seq)) < 0; ok {
				at = binary.BigEndian.Uint64(k[len(prefix):])
				look(k, v)
			}
			return false
		}))
		return at, ok && err == nil
	}
	// A store scans upwards only, so the one below is searched: none lies from end on, and one at begin.
	if begin, ok := first(0); ok {
		for end := seq; end-begin > 1; {
			middle := begin + (end-begin)/2
			if at, ok := first(middle); ok {
				begin = at
			} else {
				end = middle
			}
		}
	}
	if err == nil && seq < math.MaxUint64 {
		err = t.store.Scan(prefix, grantKey(mint, seq+1), func(k, v []byte) bool { look(k, v); return false })
	}
	for _, op := range t.ops {
		if bytes.HasPrefix(op.Key, prefix) {
			look(op.Key, op.Value)
		}
	}
	return below, above, err
}

// NewestGrant is the grant of a mint that is known here with the highest place, signed; nil if none is.
func (b *Book) NewestGrant(mint Account) ([]byte, error) { return newestGrant(b.store, mint) }

func newestGrant(store Store, mint Account) ([]byte, error) {
	at, err := store.Get(accountKey(newestPrefix, mint))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err == nil {
		at, err = store.Get(append(accountKey(grantPrefix, mint), at...))
	}
	if err != nil {
		return nil, fmt.Errorf("newest grant of mint %s: the ledger is damaged, restore it from a backup: %w", mint.Short(), err)
	}
	return at, nil
}

// Backed is the credit that is known here to have been granted to an account.
func (b *Book) Backed(a Account) (Credits, error) {
	sum, err := decodeUsed(b.store.Get(accountKey(backedPrefix, a)))
	for _, old := range b.Before(a) { // its totals count from the first key on
		if err != nil {
			break
		}
		var more Credits
		more, err = decodeUsed(b.store.Get(accountKey(backedPrefix, old)))
		sum = saturating(sum, more)
	}
	return sum, err
}

// Grants calls yield for every grant that is known here, to whomever, by mint and place, until it returns
// false. raw is only valid during the call.
func (v *View) Grants(yield func(raw []byte) bool) error {
	return v.store.Scan([]byte(grantPrefix), nil, func(_, raw []byte) bool { return yield(raw) })
}

// GrantsTo returns the n newest grants to an account that are known here, by mint and place: to show to those who
// would give credit for them.
func (b *Book) GrantsTo(a Account, n int) ([][]byte, error) {
	var keys [][]byte
	prefix := accountKey(toPrefix, a)
	err := b.store.Scan(prefix, nil, func(k, _ []byte) bool {
		if len(keys) == n {
			keys = append(keys[:0], keys[1:]...)
		}
		keys = append(keys, append([]byte(grantPrefix), k[len(prefix):]...))
		return n > 0
	})
	if err != nil || n <= 0 {
		return nil, err
	}
	out := make([][]byte, len(keys))
	for i, k := range keys {
		if out[i], err = b.store.Get(k); err != nil || len(out[i]) != SignedGrantSize {
			return nil, fmt.Errorf("grant to %s: the ledger is damaged, restore it from a backup: %w", a.Short(), errors.Join(err, ErrMalformed))
		}
	}
	return out, nil
}

// A Claimed is a grant that this account took up.
type Claimed struct {
	Grant  Digest
	Mint   Account
	Seq    uint64 // of the GRANT entry
	TimeMs uint64 // when it was taken up
	Amount Credits
}

// Claimed lists the grants that this account took up, newest first.
func (v *View) Claimed() (out []Claimed, err error) {
	var keys [][]byte
	err = v.store.Scan([]byte(claimedPrefix), nil, func(_, at []byte) bool {
		keys = append(keys, bytes.Clone(at))
		return true
	})
	for _, k := range keys {
		raw, e := v.store.Get(k)
		var x Entry
		if e == nil {
			x, e = ParseEntry(raw)
		}
		if e != nil {
			return nil, fmt.Errorf("grants taken up: the ledger is damaged, restore it from a backup: %w", e)
		}
		out = append(out, Claimed{x.Ref, x.Peer, x.Seq, x.TimeMs, x.Amount})
	}
	slices.SortFunc(out, func(a, b Claimed) int { return cmp.Compare(b.Seq, a.Seq) })
	return out, err
}
