package meter_test

import (
	"embed"
	"testing"
)

//go:embed testdata/kernels/*.wasm
var kernelFiles embed.FS

func kernel(t testing.TB, name string) []byte {
	t.Helper()
	b, err := kernelFiles.ReadFile("testdata/kernels/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// kernels with an argument that keeps each busy for about a millisecond.
var kernels = []struct {
	name string
	n    uint64
}{{"nbody", 6_000}, {"sha256", 1_000}, {"matmul", 2}, {"sieve", 1}, {"mandelbrot", 40}, {"hash", 100_000}, {"fib", 24}, {"lz", 1},
	{"btree", 1}, {"vm", 40_000}, {"axpy", 1_000}}
