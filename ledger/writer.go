package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// What shares a commit: at most maxGroup requests, and no further one once they write
// maxCommit bytes, far below what a Store takes.
const (
	maxGroup  = 1024
	maxCommit = 256 << 10
)

// A batch gathers what a group of requests reads and writes before one commit.
type batch struct {
	store Store
	mine  map[Account]bool // the book's own accounts
	ops   []Op
	bytes int
	at    map[string]int // key → its op: the last write of a key wins
	sign  []unsigned
	after []func() // run once the commit is durable

	convicted []Proof // accounts frozen by this batch
	heals     bool    // the store is what its fence says from here on
}

// An unsigned record waits for its signature; ops already refer to raw.
type unsigned struct {
	digest Digest
	raw    []byte
	by     *Key // nil: the book's
}

func (u unsigned) sign(key Key) error {
	if u.by != nil {
		key = *u.by
	}
	return key.sign(u.digest, u.raw)
}

func (t *batch) write(op Op) {
	t.bytes += len(op.Key) + len(op.Value)
	if i, ok := t.at[string(op.Key)]; ok {
		t.ops[i] = op
		return
	}
	t.at[string(op.Key)] = len(t.ops)
	t.ops = append(t.ops, op)
}

func (t *batch) put(key, value []byte) { t.write(Op{Key: key, Value: value}) }
func (t *batch) delete(key []byte)     { t.write(Op{Key: key, Delete: true}) }

// get reads through the batch's own writes. A missing key gives nil.
func (t *batch) get(key []byte) ([]byte, error) {
	if i, ok := t.at[string(key)]; ok {
		return t.ops[i].Value, nil
	}
	v, err := t.store.Get(key)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return v, err
}

// signAll fills in the signatures, on all cores: they are most of the work. A record's digest
// excludes its signature, so even the entries of one chain can be signed side by side.
func (t *batch) signAll(key Key) error {
	workers := min(runtime.GOMAXPROCS(0), len(t.sign))
	if workers <= 1 {
		for _, u := range t.sign {
			if err := u.sign(key); err != nil {
				return err
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(t.sign); i += workers {
				if err := t.sign[i].sign(key); err != nil {
					errs[w] = err
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// A request is one call waiting for the writer. do runs on the writer's goroutine: it returns an
// error before it changes anything, or else all it changed is to be kept.
type request struct {
	do    func(*batch)
	fail  error // of the commit
	force bool  // also in a book that is behind its fence; see Recover
	done  chan struct{}
}

// submit runs do on the writer and returns its result once what it wrote is durable. When
// ctx ends first the change may still happen; all of the book's calls can be repeated.
func submit[T any](ctx context.Context, b *Book, do func(*batch) (T, error)) (T, error) {
	return submitAs(ctx, b, false, do)
}

// submitForced is submit for a book that is behind its fence.
func submitForced[T any](ctx context.Context, b *Book, do func(*batch) (T, error)) (T, error) {
	return submitAs(ctx, b, true, do)
}

func submitAs[T any](ctx context.Context, b *Book, force bool, do func(*batch) (T, error)) (T, error) {
	var out, none T
	var err error
	r := &request{do: func(t *batch) { out, err = do(t) }, done: make(chan struct{}), force: force}
	select {
	case b.requests <- r:
	case <-b.quit:
		return none, ErrBookClosed
	case <-ctx.Done():
		return none, ctx.Err()
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	if r.fail != nil {
		return none, r.fail
	}
	return out, err
}

// submitBytes is submit for signed bytes, which the caller gets as a copy.
func submitBytes(ctx context.Context, b *Book, do func(*batch) ([]byte, error)) ([]byte, error) {
	raw, err := submit(ctx, b, do)
	return bytes.Clone(raw), err
}

// write is the writer: the only goroutine that signs and that changes the book. It takes all
// requests that wait, applies them in order, signs, commits once and answers. While a
// commit syncs the next group gathers.
func (b *Book) write() {
	defer close(b.done)
	buffer := make([]*request, 0, maxGroup)
	for {
		group := buffer
		select {
		case r := <-b.requests:
			group = append(group, r)
		case <-b.quit:
			return
		}
	gather:
		for len(group) < maxGroup {
			select {
			case r := <-b.requests:
				group = append(group, r)
			default:
				break gather
			}
		}
		for len(group) > 0 {
			n, err := b.apply(group)
			for _, r := range group[:n] {
				r.fail = err
				close(r.done)
			}
			group = group[n:]
		}
	}
}

// apply commits the first requests of a group and returns how many. After a failed commit nobody knows what the disk holds, and signing on
// could fork the chain; so the book signs no more until it is opened again and reads the truth.
func (b *Book) apply(group []*request) (n int, err error) {
	_, _, behind := b.Lost()
	b.mu.RLock()
	err = b.readOnly()
	b.mu.RUnlock()
	if err != nil && !(behind && group[0].force) {
		return 1, err
	}
	t := &batch{store: b.store, mine: b.mine, at: make(map[string]int)}
	b.mu.Lock()
	for n < len(group) && t.bytes < maxCommit && (n == 0 || b.readOnly() == nil) {
		group[n].do(t)
		n++
	}
	b.mu.Unlock()
	if len(t.ops) == 0 {
		return n, nil
	}
	if err = t.signAll(b.key); err == nil {
		err = b.commit(t, func() error { return b.store.Commit(context.Background(), t.ops...) })
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.behindFence = false // nobody knows what the disk holds
		b.broken = fmt.Errorf("%w: %w: free disk space or repair the disk, then restart p3", ErrReadOnly, err)
		return n, b.broken
	}
	for _, f := range t.after {
		f()
	}
	b.settled = b.head
	b.announce(t.convicted)
	return n, nil
}
