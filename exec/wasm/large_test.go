package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/personal-power-plant/p3/exec"
)

// largeModule is a command of about size bytes: functions of the length and kind that compilers
// emit, each with branches, memory and a call of the next, of which _start runs the last eight.
func largeModule(size int) []byte {
	section := func(id byte, body []byte) []byte {
		return append(binary.AppendUvarint([]byte{id}, uint64(len(body))), body...)
	}
	// x = x*31+k; if (x & 64) mem[x & 0xfffc] = x; x += mem[k]
	step := func(b []byte, k byte) []byte {
		return append(b, 0x20, 0, 0x41, 31, 0x6c, 0x41, k&63, 0x6a, 0x22, 0, 0x41, 0xc0, 0, 0x71, 0x04, 0x40,
			0x20, 0, 0x41, 0xfc, 0xff, 0x03, 0x71, 0x20, 0, 0x36, 2, 0, 0x0b,
			0x20, 0, 0x41, k&63, 0x28, 2, 0, 0x6a, 0x21, 0)
	}
	const perFunction = 460
	n := size / perFunction
	code := binary.AppendUvarint(nil, uint64(n+1))
	for i := range n {
		body := []byte{0}
		for k := range 12 {
			body = step(body, byte(i+k))
		}
		body = append(body, 0x20, 0)
		if i+1 < n {
			body = binary.AppendUvarint(append(body, 0x10), uint64(i+1))
		}
		body = append(body, 0x0b)
		code = append(binary.AppendUvarint(code, uint64(len(body))), body...)
	}
	start := binary.AppendUvarint([]byte{0, 0x41, 7, 0x10}, uint64(n-8))
	start = append(start, 0x1a, 0x0b)
	code = append(append(code, byte(len(start))), start...)

	funcs := binary.AppendUvarint(nil, uint64(n+1))
	funcs = append(append(funcs, make([]byte, n)...), 1)
	m := []byte("\x00asm\x01\x00\x00\x00")
	m = append(m, section(1, []byte{2, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 0, 0})...)
	m = append(m, section(3, funcs)...)
	m = append(m, section(5, []byte{1, 0, 2})...)
	export := binary.AppendUvarint([]byte("\x01\x06_start\x00"), uint64(n))
	m = append(m, section(7, export)...)
	return append(m, section(10, code)...)
}

// moduleSpec is a run of a module made by a test.
func moduleSpec(t testing.TB, module []byte) exec.Spec {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.wasm")
	if err := os.WriteFile(path, module, 0o600); err != nil {
		t.Fatal(err)
	}
	s := spec(t, "noop.wasm")
	s.Program, s.Hash, s.Limits.WallMs = path, sha256.Sum256(module), 600_000
	return s
}

// filled is a cache with the program of a spec in it, and its entry.
func filled(t testing.TB, s exec.Spec) (*cache, string) {
	t.Helper()
	c, err := openCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	entry := entryName(s.Hash, pages(s.Limits))
	if _, err := c.get(context.Background(), entry, func(dir string) error {
		b, err := readProgram(s.Program, s.Hash)
		if err == nil {
			b, err = instrument(b, pages(s.Limits))
		}
		if err != nil {
			return err
		}
		return fillEntry(context.Background(), b, dir)
	}); err != nil {
		t.Fatal(err)
	}
	return c, entry
}
