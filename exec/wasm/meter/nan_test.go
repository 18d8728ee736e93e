package meter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// A floats draws programs that make NaN of everything and store it. signs adds the operators
// that are exact on a NaN's sign, after which a negative one is right; lanes keeps to operators
// on lanes of one width, "f32x4" or "f64x2", without which half a number may look like a NaN.
type floats struct {
	t     *rapid.T
	signs bool
	lanes string
	slot  int64
	kinds map[int64]byte // address to type of what is stored there
}

func newFloats(t *rapid.T) *floats {
	return &floats{t: t, signs: rapid.Bool().Draw(t, "signs"),
		lanes: rapid.SampledFrom([]string{"", "f32x4", "f64x2"}).Draw(t, "lanes"), kinds: map[int64]byte{}}
}

func (g *floats) program() program {
	body := append(g.statements(2), op("i32.const", 0)...)
	return program{fns: []fn{{params: 1, locals: floatLocals, body: body}}}
}

func drawFloats(t *rapid.T) program { return newFloats(t).program() }

func (g *floats) int(lo, hi int, what string) int { return rapid.IntRange(lo, hi).Draw(g.t, what) }

// Locals 1 and 2 are f32, 3 and 4 f64, 5 and 6 v128.
var floatLocals = []byte{tF32, tF32, tF64, tF64, tV128, tV128}

var floatOps = map[byte]struct{ one, two, signOne, signTwo []string }{
	tF32: {[]string{"f32.ceil", "f32.nearest", "f32.sqrt"}, []string{"f32.add", "f32.sub", "f32.mul", "f32.div", "f32.min", "f32.max"},
		[]string{"f32.abs", "f32.neg"}, []string{"f32.copysign"}},
	tF64: {[]string{"f64.ceil", "f64.nearest", "f64.sqrt"}, []string{"f64.add", "f64.sub", "f64.mul", "f64.div", "f64.min", "f64.max"},
		[]string{"f64.abs", "f64.neg"}, []string{"f64.copysign"}},
	tV128: {[]string{"f32x4.sqrt", "f64x2.sqrt", "f32x4.nearest", "f64x2.ceil", "f32x4.demote_f64x2_zero", "f64x2.promote_low_f32x4"},
		[]string{"f32x4.add", "f32x4.div", "f32x4.min", "f32x4.pmin", "f64x2.sub", "f64x2.mul", "f64x2.max", "f64x2.pmax"},
		[]string{"f32x4.abs", "f32x4.neg", "f64x2.abs", "f64x2.neg"}, nil},
}

var floatLocal = map[byte]int64{tF32: 1, tF64: 3, tV128: 5}

func (g *floats) expr(typ byte, depth int) []ins {
	if depth == 0 {
		if g.int(0, 1, "leaf") == 0 {
			return op("local.get", floatLocal[typ]+int64(g.int(0, 1, "local")))
		}
		v := rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -2, math.Inf(1), math.Inf(-1), 1e30}).Draw(g.t, "constant")
		switch typ {
		case tF32:
			return []ins{{op: "f32.const", f: v}}
		case tF64:
			return []ins{{op: "f64.const", f: v}}
		}
		if g.lanes == "f64x2" {
			return []ins{{op: "f64.const", f: v}, {op: "f64x2.splat"}}
		}
		return []ins{{op: "f32.const", f: v}, {op: "f32x4.splat"}}
	}
	d, ops := depth-1, floatOps[typ]
	pick := func(names []string) []ins {
		var fit []string
		for _, n := range names {
			if typ != tV128 || strings.HasPrefix(n, g.lanes) && (g.lanes == "" || !strings.Contains(n, "mote")) {
				fit = append(fit, n)
			}
		}
		return op(rapid.SampledFrom(fit).Draw(g.t, "op"))
	}
	switch k := g.int(0, 11, "kind"); {
	case k < 4:
		return join(g.expr(typ, d), g.expr(typ, d), pick(ops.two))
	case k < 6:
		return join(g.expr(typ, d), pick(ops.one))
	case k == 6 && g.signs:
		return join(g.expr(typ, d), pick(ops.signOne))
	case k == 7 && g.signs && ops.signTwo != nil:
		return join(g.expr(typ, d), g.expr(typ, d), pick(ops.signTwo))
	case k == 8:
		return join(g.expr(typ, d), g.expr(typ, d), op("local.get", 0), op("select"))
	case k == 9:
		return join(g.expr(typ, d), op("local.tee", floatLocal[typ]+int64(g.int(0, 1, "local"))))
	case k == 10:
		return []ins{{op: "block", typ: typ, body: join(g.expr(typ, d), op("local.get", 0), op("br_if", 0))}}
	}
	switch typ {
	case tF32:
		if g.lanes == "f64x2" || g.int(0, 1, "from") == 0 {
			return join(g.expr(tF64, d), op("f32.demote_f64"))
		}
		return join(g.expr(tV128, d), op("f32x4.extract_lane", int64(g.int(0, 3, "lane"))))
	case tF64:
		if g.int(0, 1, "from") == 0 {
			return join(g.expr(tF32, d), op("f64.promote_f32"))
		}
		if g.lanes == "f32x4" {
			return join(g.expr(tF32, d), op("i32.reinterpret_f32"), op("drop"), g.expr(typ, d))
		}
		return join(g.expr(tV128, d), op("f64x2.extract_lane", int64(g.int(0, 1, "lane"))))
	}
	if g.lanes == "f32x4" || g.lanes == "" && g.int(0, 1, "from") == 0 {
		return join(g.expr(tF32, d), op("f32x4.splat"))
	}
	return join(g.expr(tF64, d), op("f64x2.splat"))
}

func (g *floats) statements(depth int) []ins {
	var list []ins
	for range g.int(1, 4, "statements") {
		typ := []byte{tF32, tF64, tV128}[g.int(0, 2, "type")]
		switch k := g.int(0, 6, "statement"); {
		case k < 3:
			list = join(list, g.expr(typ, 3), op("local.set", floatLocal[typ]+int64(g.int(0, 1, "local"))))
		case k < 5 || depth == 0:
			store := map[byte]string{tF32: "f32.store", tF64: "f64.store", tV128: "v128.store"}[typ]
			g.slot += 16
			list = join(list, op("i32.const", g.slot), g.expr(typ, g.int(0, 3, "depth")), op(store, 0))
			g.kinds[g.slot] = typ
		case k == 5: // twice: what a local holds comes round
			list = join(list, []ins{{op: "loop", typ: tVoid, body: join(g.statements(depth-1),
				op("local.get", 0), op("i32.const", 1), op("i32.sub"), op("local.tee", 0), op("i32.const", 0), op("i32.gt_s"), op("br_if", 0))}})
		default:
			list = join(list, op("local.get", 0), []ins{{op: "if", typ: tVoid, body: g.statements(depth - 1), els: g.statements(depth - 1)}})
		}
	}
	return list
}

// TestNaNIsCanonicalWhereItIsSeen runs random float programs on both engines. What they store
// must agree to the bit, and without operators on signs each NaN must be the canonical one.
func TestNaNIsCanonicalWhereItIsSeen(t *testing.T) {
	nans := 0
	rapid.Check(t, func(rt *rapid.T) {
		g := newFloats(rt)
		p := g.program()
		out := mustInstrument(t, p.encode(), meter.Options{})
		arg := uint64(rapid.IntRange(0, 2).Draw(rt, "argument"))
		var first []byte
		for name, cfg := range engines() {
			h := newHost(t, cfg)
			m, err := h.instantiate(t, out)
			if err != nil {
				rt.Fatal(err)
			}
			if _, err := m.ExportedFunction("run").Call(context.Background(), arg); err != nil {
				rt.Fatal(err)
			}
			mem, _ := m.Memory().Read(0, uint32(g.slot)+16)
			mem = bytes.Clone(mem)
			h.rt.Close(context.Background())
			if first == nil {
				first = mem
			} else if !bytes.Equal(first, mem) {
				rt.Fatalf("%s stores other bits", name)
			}
			for at, typ := range g.kinds {
				nans += g.check(rt, mem[at:at+16], typ)
			}
		}
	})
	t.Logf("saw %d NaN", nans)
	if nans == 0 {
		t.Error("no program made a NaN")
	}
}

// check looks for NaN that are not canonical, where a lane can be told for what it is.
func (g *floats) check(t *rapid.T, b []byte, typ byte) (nans int) {
	if g.lanes == "" {
		return 0
	}
	sign32, sign64 := uint32(0), uint64(0)
	if g.signs {
		sign32, sign64 = 1<<31, 1<<63
	}
	width := map[byte]int{tF32: 4, tF64: 8, tV128: 16}[typ]
	if typ == tF32 || typ == tV128 && g.lanes == "f32x4" {
		for i := 0; i < width; i += 4 {
			if v := binary.LittleEndian.Uint32(b[i:]); v<<1 > 0xff<<24 {
				if nans++; v&^sign32 != 0x7fc00000 {
					t.Fatalf("f32 NaN %#x", v)
				}
			}
		}
		return nans
	}
	for i := 0; i < width; i += 8 {
		if v := binary.LittleEndian.Uint64(b[i:]); v<<1 > 0x7ff<<53 {
			if nans++; v&^sign64 != 0x7ff8000000000000 {
				t.Fatalf("f64 NaN %#x", v)
			}
		}
	}
	return nans
}

// TestPayloadsSurviveACopy shows that data which merely passes through floats is not touched.
func TestPayloadsSurviveACopy(t *testing.T) {
	const payload = 0x7ff4dead_beef0001 // signalling
	body := join(op("i32.const", 8), op("i32.const", 0), op("f64.load", 0), op("local.tee", 1), op("f64.store", 0),
		op("i32.const", 16), op("local.get", 1), op("f64.neg"), op("f64.abs"), op("f64.store", 0),
		op("i32.const", 0))
	p := program{fns: []fn{{params: 1, locals: []byte{tF64}, body: body}}}
	h := newHost(t, wazero.NewRuntimeConfigCompiler())
	m, err := h.instantiate(t, mustInstrument(t, p.encode(), meter.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	m.Memory().WriteUint64Le(0, payload)
	if _, err := m.ExportedFunction("run").Call(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	for _, at := range []uint32{8, 16} {
		if v, _ := m.Memory().ReadUint64Le(at); v != payload {
			t.Errorf("at %d: %#x, want %#x", at, v, uint64(payload))
		}
	}
}

// TestEachWayOfSeeingNaN makes 0/0, which is negative on amd64, and looks at its bits in each
// way there is: they must be those of the canonical NaN.
func TestEachWayOfSeeingNaN(t *testing.T) {
	zero := []ins{{op: "f64.const"}}
	nan := join(zero, zero, op("f64.div"))
	store := func(value ...[]ins) []ins {
		return join(op("i32.const", 0), join(value...), op("f64.store", 0))
	}
	lanes := func(value ...[]ins) []ins {
		return join(op("i32.const", 0), join(value...), op("v128.store", 0))
	}
	vnan := join(zero, op("f64x2.splat"), zero, op("f64x2.splat"), op("f64x2.div"))
	set := join(nan, op("local.set", 1))
	for name, body := range map[string][]ins{
		"store":             store(nan),
		"local":             join(set, store(op("local.get", 1))),
		"tee":               store(nan, op("local.tee", 1)),
		"copied local":      join(set, op("local.get", 1), op("local.set", 2), store(op("local.get", 2))),
		"local set later":   {{op: "loop", typ: tVoid, body: join(store(op("local.get", 1)), set, op("local.get", 0), op("i32.const", 1), op("i32.sub"), op("local.tee", 0), op("br_if", 0))}},
		"select":            store(nan, nan, op("local.get", 0), op("select")),
		"select with clean": store(nan, zero, op("local.get", 0), op("select")),
		"block result":      store([]ins{{op: "block", typ: tF64, body: nan}}),
		"br_if":             store([]ins{{op: "block", typ: tF64, body: join(nan, op("local.get", 0), op("br_if", 0))}}),
		"br":                store([]ins{{op: "block", typ: tF64, body: join(nan, op("br", 0))}}),
		"if":                store(op("local.get", 0), []ins{{op: "if", typ: tF64, body: nan, els: zero}}),
		"reinterpret":       join(op("i32.const", 0), nan, op("i64.reinterpret_f64"), op("i64.store", 0)),
		"sign by copysign":  store([]ins{{op: "f64.const", f: 1}}, nan, op("f64.copysign"), nan, op("f64.add")),
		"neg of neg":        store(nan, op("f64.neg"), op("f64.neg")),
		"neg of abs":        store(nan, op("f64.abs"), op("f64.neg")),
		"promoted":          store(nan, op("f32.demote_f64"), op("f64.promote_f32")),
		"min":               store(nan, zero, op("f64.min")),
		"lanes":             lanes(vnan),
		"lane":              store(vnan, op("f64x2.extract_lane", 1)),
		"lane of a local":   join(vnan, op("local.set", 3), store(op("local.get", 3), op("f64x2.extract_lane", 0))),
		"lanes by pmin":     lanes(vnan, vnan, op("f64x2.pmin")),
		"lanes bit by bit":  lanes(vnan, op("v128.not"), op("v128.not")),
		"splat":             lanes(nan, op("f64x2.splat")),
		"narrower lanes":    lanes(vnan, op("f32x4.demote_f64x2_zero"), op("f64x2.promote_low_f32x4")),
	} {
		t.Run(name, func(t *testing.T) {
			p := program{fns: []fn{{params: 1, locals: []byte{tF64, tF64, tV128}, body: append(body, op("i32.const", 0)...)}}}
			out := mustInstrument(t, p.encode(), meter.Options{})
			for engine, cfg := range engines() {
				h := newHost(t, cfg)
				m, err := h.instantiate(t, out)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := m.ExportedFunction("run").Call(context.Background(), 2); err != nil {
					t.Fatal(err)
				}
				if v, _ := m.Memory().ReadUint64Le(0); v != 0x7ff8000000000000 {
					t.Errorf("%s: %#x", engine, v)
				}
			}
		})
	}
}

// TestAnyNaNCostsTheSame: what gives up canonical NaN keeps its fuel.
func TestAnyNaNCostsTheSame(t *testing.T) {
	zero := ins{op: "f64.const"}
	body := []ins{{op: "i32.const"}, zero, zero, {op: "f64.div"}, {op: "f64.store"}, {op: "i32.const"}}
	p := program{fns: []fn{{params: 1, body: body}}}
	var used []int64
	for _, any := range []bool{false, true} {
		h := newHost(t, wazero.NewRuntimeConfigCompiler())
		m, err := h.instantiate(t, mustInstrument(t, p.encode(), meter.Options{AnyNaN: any}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.ExportedFunction("run").Call(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
		v, _ := m.Memory().ReadUint64Le(0)
		if !math.IsNaN(math.Float64frombits(v)) || !any && v != 0x7ff8000000000000 {
			t.Errorf("any %v: stored %#x", any, v)
		}
		used = append(used, h.used(m))
	}
	if used[0] != used[1] {
		t.Errorf("fuel %v", used)
	}
}
