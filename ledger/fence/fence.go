// Package fence keeps a ledger.Mark in a file beside the ledger's store: the high-water file.
//
// It is written in place, so that a copy of it has another inode. A file whose inode and path, or inode and
// machine, are not those it was made with was copied with its folder, and Load says so: two
// copies of one account that both sign fork its chain. A folder that is moved keeps its inode; a file
// system that does not keep inodes keeps its path.
package fence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/host"

	"github.com/personal-power-plant/p3/ledger"
)

// The file has two slots, used in turn, so that a torn write leaves the one before:
//
//	"P3W" 1 u8 · network 32 · account 20 · commits u64 · epoch u32 · seq u64 · head 32 ·
//	inode u64 · path 32 · machine 32 · first 8 bytes of the SHA-256 of all before
//
// path and machine are SHA-256 digests. Slots lie in pages of their own.
const (
	magic    = "P3W\x01"
	bodySize = 4 + 32 + 20 + 8 + 4 + 8 + 32 + 8 + 32 + 32
	slotSize = bodySize + 8
	slotStep = 4096
)

// ErrCopied reports a high-water file that was copied, with the ledger beside it or without.
var ErrCopied = errors.New("this data folder is a copy, as of a backup or of another machine's: make sure that nothing else uses its account")

// A File is a ledger.Fence in a file. Safe for concurrent use.
type File struct {
	path string

	mu     sync.Mutex // guards what follows
	f      *os.File   // nil: there is no file yet
	here   place
	synced time.Time // last
}

// place is where a file lies.
type place struct {
	inode         uint64
	path, machine [32]byte
}

var _ ledger.Fence = (*File)(nil)

// Open opens the high-water file at path, which Save makes if it is not there.
func Open(path string) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("high-water file: %w", err)
	}
	f := &File{path: path}
	f.f, err = os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = f.locate()
	}
	if err != nil {
		return nil, fmt.Errorf("high-water file: %w", err)
	}
	return f, nil
}

// locate notes where the open file lies.
func (f *File) locate() error {
	inode, err := inodeOf(f.f)
	if err != nil {
		return err
	}
	machine, err := host.HostID()
	if err != nil {
		machine = "" // it counts only together with another inode
	}
	f.here = place{inode, sha256.Sum256([]byte(f.path)), sha256.Sum256([]byte(machine))}
	return nil
}

// Load implements ledger.Fence.
func (f *File) Load() (ledger.Mark, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return ledger.Mark{}, ledger.ErrNotFound
	}
	var best ledger.Mark
	var at place
	found := false
	for i := range int64(2) {
		b := make([]byte, slotSize)
		if n, err := f.f.ReadAt(b, i*slotStep); n < slotSize && err == nil {
			continue
		}
		if m, p, err := decode(b); err == nil && (!found || m.Commits > best.Commits) {
			best, at, found = m, p, true
		}
	}
	switch {
	case !found:
		return ledger.Mark{}, fmt.Errorf("the high-water file %s is damaged", f.path)
	case at.inode != f.here.inode && (at.path != f.here.path || at.machine != f.here.machine):
		return best, ErrCopied
	}
	return best, nil
}

// Save implements ledger.Fence.
func (f *File) Save(m ledger.Mark) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		if err := f.create(); err != nil {
			return fmt.Errorf("high-water file: %w", err)
		}
	}
	_, err := f.f.WriteAt(encode(m, f.here), int64(m.Commits%2)*slotStep)
	return err
}

// create makes the file with both slots' room, so that later writes change no metadata.
func (f *File) create() (err error) {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	if f.f, err = os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	_, err = f.f.Write(make([]byte, 2*slotStep))
	return errors.Join(err, f.f.Sync(), syncDir(filepath.Dir(f.path)), f.locate())
}

// syncEvery is how often the file is synced at most: a busy book commits every few milliseconds,
// and a sync each would cost it a tenth of its rate. A mark that lags by that much hides a loss
// only where power fails and the disk has lied to the store about the same moment.
const syncEvery = 500 * time.Millisecond

// Sync implements ledger.Fence. It leaves what is younger than syncEvery to the next one.
func (f *File) Sync() error {
	f.mu.Lock()
	file, now := f.f, time.Now()
	due := now.Sub(f.synced) >= syncEvery
	if due {
		f.synced = now
	}
	f.mu.Unlock()
	if file == nil || !due {
		return nil
	}
	return datasync(file)
}

// Close syncs and closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return nil
	}
	return errors.Join(f.f.Sync(), f.f.Close())
}

func encode(m ledger.Mark, p place) []byte {
	be := binary.BigEndian
	b := append(make([]byte, 0, slotSize), magic...)
	b = append(append(b, m.Network[:]...), m.Account[:]...)
	b = be.AppendUint64(b, m.Commits)
	b = be.AppendUint32(b, m.Epoch)
	b = be.AppendUint64(b, m.Seq)
	b = append(b, m.Head[:]...)
	b = be.AppendUint64(b, p.inode)
	b = append(append(b, p.path[:]...), p.machine[:]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:8]...)
}

func decode(b []byte) (m ledger.Mark, p place, err error) {
	if len(b) != slotSize || string(b[:4]) != magic {
		return m, p, ledger.ErrMalformed
	}
	if sum := sha256.Sum256(b[:bodySize]); !bytes.Equal(sum[:8], b[bodySize:]) {
		return m, p, ledger.ErrMalformed
	}
	be := binary.BigEndian
	next := func(n int) []byte { v := b[:n]; b = b[n:]; return v }
	next(4)
	m.Network, m.Account = ledger.Network(next(32)), ledger.Account(next(20))
	m.Commits, m.Epoch, m.Seq, m.Head = be.Uint64(next(8)), be.Uint32(next(4)), be.Uint64(next(8)), ledger.Digest(next(32))
	p.inode, p.path, p.machine = be.Uint64(next(8)), [32]byte(next(32)), [32]byte(next(32))
	return m, p, nil
}
