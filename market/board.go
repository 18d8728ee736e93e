package market

import (
	"container/heap"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
)

// Quotas of a Board. An account with 50 office PCs fits; one that signs offers by the
// thousand does not.
const (
	MaxListings   = 16384 // at most 32 MiB of signed bytes
	MaxPerAccount = 256
)

// Refusals of a Board.
var (
	ErrStale = errors.New("not newer than what is known")
	ErrQuota = errors.New("account lists too much already")
	ErrFull  = errors.New("board is full")
)

// A Listing is what a Board keeps: an Offer or an Advert.
type Listing[K comparable] interface {
	Key() K
	Raw() []byte
	Withdrawn() bool
	head() Header
}

// Directory lists offers by peer.
type Directory = Board[peer.ID, Offer]

// JobBoard lists job adverts.
type JobBoard = Board[AdvertKey, Advert]

// NewDirectory returns an empty directory.
func NewDirectory() *Directory { return newBoard[peer.ID, Offer](MaxListings, MaxPerAccount) }

// NewJobBoard returns an empty job board.
func NewJobBoard() *JobBoard { return newBoard[AdvertKey, Advert](MaxListings, MaxPerAccount) }

// A Board keeps the newest valid listing of each key, within quotas, so that nobody can
// fill this machine's memory by signing. What a peer told us itself (direct) outranks
// hearsay, which a stranger can make at will: a full board drops hearsay for it.
//
// A withdrawn listing is kept until it expires, to refuse older ones, but never shown.
// A Board is safe for concurrent use.
type Board[K comparable, L Listing[K]] struct {
	total, perAccount int

	mu       sync.Mutex // guards what follows
	entries  map[K]*entry[K, L]
	accounts map[ledger.Account]int
	byExpiry expiryHeap[K, L]
	subs     map[chan Change[L]]struct{}
}

type entry[K comparable, L Listing[K]] struct {
	listing L
	header  Header
	direct  bool
	index   int // in byExpiry
}

// A Change is one listing that came, changed or went.
type Change[L any] struct {
	Listing L
	Gone    bool // expired, withdrawn or dropped for another
}

func newBoard[K comparable, L Listing[K]](total, perAccount int) *Board[K, L] {
	return &Board[K, L]{
		total: total, perAccount: perAccount, entries: map[K]*entry[K, L]{},
		accounts: map[ledger.Account]int{}, subs: map[chan Change[L]]struct{}{},
	}
}

// Add keeps a listing if it is newer than what is known of its key. direct says that its
// own peer sent it. It fails with ErrStale, ErrExpired, ErrQuota or ErrFull.
func (b *Board[K, L]) Add(l L, direct bool, now time.Time) error {
	h := l.head()
	if !now.Before(h.ExpiresAt()) {
		return ErrExpired
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	old := b.entries[l.Key()]
	if old != nil {
		if old.header.Seq >= h.Seq {
			old.direct = old.direct || direct && old.header.Seq == h.Seq
			return ErrStale
		}
		if old.header.Account != h.Account && b.accounts[h.Account] >= b.perAccount {
			return fmt.Errorf("account %s: %w", h.Account, ErrQuota)
		}
		direct = direct || old.direct
		b.drop(old)
	} else {
		if b.accounts[h.Account] >= b.perAccount {
			return fmt.Errorf("account %s: %w", h.Account, ErrQuota)
		}
		if len(b.entries) >= b.total && !(direct && b.dropHearsay()) {
			return ErrFull
		}
	}
	e := &entry[K, L]{listing: l, header: h, direct: direct}
	b.entries[l.Key()] = e
	b.accounts[h.Account]++
	heap.Push(&b.byExpiry, e)
	if l.Withdrawn() {
		if old != nil && !old.listing.Withdrawn() {
			b.tell(Change[L]{old.listing, true})
		}
	} else {
		b.tell(Change[L]{l, false})
	}
	return nil
}

// Newer reports whether a listing of k with this Seq would replace what is known. It is a
// cheap look before a signature is verified.
func (b *Board[K, L]) Newer(k K, seq uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[k]
	return e == nil || e.header.Seq < seq
}

// Get returns the listing of a key, if it is there, has not expired and is not withdrawn.
func (b *Board[K, L]) Get(k K, now time.Time) (L, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	if e := b.entries[k]; e != nil && !e.listing.Withdrawn() {
		return e.listing, true
	}
	var none L
	return none, false
}

// Snapshot returns what is on offer, in no order.
func (b *Board[K, L]) Snapshot(now time.Time) []L {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	return b.snapshot()
}

// Sample returns at most n listings, in random order.
func (b *Board[K, L]) Sample(n int, now time.Time) []L {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	out := make([]L, 0, min(n, len(b.entries)))
	for _, e := range b.entries { // a map is walked from a random place
		if len(out) == n {
			break
		}
		if !e.listing.Withdrawn() {
			out = append(out, e.listing)
		}
	}
	return out
}

// Len counts the listings kept, withdrawn ones included.
func (b *Board[K, L]) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entries)
}

// Expire drops what has expired. Reads and writes of the board do it too; calling it
// regularly tells subscribers in time.
func (b *Board[K, L]) Expire(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
}

// Subscribe returns the state and a channel of the changes after it. Whoever lags more than
// 256 changes behind finds the channel closed and subscribes anew. cancel closes it too.
func (b *Board[K, L]) Subscribe(now time.Time) (state []L, changes <-chan Change[L], cancel func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	ch := make(chan Change[L], 256)
	b.subs[ch] = struct{}{}
	return b.snapshot(), ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.unsubscribe(ch)
	}
}

func (b *Board[K, L]) snapshot() []L {
	out := make([]L, 0, len(b.entries))
	for _, e := range b.entries {
		if !e.listing.Withdrawn() {
			out = append(out, e.listing)
		}
	}
	return out
}

func (b *Board[K, L]) expire(now time.Time) {
	for len(b.byExpiry) > 0 && !now.Before(b.byExpiry[0].header.ExpiresAt()) {
		b.dropAndTell(b.byExpiry[0])
	}
}

// dropHearsay makes room for what a peer told us itself.
func (b *Board[K, L]) dropHearsay() bool {
	for _, e := range b.byExpiry { // heap order: the first hearsay ends early, if not first
		if !e.direct {
			b.dropAndTell(e)
			return true
		}
	}
	return false
}

func (b *Board[K, L]) drop(e *entry[K, L]) {
	heap.Remove(&b.byExpiry, e.index)
	delete(b.entries, e.listing.Key())
	if b.accounts[e.header.Account]--; b.accounts[e.header.Account] == 0 {
		delete(b.accounts, e.header.Account)
	}
}

func (b *Board[K, L]) dropAndTell(e *entry[K, L]) {
	b.drop(e)
	if !e.listing.Withdrawn() {
		b.tell(Change[L]{e.listing, true})
	}
}

func (b *Board[K, L]) tell(c Change[L]) {
	for ch := range b.subs {
		select {
		case ch <- c:
		default:
			b.unsubscribe(ch)
		}
	}
}

func (b *Board[K, L]) unsubscribe(ch chan Change[L]) {
	if _, ok := b.subs[ch]; ok {
		delete(b.subs, ch)
		close(ch)
	}
}

// expiryHeap orders entries by expiry, soonest first (container/heap).
type expiryHeap[K comparable, L Listing[K]] []*entry[K, L]

func (h expiryHeap[K, L]) Len() int           { return len(h) }
func (h expiryHeap[K, L]) Less(i, j int) bool { return h[i].header.Expires < h[j].header.Expires }
func (h expiryHeap[K, L]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *expiryHeap[K, L]) Push(x any) {
	e := x.(*entry[K, L])
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is for container/heap.
func (h *expiryHeap[K, L]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
