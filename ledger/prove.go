package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
)

// BalanceProof shows where the account stands; see BalanceProof.Encode. It costs some hundred reads, and
// nothing that grows with the chain but the logarithm.
func (b *Book) BalanceProof(ctx context.Context) (BalanceProof, error) {
	type moment struct {
		head Head
		open map[Digest]openLock
	}
	// What the writer has at hand is durable once submit returns, and only grows after.
	m, err := submit(ctx, b, func(*batch) (moment, error) { return moment{b.head, maps.Clone(b.history.open)}, nil })
	if err != nil {
		return BalanceProof{}, err
	}
	p, err := b.prove(m.head, m.open)
	if err != nil {
		return BalanceProof{}, fmt.Errorf("prove the balance of %s: %w", b.key.account, err)
	}
	return p, nil
}

// prove makes the proof for a head of the past, at which these locks were open. It changes open.
func (b *Book) prove(head Head, open map[Digest]openLock) (BalanceProof, error) {
	s := newHistory(b.genesis.Params.CheckpointEvery)
	full := head.Seq / s.every
	if err := s.resume(b.store, full); err != nil {
		return BalanceProof{}, err
	}
	p := BalanceProof{genesis: b.genesis, recovery: s.recovery, open: open, claimed: s.claimed, peaks: s.blocks.peaks}
	epoch, raw, err := b.entryAt(head.Epoch, full*s.every)
	if err != nil {
		return BalanceProof{}, err
	}
	var bad error
	var tail []Entry
	err = b.Entries(epoch, full*s.every, func(raw []byte) bool {
		var e Entry
		e, bad = ParseEntry(raw)
		tail = append(tail, e)
		p.tail = append(p.tail, append([]byte(nil), raw...))
		return bad == nil && e.Seq < head.Seq
	})
	if err = errors.Join(err, bad); err != nil {
		return BalanceProof{}, err
	}
	p.base, p.tail = raw, p.tail[1:]
	for i := len(tail) - 1; i > 0; i-- { // back to the locks that were open at base
		switch e := tail[i]; e.Type {
		case TypeLock:
			delete(open, e.Digest())
		case TypeSettle:
			open[e.Ref] = openLock{e.Peer, tail[i-1].Locked - e.Locked}
		}
	}
	if len(open) > maxProofLocks {
		return BalanceProof{}, fmt.Errorf("%d open locks, at most %d: let some settle first: %w", len(open), maxProofLocks, ErrBusy)
	}
	nodes := &memo{store: b.store, known: make(map[string][]byte)}
	for _, k := range sample(head.Digest, full) {
		a, err := b.audit(s, nodes, epoch, k)
		if err != nil {
			return BalanceProof{}, fmt.Errorf("block %d: %w", k, err)
		}
		p.audits = append(p.audits, a)
	}
	if !b.genesis.Mutual() {
		if p.grants, err = b.grantsToShow(head.Epoch); err != nil {
			return BalanceProof{}, err
		}
	}
	return p, nil
}

// audit reads the first entry of a full block, and its path in the tree over all full blocks.
func (b *Book) audit(s *history, nodes getter, epoch uint32, block uint64) (audit, error) {
	_, raw, err := b.entryAt(epoch, block*s.every)
	if err != nil {
		return audit{}, err
	}
	if e, err := ParseEntry(raw); err != nil || block > 0 && e.Type != TypeCheckpoint {
		return audit{}, errors.Join(err, fmt.Errorf("it begins with a %s: a p3 without checkpoints wrote this chain, which can never be proven", e.Type))
	}
	record, err := nodes.Get(blockKey(nodesPrefix, block))
	low := bits.Len64(s.every) - 1
	if err == nil && len(record) < 32*low {
		err = ErrMalformed
	}
	if err != nil {
		return audit{}, err
	}
	a := audit{block: block, entry: raw}
	for r := (reader{b: record}); len(a.path) < low; {
		a.path = append(a.path, r.word())
	}
	_, height := mountain(s.blocks.size, block)
	for level := range height {
		sibling := block>>level ^ 1
		node, err := s.node(nodes, (sibling+1)<<level-1, level)
		if err != nil {
			return audit{}, err
		}
		a.path = append(a.path, node)
	}
	return a, nil
}

type getter interface {
	Get(key []byte) ([]byte, error)
}

// A memo reads each key once: paths share their upper parts.
type memo struct {
	store getter
	known map[string][]byte
}

func (m *memo) Get(key []byte) ([]byte, error) {
	if v, ok := m.known[string(key)]; ok {
		return v, nil
	}
	v, err := m.store.Get(key)
	if err == nil {
		m.known[string(key)] = v
	}
	return v, err
}
