package meter

import (
	"maps"
	"slices"
)

// Added functions, after the module's own. In the function index space the import refuel
// comes last of the imports, so that the module's own functions move up by one.
const (
	helperRefuel = iota // (left i64) -> left: stores, asks the host until it has some
	helperEnter         // (left i64, depth i64) -> left: one of them is negative
	helperCharge        // (n i64) -> left: charges n, refuels when that was too much
	helperGrow          // (pages i32) -> i32: memory.grow, charged
	helpers
)

// shift is a function's index in the rewritten module.
func (m *module) shift(fn uint32) uint32 {
	if int(fn) >= len(m.imports) {
		fn++
	}
	return fn
}

func (m *module) refuelImport() uint32   { return uint32(len(m.imports)) }
func (m *module) helper(i uint32) uint32 { return uint32(len(m.funcs)) + 1 + i }
func (m *module) fuelGlobal() uint32     { return uint32(len(m.globals)) }
func (m *module) depthGlobal() uint32    { return uint32(len(m.globals)) + 1 }

// addedTypes are those of the helpers, after the module's own; refuel has the first.
var addedTypes = [helpers]funcType{
	helperRefuel: {[]byte{i64}, []byte{i64}},
	helperEnter:  {[]byte{i64, i64}, []byte{i64}},
	helperCharge: {[]byte{i64}, []byte{i64}},
	helperGrow:   {[]byte{i32}, []byte{i32}},
}

func (m *module) helperCount() int {
	if m.hasMemory {
		return helpers
	}
	return helpers - 1
}

// helperBody is the code of an added function, without its size.
func (m *module) helperBody(i int) []byte {
	fuel := m.fuelGlobal()
	b := []byte{0} // no locals
	get := func(op byte, i uint32) { b = appendU32(append(b, op), i) }
	negative := func() { b = append(b, opI64Const, 0, opI64LtS) }
	switch i {
	case helperRefuel:
		get(opLocalGet, 0)
		get(opGlobalSet, fuel)
		b = append(b, opLoop, i64)
		get(opLocalGet, 0)
		get(opCall, m.refuelImport())
		get(opLocalTee, 0)
		get(opGlobalSet, fuel)
		get(opLocalGet, 0)
		negative()
		b = append(b, opBrIf, 0)
		get(opLocalGet, 0)
		b = append(b, opEnd)
	case helperEnter:
		get(opLocalGet, 1)
		negative()
		b = append(b, opIf, 0x40)
		get(opLocalGet, 0)
		get(opGlobalSet, fuel)
		get(opLocalGet, 1)
		get(opGlobalSet, m.depthGlobal())
		b = append(b, opUnreachable, opEnd)
		get(opLocalGet, 0)
		get(opCall, m.helper(helperRefuel))
	case helperCharge:
		get(opGlobalGet, fuel)
		get(opLocalGet, 0)
		b = append(b, opI64Sub)
		get(opLocalTee, 0)
		get(opGlobalSet, fuel)
		get(opLocalGet, 0)
		negative()
		b = append(b, opIf, 0x40)
		get(opLocalGet, 0)
		get(opCall, m.helper(helperRefuel))
		get(opLocalSet, 0)
		b = append(b, opEnd)
		get(opLocalGet, 0)
	case helperGrow:
		// if size + pages <= max: charge pages * costPage
		b = append(b, opMemorySize, 0, opI64ExtendI32U)
		get(opLocalGet, 0)
		b = append(b, opI64ExtendI32U, opI64Add)
		b = append(appendS64(append(b, opI64Const), int64(m.memMax)), opI64LeU, opIf, 0x40)
		get(opLocalGet, 0)
		b = append(b, opI64ExtendI32U)
		b = append(appendS64(append(b, opI64Const), costPage), opI64Mul)
		get(opCall, m.helper(helperCharge))
		b = append(b, opDrop, opEnd)
		get(opLocalGet, 0)
		b = append(b, opMemoryGrow, 0)
	}
	return append(b, opEnd)
}

// encode writes the rewritten module.
func (m *module) encode(opt Options) []byte {
	m.added = added{metered: map[metered]uint32{}, results: map[uint32]uint32{}, wrapped: map[wrapper]uint32{}, named: map[uint32]bool{}}
	// Types and wrappers are added on the way, so that the sections that list them come last.
	code := make([]byte, 0, len(m.bin)+len(m.bin)/2+1024)
	f := function{m: m}
	for i := range m.code {
		code = f.rewrite(code, i)
	}
	for i := range m.helperCount() {
		body := m.helperBody(i)
		code = append(appendU32(code, uint32(len(body))), body...)
	}
	rest := m.encodeRest()
	for _, w := range m.added.wrappers {
		body := w.body(m)
		code = append(appendU32(code, uint32(len(body))), body...)
	}

	out := make([]byte, 8, len(m.bin)+len(code)+1024)
	copy(out, m.bin)
	out = append(m.encodeIndexes(out), rest...)
	if m.dataCount >= 0 {
		out = appendSection(out, secDataCount, appendU32(nil, uint32(m.dataCount)))
	}
	n := appendU32(nil, uint32(len(m.code)+m.helperCount()+len(m.added.wrappers)))
	out = appendU32(append(out, secCode), uint32(len(n)+len(code)))
	out = append(append(out, n...), code...)
	if len(m.data) > 0 {
		b := appendU32(nil, uint32(len(m.data)))
		for _, s := range m.data {
			if b = append(b, byte(s.flags&1)); s.flags != 1 {
				b = append(b, s.offset.raw...)
			}
			b = append(appendU32(b, uint32(len(s.bytes))), s.bytes...)
		}
		out = appendSection(out, secData, b)
	}
	if opt.KeepNames {
		out = m.encodeNames(out)
	}
	return out
}

func appendSection(out []byte, id byte, b []byte) []byte {
	return append(appendU32(append(out, id), uint32(len(b))), b...)
}

func appendName(b []byte, s string) []byte { return append(appendU32(b, uint32(len(s))), s...) }

func appendTypes(b, ts []byte) []byte { return append(appendU32(b, uint32(len(ts))), ts...) }

func (m *module) appendConst(b []byte, e constExpr) []byte {
	if e.isFunc {
		return append(appendU32(append(b, opRefFunc), m.ref(e.fn)), opEnd)
	}
	return append(b, e.raw...)
}

// encodeIndexes writes the sections that say of what type functions are.
func (m *module) encodeIndexes(out []byte) []byte {
	var fs []byte
	for i, t := range m.funcs[len(m.imports):] {
		fs = appendU32(fs, m.metered(t, m.hidden(uint32(len(m.imports)+i))))
	}
	for i := range m.helperCount() {
		fs = appendU32(fs, uint32(len(m.types)+i))
	}
	for _, w := range m.added.wrappers {
		fs = appendU32(fs, w.typ(m))
	}

	types := slices.Concat(m.types, addedTypes[:], m.added.types)
	b := appendU32(nil, uint32(len(types)))
	for _, t := range types {
		b = appendTypes(appendTypes(append(b, 0x60), t.params), t.results)
	}
	out = appendSection(out, secType, b)

	b = appendU32(nil, uint32(len(m.imports)+1))
	for i, e := range m.imports {
		b = appendU32(append(appendName(appendName(b, e.Module), e.Name), KindFunc), m.funcs[i])
	}
	b = append(appendName(appendName(b, ImportModule), ImportRefuel), KindFunc)
	out = appendSection(out, secImport, appendU32(b, uint32(len(m.types))))

	b = appendU32(nil, uint32(len(m.code)+m.helperCount()+len(m.added.wrappers)))
	return appendSection(out, secFunction, append(b, fs...))
}

// encodeRest writes the sections from tables to elements.
func (m *module) encodeRest() []byte {
	var out, b []byte
	if len(m.tables) > 0 {
		b = appendU32(nil, uint32(len(m.tables)))
		for _, t := range m.tables {
			b = appendU32(appendU32(append(b, t.elem, 1), t.min), t.max)
		}
		out = appendSection(out, secTable, b)
	}
	if m.hasMemory {
		out = appendSection(out, secMemory, appendU32(appendU32([]byte{1, 1}, m.memMin), m.memMax))
	}

	b = appendU32(nil, uint32(len(m.globals)+2))
	for _, g := range m.globals {
		b = m.appendConst(append(b, g.typ, g.mut), g.init)
	}
	b = append(b, i64, 1, opI64Const, 0, opEnd)
	b = append(appendS64(append(b, i64, 1, opI64Const), int64(m.opt.DepthLimit)), opEnd)
	out = appendSection(out, secGlobal, b)

	b = appendU32(nil, uint32(len(m.exports)+2))
	for _, e := range m.exports {
		if e.kind == KindFunc {
			e.idx = m.outer(e.idx)
		}
		b = appendU32(append(appendName(b, e.name), e.kind), e.idx)
	}
	b = appendU32(append(appendName(b, FuelGlobal), KindGlobal), m.fuelGlobal())
	b = appendU32(append(appendName(b, DepthGlobal), KindGlobal), m.depthGlobal())
	out = appendSection(out, secExport, b)

	if m.hasStart {
		out = appendSection(out, secStart, appendU32(nil, m.outer(m.start)))
	}
	named := slices.Sorted(maps.Keys(m.added.named))
	if n := len(m.elements) + min(1, len(named)); n > 0 {
		b = appendU32(nil, uint32(n))
		for _, e := range m.elements {
			b = m.appendElement(b, e)
		}
		if len(named) > 0 { // declared: an export that did so is a wrapper now
			b = appendU32(append(b, 3, 0), uint32(len(named)))
			for _, fn := range named {
				b = appendU32(b, fn)
			}
		}
		out = appendSection(out, secElement, b)
	}
	return out
}

func (m *module) appendElement(b []byte, e element) []byte {
	b = append(b, byte(e.flags))
	if e.flags&1 == 0 {
		if e.flags&2 != 0 {
			b = appendU32(b, e.table)
		}
		b = append(b, e.offset.raw...)
	}
	if e.flags&4 != 0 {
		if e.flags&3 != 0 {
			b = append(b, e.typ)
		}
		b = appendU32(b, uint32(len(e.exprs)))
		for _, x := range e.exprs {
			b = m.appendConst(b, x)
		}
		return b
	}
	if e.flags&3 != 0 {
		b = append(b, 0) // functions
	}
	b = appendU32(b, uint32(len(e.funcs)))
	for _, fn := range e.funcs {
		b = appendU32(b, m.ref(fn))
	}
	return b
}

// encodeNames writes a name section of function names alone.
func (m *module) encodeNames(out []byte) []byte {
	var sub []byte
	n := uint32(0)
	for i := range m.funcs {
		if name, ok := m.names[uint32(i)]; ok {
			sub = appendName(appendU32(sub, m.shift(uint32(i))), name)
			n++
		}
	}
	if n == 0 {
		return out
	}
	sub = append(appendU32(nil, n), sub...)
	b := appendSection(appendName(nil, "name"), 1, sub)
	return appendSection(out, secCustom, b)
}
