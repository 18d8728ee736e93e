package wasm

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A cache keeps compiled modules on disk:
//
//	ROOT/key              32 random bytes, 0600
//	ROOT/modules/ENTRY/   module.wasm (outline of the instrumented module), machine code (see codeCache), mac;
//	                      or native (a program of the second tier), mac
//
// An entry counts only when its HMAC-SHA-256 under the key is right: wazero itself checks no
// more than a CRC, and machine code that somebody else wrote would run outside every sandbox
// but the process's. Entries are written by processes that have never run a guest, and never
// come from the network. Safe for concurrent use, also by several processes.
type cache struct {
	root string
	key  []byte

	mu       sync.Mutex // guards the rest
	building map[string]*build
	verified map[string]string // by entry: the stamp of its files when its MAC was last right
}

type build struct {
	done chan struct{}
	err  error
}

const (
	moduleFile = "module.wasm"
	macFile    = "mac"
	// maxCache is how much the entries may take on disk, in bytes; the least recently used go first.
	maxCache = 2 << 30
)

// openCache opens or makes a cache. root is made private to its owner.
func openCache(root string) (*cache, error) {
	c := &cache{root: root, building: map[string]*build{}, verified: map[string]string{}}
	if err := os.MkdirAll(c.modules(), 0o700); err != nil {
		return nil, fmt.Errorf("make compile cache: %w", err)
	}
	if err := os.Chmod(root, 0o700); err != nil {
		return nil, fmt.Errorf("make compile cache private: %w", err)
	}
	var err error
	if c.key, err = macKey(filepath.Join(root, "key")); err != nil {
		return nil, fmt.Errorf("key of compile cache: %w", err)
	}
	stale, _ := filepath.Glob(filepath.Join(root, "tmp-*"))
	for _, dir := range stale {
		if st, err := os.Stat(dir); err == nil && time.Since(st.ModTime()) > 24*time.Hour {
			os.RemoveAll(dir)
		}
	}
	return c, nil
}

func (c *cache) modules() string { return filepath.Join(c.root, "modules") }

// macKey reads the key, or makes one; of two processes that make one, the first wins.
func macKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		rand.Read(key)
		tmp := fmt.Sprintf("%s.%x", path, key[:4])
		if err := os.WriteFile(tmp, key, 0o600); err != nil {
			return nil, err
		}
		defer os.Remove(tmp)
		if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		key, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("%s has %d bytes, want 32: remove it", path, len(key))
	}
	return key, nil
}

// entryName is what a compiled module depends on: module, memory limit, costs, engine, machine.
func entryName(module ledger.Digest, limit uint32) string {
	h := sha256.New()
	h.Write([]byte("p3 module 3"))
	h.Write(module[:])
	costs := CostTable()
	h.Write(costs[:])
	h.Write(binary.BigEndian.AppendUint32(nil, limit))
	h.Write([]byte(buildID()))
	return hex.EncodeToString(h.Sum(nil))
}

// nativeEntryName is what a program of the second tier depends on: all that its module's entry
// does, and what compiled it.
func nativeEntryName(entry string, tools Toolchain) string {
	h := sha256.New()
	fmt.Fprintf(h, "p3 native 1 %s %s", entry, tools.id())
	return hex.EncodeToString(h.Sum(nil))
}

// buildID tells one build of p3 and wazero from another, as far as the binary knows.
var buildID = sync.OnceValue(func() string {
	id := runtime.GOOS + "/" + runtime.GOARCH + " " + runtime.Version()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" {
				id += " wazero " + dep.Version + dep.Sum
			}
		}
	}
	return id
})

// get returns the folder of an entry, building it first when it is missing or not ours. fill
// writes into an empty folder; two callers never build the same entry at once in one process.
func (c *cache) get(ctx context.Context, name string, fill func(dir string) error) (string, error) {
	dir := filepath.Join(c.modules(), name)
	for {
		c.mu.Lock()
		b := c.building[name]
		if b == nil {
			b = &build{done: make(chan struct{})}
			c.building[name] = b
			c.mu.Unlock()
			b.err = c.make(dir, name, fill)
			c.mu.Lock()
			delete(c.building, name)
			c.mu.Unlock()
			close(b.done)
			return dir, b.err
		}
		c.mu.Unlock()
		select {
		case <-b.done:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		var worse *badProgram
		if b.err == nil || errors.As(b.err, &worse) {
			return dir, b.err
		}
	}
}

func (c *cache) make(dir, name string, fill func(dir string) error) error {
	if c.valid(dir, name) {
		now := time.Now()
		_ = os.Chtimes(dir, now, now) // for collect; a failure only makes it go sooner
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove a damaged cache entry: %w", err)
	}
	tmp, err := os.MkdirTemp(c.root, "tmp-")
	if err != nil {
		return fmt.Errorf("compile cache: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return err
	}
	mac, err := c.mac(tmp, name)
	if err != nil {
		return fmt.Errorf("compile cache: %w", err)
	}
	if err := os.WriteFile(filepath.Join(tmp, macFile), mac, 0o600); err != nil {
		return fmt.Errorf("compile cache: %w", err)
	}
	c.collect(maxCache)
	if err := os.Rename(tmp, dir); err != nil && !c.valid(dir, name) { // another process may have been first
		return fmt.Errorf("compile cache: %w", err)
	}
	return nil
}

// drop removes an entry that turned out to be of no use.
func (c *cache) drop(name string) { os.RemoveAll(filepath.Join(c.modules(), name)) }

// valid reports whether an entry is one that we made. The MAC is computed once: as long as
// this process sees the same files, of the same time, it is not computed again.
func (c *cache) valid(dir, name string) bool {
	now, err := stamp(dir)
	if err != nil {
		return false
	}
	c.mu.Lock()
	known := c.verified[name] == now
	c.mu.Unlock()
	if known {
		return true
	}
	want, err := os.ReadFile(filepath.Join(dir, macFile))
	if err != nil {
		return false
	}
	got, err := c.mac(dir, name)
	if err != nil || !hmac.Equal(got, want) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.verified) >= maxVerified {
		clear(c.verified)
	}
	c.verified[name] = now
	return true
}

// maxVerified bounds what is remembered.
const maxVerified = 4096

// stamp tells the files of an entry from any that were written in their place: path, inode, size
// and the times of their last changes.
func stamp(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime().UnixNano(), changed(info))
		return nil
	})
	return b.String(), err
}

// mac covers the entry's name and the names and content of all its files, in order of names.
func (c *cache) mac(dir, name string) ([]byte, error) {
	h := hmac.New(sha256.New, c.key)
	field := func(s string) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		io.WriteString(h, s)
	}
	field("p3 module 2")
	field(name)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case e.IsDir() || rel == macFile:
			return nil
		case !e.Type().IsRegular():
			return fmt.Errorf("%s is not a regular file", path)
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		field(filepath.ToSlash(rel))
		h.Write(sum.Sum(nil))
		return nil
	})
	return h.Sum(nil), err
}

// collect removes the entries longest unused until the rest takes at most limit bytes.
func (c *cache) collect(limit int64) {
	type entry struct {
		path string
		used time.Time
		size int64
	}
	var all []entry
	var total int64
	dirs, _ := os.ReadDir(c.modules())
	for _, d := range dirs {
		e := entry{path: filepath.Join(c.modules(), d.Name())}
		if info, err := d.Info(); err == nil {
			e.used = info.ModTime()
		}
		e.size = folderSize(e.path)
		total += e.size
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int { return a.used.Compare(b.used) })
	for _, e := range all {
		if total <= limit {
			return
		}
		os.RemoveAll(e.path)
		total -= e.size
	}
}

// folderSize is the sum of the sizes of a folder's files, in bytes.
func folderSize(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, f fs.DirEntry, err error) error {
		if err == nil && f.Type().IsRegular() {
			if info, err := f.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}
