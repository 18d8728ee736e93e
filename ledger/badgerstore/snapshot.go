package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/personal-power-plant/p3/ledger"
)

// snapshotTries bounds how often a folder is copied that changes while it is copied.
const snapshotTries = 100

// A Snapshot is what a store's folder held at one moment, in a copy of its own.
type Snapshot struct {
	*Store
	dir string
}

// OpenSnapshot copies the store in dir, whether a process has it open, has closed it or was killed, and
// opens the copy. It takes no lock and writes nothing to dir, so neither does a running node notice,
// nor is the tail of a killed one repaired under its hands; Badger's own read-only mode does not open
// either kind. Close removes the copy, which takes as much room for temporary files as the
// ledger has.
//
// Only what lies in the LSM tree is copied: values over 1 KiB, which the ledger has none of,
// cannot be read. fs.ErrNotExist if there is no store in dir.
func OpenSnapshot(dir string) (_ *Snapshot, err error) {
	to, err := os.MkdirTemp("", "p3-ledger-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("read the store in %s: %w", dir, errors.Join(err, os.RemoveAll(to)))
		}
	}()
	for range snapshotTries {
		var same bool
		if same, err = copyTree(dir, to); err != nil {
			return nil, err
		}
		if same {
			s, err := Open(to)
			if err != nil {
				return nil, err
			}
			return &Snapshot{s, to}, nil
		}
	}
	return nil, errors.New("it changes faster than it can be copied: try again when the node is less busy, or name an export of it")
}

// Close closes the copy and removes it.
func (s *Snapshot) Close() error { return errors.Join(s.Store.Close(), os.RemoveAll(s.dir)) }

// copyTree copies the LSM tree and its write-ahead logs. It reports whether all of it belongs
// together: tables never change once they are there, logs only grow, and the manifest grows with
// each table that comes or goes. So when the files are the same ones afterwards, and the manifest
// as long, what was committed before the first byte is in the copy, and a commit that came
// later is in it whole or, cut off in the log, not at all.
func copyTree(from, to string) (same bool, err error) {
	if err := os.RemoveAll(to); err != nil {
		return false, err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return false, err
	}
	before, err := listTree(from)
	if err != nil {
		return false, err
	}
	if _, ok := before["MANIFEST"]; !ok {
		return false, fmt.Errorf("no ledger there: %w", fs.ErrNotExist)
	}
	for name := range before {
		switch err := copySparse(filepath.Join(from, name), filepath.Join(to, name)); {
		case errors.Is(err, fs.ErrNotExist): // compacted away just now
			return false, nil
		case err != nil:
			return false, err
		}
	}
	after, err := listTree(from)
	if err != nil || len(after) != len(before) {
		return false, err
	}
	for name, size := range before {
		if now, ok := after[name]; !ok || now != size {
			return false, nil
		}
	}
	return true, nil
}

// listTree returns the files of a tree, with the sizes of those that tell when they change.
func listTree(dir string) (map[string]int64, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make(map[string]int64)
	for _, f := range list {
		name := f.Name()
		switch {
		case strings.HasSuffix(name, ".mem"):
			files[name] = 0
		case name == "MANIFEST", name == "KEYREGISTRY", strings.HasSuffix(name, ".sst"):
			info, err := f.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			files[name] = info.Size()
		}
	}
	return files, nil
}

// copySparse copies a file without what is zero: logs are as long as they may once become.
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	size, buf := int64(0), make([]byte, 64<<10)
	zero := make([]byte, len(buf))
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				return errors.Join(err, out.Close())
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return errors.Join(err, out.Close())
		}
	}
	return errors.Join(out.Truncate(size), out.Close())
}

var _ ledger.Store = (*Snapshot)(nil)
