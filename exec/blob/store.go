package blob

import (
	"container/list"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

const (
	partDir = "part"
	tmpDir  = "tmp"

	// partAge is how long an abandoned transfer waits to be resumed.
	partAge = 7 * 24 * time.Hour
	// touchEvery is how exact the recorded time of last use is.
	touchEvery = time.Minute
)

// A Store is one folder of blobs.
type Store struct {
	dir  string
	root *os.Root

	folders sync.Mutex      // guards made
	made    map[string]bool // folders that are on disk for sure

	mu     sync.Mutex // guards what follows
	quota  int64      // bytes
	used   int64      // bytes of blobs, partial and temporary files, announced bytes included
	blobs  map[ledger.Digest]*entry
	lru    list.List // of *entry, most recently used first
	parts  map[ledger.Digest]*part
	pins   map[ledger.Digest]map[string]struct{} // owners
	owners map[string]map[ledger.Digest]struct{}
}

// An entry is one whole blob.
type entry struct {
	hash ledger.Digest
	size int64
	used time.Time // as recorded on disk
	elem *list.Element

	check    sync.Mutex  // held while the bytes are hashed
	verified atomic.Bool // they were, by this process
}

// A part is what has arrived of a blob.
type part struct {
	size int64 // counted in used
	time time.Time
	busy bool // an Incoming writes it
}

// Usage is how full a store is, in bytes.
type Usage struct {
	Blobs  int
	Used   int64
	Pinned int64
	Quota  int64
}

// Open opens or creates the store in dir, which holds at most quota bytes. Leftovers of a crash
// are removed; partial transfers of the last week are kept.
func Open(dir string, quota int64) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create blob store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	s := &Store{dir: dir, root: root, quota: max(quota, 0), made: make(map[string]bool),
		blobs: make(map[ledger.Digest]*entry), parts: make(map[ledger.Digest]*part),
		pins: make(map[ledger.Digest]map[string]struct{}), owners: make(map[string]map[ledger.Digest]struct{})}
	if err := s.load(); err != nil {
		root.Close()
		return nil, fmt.Errorf("open blob store %s: %w", dir, err)
	}
	return s, nil
}

// Close releases the folder. No call may follow; open files stay usable.
func (s *Store) Close() error { return s.root.Close() }

// load removes leftovers and lists what is there.
func (s *Store) load() error {
	if err := s.root.RemoveAll(tmpDir); err != nil {
		return err
	}
	for _, d := range []string{tmpDir, partDir} {
		if err := s.makeFolder(d); err != nil {
			return err
		}
	}
	var found []*entry
	err := fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err // a link or device is none of ours
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		hash, isPart, ok := parseName(name)
		switch {
		case !ok:
		case isPart && (info.Size() == 0 || time.Since(info.ModTime()) > partAge):
			return s.root.Remove(name)
		case isPart:
			s.parts[hash] = &part{size: info.Size(), time: info.ModTime()}
			s.used += info.Size()
		default:
			found = append(found, &entry{hash: hash, size: info.Size(), used: info.ModTime()})
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b *entry) int { return a.used.Compare(b.used) })
	for _, e := range found {
		s.add(e)
	}
	return nil // what is over quota goes when room is next needed: by then jobs have pinned theirs
}

// makeFolder makes a folder of the store durable, once in a process.
func (s *Store) makeFolder(name string) error {
	s.folders.Lock()
	defer s.folders.Unlock()
	if s.made[name] {
		return nil
	}
	if err := s.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return diskFull(err, 0)
	}
	if err := s.syncDir("."); err != nil {
		return err
	}
	s.made[name] = true
	return nil
}

// add makes a blob visible. The caller holds mu, or is alone.
func (s *Store) add(e *entry) {
	s.blobs[e.hash] = e
	e.elem = s.lru.PushFront(e)
	s.used += e.size
}

// Has reports whether the blob is here.
func (s *Store) Has(hash ledger.Digest) bool {
	_, ok := s.Size(hash)
	return ok
}

// Size returns a blob's length in bytes; false when it is not here.
func (s *Store) Size(hash ledger.Digest) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.blobs[hash]; e != nil {
		return e.size, true
	}
	return 0, false
}

// Path returns the file of a blob, for programs that want one: its bytes have been verified since this
// process began. Pin the blob for as long as the path is used. ErrNotFound, ErrCorrupt.
func (s *Store) Path(hash ledger.Digest) (string, error) {
	f, err := s.Open(hash)
	if err != nil {
		return "", err
	}
	f.Close()
	return filepath.Join(s.dir, filepath.FromSlash(blobName(hash))), nil
}

// Open opens a blob for reading; the caller closes it. It stays readable even if it is collected.
// The size is checked each time, all bytes the first time in a process. ErrNotFound, ErrCorrupt.
func (s *Store) Open(hash ledger.Digest) (*os.File, error) {
	s.mu.Lock()
	e := s.blobs[hash]
	if e == nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", hash.Short(), ErrNotFound)
	}
	s.lru.MoveToFront(e.elem)
	stale := time.Since(e.used) > touchEvery
	if stale {
		e.used = time.Now()
	}
	s.mu.Unlock()
	f, err := s.openRegular(blobName(hash), os.O_RDONLY)
	if err == nil {
		err = e.verify(f)
		if err != nil {
			f.Close()
		}
	}
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotRegular):
		if !s.discard(e) { // it was collected meanwhile
			return nil, fmt.Errorf("%s: %w", hash.Short(), ErrNotFound)
		}
		return nil, fmt.Errorf("%s: %w", hash.Short(), ErrCorrupt)
	case err != nil:
		return nil, fmt.Errorf("open blob %s: %w", hash.Short(), err)
	}
	if stale {
		// Only the order of collection depends on it.
		_ = s.root.Chtimes(blobName(hash), time.Time{}, time.Now())
	}
	return f, nil
}

// Verify hashes a blob's bytes again and removes it when they have changed. ErrNotFound, ErrCorrupt.
func (s *Store) Verify(hash ledger.Digest) error {
	s.mu.Lock()
	if e := s.blobs[hash]; e != nil {
		e.verified.Store(false)
	}
	s.mu.Unlock()
	f, err := s.Open(hash)
	if err == nil {
		f.Close()
	}
	return err
}

// verify checks the size and, unless this process has done so, the bytes. f is left at its start.
func (e *entry) verify(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != e.size {
		return ErrCorrupt
	}
	e.check.Lock()
	defer e.check.Unlock()
	if e.verified.Load() {
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, e.size+1)); err != nil {
		return err
	}
	if ledger.Digest(h.Sum(nil)) != e.hash {
		return ErrCorrupt
	}
	e.verified.Store(true)
	_, err = f.Seek(0, io.SeekStart)
	return err
}

var errNotRegular = errors.New("not a regular file")

// openRegular opens a file of the store, never through a link.
func (s *Store) openRegular(name string, flag int) (*os.File, error) {
	want, err := s.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !want.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := s.root.OpenFile(name, flag, 0)
	if err != nil {
		return nil, err
	}
	if have, err := f.Stat(); err != nil || !os.SameFile(want, have) {
		f.Close()
		return nil, errors.Join(errNotRegular, err)
	}
	return f, nil
}

// syncDir makes a rename into a folder durable. Windows does so by itself and knows no such call.
func (s *Store) syncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
