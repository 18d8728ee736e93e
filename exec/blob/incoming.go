package blob

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// An Incoming receives a blob whose hash and size were announced. It is not safe for concurrent use.
type Incoming struct {
	s      *Store
	hash   ledger.Digest
	size   int64
	offset int64
	file   *os.File
	sum    hash.Hash
	part   *part
	done   bool
}

// Create begins or resumes the transfer of a blob of size bytes, for which room is kept. Ask the
// sender for the bytes from Offset, Write them, Commit, and Close in any case. ErrExists, ErrBusy, FullError.
func (s *Store) Create(hash ledger.Digest, size int64) (*Incoming, error) {
	in, err := s.create(hash, size)
	if err != nil {
		return nil, fmt.Errorf("receive blob %s: %w", hash.Short(), err)
	}
	return in, nil
}

func (s *Store) create(hash ledger.Digest, size int64) (*Incoming, error) {
	if size < 0 {
		return nil, fmt.Errorf("size of %d bytes", size)
	}
	in := &Incoming{s: s, hash: hash, size: size, sum: sha256.New()}
	s.mu.Lock()
	p := s.parts[hash]
	switch {
	case s.blobs[hash] != nil:
		s.mu.Unlock()
		return nil, ErrExists
	case p != nil && p.busy:
		s.mu.Unlock()
		return nil, ErrBusy
	case p == nil:
		p = &part{}
		s.parts[hash] = p
	}
	p.busy = true
	in.part = p
	s.mu.Unlock()
	if err := in.open(); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// open reads what is there already and reserves room for the rest.
func (in *Incoming) open() (err error) {
	s, name := in.s, partName(in.hash)
	in.file, err = s.openRegular(name, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotRegular) {
		_ = s.root.Remove(name) // a link, if anything
		in.file, err = s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return diskFull(err, 0)
	}
	in.offset, err = io.Copy(in.sum, io.LimitReader(in.file, in.size+1))
	if err != nil {
		return err
	}
	if in.offset > in.size { // of another idea of the size: start again
		if err := in.Rewind(); err != nil {
			return err
		}
	}
	s.release(in.part.size)
	in.part.size = 0
	if err := s.reserve(in.size); err != nil {
		return err
	}
	s.mu.Lock()
	in.part.size = in.size
	s.mu.Unlock()
	return nil
}

// Offset is how many bytes are here.
func (in *Incoming) Offset() int64 { return in.offset }

// Rewind throws away what is here, for senders that begin at the first byte.
func (in *Incoming) Rewind() error {
	in.offset = 0
	in.sum.Reset()
	if err := in.file.Truncate(0); err != nil {
		return err
	}
	_, err := in.file.Seek(0, io.SeekStart)
	return err
}

// Write appends the next bytes. ErrTooLong beyond the announced size, FullError on a full disk.
func (in *Incoming) Write(p []byte) (int, error) {
	if int64(len(p)) > in.size-in.offset {
		return 0, fmt.Errorf("blob %s: %w", in.hash.Short(), ErrTooLong)
	}
	n, err := in.file.Write(p)
	in.sum.Write(p[:n])
	in.offset += int64(n)
	return n, diskFull(err, len(p))
}

// Commit verifies the whole and makes it a blob, pinned for owner unless that is "". ErrShort leaves the
// transfer as it is; ErrCorrupt throws the bytes away.
func (in *Incoming) Commit(owner string) (exec.File, error) {
	file := exec.File{Hash: in.hash, Size: in.size}
	if in.offset < in.size {
		return exec.File{}, fmt.Errorf("blob %s: %d of %d bytes: %w", in.hash.Short(), in.offset, in.size, ErrShort)
	}
	if ledger.Digest(in.sum.Sum(nil)) != in.hash {
		in.offset = 0 // Close removes it
		return exec.File{}, errors.Join(fmt.Errorf("blob %s as received: %w", in.hash.Short(), ErrCorrupt), in.Close())
	}
	err := errors.Join(diskFull(in.file.Sync(), 0), in.file.Close())
	in.file = nil
	if err == nil {
		in.done = true
		err = in.s.publish(partName(in.hash), file, owner)
		in.s.mu.Lock()
		delete(in.s.parts, in.hash) // its room is the blob's now; until here it was busy for others
		in.s.mu.Unlock()
	}
	if err != nil {
		return exec.File{}, fmt.Errorf("receive blob %s: %w", in.hash.Short(), err)
	}
	return file, nil
}

// Close ends the transfer. What arrived without Commit is kept for the next Create. It may be called twice.
func (in *Incoming) Close() error {
	if in.done {
		return nil
	}
	in.done = true
	var err error
	if in.file != nil {
		err = in.file.Close()
	}
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used += in.offset - in.part.size
	in.part.size, in.part.time, in.part.busy = in.offset, time.Now(), false
	if in.offset == 0 {
		s.dropPart(in.hash, in.part)
	}
	return err
}
