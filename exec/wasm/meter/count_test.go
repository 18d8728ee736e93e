package meter_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// TestCountsByHand states the price of small programs as one adds them up from the table.
func TestCountsByHand(t *testing.T) {
	loop := func(n int64) []ins { // n rounds of 3+1+1+1+1 = 5 operators at 1, and setting up 2
		return join(op("i32.const", n), op("local.set", 1), []ins{{op: "loop", typ: tVoid, body: join(
			op("local.get", 1), op("i32.const", 1), op("i32.sub"), op("local.tee", 1), op("br_if", 0))}})
	}
	for _, c := range []struct {
		name string
		body []ins
		fuel int64
		trap string
	}{
		{"constant", op("i32.const", 7), 1, ""},
		{"nop and blocks are free", []ins{{op: "nop"}, {op: "block", typ: tI32, body: op("i32.const", 1)}}, 1, ""},
		{"add", join(op("i32.const", 7), op("local.get", 0), op("i32.add")), 3, ""},
		{"division", join(op("i32.const", 7), op("i32.const", 2), op("i32.div_s")), 10, ""},
		{"load", join(op("i32.const", 0), op("i32.load", 0)), 3, ""},
		{"ten rounds", join(loop(10), op("i32.const", 0)), 2 + 10*5 + 1, ""},
		{"a branch skips", []ins{{op: "block", typ: tVoid, body: join(op("br", 0), op("i32.const", 1), op("drop"))}, {op: "i32.const"}}, 2, ""},
		{"return skips", join(op("i32.const", 1), op("return"), op("i32.const", 1)), 2, ""},
		{"unreachable is charged", join(op("i32.const", 1), op("drop"), op("unreachable")), 2, "unreachable"},
		{"trap charges the rest of its region", join(op("i32.const", -1), op("i32.load", 0), op("i32.const", 1), op("i32.add")), 5, "out of bounds"},
		{"fill by constant", join(op("i32.const", 0), op("i32.const", 0), op("i32.const", 800), op("memory.fill", 0), op("i32.const", 0)), 3 + 16 + 100 + 1, ""},
		{"fill by value", join(op("i32.const", 0), op("i32.const", 0), op("local.get", 0), op("memory.fill", 0), op("i32.const", 0)), 3 + 16 + 500 + 1, ""},
		{"fill out of bounds", join(op("i32.const", 0), op("i32.const", 0), op("i32.const", -1), op("memory.fill", 0), op("i32.const", 0)), 3 + 16 + 1<<29 - 1 + 1, "out of bounds"},
		{"grow", join(op("i32.const", 2), op("memory.grow", 0)), 1 + 64 + 2*1024, ""},
		{"grow that fails", join(op("i32.const", 3), op("memory.grow", 0)), 1 + 64, ""},
		{"grow by most of 4 GiB", join(op("i32.const", -1), op("memory.grow", 0)), 1 + 64, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := program{fns: []fn{{params: 1, locals: []byte{tI32}, body: c.body}}}
			out := mustInstrument(t, p.encode(), meter.Options{})
			for name, cfg := range engines() {
				h := newHost(t, cfg)
				m, err := h.instantiate(t, out)
				if err != nil {
					t.Fatal(err)
				}
				_, err = m.ExportedFunction("run").Call(context.Background(), 4000)
				if (err == nil) != (c.trap == "") || err != nil && !strings.Contains(err.Error(), c.trap) {
					t.Errorf("%s: %v, want %q", name, err, c.trap)
				}
				if got := h.used(m); got != c.fuel {
					t.Errorf("%s: %d fuel, want %d", name, got, c.fuel)
				}
			}
		})
	}
}

// TestEndlessLoopRunsOutOfFuel also shows that the limit is met within one round.
func TestEndlessLoopRunsOutOfFuel(t *testing.T) {
	for name, body := range map[string][]ins{
		"loop":           {{op: "loop", typ: tVoid, body: op("br", 0)}, {op: "i32.const"}},
		"with parameter": {{op: "i32.const"}, {op: "loop", a: typeLoopI32, body: op("br", 0)}},
		"around small functions": {{op: "loop", typ: tVoid, body: join(op("i32.const", 1), op("call", 0), op("drop"), op("br", 0))},
			{op: "i32.const"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := program{fns: []fn{{params: 1, body: op("i32.const", 3)}, {params: 1, body: body}}}
			out := mustInstrument(t, p.encode(), meter.Options{})
			h := newHost(t, wazero.NewRuntimeConfigCompiler())
			h.slice, h.limit = 1000, 100_000
			m, err := h.instantiate(t, out)
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.ExportedFunction("run").Call(context.Background(), 0)
			if !errors.Is(err, errOutOfFuel) {
				t.Fatalf("ended with %v", err)
			}
			if used := h.used(m); used <= h.limit || used > h.limit+20 {
				t.Errorf("stopped at %d fuel, limit %d", used, h.limit)
			}
		})
	}
}

// TestHostMayChargeInACall lowers the global as a host call does for the bytes it moved.
func TestHostMayChargeInACall(t *testing.T) {
	ctx := context.Background()
	b := []byte(header)
	b = section(b, 1, vec([]byte{0x60, 0, 0}))
	b = section(b, 2, vec([]byte("\x01h\x04work\x00\x00")))
	b = section(b, 3, vec([]byte{0}))
	b = section(b, 7, vec([]byte("\x03run\x00\x01")))
	b = section(b, 10, vec([]byte{6, 0, 0x10, 0, 0x10, 0, 0x0b}))
	h := newHost(t, wazero.NewRuntimeConfigCompiler())
	var seen []int64
	_, err := h.rt.NewHostModuleBuilder("h").NewFunctionBuilder().WithFunc(func(ctx context.Context, m api.Module) {
		seen = append(seen, h.used(m))
		g := m.ExportedGlobal(meter.FuelGlobal).(api.MutableGlobal)
		g.Set(uint64(int64(g.Get()) - 1000))
	}).Export("work").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.instantiate(t, mustInstrument(t, b, meter.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.ExportedFunction("run").Call(ctx); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] != 16 || seen[1] != 1032 || h.used(m) != 2032 {
		t.Errorf("host saw %v, then %d: want [16 1032], 2032", seen, h.used(m))
	}
}

// TestMemoryLimitIsAnOrdinaryFailedGrow lowers the module's own maximum.
func TestMemoryLimitIsAnOrdinaryFailedGrow(t *testing.T) {
	p := program{fns: []fn{{params: 1, body: join(op("local.get", 0), op("memory.grow", 0))}}}
	out, info, err := meter.Instrument(p.encode(), meter.Options{MemoryLimitPages: 2})
	if err != nil {
		t.Fatal(err)
	}
	if info.MemoryMin != memoryPages || info.MemoryMax != 2 {
		t.Errorf("memory %d to %d pages", info.MemoryMin, info.MemoryMax)
	}
	h := newHost(t, wazero.NewRuntimeConfigCompiler())
	m, err := h.instantiate(t, out)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ pages, want uint64 }{{2, 1<<32 - 1}, {1, 1}, {1, 1<<32 - 1}, {0, 2}} {
		if got, err := m.ExportedFunction("run").Call(context.Background(), c.pages); err != nil || got[0] != c.want {
			t.Errorf("grow by %d: %v %v, want %d", c.pages, got, err, c.want)
		}
	}
	_, _, err = meter.Instrument(p.encode(), meter.Options{MemoryLimitPages: 1})
	if err != nil {
		t.Errorf("memory of just the limit: %v", err)
	}
	b := section([]byte(header), 5, vec([]byte{0, 5}))
	if _, _, err := meter.Instrument(b, meter.Options{MemoryLimitPages: 4}); err != (meter.ErrMemory{NeedPages: 5, LimitPages: 4}) {
		t.Errorf("too much to start: %v", err)
	}
}

// TestStartFunctionIsMetered runs during instantiation, before the host can set anything.
func TestStartFunctionIsMetered(t *testing.T) {
	b := section([]byte(header), 1, vec([]byte{0x60, 0, 0}))
	b = section(b, 3, vec([]byte{0}))
	b = section(b, 8, []byte{0})
	b = section(b, 10, vec([]byte{7, 0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b}))
	out, info, err := meter.Instrument(b, meter.Options{})
	if err != nil || !info.HasStart {
		t.Fatal(err, info)
	}
	h := newHost(t, wazero.NewRuntimeConfigCompiler())
	h.limit = 10_000_000
	if _, err := h.instantiate(t, out); !errors.Is(err, errOutOfFuel) {
		t.Errorf("endless start function: %v", err)
	}
}
