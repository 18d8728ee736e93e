package meter_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/tetratelabs/wazero/api"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// TestHostFunctionInATable calls a host function through a table, where it has hidden
// parameters like all others: it finds the exact fuel and may charge.
func TestHostFunctionInATable(t *testing.T) {
	ctx := context.Background()
	b := []byte(header)
	b = section(b, 1, vec([]byte{0x60, 1, tI32, 1, tI32}, []byte{0x60, 2, tI32, tI32, 1, tI32}))
	b = section(b, 2, vec([]byte("\x01h\x04work\x00\x00")))
	b = section(b, 3, vec([]byte{0}, []byte{1}))
	b = section(b, 4, vec([]byte{0x70, 0, 3}))
	b = section(b, 7, vec([]byte("\x03run\x00\x02"), []byte("\x04host\x00\x00")))
	b = section(b, 9, vec([]byte{0, 0x41, 0, 0x0b, 2, 0, 1}))
	add := []byte{7, 0, 0x20, 0, 0x41, 1, 0x6a, 0x0b}
	run := []byte{9, 0, 0x20, 1, 0x20, 0, 0x11, 0, 0, 0x0b}
	b = section(b, 10, vec(add, run))
	for name, cfg := range engines() {
		h := newHost(t, cfg)
		var seen []int64
		_, err := h.rt.NewHostModuleBuilder("h").NewFunctionBuilder().WithFunc(func(ctx context.Context, m api.Module, v int32) int32 {
			seen = append(seen, h.used(m))
			g := m.ExportedGlobal(meter.FuelGlobal).(api.MutableGlobal)
			g.Set(uint64(int64(g.Get()) - 1000))
			return v * 10
		}).Export("work").Instantiate(ctx)
		if err != nil {
			t.Fatal(err)
		}
		m, err := h.instantiate(t, mustInstrument(t, b, meter.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []struct {
			result uint64
			used   int64
		}{{50, 22 + 1000}, {6, 22 + 3}} { // local.get twice and call_indirect; add has 3 more
			before := h.used(m)
			res, err := m.ExportedFunction("run").Call(ctx, uint64(i), 5)
			if err != nil || res[0] != want.result || h.used(m)-before != want.used {
				t.Errorf("%s, element %d: %v %v with fuel %d, want %+v", name, i, res, err, h.used(m)-before, want)
			}
		}
		if len(seen) != 1 || seen[0] != 22 {
			t.Errorf("%s: the host saw %v, want 22", name, seen)
		}
		if _, err := m.ExportedFunction("run").Call(ctx, 2, 5); !contains(err, "invalid table access") {
			t.Errorf("%s: null element: %v", name, err)
		}
	}
}

// TestInstrumentIsAFunctionOfItsArguments: the same module gives the same bytes.
func TestInstrumentIsAFunctionOfItsArguments(t *testing.T) {
	for _, k := range kernels {
		first := mustInstrument(t, kernel(t, k.name), meter.Options{})
		for range 5 {
			if !bytes.Equal(first, mustInstrument(t, kernel(t, k.name), meter.Options{})) {
				t.Fatalf("%s: other bytes", k.name)
			}
		}
	}
}

// TestEntryRefuelsAtAnyDepth runs recursion in the smallest slices: each entry begins again.
func TestEntryRefuelsAtAnyDepth(t *testing.T) {
	for name, cfg := range engines() {
		h := newHost(t, cfg)
		h.slice = 1
		m, err := h.instantiate(t, mustInstrument(t, kernel(t, "fib"), meter.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		res, err := m.ExportedFunction("run").Call(context.Background(), 15)
		if err != nil || res[0] != 610 || h.used(m) != 41061 {
			t.Errorf("%s: %v %v with fuel %d", name, res, err, h.used(m))
		}
		if h.refuels < 1000 {
			t.Errorf("%s: only %d refuels", name, h.refuels)
		}
	}
}
