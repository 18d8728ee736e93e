package ledger

import (
	"context"
	"time"
)

// BuildChain fills an empty store with a valid chain of n entries, much faster than a Book: every
// third one a lock, a settle, an earn; earns leave no lease. It signs those entries that sign picks; others have a
// signature of zeros, which only a replay looks at.
func BuildChain(store Store, k Key, g Genesis, n uint64, sign func(Entry) bool) error {
	network, err := g.ID()
	if err != nil {
		return err
	}
	b := &Book{store: store, key: k, genesis: g, network: network, history: newHistory(g.Params.CheckpointEvery),
		leases: make(map[Digest]*lease), exposed: make(map[Account]exposed),
		head: Head{Network: network, Account: k.account}}
	now := time.UnixMilli(1_700_000_000_000)
	theirs := Entry{Type: TypeLock, Network: network, Account: Account{1}, Peer: k.account, Amount: 5}
	var lock Entry
	for t := (*batch)(nil); b.head.Len < n; {
		if t == nil {
			t = &batch{store: store, at: make(map[string]int)}
			t.put([]byte(bookKey), b.identity())
		}
		var e Entry
		switch now = now.Add(time.Second); {
		case b.head.Len == 0:
			e = b.head.Genesis(Digest{}, now)
		case b.history.due():
			e = b.history.checkpoint(b.head.next(TypeCheckpoint, now))
		case lock.Type == TypeLock:
			e, lock = b.head.Settle(lock, 3, 1, 1, Digest{1}, now), Entry{}
		case b.head.Len%3 == 0:
			e = b.head.Lock(Account{1}, 7, Digest{1}, now.Add(time.Hour), now)
			lock = e
		default:
			theirs.TimeMs = uint64(now.UnixMilli())
			e = b.head.Earn(theirs, 4, 1, 1, Digest{1}, 0, now)
		}
		closes := Credits(0)
		if e.Type == TypeSettle {
			closes = 7
		}
		raw, d, err := b.place(t, e, closes)
		if err != nil {
			return err
		}
		switch e.Type {
		case TypeLock:
			b.admit(t, &lease{id: d, lock: e, ours: true}, raw)
		case TypeSettle:
			t.put(partKey(e.Ref, partSettle), raw)
			if err := b.close(t, b.leases[e.Ref]); err != nil {
				return err
			}
		}
		if sign != nil && !sign(e) {
			t.sign = t.sign[:len(t.sign)-1]
		}
		if len(t.ops) > 900 || b.head.Len == n {
			if err := t.signAll(k); err != nil {
				return err
			}
			if err := store.Commit(context.Background(), t.ops...); err != nil {
				return err
			}
			for _, f := range t.after {
				f()
			}
			t = nil
		}
	}
	return nil
}

// VerifySignature is the bare check of an entry's signature.
func VerifySignature(a Account, d Digest, raw []byte) error { return verify(a, d, raw) }

// SampledBlocks lists the blocks that a proof shows.
func SampledBlocks(p BalanceProof) (blocks []uint64) {
	for _, a := range p.audits {
		blocks = append(blocks, a.block)
	}
	return blocks
}

// WritesBesideForced reports whether a call is let through that waits together with one which a read-only book still
// takes. Nobody else may use the book meanwhile.
func WritesBesideForced(b *Book) (wrote bool) {
	_, _ = b.apply([]*request{{do: func(*batch) {}, force: true}, {do: func(*batch) { wrote = true }}})
	return wrote
}
