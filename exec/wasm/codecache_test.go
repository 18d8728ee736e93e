package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// engineContent is what wazero keeps of a module with code of a size: bytes counted up.
func engineContent(functions, size int) []byte {
	b := append([]byte("WAZEVO\x061.12.0"), binary.LittleEndian.AppendUint32(nil, uint32(functions))...)
	for i := range functions {
		b = binary.LittleEndian.AppendUint64(b, uint64(16*i))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	code := make([]byte, size)
	for i := range code {
		code[i] = byte(i*i + i>>12)
	}
	b = append(b, code...)
	if size > 0 {
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(code, crc32.MakeTable(crc32.Castagnoli)))
	}
	return append(b, "no source map, no catch clauses"...)
}

// TestCodeIsKeptAsTheEngineWroteIt reads back what was added. Large code has zeros at its end,
// and so another length and checksum; the rest must be the same.
func TestCodeIsKeptAsTheEngineWroteIt(t *testing.T) {
	for _, size := range []int{0, 1, smallPages, smallPages + 1, largePages - 1, largePages, 2*largePages + 12345} {
		c := codeCache{t.TempDir()}
		given := engineContent(3, size)
		if err := c.Add([32]byte{1}, bytes.NewReader(given)); err != nil {
			t.Fatal(err)
		}
		r, ok, err := c.Get([32]byte{1})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		if size >= largePages {
			place := len("WAZEVO\x061.12.0") + 4 + 3*8
			padded := (size + largePages - 1) / largePages * largePages
			code := append(bytes.Clone(given[place+8:place+8+size]), make([]byte, padded-size)...)
			want := append(bytes.Clone(given[:place]), binary.LittleEndian.AppendUint64(nil, uint64(padded))...)
			want = append(want, code...)
			want = binary.LittleEndian.AppendUint32(want, crc32.Checksum(code, crc32.MakeTable(crc32.Castagnoli)))
			given = append(want, given[place+8+size+4:]...)
		}
		if !bytes.Equal(got, given) {
			t.Errorf("%d bytes of code: read %d bytes, not the %d that were wanted", size, len(got), len(given))
		}
		path := filepath.Join(c.dir, "01"+strings.Repeat("0", 62))
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		begin := binary.LittleEndian.Uint64(file)
		if code := begin + 6 + 1 + 6 + 4 + 3*8 + 8; code%smallPages != 0 || size >= largePages && code%largePages != 0 {
			t.Errorf("%d bytes of code begin at %d of the file", size, code)
		}
	}
}

// TestBrokenCodeIsNotKept cuts and changes what the engine might write.
func TestBrokenCodeIsNotKept(t *testing.T) {
	good := engineContent(3, 100)
	for n := range len(good) - len("no source map, no catch clauses") {
		if err := writeCode(io.Discard, bytes.NewReader(good[:n])); err == nil {
			t.Fatalf("%d of %d bytes were taken", n, len(good))
		}
	}
	good[60]++ // in the code
	if err := writeCode(io.Discard, bytes.NewReader(good)); err == nil {
		t.Error("code that does not have its checksum was taken")
	}
}

// TestCodeCacheRefusesOddFiles reads files that writeCode never makes.
func TestCodeCacheRefusesOddFiles(t *testing.T) {
	c := codeCache{t.TempDir()}
	for _, file := range []string{"", "short", "\x09\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xffcontent"} {
		if err := os.WriteFile(c.path([32]byte{}), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Get([32]byte{}); err == nil {
			t.Errorf("%q was opened", file)
		}
	}
	if err := c.Delete([32]byte{}); err != nil {
		t.Error(err)
	}
	if _, ok, err := c.Get([32]byte{}); ok || err != nil {
		t.Error("deleted:", ok, err)
	}
	if err := c.Delete([32]byte{}); err != nil {
		t.Error(err)
	}
}

// TestCodeIsMappedFromTheCache loads a program: its code must be the file's own pages, never
// writable, and run.
func TestCodeIsMappedFromTheCache(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("code is mapped on Linux only; elsewhere it is copied")
	}
	s := moduleSpec(t, largeModule(256<<10))
	c, entry := filled(t, s)
	p, err := loadEntry(context.Background(), filepath.Join(c.modules(), entry))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mapped := 0
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, entry) {
			if mapped++; !strings.Contains(line, " r-xp ") {
				t.Errorf("mapped otherwise than to be read and executed: %s", line)
			}
		}
	}
	if mapped != 1 {
		t.Errorf("%d mappings of the entry, want 1", mapped)
	}
	g, err := newGuest(context.Background(), s, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.closeAll()
	if res, err := p.run(g); err != nil || !res.OK() {
		t.Error(res, err)
	}
}
