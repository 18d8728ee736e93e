// Package badgerstore keeps a ledger.Store on disk, in Badger.
//
// Badger makes each synced transaction wait for its own fsync; several hundred a second is all
// a disk gives. Here one goroutine gathers the commits that wait, up to 1,024 writes, into one
// transaction, so that they share a sync. It is also why conflict detection can be off: there
// is only one writer.
//
// The options keep a node small: about 25 MB with a million records. Values up to 1 KiB, hence all of the
// ledger, lie in the LSM tree; larger ones, such as a job's journal, in the value log.
//
// What Commit acknowledged survives kill -9 and, where fsync works, power loss. On Windows Badger's
// files are not synced by msync: there a power cut may lose the last writes. A damaged log
// reopens without its tail and without a word from Badger; noticing that is up to the ledger's chain.
package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	boptions "github.com/dgraph-io/badger/v4/options"
	"github.com/gofrs/flock"

	"github.com/personal-power-plant/p3/ledger"
)

const (
	format     = 1 // of what lies in the folder; raised when an older p3 would misread it
	formatKey  = "store/format"
	lockFile   = "p3.lock"
	maxKey     = 1 << 10
	maxValue   = 1 << 20
	maxWrites  = 1024 // in one transaction, unless a single commit has more
	vlogGCTime = 30 * time.Minute
)

// ErrInUse reports that another process has the folder open.
var ErrInUse = errors.New("another p3 is using it: stop that one (p3 down) or choose another data directory")

// ErrTooNew reports a folder that a newer p3 wrote.
var ErrTooNew = errors.New("it was written by a newer p3: update this one")

// A Store is a ledger.Store in a folder. Safe for concurrent use until Close.
type Store struct {
	dir     string
	minFree uint64 // bytes; see ErrFull

	db    *badger.DB
	lock  *flock.Flock
	queue chan *commit
	quit  chan struct{}
	wg    sync.WaitGroup
	once  sync.Once
	err   error // of Close
}

type commit struct {
	ops   []ledger.Op
	size  int64
	reply chan error
}

var _ ledger.Store = (*Store)(nil)

// Open opens the store in dir, which it creates with mode 0700. It fails with ErrInUse,
// ErrTooNew and ErrFull; Commit fails with ErrFull too.
func Open(dir string) (*Store, error) {
	s, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	switch got, err := lock.TryLock(); {
	case err != nil:
		return nil, err
	case !got:
		return nil, ErrInUse
	}
	s, err := openLocked(dir, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func openLocked(dir string, lock *flock.Flock) (*Store, error) {
	if err := room(dir, MinFree); err != nil {
		return nil, err
	}
	db, err := badger.Open(options(dir))
	if err != nil {
		return nil, fmt.Errorf("%w: if the disk is sound, restore the folder from a backup", err)
	}
	s := &Store{dir: dir, minFree: MinFree, db: db, lock: lock, queue: make(chan *commit), quit: make(chan struct{})}
	if err := s.checkFormat(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.wg.Go(s.commits)
	s.wg.Go(s.collect)
	return s, nil
}

func options(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(nil).
		WithSyncWrites(true).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithChecksumVerificationMode(boptions.OnBlockRead). // or a flipped bit is handed out as if it had been written
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithValueLogFileSize(32 << 20).
		WithValueThreshold(1 << 10).
		WithBlockCacheSize(1 << 20).
		WithIndexCacheSize(4 << 20).
		WithBaseTableSize(2 << 20).
		WithNumCompactors(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(4)
}

func (s *Store) checkFormat() error {
	v, err := s.Get([]byte(formatKey))
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return s.write([]*commit{{ops: []ledger.Op{{Key: []byte(formatKey), Value: []byte{format}}}}})
	case err != nil:
		return err
	case len(v) != 1 || v[0] > format:
		return ErrTooNew
	}
	return nil
}

// damage is the error that a panic means: Badger slices a table's block by what it reads there before it checks the block's
// sum.
func damage(panicked any) error {
	return fmt.Errorf("the store's files are damaged, restore them from a backup: %v", panicked)
}

// Get implements ledger.Store.
func (s *Store) Get(key []byte) (value []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damage(r)
		}
	}()
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err == nil {
			value, err = item.ValueCopy([]byte{})
		}
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ledger.ErrNotFound
	}
	return value, err
}

// Scan implements ledger.Store.
func (s *Store) Scan(prefix, from []byte, yield func(k, v []byte) bool) (err error) {
	yielding := false
	defer func() {
		if yielding { // its panics are not ours
			return
		}
		if r := recover(); r != nil {
			err = damage(r)
		}
	}()
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	return s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix = prefix
		o.PrefetchSize = 16
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(from); it.ValidForPrefix(prefix); it.Next() {
			more := false
			if err := it.Item().Value(func(v []byte) error {
				yielding = true
				more = yield(it.Item().Key(), v)
				yielding = false
				return nil
			}); err != nil || !more {
				return err
			}
		}
		return nil
	})
}

// Commit implements ledger.Store. When ctx ends before the commit was taken up nothing is
// written; after that it is waited for.
func (s *Store) Commit(ctx context.Context, ops ...ledger.Op) error {
	if len(ops) == 0 {
		return nil
	}
	c := &commit{ops: ops, reply: make(chan error, 1)}
	for _, op := range ops {
		if len(op.Key) == 0 || len(op.Key) > maxKey || len(op.Value) > maxValue {
			return fmt.Errorf("commit: key of %d bytes and value of %d: at most %d and %d", len(op.Key), len(op.Value), maxKey, maxValue)
		}
		c.size += opSize(op)
	}
	if !s.fits(c.size, int64(len(ops))) {
		return fmt.Errorf("commit: %d writes of %d bytes together: split them", len(ops), c.size)
	}
	select {
	case s.queue <- c:
		return <-c.reply
	case <-s.quit:
		return errors.New("commit: the store is closed")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// opSize bounds from above what Badger counts for a write.
func opSize(op ledger.Op) int64 { return int64(len(op.Key)+len(op.Value)) + 32 }

// fits tells whether one transaction takes that much.
func (s *Store) fits(size, count int64) bool {
	return size < s.db.MaxBatchSize() && count < s.db.MaxBatchCount()-1
}

// commits is the one committer: it takes what waits and writes it together.
func (s *Store) commits() {
	var next *commit // taken, but too large for the group before
	for {
		group := []*commit{next}
		if next == nil {
			select {
			case group[0] = <-s.queue:
			case <-s.quit:
				return
			}
		}
		next = nil
		size, count := group[0].size, len(group[0].ops)
	gather:
		for count < maxWrites {
			select {
			case c := <-s.queue:
				if size, count = size+c.size, count+len(c.ops); !s.fits(size, int64(count)) {
					next = c
					break gather
				}
				group = append(group, c)
			default:
				break gather
			}
		}
		err := s.write(group)
		for _, c := range group {
			c.reply <- err
		}
	}
}

// write applies a group in one synced transaction.
func (s *Store) write(group []*commit) error {
	if err := s.room(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for _, c := range group {
		for _, op := range c.ops {
			var err error
			if op.Delete {
				err = txn.Delete(op.Key)
			} else {
				err = txn.Set(op.Key, op.Value)
			}
			if err != nil {
				return fmt.Errorf("commit: %w", err)
			}
		}
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// collect frees value-log files that are mostly dead.
func (s *Store) collect() {
	tick := time.NewTicker(vlogGCTime)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for s.db.RunValueLogGC(0.5) == nil { // until there is nothing more to free
			}
		case <-s.quit:
			return
		}
	}
}

// Close implements ledger.Store.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.quit)
		s.wg.Wait()
		s.err = errors.Join(s.db.Close(), s.lock.Close())
	})
	return s.err
}
