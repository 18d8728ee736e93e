package ledger

import (
	"errors"
	"fmt"
)

// A View reads what a book keeps in its Store. It has no key and writes nothing, so it serves an
// audit, an export or a backup of a ledger whose node is down. Safe for concurrent use.
type View struct {
	store   Store
	account Account
	network Network
}

// OpenView looks at the book in store; ErrNotFound when none was begun there.
func OpenView(store Store) (*View, error) {
	id, err := store.Get([]byte(bookKey))
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	if len(id) != 1+32+20 || id[0] != 1 {
		return nil, errors.New("read the ledger: written by a newer p3: update this one")
	}
	r := reader{b: id[1:]}
	return &View{store: store, network: Network(r.word()), account: r.account()}, nil
}

// Account is whose ledger this is.
func (v *View) Account() Account { return v.account }

// CommittedTo is the recovery key that the chain committed to with the key it has now, see RecoveryCommitment; zero for none.
func (v *View) CommittedTo() (Digest, error) {
	var e Entry
	at, err := v.store.Get([]byte(headKey))
	if err != nil {
		return Digest{}, err
	}
	raw, err := v.store.Get(at)
	if err == nil {
		e, err = ParseEntry(raw)
	}
	if err != nil {
		return Digest{}, err
	}
	bad := ErrNotFound
	err = v.Entries(e.Epoch, 0, func(raw []byte) bool { e, bad = ParseEntry(raw); return false })
	return e.Evidence, errors.Join(err, bad)
}

// Network is the credit network it belongs to.
func (v *View) Network() Network { return v.network }

// Genesis is the document that founds the network, as the book kept it; ErrNotFound for a ledger
// that was begun before books kept it.
func (v *View) Genesis() (Genesis, error) {
	b, err := v.store.Get([]byte(genesisKey))
	if err != nil {
		return Genesis{}, fmt.Errorf("genesis of network %s: %w", Digest(v.network).Short(), err)
	}
	g, err := ParseGenesis(b)
	if err != nil {
		return Genesis{}, err
	}
	if id, err := g.ID(); err != nil || id != v.network {
		return Genesis{}, errors.Join(err, &NetworkError{Want: v.network, Have: id})
	}
	return g, nil
}

// Entries calls yield for the account's signed entries from a place in the chain on, in order,
// until it returns false. raw is only valid during the call.
func (v *View) Entries(epoch uint32, seq uint64, yield func(raw []byte) bool) error {
	return v.store.Scan([]byte(entryPrefix), entryKey(epoch, seq), func(_, raw []byte) bool { return yield(raw) })
}

// Receipt returns what a lease left behind so far, or ErrUnknownLock.
func (v *View) Receipt(lock Digest) (Receipt, error) {
	_, r, err := loadLease(v.store, nil, lock)
	return r, err
}

// Receipts calls yield for at most n leases (0: all), newest first, until it returns false. after is
// a cursor that yield was given, to go on behind it; 0 starts at the newest.
func (v *View) Receipts(after uint64, n int, yield func(cursor uint64, r Receipt) bool) error {
	var from []byte
	if after > 0 {
		from = append(orderKey(after), 0) // the first key behind it
	}
	var bad error
	err := v.store.Scan([]byte(orderPrefix), from, func(k, id []byte) bool {
		if len(k) != len(orderPrefix)+8 || len(id) != 32 {
			bad = ErrMalformed
			return false
		}
		r := reader{b: k[len(orderPrefix):]}
		var receipt Receipt
		if receipt, bad = v.Receipt(Digest(id)); bad != nil {
			return false
		}
		n--
		return yield(^r.u64(), receipt) && n != 0
	})
	if err == nil {
		err = bad
	}
	return err
}
