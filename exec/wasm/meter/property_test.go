package meter_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// A maker draws a random program: functions that call later ones (or themselves with a
// smaller argument), loops with a counter, branches of all kinds, traps, code that cannot
// be reached.
type maker struct {
	t      *rapid.T
	p      *program
	self   int
	fn     *fn
	labels []byte // around, innermost last: what a branch there carries
	budget int
}

func (m *maker) int(lo, hi int, what string) int64 {
	return int64(rapid.IntRange(lo, hi).Draw(m.t, what))
}

func (m *maker) local(typ byte) int64 {
	m.fn.locals = append(m.fn.locals, typ)
	return int64(m.fn.params + len(m.fn.locals) - 1)
}

func drawProgram(t *rapid.T) program {
	n := rapid.IntRange(1, 4).Draw(t, "functions")
	p := program{fns: make([]fn, n)}
	for i := range p.fns {
		p.fns[i].params = rapid.IntRange(0, maxParams).Draw(t, "params")
	}
	p.fns[n-1].params = 1
	for range rapid.IntRange(0, 3).Draw(t, "table") {
		// Only the first function is reached through the table, so that nothing recurs.
		p.table = append(p.table, 0)
	}
	for i := range p.fns {
		m := &maker{t: t, p: &p, self: i, fn: &p.fns[i], budget: 25}
		m.fn.locals = []byte{tI32, tI32, tI64}
		m.labels = []byte{tI32}
		body := m.statements(4)
		m.fn.body = append(body, m.expr(3)...)
	}
	return p
}

func (m *maker) statements(depth int) []ins {
	var list []ins
	for range m.int(0, 4, "statements") {
		list = append(list, m.statement(depth)...)
	}
	return list
}

func join(parts ...[]ins) []ins {
	var list []ins
	for _, p := range parts {
		list = append(list, p...)
	}
	return list
}

func op(name string, imm ...int64) []ins {
	i := ins{op: name}
	if len(imm) > 0 {
		i.a = imm[0]
	}
	return []ins{i}
}

func (m *maker) statement(depth int) []ins {
	m.budget--
	if depth == 0 || m.budget < 0 {
		return op("nop")
	}
	v := m.int(0, m.fn.params+1, "local")
	if v >= int64(m.fn.params) { // the i32 locals stand after the parameters
		v = int64(m.fn.params) + v%2
	}
	d := depth - 1
	switch m.int(0, 15, "statement") {
	case 0, 1:
		return join(m.expr(d), op("local.set", v))
	case 2:
		return join(m.address(d), m.expr(d), op("i32.store", m.int(0, 100, "offset")))
	case 3:
		return join(m.address(d), m.expr(d), op("i64.extend_i32_s"), op("i64.store", m.int(0, 65600, "offset")))
	case 4:
		return join(m.expr(d), op("drop"))
	case 5:
		return []ins{m.inside("block", tVoid, func() []ins { return m.statements(d) })}
	case 6, 7:
		return m.loop(d)
	case 8, 9:
		i := m.inside("if", tVoid, func() []ins { return m.statements(d) })
		if m.int(0, 1, "else") == 1 {
			i.els = append([]ins{}, m.inside("if", tVoid, func() []ins { return m.statements(d) }).body...)
			if len(i.els) == 0 {
				i.els = op("nop")
			}
		}
		return append(m.expr(d), i)
	case 10:
		return m.branch(d)
	case 11:
		k := m.int(0, len(m.labels)-1, "label")
		if m.labels[k] != tVoid {
			return join(m.expr(d), m.expr(d), op("br_if", m.label(k)), op("drop"))
		}
		return join(m.expr(d), op("br_if", m.label(k)))
	case 12:
		if m.int(0, 5, "rare") == 0 {
			return append(op("unreachable"), m.statements(d)...)
		}
		return append(append(m.expr(d), op("return")...), m.statements(d)...)
	case 13:
		if m.int(0, 1, "constant") == 1 {
			return join(m.address(d), m.expr(d), op("i32.const", m.int(0, 5000, "size")), op("memory.fill"))
		}
		return join(m.address(d), m.expr(d), m.expr(d), op("memory.fill"))
	case 14:
		return join(m.address(d), m.address(d), m.address(d), op("memory.copy"))
	}
	return op("nop")
}

func (m *maker) label(k int64) int64 { return int64(len(m.labels)-1) - k }

func (m *maker) inside(name string, typ byte, body func() []ins) ins {
	carries := typ
	if name == "loop" {
		carries = tVoid
	}
	m.labels = append(m.labels, carries)
	i := ins{op: name, typ: typ, body: body()}
	m.labels = m.labels[:len(m.labels)-1]
	return i
}

// branch leaves, with code behind that cannot be reached.
func (m *maker) branch(d int) []ins {
	k := m.int(0, len(m.labels)-1, "label")
	if m.int(0, 2, "table") == 0 {
		i := ins{op: "br_table", targets: []int64{m.label(k)}}
		for j := range m.labels {
			if m.labels[j] == m.labels[k] {
				i.targets = append(i.targets, m.label(int64(j)))
			}
		}
		list := m.expr(d)
		if m.labels[k] != tVoid {
			list = append(list, m.expr(d)...)
		}
		return append(append(list, i), m.statements(d)...)
	}
	var list []ins
	if m.labels[k] != tVoid {
		list = m.expr(d)
	}
	return append(append(list, op("br", m.label(k))...), m.statements(d)...)
}

// loop counts down at its header, so that any branch to it ends sometime.
func (m *maker) loop(d int) []ins {
	c := m.local(tI32)
	l := ins{op: "block", typ: tVoid}
	m.labels = append(m.labels, tVoid)
	inner := m.inside("loop", tVoid, func() []ins {
		list := join(op("local.get", c), op("i32.eqz"), op("br_if", 1),
			op("local.get", c), op("i32.const", 1), op("i32.sub"), op("local.set", c), m.statements(d))
		if m.int(0, 1, "again") == 1 {
			list = append(list, op("br", 0)...)
		}
		return list
	})
	m.labels = m.labels[:len(m.labels)-1]
	l.body = []ins{inner}
	return join(op("i32.const", m.int(0, 3, "rounds")), op("local.set", c), []ins{l})
}

func (m *maker) address(d int) []ins {
	if m.int(0, 20, "wild") == 0 {
		return m.expr(d)
	}
	return op("i32.const", m.int(0, 60000, "address"))
}

// expr pushes an i32.
func (m *maker) expr(depth int) []ins {
	m.budget--
	i32s := m.fn.params + 2
	if depth <= 0 || m.budget < 0 {
		if m.int(0, 1, "leaf") == 0 {
			return op("i32.const", m.int(-3, 300, "constant"))
		}
		return op("local.get", m.int(0, i32s-1, "local"))
	}
	d := depth - 1
	i64Local := int64(m.fn.params + 2)
	switch m.int(0, 17, "expr") {
	case 0, 1, 2:
		names := []string{"i32.add", "i32.sub", "i32.mul", "i32.and", "i32.xor", "i32.lt_s", "i32.gt_s"}
		return join(m.expr(d), m.expr(d), op(names[m.int(0, len(names)-1, "op")]))
	case 3:
		return join(m.expr(d), m.expr(d), op([]string{"i32.div_s", "i32.rem_u"}[m.int(0, 1, "op")]))
	case 4:
		return join(m.expr(d), op("i32.const", m.int(-1, 7, "divisor")), op("i32.div_s"))
	case 5:
		return join(m.address(d), op("i32.load", m.int(0, 100, "offset")))
	case 6:
		return join(m.expr(d), m.expr(d), m.expr(d), op("select"))
	case 7, 8:
		if m.self == 0 {
			return m.recursion(d)
		}
		k := m.int(0, m.self-1, "callee")
		var list []ins
		for range m.p.fns[k].params {
			list = append(list, m.expr(d)...)
		}
		return append(list, op("call", k)...)
	case 9:
		if m.self == 0 {
			return m.recursion(d)
		}
		typ := m.int(0, maxParams, "type")
		if m.int(0, 3, "right") != 0 {
			typ = int64(m.p.fns[0].params)
		}
		var list []ins
		for range typ {
			list = append(list, m.expr(d)...)
		}
		return append(append(list, op("i32.const", m.int(0, 3, "index"))...), op("call_indirect", typ)...)
	case 10:
		return join(m.expr(d), op("memory.grow"))
	case 11:
		return op("memory.size")
	case 12:
		i := m.inside("block", tI32, func() []ins { return append(m.statements(d), m.expr(d)...) })
		return []ins{i}
	case 13:
		i := m.inside("if", tI32, func() []ins { return append(m.statements(d), m.expr(d)...) })
		i.els = m.inside("if", tI32, func() []ins { return append(m.statements(d), m.expr(d)...) }).body
		return append(m.expr(d), i)
	case 14:
		return join(m.expr(d), op("local.tee", m.int(0, i32s-1, "local")))
	case 15:
		return join(m.expr(d), op("i64.extend_i32_s"), op("local.get", i64Local),
			op([]string{"i64.add", "i64.mul", "i64.div_u"}[m.int(0, 2, "op")]), op("local.tee", i64Local), op("i32.wrap_i64"))
	case 16:
		// loop (param i32) (result i32): again while a counter is positive.
		c := m.local(tI32)
		l := ins{op: "loop", a: typeLoopI32, body: join(op("i32.const", 1), op("i32.add"),
			op("local.get", c), op("i32.const", 1), op("i32.sub"), op("local.tee", c), op("i32.const", 0), op("i32.gt_s"), op("br_if", 0))}
		return join(op("i32.const", m.int(0, 4, "rounds")), op("local.set", c), m.expr(d), []ins{l})
	}
	i := m.inside("loop", tI32, func() []ins { return m.expr(d) })
	return []ins{i}
}

// recursion calls the function itself while its first parameter is positive and small.
func (m *maker) recursion(d int) []ins {
	if m.fn.params == 0 {
		return op("i32.const", 7)
	}
	list := join(op("local.get", 0), op("i32.const", 1), op("i32.sub"))
	for range m.fn.params - 1 {
		list = append(list, m.expr(d)...)
	}
	i := ins{op: "if", typ: tI32, body: append(list, op("call", int64(m.self))...), els: op("i32.const", 1)}
	return join(op("local.get", 0), op("i32.const", 0), op("i32.gt_s"), op("local.get", 0), op("i32.const", 4), op("i32.lt_s"), op("i32.and"), []ins{i})
}

// TestFuelIsThatOfEachOperator compares what rewritten modules count, on both engines and
// with slices of any size, with a reference that charges every operator before it runs.
func TestFuelIsThatOfEachOperator(t *testing.T) {
	var returned, trapped int
	rapid.Check(t, func(rt *rapid.T) {
		p := drawProgram(rt)
		bin := p.encode()
		out, _, err := meter.Instrument(bin, meter.Options{})
		if err != nil {
			rt.Fatalf("instrument: %v", err)
		}
		ref := newReference(p)
		arg := uint64(rapid.Uint32Range(0, 5).Draw(rt, "argument"))
		want, trap, long := ref.bounded(arg)
		if long {
			return // more than two million steps
		}
		if trap == "" {
			returned++
		} else {
			trapped++
		}
		for name, cfg := range engines() {
			slice := rapid.SampledFrom([]int64{1, 50, 1_000_000}).Draw(rt, "slice")
			h := newHost(t, cfg)
			h.slice = slice
			mod, err := h.instantiate(t, out)
			if err != nil {
				rt.Fatalf("%s: %v", name, err)
			}
			res, err := mod.ExportedFunction("run").Call(context.Background(), arg)
			switch {
			case trap == "" && err != nil:
				rt.Fatalf("%s: %v, reference returned", name, err)
			case trap != "" && (err == nil || !strings.Contains(err.Error(), trap)):
				rt.Fatalf("%s: %v, reference: %s", name, err, trap)
			case trap == "" && uint32(res[0]) != uint32(want):
				rt.Fatalf("%s: returned %d, reference %d", name, res[0], want)
			}
			if got := h.used(mod); got != int64(ref.fuel) {
				rt.Fatalf("%s: %d fuel in slices of %d, reference %d (%s)", name, got, slice, ref.fuel, trap)
			}
			mem, _ := mod.Memory().Read(0, mod.Memory().Size())
			if !bytes.Equal(mem, ref.mem) {
				rt.Fatalf("%s: memory differs", name)
			}
			h.rt.Close(context.Background())
		}
	})
	t.Logf("%d programs returned, %d trapped", returned, trapped)
}

func (r *reference) bounded(arg uint64) (v uint64, trap string, long bool) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case refSteps:
			long = true
		default:
			panic(e)
		}
	}()
	v, trap = r.run(arg)
	return v, trap, false
}
