package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// Bounds of what one witness keeps and does, all judgements.
const (
	// MaxShown bounds the entries of one request: two checkpoint intervals of the usual length.
	MaxShown = 512

	// KeptEntries is how many of the newest entries of a chain a witness keeps, to answer again and to show
	// what it signed. Older places are refused without the proof. At 532 bytes they come to 136 KB a chain.
	KeptEntries = 256

	// MaxWitnessed bounds the chains a witness follows. Making an account costs nothing, so what they take
	// on its disk must have an end; and to forget one would be to sign twice. A new chain takes some 1 KB.
	MaxWitnessed = 1 << 20

	// MaxWitnessedLocks bounds the open locks of one chain: all are read and written with each request.
	MaxWitnessedLocks = 4096
)

// A BehindError tells from which place on a witness has to be shown the chain: Next follows what it knows. It may lie
// beyond what was shown, of which it keeps KeptEntries.
type BehindError struct{ Next uint64 }

func (e *BehindError) Error() string {
	return fmt.Sprintf("the witness knows the chain up to entry %d: show it what follows", int64(e.Next)-1)
}

// A WitnessedError holds an entry that conflicts with what this witness signed, without being a fork of one
// account, such as after a change of keys.
type WitnessedError struct{ Entry []byte }

func (e *WitnessedError) Error() string { return "the witness knows another entry in that place" }

// Unwrap lets errors.Is find ErrConflict.
func (e *WitnessedError) Unwrap() error { return ErrConflict }

// WitnessStats are what a witness has done.
type WitnessStats struct {
	Accounts uint64 // chains it follows
	Entries  uint64 // taken, so at most one signed for each of as many places
	Signed   uint64 // statements made, each once
	Refused  uint64 // requests since it was opened
	Forks    uint64 // of these, with two entries for one place
}

// A Witness signs at most one entry for each place of each account's chain, ever, and only one that
// follows, by all rules, on those it was shown before. It keeps of each chain its head, open locks, Merkle
// peaks, and the locks it earned, so that a lock it signs is covered by credit that is there and unused.
//
// What it signs is durable before it is returned, and the same question has the same answer for ever. Its store
// may be the book's; its keys begin with "witness/". It is safe for concurrent use.
type Witness struct {
	store   Store
	fence   Fence // may be nil
	key     Key
	genesis Genesis
	network Network
	judge   Judge // may be nil

	mu      sync.Mutex // held by the one request that changes the store; guards what follows
	done    progress
	refused uint64
	forks   uint64
	broken  error
	under   [][]byte // proofs of under-settlement, found just now, for the judge
}

// A Judge knows who was convicted, and convicts mints and payers: a Book.
type Judge interface {
	Convicted(Account) bool
	Convict(ctx context.Context, proof []byte) (p Proof, news bool, err error)
	LearnGrants(ctx context.Context, grants [][]byte) error
}

// OpenWitness opens the witness that key is in the network of genesis. It signs nothing for whom judge, which may
// be nil, knows as convicted, and shows it all grants. The store and the fence, which may be nil, stay the caller's. A store that is behind its
// fence gives ErrReadOnly: who knows what it signed since?
func OpenWitness(ctx context.Context, store Store, fence Fence, key Key, genesis Genesis, judge Judge) (*Witness, error) {
	network, err := genesis.ID()
	if err != nil {
		return nil, err
	}
	if genesis.Witness(key.Account()) < 0 {
		return nil, fmt.Errorf("account %s is not a witness of network %s: its genesis has to name it: %w", key.Account(), genesis.Name, ErrConflict)
	}
	w := &Witness{store: store, fence: fence, key: key, genesis: genesis, network: network, judge: judge}
	if err := w.load(ctx); err != nil {
		return nil, fmt.Errorf("open witness %s: %w", key.Account().Short(), err)
	}
	return w, nil
}

// Account is the account of the witness' key.
func (w *Witness) Account() Account { return w.key.account }

// Bind signs that node peerID is where this witness is asked; see Book.Bind.
func (w *Witness) Bind(n NodeBinding) ([]byte, error) {
	n.Network, n.Account = w.network, w.key.account
	return w.key.SignBinding(n)
}

// Stats are what it has done.
func (w *Witness) Stats() WitnessStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return WitnessStats{w.done.accounts, w.done.entries, w.done.signed, w.refused, w.forks}
}

// Follows reports whether it knows the chain that an account is part of.
func (w *Witness) Follows(a Account) bool {
	_, err := w.store.Get(accountKey(witnessRoot, a))
	return err == nil
}

// Entries returns what it keeps of the chain that an account is part of, from a place on, ascending and at most n.
func (w *Witness) Entries(a Account, from uint64, n int) (out [][]byte, err error) {
	root, err := w.root(a)
	if err != nil {
		return nil, err
	}
	prefix := accountKey(witnessEntry, root)
	err = w.store.Scan(prefix, rowKey(root, from), func(_, v []byte) bool {
		if len(v) >= SignedEntrySize {
			out = append(out, bytes.Clone(v[:SignedEntrySize]))
		}
		return len(out) < n
	})
	return out, err
}

// ReadOnly says why it signs nothing any more, or nil.
func (w *Witness) ReadOnly() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// Sign takes a stretch of a chain, each entry following the one before, and returns the signed statement on
// the last. What it was shown before may be shown again. *BehindError tells that something is missing
// before it; *ForkError holds the proof against the account, which signed another entry in a place that is
// taken; ErrChain, ErrUnbacked and ErrUnknownLock tell what rule an entry breaks, ErrFrozen that the
// account was convicted.
func (w *Witness) Sign(ctx context.Context, shown []Shown) ([]byte, error) {
	statement, err := w.answer(ctx, shown)
	if err == nil || errors.As(err, new(*BehindError)) {
		return statement, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused++
	if errors.As(err, new(*ForkError)) {
		w.forks++
	}
	return nil, err
}

// errUnchecked tells that signatures must be checked now.
var errUnchecked = errors.New("signatures are not checked")

// answer checks all that is cheap, then signatures, with nothing held up meanwhile, and then all that is cheap
// once more.
func (w *Witness) answer(ctx context.Context, shown []Shown) ([]byte, error) {
	s, err := w.read(shown)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	statement, err := w.sign(ctx, s, false)
	w.mu.Unlock()
	if err != errUnchecked {
		return statement, err
	}
	for _, x := range s { // some of them are known: few, since who asks remembers what it was answered
		if err := verify(x.e.Account, x.d, x.Entry); err != nil {
			return nil, fmt.Errorf("%s %s: %w", x.e.Type, x.d.Short(), err)
		}
		if err := x.backed(w.genesis, x.e, x.from); err != nil {
			return nil, err
		}
	}
	if err := w.learn(ctx, s); err != nil {
		return nil, err
	}
	w.mu.Lock()
	statement, err = w.sign(ctx, s, true)
	under := w.under
	w.under = nil
	w.mu.Unlock()
	for _, proof := range under {
		if _, _, e := w.judge.Convict(ctx, proof); e != nil {
			err = errors.Join(err, e)
		}
	}
	return statement, err
}

// learn holds the grants shown, which are verified, against those of their mints that were seen before: a mint that
// signed two for one place is convicted now, before anything is signed.
func (w *Witness) learn(ctx context.Context, s []link) error {
	var grants [][]byte
	for _, x := range s {
		if x.e.Type == TypeGrant {
			grants = append(grants, x.Grant)
		}
	}
	if w.judge == nil || grants == nil {
		return nil
	}
	return w.judge.LearnGrants(ctx, grants)
}

func (w *Witness) convicted(a Account) bool { return w.judge != nil && w.judge.Convicted(a) }

// A link is one entry shown, and what it says.
type link struct {
	Shown
	e    Entry
	d    Digest
	from source
}

// read checks what needs no memory: encoding, network, and that each entry follows the one before.
func (w *Witness) read(shown []Shown) ([]link, error) {
	if len(shown) == 0 || len(shown) > MaxShown {
		return nil, fmt.Errorf("%d entries shown, give 1 to %d: %w", len(shown), MaxShown, ErrMalformed)
	}
	s := make([]link, len(shown))
	for i, x := range shown {
		e, err := ParseEntry(x.Entry)
		switch {
		case err != nil:
			return nil, err
		case e.Network != w.network:
			return nil, &NetworkError{Want: w.network, Have: e.Network}
		}
		s[i] = link{Shown: x, e: e, d: e.Digest()}
		if s[i].from, err = x.source(e); err != nil {
			return nil, err
		}
		if i > 0 && (e.Seq != s[i-1].e.Seq+1 || e.Prev != s[i-1].d) {
			return nil, fmt.Errorf("entry %d of %s does not follow the one shown before it: %w", e.Seq, e.Account.Short(), ErrChain)
		}
	}
	return s, nil
}

// sign is Sign; mu is held. It writes nothing of entries whose signatures are not checked.
func (w *Witness) sign(ctx context.Context, s []link, checked bool) ([]byte, error) {
	w.under = nil
	if w.broken != nil {
		return nil, w.broken
	}
	last := s[len(s)-1]
	root, err := w.root(s[0].e.Account)
	if err != nil {
		return nil, err
	}
	c, err := w.follow(root)
	if err != nil {
		return nil, err
	}
	for _, a := range append([]Account{s[0].e.Account, last.e.Account}, c.accounts...) {
		if w.convicted(a) {
			return nil, fmt.Errorf("%s: %w", a, ErrFrozen)
		}
	}
	if s[0].e.Seq > c.Head.Len {
		return nil, &BehindError{c.Head.Len}
	}
	t := &batch{store: w.store, at: map[string]int{}}
	for len(s) > 0 && s[0].e.Seq < c.Head.Len { // shown before
		stored, err := w.row(root, s[0].e.Seq)
		if err != nil {
			return nil, err
		}
		if stored != nil && !bytes.Equal(stored.entry[:EntrySize], s[0].Entry[:EntrySize]) {
			return nil, conflict(stored.entry, s[0])
		}
		if s[0].d == last.d {
			if stored == nil {
				return nil, &BehindError{c.Head.Len} // it has signed later ones, and forgotten this
			}
			return w.again(ctx, t, c, root, *stored, last)
		}
		s = s[1:]
	}
	next := w.done
	if c.Head.Len == 0 {
		if next.accounts++; next.accounts > MaxWitnessed {
			return nil, fmt.Errorf("the witness follows %d chains: %w: no new ones", MaxWitnessed, ErrBusy)
		}
	}
	if err := w.extend(t, c, root, s); err != nil {
		return nil, err
	}
	if next.accounts > w.done.accounts && w.genesis.Floor+c.Head.Granted+c.Head.Earned == 0 {
		return nil, fmt.Errorf("chain of %s: %w: it has nothing to spend", last.e.Account.Short(), ErrUnbacked) // so a stranger takes no place here
	}
	if err := c.covers(last.e); err != nil {
		return nil, err
	}
	if !checked {
		return nil, errUnchecked
	}
	next.entries += uint64(len(s))
	next.signed++
	r := row{entry: last.Entry}
	if r.statement, err = w.key.SignStatement(StatementOn(w.key.account, last.e, last.d)); err != nil {
		return nil, err
	}
	t.put(rowKey(root, last.e.Seq), r.encode())
	if err := w.commit(ctx, t, next); err != nil {
		return nil, err
	}
	return r.statement, nil
}

// conflict is the answer to an entry, not yet verified, in a place that another has.
func conflict(stored []byte, x link) error {
	if _, _, err := VerifyEntry(x.Entry); err != nil {
		return err
	}
	if _, err := NewProof(ProofFork, stored, x.Entry); err != nil {
		return &WitnessedError{stored}
	}
	return &ForkError{A: stored, B: bytes.Clone(x.Entry)}
}

// again answers a question about an entry that was taken. It is signed now if it was not yet.
func (w *Witness) again(ctx context.Context, t *batch, c *followed, root Account, r row, x link) (_ []byte, err error) {
	if r.statement != nil {
		return r.statement, nil
	}
	if err := c.covers(x.e); err != nil {
		return nil, err
	}
	if r.statement, err = w.key.SignStatement(StatementOn(w.key.account, x.e, x.d)); err != nil {
		return nil, err
	}
	next := w.done
	next.signed++
	t.put(rowKey(root, x.e.Seq), r.encode())
	return r.statement, w.commit(ctx, t, next)
}

// extend checks entries that follow on a chain, all but signatures, and puts them into the batch.
func (w *Witness) extend(t *batch, c *followed, root Account, s []link) error {
	for _, x := range s {
		if x.e.Type == TypeEarn || x.e.Type == TypeGrant {
			at := lockKey(witnessUsed, x.e.Ref)
			used, err := t.get(at)
			if err != nil {
				return err
			}
			if used != nil {
				return fmt.Errorf("%s %d of %s: %s was taken up before: %w", x.e.Type, x.e.Seq, x.e.Account.Short(), x.e.Ref.Short(), ErrChain)
			}
			if !c.has(x.from.to) {
				return unbacked(x.e, fmt.Errorf("it is for %s", x.from.to.Short()))
			}
			if x.e.Type == TypeGrant && w.convicted(x.e.Peer) {
				return fmt.Errorf("%s %d of %s: mint %s: %w", x.e.Type, x.e.Seq, x.e.Account.Short(), x.e.Peer, ErrFrozen)
			}
			t.put(at, root[:])
		}
		if err := c.ApplyKnown(x.e, x.d); err != nil {
			return err
		}
		if err := w.compare(t, c, root, x); err != nil {
			return err
		}
		if err := w.own(t, c, root, x.e); err != nil {
			return err
		}
		if len(c.history.open) > MaxWitnessedLocks {
			return fmt.Errorf("%s holds %d locks open: %w: let some settle first", x.e.Account.Short(), len(c.history.open), ErrBusy)
		}
		t.put(rowKey(root, x.e.Seq), row{entry: x.Entry}.encode())
		if x.e.Seq >= KeptEntries {
			t.delete(rowKey(root, x.e.Seq-KeptEntries))
		}
	}
	c.newest = s[len(s)-1].Entry
	t.put(accountKey(witnessChain, root), c.encode())
	return nil
}

// own notes that an account belongs to a chain. It belongs to one for ever: else two chains could lead, by
// changes of keys, to two entries for one place.
func (w *Witness) own(t *batch, c *followed, root Account, e Entry) error {
	if c.has(e.Account) {
		return nil
	}
	if e.Seq > 0 {
		if known, err := t.get(accountKey(witnessRoot, e.Account)); err != nil || known != nil {
			return errors.Join(err, fmt.Errorf("%s %d: %s is part of another chain: %w", e.Type, e.Seq, e.Account.Short(), ErrConflict))
		}
	}
	if len(c.accounts) >= maxAncestors {
		return fmt.Errorf("%s %d of %s: %d changes of keys: %w", e.Type, e.Seq, e.Account.Short(), maxAncestors, ErrBusy)
	}
	c.accounts = append(c.accounts, e.Account)
	t.put(accountKey(witnessRoot, e.Account), root[:])
	return nil
}

// commit makes a batch durable, then what was done. After a failure nobody knows what the disk holds, so the
// witness signs no more until it is opened again and reads the truth.
func (w *Witness) commit(ctx context.Context, t *batch, next progress) error {
	next.commits++
	t.put([]byte(witnessProgress), next.encode())
	synced := make(chan error, 1)
	go func() {
		if w.fence == nil {
			synced <- nil
			return
		}
		synced <- w.fence.Sync()
	}()
	err := w.store.Commit(context.WithoutCancel(ctx), t.ops...)
	if err = errors.Join(err, <-synced); err == nil {
		w.done = next
		if w.fence != nil {
			err = w.fence.Save(w.mark())
		}
	}
	if err != nil {
		w.broken = fmt.Errorf("%w: %w: free disk space or repair the disk, then restart p3", ErrReadOnly, err)
		return w.broken
	}
	return nil
}

func (w *Witness) mark() Mark {
	return Mark{Network: w.network, Account: w.key.account, Commits: w.done.commits}
}

// load reads what was done, and holds it against the fence.
func (w *Witness) load(ctx context.Context) error {
	v, err := w.store.Get([]byte(witnessProgress))
	fresh := errors.Is(err, ErrNotFound)
	if err != nil && !fresh {
		return err
	}
	if !fresh {
		if w.done, err = parseProgress(v); err != nil {
			return err
		}
	}
	me, err := w.store.Get([]byte(witnessMe))
	want := append(append([]byte{1}, w.network[:]...), w.key.account[:]...)
	switch {
	case errors.Is(err, ErrNotFound) && fresh:
		if err := w.store.Commit(ctx, Op{Key: []byte(witnessMe), Value: want}); err != nil {
			return err
		}
	case err != nil:
		return err
	case !bytes.Equal(me, want):
		return fmt.Errorf("its records are another witness's, or a newer p3's: %w", ErrConflict)
	}
	if w.fence == nil {
		return nil
	}
	m, err := w.fence.Load()
	switch {
	case errors.Is(err, ErrNotFound) && fresh:
		return errors.Join(w.fence.Save(w.mark()), w.fence.Sync())
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("%w: the high-water file of the witness is missing, as after a restored backup: what it signed since is not known, so it must not sign again", ErrReadOnly)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case m.Network != w.network || m.Account != w.key.account:
		return fmt.Errorf("%w: the high-water file of the witness is that of %s", ErrReadOnly, m.Account.Short())
	case m.Commits > w.done.commits:
		return fmt.Errorf("%w: the witness' records were rolled back or damaged: %d commits are lost, and what it signed in them is not known, so it must not sign again", ErrReadOnly, m.Commits-w.done.commits)
	}
	return nil
}

// progress is what a witness has done: commits u64 · accounts u64 · entries u64 · signed u64.
type progress struct{ commits, accounts, entries, signed uint64 }

func (p progress) encode() []byte {
	be := binary.BigEndian
	b := be.AppendUint64(be.AppendUint64(make([]byte, 0, 32), p.commits), p.accounts)
	return be.AppendUint64(be.AppendUint64(b, p.entries), p.signed)
}

func parseProgress(b []byte) (progress, error) {
	if len(b) != 32 {
		return progress{}, fmt.Errorf("progress of a witness: %w", ErrMalformed)
	}
	r := reader{b: b}
	return progress{r.u64(), r.u64(), r.u64(), r.u64()}, nil
}
