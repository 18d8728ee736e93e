package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Book is one account's ledger over a Store: its chain, and every lease it has part in, as
// payer or as payee. It alone signs for the account.
//
// Every method is safe for concurrent use. One goroutine does all writing; calls that wait
// together share one commit, so many leases at once cost little more than one. Whatever a
// method returns is durable before it returns, so the caller may send it. Every method can be
// repeated with the same arguments and then returns the stored bytes; a lost answer, a crash
// or a duplicate message never changes a balance twice. Lock alone is different: each call is
// a new lock.
type Book struct {
	store   Store
	key     Key
	genesis Genesis
	network Network
	mine    map[Account]bool // this account and those it followed; set when the book is opened
	origin  Account          // the first of them; likewise

	requests chan *request
	quit     chan struct{} // closed by Close
	done     chan struct{} // closed when the writer has ended
	once     sync.Once

	// mu guards what follows; only the writer changes it.
	mu      sync.RWMutex
	head    Head // with entries that are being committed
	history *history
	settled Head // as committed
	met     uint64
	leases  map[Digest]*lease // open
	exposed map[Account]exposed
	broken  error

	till     *till     // of an office PC, see OpenTill; nil elsewhere
	restored time.Time // guarded by mu; see Restored

	onConvict func(Proof)

	fence   Fence  // may be nil; used by the writer only
	commits uint64 // in the store; likewise
	high    Mark   // the furthest that the account is known to have signed

	behindFence bool // the store is behind high, or a copy: broken says so, and Recover may help
}

// exposed sums the open leases of one payer in which we are the payee.
type exposed struct {
	leases int
	unpaid uint32
}

// A Balance is an account's position in µcr.
type Balance struct {
	Granted, Earned, Spent, Locked Credits
	Net                            Credits // granted + earned − spent
	Free                           Credits // what may still be locked: net − locked + floor
	Floor                          Credits
}

// OpenBook opens the ledger of key's account in the network that genesis founds, or begins one in
// an empty store. The store stays the caller's, to close after the book. It fails when the
// store holds another account or network, or when head, entries and open locks disagree.
func OpenBook(ctx context.Context, store Store, key Key, genesis Genesis) (*Book, error) {
	return openBook(ctx, store, nil, key, nil, genesis, Digest{})
}

// OpenFenced is OpenBook with a fence, which stays the caller's too. A store that is behind its
// fence, or not the one it was put around, opens read-only: ReadOnly says why.
func OpenFenced(ctx context.Context, store Store, fence Fence, key Key, genesis Genesis) (*Book, error) {
	return openBook(ctx, store, fence, key, nil, genesis, Digest{})
}

// openBook is OpenFenced with the commitment of a chain that it begins; fence may be nil, and till is nil but in OpenTill.
func openBook(ctx context.Context, store Store, fence Fence, key Key, till *till, genesis Genesis, recovery Digest) (*Book, error) {
	network, err := genesis.ID()
	if err != nil {
		return nil, err
	}
	b := &Book{
		store: store, key: key, genesis: genesis, network: network,
		requests: make(chan *request), quit: make(chan struct{}), done: make(chan struct{}),
		leases: make(map[Digest]*lease), exposed: make(map[Account]exposed), fence: fence, till: till,
		mine: map[Account]bool{key.account: true}, origin: key.account,
	}
	if err := b.load(); err != nil {
		return nil, fmt.Errorf("open the ledger of %s: %w", key.Account(), err)
	}
	if fence != nil {
		if b.broken, err = b.behind(); err != nil {
			return nil, fmt.Errorf("open the ledger of %s: %w", key.Account(), err)
		}
		b.behindFence = b.broken != nil
	}
	if err := b.ownConviction(); errors.Is(err, ErrReadOnly) { // whatever else is wrong, nothing mends that
		b.broken, b.behindFence = err, false
	} else if err != nil {
		return nil, fmt.Errorf("open the ledger of %s: %w", key.Account(), err)
	}
	go b.write()
	if b.head.Len == 0 {
		b.history.recovery = recovery
	}
	if b.till != nil {
		if err := b.beginTill(ctx); err != nil {
			b.Close()
			return nil, fmt.Errorf("begin the till of %s: %w", key.Account(), err)
		}
		return b, nil
	}
	if (b.head.Len == 0 || b.history.due() && !b.head.Closed) && b.broken == nil {
		if _, err := submit(ctx, b, b.begin); err != nil {
			b.Close()
			return nil, fmt.Errorf("begin the ledger of %s: %w", key.Account(), err)
		}
	}
	return b, nil
}

func (b *Book) identity() []byte {
	return append(append([]byte{1}, b.network[:]...), b.key.account[:]...)
}

// begin writes the chain's first entry; or the checkpoint that a p3 did not write which knew none.
func (b *Book) begin(t *batch) (struct{}, error) {
	if b.history.due() {
		return struct{}{}, b.checkpoint(t)
	}
	genesis, err := b.genesis.Encode()
	if err != nil {
		return struct{}{}, err
	}
	t.put([]byte(bookKey), b.identity())
	t.put([]byte(genesisKey), genesis)
	_, _, err = b.append(t, b.head.Genesis(b.history.recovery, time.Now()), 0)
	return struct{}{}, err
}

// load reads head and open leases, and checks that they agree.
func (b *Book) load() error {
	b.head, b.history = Head{Network: b.network, Account: b.key.account}, newHistory(b.genesis.Params.CheckpointEvery)
	id, err := b.store.Get([]byte(bookKey))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	switch want := b.identity(); {
	case err != nil:
		return err
	case len(id) != len(want) || id[0] != want[0]:
		return errors.New("written by a newer p3: update this one")
	case !bytes.Equal(id[1:33], want[1:33]):
		return fmt.Errorf("it belongs to another network: %w; use another data directory for each network", &NetworkError{b.network, Network(id[1:33])})
	case !bytes.Equal(id, want):
		if b.till != nil {
			return b.moveTill(Account(id[33:]))
		}
		return fmt.Errorf("it belongs to account %s: use the key file of that account or another data directory", Account(id[33:]))
	}
	if known, err := b.isTill(); err != nil || known != (b.till != nil) {
		if err == nil {
			err = errTillMix
		}
		return err
	}
	if b.till != nil {
		return errors.Join(b.loadLeases(), b.loadRestored())
	}
	at, err := b.store.Get([]byte(headKey))
	if err != nil {
		return fmt.Errorf("damaged, restore it from a backup: head: %w", err)
	}
	raw, err := b.store.Get(at)
	if err != nil {
		return fmt.Errorf("damaged, restore it from a backup: newest entry: %w", err)
	}
	e, d, err := VerifyEntry(raw)
	if err != nil {
		return fmt.Errorf("damaged, restore it from a backup: newest entry: %w", err)
	}
	if e.Account != b.key.account || e.Network != b.network || !bytes.Equal(at, entryKey(e.Epoch, e.Seq)) {
		return fmt.Errorf("damaged, restore it from a backup: newest entry: %w", ErrChain)
	}
	if _, err := b.store.Get(entryKey(e.Epoch, e.Seq+1)); !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("damaged, restore it from a backup: an entry after the head: %w", ErrChain)
	}
	b.head, b.settled = HeadAt(e, d), HeadAt(e, d)
	if err := errors.Join(b.loadHistory(), b.loadLineage()); err != nil {
		return err
	}
	return errors.Join(b.loadLeases(), b.loadRestored())
}

func (b *Book) loadLeases() error {
	var open []Digest
	err := b.store.Scan([]byte(openPrefix), nil, func(k, _ []byte) bool {
		if id := k[len(openPrefix):]; len(id) == len(Digest{}) {
			open = append(open, Digest(id))
		}
		return true
	})
	if err != nil {
		return err
	}
	var locked Credits
	clear(b.history.open)
	for _, id := range open {
		l, _, err := loadLease(b.store, b.mine, id)
		if err != nil {
			return err
		}
		b.leases[id] = l
		if l.ours {
			locked += l.lock.Amount
			b.history.open[id] = openLock{l.lock.Peer, l.lock.Amount}
		} else {
			b.expose(l.lock.Account, 1, int64(l.unpaid()))
		}
	}
	if locked != b.head.Locked {
		return fmt.Errorf("damaged, restore it from a backup: open locks hold %s, the head says %s", locked, b.head.Locked)
	}
	return b.store.Scan([]byte(orderPrefix), nil, func(k, _ []byte) bool {
		if n := k[len(orderPrefix):]; len(n) == 8 {
			r := reader{b: n}
			b.met = ^r.u64()
		}
		return false
	})
}

// Close ends the writer once the commit in hand is done. Calls that wait get ErrBookClosed.
func (b *Book) Close() {
	b.once.Do(func() { close(b.quit) })
	<-b.done
}

// Account is whose ledger this is.
func (b *Book) Account() Account { return b.key.account }

// Network is the credit network the book keeps.
func (b *Book) Network() Network { return b.network }

// Genesis is the document that founds the network.
func (b *Book) Genesis() Genesis { return b.genesis }

// Bind signs that node peerID works for this account until expiry. seq must grow with each
// renewal; the time in milliseconds does.
func (b *Book) Bind(peerID []byte, seq uint64, expiry time.Time) ([]byte, error) {
	return b.key.SignBinding(NodeBinding{Network: b.network, Account: b.key.account, PeerID: peerID, Seq: seq, ExpiryMs: uint64(max(expiry.UnixMilli(), 0))})
}

// Publish signs a Publication of a program.
func (b *Book) Publish(program Digest) ([]byte, error) {
	return b.key.SignPublication(Publication{b.network, b.key.account, program})
}

// ReadOnly says why the book signs nothing any more, or nil.
func (b *Book) ReadOnly() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := b.readOnly(); err != nil || !b.settled.Closed {
		return err
	}
	return fmt.Errorf("%w: the account was closed, for good", ErrReadOnly)
}

// Head is where the account's chain stands.
func (b *Book) Head() Head {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.settled
}

// Balance is the account's position.
func (b *Book) Balance() Balance {
	h := b.Head()
	return Balance{h.Granted, h.Earned, h.Spent, h.Locked, h.Net(), h.Free(b.genesis.Floor), b.genesis.Floor}
}

// append checks an entry of ours and puts it, with the new head, into the batch, and the checkpoint
// that is due after it. It changes nothing when it fails.
func (b *Book) append(t *batch, e Entry, closes Credits) ([]byte, Digest, error) {
	raw, d, err := b.place(t, e, closes)
	if err == nil && b.history.due() && !b.head.Closed {
		err = b.checkpoint(t)
	}
	return raw, d, err
}

// place is append for one entry.
func (b *Book) place(t *batch, e Entry, closes Credits) ([]byte, Digest, error) {
	if b.till != nil {
		return nil, Digest{}, ErrTill
	}
	head, err := b.head.Apply(e, b.genesis.Floor, closes)
	if err != nil {
		return nil, Digest{}, err
	}
	raw := append(e.Append(make([]byte, 0, SignedEntrySize)), make([]byte, SignatureSize)...)
	t.sign = append(t.sign, unsigned{digest: head.Digest, raw: raw})
	at := entryKey(e.Epoch, e.Seq)
	t.put(at, raw)
	t.put([]byte(headKey), at)
	b.head = head
	t.remember(b.history, e, head.Digest)
	return raw, head.Digest, nil
}

// admit puts a new lease into memory and batch.
func (b *Book) admit(t *batch, l *lease, raw []byte) {
	b.met++
	b.leases[l.id] = l
	t.put(partKey(l.id, partLock), raw)
	t.put(lockKey(openPrefix, l.id), []byte{})
	t.put(orderKey(b.met), slices.Clone(l.id[:]))
	if !l.ours {
		b.expose(l.lock.Account, 1, 0)
	}
}

// close ends a lease. It leaves memory when that is durable; until then it tells calls of the
// same batch that it is closed. Units left unpaid are the payer's default.
func (b *Book) close(t *batch, l *lease) error {
	if l.closed {
		return nil
	}
	if !l.ours {
		if l.unpaid() > 0 {
			p, err := t.peer(l.lock.Account)
			if err != nil {
				return err
			}
			p.window = p.window.Default()
			t.putPeer(l.lock.Account, p)
		}
		b.expose(l.lock.Account, -1, -int64(l.unpaid()))
	}
	l.closed = true
	t.delete(lockKey(openPrefix, l.id))
	t.after = append(t.after, func() { delete(b.leases, l.id) })
	return nil
}

func (b *Book) expose(a Account, leases int, unpaid int64) {
	x := b.exposed[a]
	x.leases += leases
	x.unpaid = uint32(int64(x.unpaid) + unpaid)
	if x == (exposed{}) {
		delete(b.exposed, a)
		return
	}
	b.exposed[a] = x
}

// find returns a lease, open or from the store.
func (b *Book) find(id Digest) (*lease, error) {
	if l := b.leases[id]; l != nil {
		return l, nil
	}
	l, _, err := loadLease(b.store, b.mine, id)
	if err != nil {
		return nil, err
	}
	l.closed = true
	return l, nil
}

// Info is what a lock of ours, or one we accepted, says; ErrUnknownLock otherwise.
func (b *Book) Info(lock Digest) (LockInfo, error) {
	b.mu.RLock()
	l, err := b.leases[lock], error(nil)
	b.mu.RUnlock()
	if l == nil {
		if l, _, err = loadLease(b.store, b.mine, lock); err != nil {
			return LockInfo{}, err
		}
	}
	return l.info(), nil
}

// as returns what the lock says if we are its payer (ours) or payee (!ours).
func (b *Book) as(ours bool, lock Digest) (LockInfo, error) {
	i, err := b.Info(lock)
	if err == nil && b.mine[i.Payer] != ours {
		return i, fmt.Errorf("lock %s: %w: this account is on its other side", lock.Short(), ErrUnknownLock)
	}
	return i, err
}

// due reports whether the lease may be closed by one side alone.
func (b *Book) due(l *lease, now time.Time) bool {
	return !now.Before(l.lock.Expiry().Add(b.genesis.Grace()))
}
