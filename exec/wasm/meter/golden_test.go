package meter_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// What is golden here holds on every machine, engine and host: make test-arm64 runs these
// tests on another architecture. Values change only with the price table or PassVersion.

// golden is what each kernel returns, uses and leaves in its memory (the start of a SHA-256).
var golden = []struct {
	name   string
	n      uint64
	result int32
	fuel   int64
	memory string
}{
	{"nbody", 50, 203, 109073, "c42cbc0a98d7"},
	{"sha256", 10, 2098340643, 83645, "d87bbcf7c521"},
	{"matmul", 1, -20736, 4688424, "266a28101f3c"},
	{"sieve", 1, 393073, 10772742, "7ca30efe64f4"},
	{"mandelbrot", 15, 55, 477848, "fa43239bcee7"},
	{"hash", 1000, 12, 66059, "001360e38263"},
	{"fib", 15, 610, 41061, "fa43239bcee7"},
	{"lz", 1, 6668, 8058718, "56e49b0afc66"},
	{"btree", 1, -785440717, 10951749, "b0fa672aa266"},
	{"vm", 300, 922226558, 124245, "d6d474dd80a3"},
	{"axpy", 6, 2047, 301150, "60a909b88a60"},
}

func memoryDigest(m api.Module) string {
	b, _ := m.Memory().Read(0, m.Memory().Size())
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// TestKernelsCountAlike runs each kernel on both engines and in small and large slices.
func TestKernelsCountAlike(t *testing.T) {
	for _, g := range golden {
		out := mustInstrument(t, kernel(t, g.name), meter.Options{})
		for engine, cfg := range engines() {
			for _, slice := range []int64{1000, 10_000_000} {
				h := newHost(t, cfg)
				h.slice = slice
				m, err := h.instantiate(t, out)
				if err != nil {
					t.Fatal(err)
				}
				res, err := m.ExportedFunction("run").Call(context.Background(), g.n)
				if err != nil {
					t.Fatalf("%s on %s: %v", g.name, engine, err)
				}
				if got := memoryDigest(m); int32(res[0]) != g.result || h.used(m) != g.fuel || got != g.memory {
					t.Errorf("%s(%d) on %s: %d with fuel %d, memory %s, want %d with %d, %s",
						g.name, g.n, engine, int32(res[0]), h.used(m), got, g.result, g.fuel, g.memory)
				}
				h.rt.Close(context.Background())
			}
		}
	}
}

// TestGeneratedProgramsAreGolden runs fixed programs of the generators: integers, calls, loops
// and traps by drawProgram, and floats that make NaN of everything by drawFloats.
func TestGeneratedProgramsAreGolden(t *testing.T) {
	const want = "cb9f34afd137"
	for engine, cfg := range engines() {
		all := sha256.New()
		for seed := range 60 {
			runGolden(t, cfg, all, rapid.Custom(drawProgram).Example(seed))
			runGolden(t, cfg, all, rapid.Custom(drawFloats).Example(seed))
		}
		if got := hex.EncodeToString(all.Sum(nil)[:6]); got != want {
			t.Errorf("%s: digest %s, want %s", engine, got, want)
		}
	}
}

// runGolden adds to a digest whether a program trapped, its fuel and its memory.
func runGolden(t *testing.T, cfg wazero.RuntimeConfig, w io.Writer, p program) {
	h := newHost(t, cfg)
	defer h.rt.Close(context.Background())
	h.limit = 5_000_000
	m, err := h.instantiate(t, mustInstrument(t, p.encode(), meter.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.ExportedFunction("run").Call(context.Background(), 3)
	failed := uint64(0)
	if err != nil {
		failed = 1
	}
	b := binary.BigEndian.AppendUint64(nil, failed)
	b = binary.BigEndian.AppendUint64(b, uint64(h.used(m)))
	mem, _ := m.Memory().Read(0, m.Memory().Size())
	w.Write(append(b, mem...))
}

// TestCostTableHashIsGolden: another hash is another price list, which jobs name.
func TestCostTableHashIsGolden(t *testing.T) {
	const want = "f02b190dda456514fe21881962a9e0ac4296191aa91ab9dbd4f9ef45bf42e1dc"
	if got := meter.CostTableHash().String(); got != want {
		t.Errorf("hash %s, want %s: if prices or counting changed on purpose, raise PassVersion and update both golden values", got, want)
	}
}
