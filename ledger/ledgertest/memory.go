// Package ledgertest helps to test what stands on a ledger.Store: a conformance suite for
// stores, a store in memory, and one that fails on purpose. The memory store also serves
// simulations, where thousands of books live in one process.
//
// Every store here is safe for concurrent use.
package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/personal-power-plant/p3/ledger"
)

// A Memory is a Store that keeps nothing beyond the process. The zero value is empty and
// ready. Close leaves the content, so that a test can open the next book on it.
type Memory struct {
	mu     sync.RWMutex
	values map[string][]byte
	// keys are sorted when dirty is false; new keys only mark them dirty, since scans are rare.
	keys  []string
	dirty bool
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{} }

// Get implements ledger.Store.
func (m *Memory) Get(key []byte) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, ok := m.values[string(key)]
	if !ok {
		return nil, ledger.ErrNotFound
	}
	return append([]byte{}, v...), nil
}

// Scan implements ledger.Store. Values are never changed in place, so a snapshot is the list
// of pairs.
func (m *Memory) Scan(prefix, from []byte, yield func(k, v []byte) bool) error {
	type pair struct {
		k string
		v []byte
	}
	m.mu.Lock()
	m.sort()
	start := string(prefix)
	if bytes.Compare(from, prefix) > 0 {
		start = string(from)
	}
	i, _ := slices.BinarySearch(m.keys, start)
	var pairs []pair
	for _, k := range m.keys[i:] {
		if !strings.HasPrefix(k, string(prefix)) {
			break
		}
		pairs = append(pairs, pair{k, m.values[k]})
	}
	m.mu.Unlock()
	for _, p := range pairs {
		if !yield([]byte(p.k), p.v) {
			break
		}
	}
	return nil
}

func (m *Memory) sort() {
	if m.dirty {
		m.keys = slices.AppendSeq(m.keys[:0], maps.Keys(m.values))
		slices.Sort(m.keys)
		m.dirty = false
	}
}

// Commit implements ledger.Store.
func (m *Memory) Commit(ctx context.Context, ops ...ledger.Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = make(map[string][]byte)
	}
	for _, op := range ops {
		k := string(op.Key)
		_, had := m.values[k]
		if op.Delete {
			delete(m.values, k)
		} else {
			m.values[k] = append([]byte{}, op.Value...)
		}
		m.dirty = m.dirty || had == op.Delete
	}
	return nil
}

// Close implements ledger.Store.
func (m *Memory) Close() error { return nil }

// Clone returns a copy of the content: what a restored backup would hold.
func (m *Memory) Clone() *Memory {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return &Memory{values: maps.Clone(m.values), dirty: true}
}

// ErrInjected is the failure that Failing injects.
var ErrInjected = errors.New("injected failure")

// A Failing store passes calls on until its FailAt-th commit (from 1), which fails; so do all
// after it, as on a full disk.
type Failing struct {
	ledger.Store
	FailAt int
	// After applies the failing commit before reporting the failure, as when power goes between
	// the sync and the answer.
	After bool

	mu sync.Mutex
	n  int
}

// Commits is the number of commits asked for so far.
func (f *Failing) Commits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// Commit implements ledger.Store.
func (f *Failing) Commit(ctx context.Context, ops ...ledger.Op) error {
	f.mu.Lock()
	f.n++
	n := f.n
	f.mu.Unlock()
	if f.FailAt == 0 || n < f.FailAt {
		return f.Store.Commit(ctx, ops...)
	}
	if n == f.FailAt && f.After {
		if err := f.Store.Commit(ctx, ops...); err != nil {
			return err
		}
	}
	return ErrInjected
}
