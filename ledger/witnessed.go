package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Keys of a witness in its Store. ROOT is the account that opened a chain.
//
//	witness/me                format 1 u8 · network · account
//	witness/progress          see progress
//	witness/o/ACCOUNT         ROOT of the chain that it is part of
//	witness/a/ROOT            the chain as far as it was shown, see followed
//	witness/e/ROOT SEQ u64    an entry, then the statement on it if one was made
//	witness/u/LOCK            lock, or grant, that a chain took up → its ROOT; see shortfall.go for what may follow
//	witness/s/LOCK            what the payer settled, while nobody was seen to have earned it, see shortfall.go
const (
	witnessMe       = "witness/me"
	witnessProgress = "witness/progress"
	witnessRoot     = "witness/o/"
	witnessChain    = "witness/a/"
	witnessEntry    = "witness/e/"
	witnessUsed     = "witness/u/"
	witnessSettled  = "witness/s/"
)

func rowKey(root Account, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(accountKey(witnessEntry, root), seq)
}

// A row is an entry that a witness took.
type row struct{ entry, statement []byte }

func (r row) encode() []byte { return slices.Concat(r.entry, r.statement) }

// row reads one, nil if it is not kept.
func (w *Witness) row(root Account, seq uint64) (*row, error) {
	v, err := w.store.Get(rowKey(root, seq))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case len(v) == SignedEntrySize:
		return &row{entry: v}, nil
	case len(v) == SignedEntrySize+SignedStatementSize:
		return &row{v[:SignedEntrySize:SignedEntrySize], v[SignedEntrySize:]}, nil
	}
	return nil, fmt.Errorf("entry %d of %s: the witness' records are damaged: %w", seq, root.Short(), ErrMalformed)
}

// root is the account that opened the chain which a is part of; a itself if none is known.
func (w *Witness) root(a Account) (Account, error) {
	v, err := w.store.Get(accountKey(witnessRoot, a))
	switch {
	case errors.Is(err, ErrNotFound):
		return a, nil
	case err != nil:
		return a, err
	case len(v) != len(a):
		return a, fmt.Errorf("chain of %s: the witness' records are damaged: %w", a.Short(), ErrMalformed)
	}
	return Account(v), nil
}

// followed is a chain as a witness keeps it. Its Merkle peaks alone are kept, not a block's leaves: of a
// history with blocks of one entry they are all that a checkpoint commits to. Which locks were earned, the
// store knows.
//
// Encoding: 1 u8 · newest entry, signed · number of accounts u8 · each · recovery 32 · entries u64, peaks ·
// locks earned u64, peaks · open locks u16 · each lock 32, payee 20, amount u64, by lock. With 2 u8 for 1 the
// shortfall u64 follows that, which then is not zero.
type followed struct {
	*Chain
	accounts []Account // of the chain, the root first
	newest   []byte
	short    Credits // of its balance, what others took up as well: see shortfall.go
}

func (w *Witness) newFollowed(root Account) *followed {
	c := NewChain(w.network, root, w.genesis.Floor, w.genesis.Params.CheckpointEvery)
	c.history = newHistory(1)
	return &followed{Chain: c}
}

func (c *followed) has(a Account) bool { return slices.Contains(c.accounts, a) }

// follow reads a chain; an empty one if it is not known.
func (w *Witness) follow(root Account) (*followed, error) {
	c := w.newFollowed(root)
	v, err := w.store.Get(accountKey(witnessChain, root))
	switch {
	case errors.Is(err, ErrNotFound):
		return c, nil
	case err != nil:
		return nil, err
	}
	if err := c.decode(v); err != nil {
		return nil, fmt.Errorf("chain of %s: the witness' records are damaged: %w", root.Short(), err)
	}
	return c, nil
}

func (c *followed) encode() []byte {
	be := binary.BigEndian
	b := []byte{1}
	if c.short > 0 {
		b = be.AppendUint64([]byte{2}, uint64(c.short))
	}
	b = append(append(b, c.newest...), byte(len(c.accounts)))
	for _, a := range c.accounts {
		b = append(b, a[:]...)
	}
	b = append(b, c.history.recovery[:]...)
	b = c.history.claimed.encode(c.history.blocks.encode(b))
	b = be.AppendUint16(b, uint16(len(c.history.open)))
	for _, id := range c.history.sorted() {
		l := c.history.open[id]
		b = append(append(b, id[:]...), l.peer[:]...)
		b = be.AppendUint64(b, uint64(l.amount))
	}
	return b
}

// decode reads what encode wrote, strictly.
func (c *followed) decode(b []byte) error {
	r := taker{b: b}
	switch v := r.take(1); {
	case v == nil || v[0] != 1 && v[0] != 2:
		return ErrMalformed
	case v[0] == 2:
		if v := r.take(8); v != nil {
			c.short = Credits(binary.BigEndian.Uint64(v))
		}
		if c.short <= 0 || c.short > MaxCredits {
			return ErrMalformed
		}
	}
	newest := r.take(SignedEntrySize)
	e, err := ParseEntry(newest)
	if err != nil {
		return err
	}
	c.newest, c.Head = newest, HeadAt(e, e.Digest())
	n := r.take(1)
	for i := 0; n != nil && i < int(n[0]); i++ {
		if a := r.take(20); a != nil {
			c.accounts = append(c.accounts, Account(a))
		}
	}
	if v := r.take(32); v != nil {
		c.history.recovery = Digest(v)
	}
	c.history.blocks, c.history.claimed = r.mmr(), r.mmr()
	if v := r.take(2); v != nil {
		last := Digest{}
		for i := range int(binary.BigEndian.Uint16(v)) {
			l := r.take(60)
			if l == nil {
				break
			}
			id, amount := Digest(l), binary.BigEndian.Uint64(l[52:])
			if amount > uint64(MaxCredits) || i > 0 && slices.Compare(id[:], last[:]) <= 0 {
				return ErrMalformed
			}
			c.history.open[id], last = openLock{Account(l[32:52]), Credits(amount)}, id
		}
	}
	if r.short || len(r.b) > 0 || c.history.blocks.size != c.Head.Len || len(c.accounts) == 0 {
		return ErrMalformed
	}
	return nil
}

// A taker takes fields off bytes of any length, and notes when there are too few.
type taker struct {
	b     []byte
	short bool
}

// take is the next n bytes, or nil.
func (r *taker) take(n int) []byte {
	if r.short = r.short || len(r.b) < n; r.short {
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *taker) mmr() (m mmr) {
	v := r.take(8)
	if v == nil {
		return m
	}
	m.size = binary.BigEndian.Uint64(v)
	for range bits.OnesCount64(m.size) {
		if v := r.take(32); v != nil {
			m.peaks = append(m.peaks, Digest(v))
		}
	}
	return m
}
