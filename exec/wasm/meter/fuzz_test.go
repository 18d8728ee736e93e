package meter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// FuzzInstrument: whatever the bytes, no panic; what is accepted is valid for wazero before
// and after.
func FuzzInstrument(f *testing.F) {
	for _, k := range kernels {
		f.Add(kernel(f, k.name))
	}
	f.Add(rapid.Custom(drawProgram).Example(1).encode())
	f.Add(one(nil, 0x03, 0x40, 0x0c, 0, 0x0b))
	for _, name := range []string{"select.0", "br_table.0", "bulk.4", "elem.0", "ref_func.1", "simd_const.0", "table_grow.0"} {
		b, err := os.ReadFile(filepath.Join(specDir(f), name+".wasm"))
		if err != nil {
			continue // names differ between versions of the suite; the others are enough
		}
		f.Add(b)
	}
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	f.Cleanup(func() { rt.Close(ctx) })
	f.Fuzz(func(t *testing.T, bin []byte) {
		out, _, err := meter.Instrument(bin, meter.Options{MemoryLimitPages: 16, KeepNames: true})
		if err != nil {
			return
		}
		c, err := rt.CompileModule(ctx, withoutCustom(bin))
		if err != nil {
			t.Fatalf("accepted, but wazero says: %v", err)
		}
		c.Close(ctx)
		if c, err = rt.CompileModule(ctx, out); err != nil {
			t.Fatalf("rewritten module: %v", err)
		}
		c.Close(ctx)
	})
}

// withoutCustom drops custom sections of a module whose sections are sound: they are for
// people, and wazero refuses a broken one or allocates what its counts say.
func withoutCustom(bin []byte) []byte {
	out := bytes.Clone(bin[:8])
	for rest := bin[8:]; len(rest) > 0; {
		n, k := binary.Uvarint(rest[1:])
		end := 1 + k + int(n)
		if rest[0] != 0 {
			out = append(out, rest[:end]...)
		}
		rest = rest[end:]
	}
	return out
}
