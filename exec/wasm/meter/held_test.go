package meter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"testing"

	"github.com/tetratelabs/wazero"
	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// A stores draws programs that store NaN of arithmetic close to each other and look at the memory
// in between in every way: through other locals, from other distances, in other widths, around
// the end of the address space. By hand true each value is made canonical in the program itself,
// where it is stored; what is drawn must be the same in both.
type stores struct {
	t      *rapid.T
	byHand bool
}

// Locals: the first is the parameter, q is set once, r again and again, wrap lies before the end of
// the address space. x is f64, y f32, z v128; those after them are for making canonical.
const (
	storesP = iota
	storesQ
	storesR
	storesWrap
	storesSum
	storesCount
	storesX
	storesY
	storesZ
	handF64
	handF32
	handV128
)

var storesLocals = []byte{tI32, tI32, tI32, tI64, tI32, tF64, tF32, tV128, tF64, tF32, tV128}

func (g *stores) int(lo, hi int, what string) int64 {
	return int64(rapid.IntRange(lo, hi).Draw(g.t, what))
}

func (g *stores) pick(what string, of ...string) string {
	return rapid.SampledFrom(of).Draw(g.t, what)
}

// address pushes one around the parameter, mostly on 8 bytes, and returns what the operator adds.
func (g *stores) address() (list []ins, offset int64) {
	base := g.int(0, 4, "base")
	step := int64(8)
	if g.int(0, 3, "odd") == 0 {
		step = g.int(1, 4, "step")
	}
	off := g.int(-2, 2, "distance") * step
	switch base {
	case 4:
		return op("i32.const", 128+off), 8 * g.int(0, 2, "offset")
	case storesWrap:
		off += 192 // beyond the end
	}
	list = op("local.get", base)
	switch g.int(0, 3, "form") {
	case 0:
		if off >= 0 && base != storesWrap {
			return list, off
		}
		fallthrough
	case 1:
		list = join(list, op("i32.const", off), op("i32.add"))
	case 2:
		list = join(list, op("i32.const", -off), op("i32.sub"))
	default:
		list = join(op("i32.const", off), list, op("i32.add"), op("local.tee", storesR))
	}
	return list, 0
}

var storesOps = map[byte]struct {
	load, store, local string
	leaf               int64
	ops                []string
}{
	tF64:  {"f64.load", "f64.store", "", storesX, []string{"f64.add", "f64.sub", "f64.mul", "f64.div", "f64.min"}},
	tF32:  {"f32.load", "f32.store", "", storesY, []string{"f32.add", "f32.sub", "f32.mul", "f32.div", "f32.max"}},
	tV128: {"v128.load", "v128.store", "", storesZ, []string{"f64x2.add", "f64x2.sub", "f64x2.div", "f64x2.mul"}},
}

// value pushes the result of arithmetic.
func (g *stores) value(typ byte, depth int) []ins {
	leaf := func() []ins {
		switch g.int(0, 3, "leaf") {
		case 0:
			a, offset := g.address()
			return join(a, op(storesOps[typ].load, offset))
		case 1:
			return op("local.get", storesOps[typ].leaf)
		}
		f := rapid.SampledFrom([]float64{0, 0, 1, -2, math.Inf(1), math.Inf(-1)}).Draw(g.t, "constant")
		switch typ {
		case tF32:
			return []ins{{op: "f32.const", f: f}}
		case tF64:
			return []ins{{op: "f64.const", f: f}}
		}
		return []ins{{op: "f64.const", f: f}, {op: "f64x2.splat"}}
	}
	operand := func() []ins {
		if depth > 0 && g.int(0, 1, "deeper") == 1 {
			return g.value(typ, depth-1)
		}
		return leaf()
	}
	return join(operand(), operand(), op(g.pick("op", storesOps[typ].ops...)))
}

// canonical makes what is on top of the stack canonical, in a program that does so by hand.
func (g *stores) canonical(typ byte) []ins {
	if !g.byHand {
		return nil
	}
	choose := func(local int64, nan []ins, eq, pick string) []ins {
		return join(op("local.tee", local), nan, op("local.get", local), op("local.get", local), op(eq), op(pick))
	}
	f := math.Float64frombits(0x7ff8000000000000)
	switch typ {
	case tF32:
		return choose(handF32, []ins{{op: "f32.const", f: f}}, "f32.eq", "select")
	case tF64:
		return choose(handF64, []ins{{op: "f64.const", f: f}}, "f64.eq", "select")
	}
	return choose(handV128, []ins{{op: "f64.const", f: f}, {op: "f64x2.splat"}}, "f64x2.eq", "v128.bitselect")
}

func (g *stores) statements(depth int) []ins {
	var list []ins
	for range g.int(1, 7, "statements") {
		list = append(list, g.statement(depth)...)
	}
	return list
}

// burst stores NaN after NaN of one type, and looks at the memory between.
func (g *stores) burst(typ byte) []ins {
	nan := []ins{{op: "f64.const"}, {op: "f64.const"}, {op: "f64.div"}}
	switch typ {
	case tF32:
		nan = []ins{{op: "f32.const"}, {op: "f32.const"}, {op: "f32.div"}}
	case tV128:
		nan = []ins{{op: "f64.const"}, {op: "f64x2.splat"}, {op: "local.tee", a: storesZ}, {op: "local.get", a: storesZ}, {op: "f64x2.div"}}
	}
	var list []ins
	for range g.int(2, 4, "stores") {
		a, offset := g.address()
		value := nan
		if g.int(0, 3, "number") == 0 {
			value = g.value(typ, 0)
		}
		list = join(list, a, value, g.canonical(typ), op(storesOps[typ].store, offset))
		switch k := g.int(0, 5, "between"); {
		case k < 2:
			list = join(list, g.look())
		case k == 2:
			list = join(list, g.other(typ))
		case k == 3:
			list = join(list, g.move())
		}
	}
	return join(list, g.look())
}

// look adds the bits at an address to the sum.
func (g *stores) look() []ins {
	a, offset := g.address()
	return join(op("local.get", storesSum), op("i64.const", 31), op("i64.mul"), a, op("i64.load", offset), op("i64.add"), op("local.set", storesSum))
}

// other stores what is not made: an integer, or a copy of whatever bits.
func (g *stores) other(typ byte) []ins {
	a, offset := g.address()
	if g.int(0, 1, "integer") == 0 {
		return join(a, op("i64.const", g.int(0, 1000, "integer")), op("i64.store", offset))
	}
	from, plus := g.address()
	return join(a, from, op(storesOps[typ].load, plus), op(storesOps[typ].store, offset))
}

// move sets the local that is set again and again.
func (g *stores) move() []ins {
	if g.int(0, 1, "back") == 0 {
		return join(op("local.get", g.int(storesP, storesQ, "to")), op("local.set", storesR))
	}
	a, _ := g.address()
	return join(a, op("local.set", storesR))
}

func (g *stores) statement(depth int) []ins {
	typ := []byte{tF64, tF64, tF64, tF32, tV128}[g.int(0, 4, "type")]
	k := g.int(0, 13, "statement")
	if depth == 0 && k > 11 {
		k = 0
	}
	switch k {
	case 3, 4, 5, 6:
		return g.burst(typ)
	case 8:
		return g.look()
	case 9:
		return g.other(typ)
	case 10:
		return join(g.value(typ, 1), op("local.set", storesOps[typ].leaf))
	case 11:
		return g.move()
	case 12:
		return []ins{{op: "loop", typ: tVoid, body: join(g.statements(depth-1),
			op("local.get", storesCount), op("i32.const", 1), op("i32.sub"), op("local.tee", storesCount), op("i32.const", 0), op("i32.gt_s"), op("br_if", 0))}}
	case 13:
		return join(op("local.get", storesCount), []ins{{op: "if", typ: tVoid, body: g.statements(depth - 1), els: g.statements(depth - 1)}})
	case 7: // stays on the stack
		first, offset := g.address()
		second, plus := g.address()
		return join(first, g.value(typ, 1), g.canonical(typ), second, g.value(typ, 1), g.canonical(typ),
			op(storesOps[typ].store, plus), op(storesOps[typ].store, offset))
	}
	a, offset := g.address()
	return join(a, g.value(typ, 1), g.canonical(typ), op(storesOps[typ].store, offset))
}

func (g *stores) program() program {
	once := op("local.get", storesP)
	if g.int(0, 1, "far") == 1 {
		once = op("i32.const", 128)
	}
	body := join(once, op("i32.const", 8*g.int(-1, 1, "distance")), op("i32.add"), op("local.set", storesQ),
		op("local.get", storesP), op("local.set", storesR), op("i32.const", -64), op("local.set", storesWrap),
		op("i32.const", 2), op("local.set", storesCount), g.statements(2),
		op("i32.const", 0), op("local.get", storesSum), op("i64.store", 0), op("i32.const", 0))
	return program{fns: []fn{{params: 1, locals: storesLocals, body: body}}}
}

// TestStoredNaNLooksAlikeFromEverywhere compares programs whose values the pass makes canonical with
// the same programs that do it by themselves, each value alone: memory, and all that was read from it
// on the way, must be the same.
func TestStoredNaNLooksAlikeFromEverywhere(t *testing.T) {
	nans := 0
	rapid.Check(t, func(rt *rapid.T) {
		var seed = rapid.IntRange(0, math.MaxInt32).Draw(rt, "program")
		arg := uint64(8 * rapid.IntRange(15, 17).Draw(rt, "argument"))
		draw := func(byHand bool) program {
			return rapid.Custom(func(t *rapid.T) program { return (&stores{t, byHand}).program() }).Example(seed)
		}
		run := func(byHand bool, cfg wazero.RuntimeConfig) []byte { // nil if it trapped
			h := newHost(t, cfg)
			defer h.rt.Close(context.Background())
			p := draw(byHand)
			m, err := h.instantiate(t, mustInstrument(t, p.encode(), meter.Options{AnyNaN: byHand}))
			if err != nil {
				rt.Fatal(err)
			}
			if _, err := m.ExportedFunction("run").Call(context.Background(), arg); err != nil {
				return nil
			}
			mem, _ := m.Memory().Read(0, m.Memory().Size())
			return bytes.Clone(mem)
		}
		want := run(true, wazero.NewRuntimeConfigInterpreter())
		for i := 8; i < min(512, len(want)); i += 8 {
			if binary.LittleEndian.Uint64(want[i:]) == 0x7ff8000000000000 {
				nans++
			}
		}
		for engine, cfg := range engines() {
			if got := run(false, cfg); !bytes.Equal(got, want) {
				for i := 0; i < min(len(got), len(want)); i += 8 {
					if a, b := binary.LittleEndian.Uint64(got[i:]), binary.LittleEndian.Uint64(want[i:]); a != b {
						t.Logf("%s: at %d %#x, by hand %#x", engine, i, a, b)
					}
				}
				rt.Fatalf("program %d on %s stores other bits", seed, engine)
			}
		}
	})
	if nans == 0 {
		t.Error("no program stored a NaN")
	}
	t.Logf("%d NaN", nans)
}

// TestStoresAreApartOnlyWhereTheyAre has programs whose locals seem to lie 8 bytes apart to whoever overlooks a way through
// the function, and lie on each other. A NaN is stored by the one and read by the other before anybody looks at it.
func TestStoresAreApartOnlyWhereTheyAre(t *testing.T) {
	const p, q, y, x, seen = 0, 1, 2, 3, 4 // the parameter, which is 8; i32; i32; f64; i64
	locals := []byte{tI32, tI32, tF64, tI64}
	nan := join(op("local.get", x), op("local.get", x), op("f64.div")) // 0/0: not canonical on this kind of processor, or by chance
	plus8 := func(local, to int64) []ins {
		return join(op("local.get", local), op("i32.const", 8), op("i32.add"), op("local.set", to))
	}
	around := func(body ...[]ins) []ins { // what begins another run; never left early, as p is not 0
		return []ins{{op: "block", typ: tVoid, body: join(append([][]ins{op("local.get", p), op("i32.eqz"), op("br_if", 0)}, body...)...)}}
	}
	read := func(by, other int64) []ins { // stores by one, reads by the other, and stores far from both, where both stores may be looked at together
		return join(op("local.get", by), nan, op("f64.store", 0),
			op("local.get", other), op("i64.load", 0), op("local.set", seen),
			op("local.get", by), nan, op("f64.store", 64),
			op("i32.const", 256), op("local.get", seen), op("i64.store", 0))
	}
	for name, body := range map[string][]ins{
		// q is 8 beyond y where the block is passed, which it is not: both are 0.
		"set where nobody comes": join(
			[]ins{{op: "block", typ: tVoid, body: join(op("local.get", p), op("br_if", 0), plus8(y, q))}}, read(q, y)),
		"in the other arm": join(op("local.get", p), []ins{{op: "if", typ: tVoid, body: op("nop"), els: plus8(y, q)}}, read(q, y)),
		// y is 8 beyond what q was; then q is set to 8 too.
		"read before it is set": join(plus8(q, y), around(op("local.get", p), op("local.set", q)), around(read(q, y))),
		"set twice":             join(op("i32.const", 0), op("local.set", q), plus8(q, y), around(op("local.get", p), op("local.set", q)), around(read(q, y))),
		// In the second round y is what q is since the first.
		"from the round before": join([]ins{{op: "loop", typ: tVoid, body: join(
			around(read(q, y)), plus8(q, y), op("local.get", y), op("local.set", q),
			op("local.get", q), op("i32.const", 16), op("i32.lt_s"), op("br_if", 0))}}),
	} {
		for engine, cfg := range engines() {
			h := newHost(t, cfg)
			m, err := h.instantiate(t, mustInstrument(t, program{fns: []fn{{params: 1, locals: locals, body: join(body, op("i32.const", 0))}}}.encode(), meter.Options{}))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := m.ExportedFunction("run").Call(t.Context(), 8); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got, _ := m.Memory().ReadUint64Le(256); got != 0x7ff8000000000000 {
				t.Errorf("%s on %s: read %#x before anybody looked", name, engine, got)
			}
			h.rt.Close(t.Context())
		}
	}
}
