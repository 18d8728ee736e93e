package wasm

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"unsafe"

	"github.com/tetratelabs/wazero"
)

// A codeCache keeps machine code for wazero in a folder, in place of the engine's own file cache.
// That copies all code into fresh memory, which for 112 MB takes most of a second: a page fault
// for each 4 KiB, and a system call for the place of each function. Here the code begins on a
// page of its file, so that the reader can put the file's pages where the engine wants its copy:
// nothing is copied, and all workers share one. A file is
//
//	where the content begins   8 bytes, little-endian
//	zeros                      so that the code is aligned
//	content                    as wazero writes it, but for large code, which ends in zeros
//
// The methods are those of wazero's internal filecache.Cache. Safe for concurrent use.
type codeCache struct{ dir string }

// Alignment of code, in bytes: what is smaller than smallPages is copied, and from largePages on code
// is aligned to and made of as many, so that the kernel maps such pages where it can. Both are
// multiples of the pages of every machine that we compile for.
const (
	smallPages = 64 << 10
	largePages = 2 << 20
)

// newCodeCache makes wazero use a codeCache. wazero lets nobody choose how code is kept, but its cache has
// a field for it, which is set from here. A version of wazero in which that changed fails, in every test
// that compiles.
func newCodeCache(dir string) (wazero.CompilationCache, error) {
	c := wazero.NewCompilationCache()
	mine := reflect.ValueOf(codeCache{dir})
	if v := reflect.ValueOf(c); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if f := v.Elem().FieldByName("fileCache"); f.IsValid() && f.Kind() == reflect.Interface && mine.Type().Implements(f.Type()) {
			reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().Set(mine)
			return c, nil
		}
	}
	return nil, errors.New("this version of wazero has no place for a cache of ours")
}

func (c codeCache) path(key [32]byte) string { return filepath.Join(c.dir, hex.EncodeToString(key[:])) }

// Get opens the file of a key.
func (c codeCache) Get(key [32]byte) (content io.ReadCloser, ok bool, err error) {
	f, err := os.Open(c.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	r, err := newCodeReader(f)
	if err != nil {
		f.Close()
		return nil, false, err
	}
	return r, true, nil
}

// Add writes the file of a key.
func (c codeCache) Add(key [32]byte, content io.Reader) error {
	f, err := os.OpenFile(c.path(key), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, largePages) // the page cache keeps it in pieces as large as they were written
	return errors.Join(writeCode(w, bufio.NewReader(content)), w.Flush(), f.Close())
}

// Delete removes the file of a key: another version of the engine wrote it.
func (c codeCache) Delete(key [32]byte) error {
	if err := os.Remove(c.path(key)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeCode writes what wazero wants kept: the word WAZEVO, its version after a byte with the
// length, the number of functions in 4 bytes, where each begins in 8, the length of all code in 8, the
// code, its CRC-32C in 4, and more.
func writeCode(w io.Writer, r io.Reader) error {
	head := make([]byte, len("WAZEVO")+1)
	read := func(n int) ([]byte, error) {
		head = append(head, make([]byte, n)...)
		_, err := io.ReadFull(r, head[len(head)-n:])
		return head[len(head)-n:], err
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	functions, err := read(int(head[len(head)-1]) + 4)
	if err != nil {
		return err
	}
	size, err := read(8*int(binary.LittleEndian.Uint32(functions[len(functions)-4:])) + 8)
	if err != nil {
		return err
	}
	size = size[len(size)-8:]
	code := int64(binary.LittleEndian.Uint64(size))
	align, zeros := int64(smallPages), int64(0)
	if code >= largePages {
		align, zeros = largePages, -code&(largePages-1)
	}
	binary.LittleEndian.PutUint64(size, uint64(code+zeros))
	before := -(8 + int64(len(head))) & (align - 1)

	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(8+before))); err != nil {
		return err
	}
	if _, err := w.Write(append(make([]byte, before), head...)); err != nil {
		return err
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.CopyN(io.MultiWriter(w, sum), r, code); err != nil {
		return err
	}
	var given [4]byte
	if code > 0 {
		if _, err := io.ReadFull(r, given[:]); err != nil {
			return err
		}
		if binary.LittleEndian.Uint32(given[:]) != sum.Sum32() {
			return errors.New("machine code with a wrong checksum")
		}
		if _, err := io.MultiWriter(w, sum).Write(make([]byte, zeros)); err != nil {
			return err
		}
		if _, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32())); err != nil {
			return err
		}
	}
	_, err = io.Copy(w, r)
	return err
}

// A codeReader reads the content of a file, and maps of it what it can.
type codeReader struct {
	f     *os.File
	size  int64
	pos   int64 // of the next byte that Read returns
	small *bufio.Reader
}

func newCodeReader(f *os.File) (*codeReader, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var begin [8]byte
	if _, err := f.ReadAt(begin[:], 0); err != nil {
		return nil, err
	}
	pos := binary.LittleEndian.Uint64(begin[:])
	if pos > uint64(st.Size()) {
		return nil, errors.New("a file that begins after its end")
	}
	r := &codeReader{f: f, size: st.Size()}
	r.seek(int64(pos))
	return r, nil
}

func (r *codeReader) seek(pos int64) {
	r.pos = pos
	r.small = bufio.NewReaderSize(io.NewSectionReader(r.f, pos, r.size-pos), smallPages)
}

// Read fills p unless the file ends, as wazero expects of a file. What is large and begins on a page
// both in the file and in memory is mapped there; the engine's munmap of p ends that.
func (r *codeReader) Read(p []byte) (int, error) {
	page := os.Getpagesize()
	onPages := len(p) >= smallPages && (r.pos|int64(uintptr(unsafe.Pointer(&p[0]))))%int64(page) == 0
	if n := len(p) &^ (page - 1); onPages && r.pos+int64(n) <= r.size {
		err := mapCode(p[:n], r.f, r.pos)
		if err == nil {
			r.seek(r.pos + int64(n))
			return n, nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return 0, fmt.Errorf("map code: %w", err)
		}
	}
	n, err := io.ReadFull(r.small, p)
	r.pos += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// Close closes the file; what is mapped stays.
func (r *codeReader) Close() error { return r.f.Close() }
