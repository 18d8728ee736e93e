package blob

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// chunk is how many bytes are read, counted and written at a time.
const chunk = 256 << 10

// Put stores all bytes of r and pins them for owner, unless that is "". The File it returns has no name.
// The blob is on disk when Put returns. FullError when there is no room.
func (s *Store) Put(r io.Reader, owner string) (exec.File, error) {
	name := tmpDir + "/" + rand.Text()
	f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return exec.File{}, fmt.Errorf("store blob: %w", diskFull(err, 0))
	}
	sum := sha256.New()
	size, err := s.copy(f, sum, r)
	if err == nil {
		err = diskFull(f.Sync(), 0)
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		_ = s.root.Remove(name) // Open removes it otherwise
		s.release(size)
		return exec.File{}, fmt.Errorf("store blob: %w", err)
	}
	file := exec.File{Hash: ledger.Digest(sum.Sum(nil)), Size: size}
	if err := s.publish(name, file, owner); err != nil {
		return exec.File{}, fmt.Errorf("store blob %s: %w", file.Hash.Short(), err)
	}
	return file, nil
}

// PutFile stores a copy of a regular file; links are followed, as it is the caller's own path.
// The File it returns has the last element of path as its name.
func (s *Store) PutFile(path, owner string) (exec.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return exec.File{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return exec.File{}, errors.Join(fmt.Errorf("%s: not a regular file", path), err)
	}
	file, err := s.Put(f, owner)
	if err != nil {
		return exec.File{}, fmt.Errorf("%s: %w", path, err)
	}
	file.Name = filepath.Base(path)
	return file, nil
}

// copy writes r to f and sum, reserving room before each chunk. It returns the bytes reserved.
func (s *Store) copy(f *os.File, sum hash.Hash, r io.Reader) (reserved int64, err error) {
	buf := make([]byte, chunk)
	for {
		n, rerr := io.ReadFull(r, buf)
		if err := s.reserve(int64(n)); err != nil {
			return reserved, err
		}
		reserved += int64(n)
		sum.Write(buf[:n])
		if _, err := f.Write(buf[:n]); err != nil {
			return reserved, diskFull(err, n)
		}
		switch {
		case rerr == io.EOF || rerr == io.ErrUnexpectedEOF:
			return reserved, nil
		case rerr != nil:
			return reserved, rerr
		}
	}
}

// publish moves a whole, verified and synced file to its place. Its bytes are reserved already; the
// reservation becomes the blob's or is given back.
func (s *Store) publish(name string, file exec.File, owner string) error {
	if err := s.makeFolder(folder(file.Hash)); err != nil {
		_ = s.root.Remove(name)
		s.release(file.Size)
		return err
	}
	s.mu.Lock()
	s.used -= file.Size
	var err error
	if e := s.blobs[file.Hash]; e != nil && e.verified.Load() {
		_ = s.root.Remove(name) // somebody was faster with the same bytes
		s.lru.MoveToFront(e.elem)
	} else if err = s.root.Rename(name, blobName(file.Hash)); err == nil {
		if e != nil { // found by Open and never read: the new bytes are known to be right
			s.forget(e)
		}
		e = &entry{hash: file.Hash, size: file.Size, used: time.Now()}
		e.verified.Store(true)
		s.add(e)
	}
	if err == nil && owner != "" {
		s.pin(file.Hash, owner)
	}
	s.mu.Unlock()
	if err != nil {
		_ = s.root.Remove(name)
		return diskFull(err, 0)
	}
	return s.syncDir(folder(file.Hash))
}
