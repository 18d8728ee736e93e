package meter

import (
	"bytes"
	"strings"
)

// Value types, by their byte in the binary format. unknown is an operand in code that
// cannot be reached.
const (
	i32       byte = 0x7f
	i64       byte = 0x7e
	f32       byte = 0x7d
	f64       byte = 0x7c
	v128      byte = 0x7b
	funcref   byte = 0x70
	externref byte = 0x6f
	unknown   byte = 0
)

var typeNames = map[byte]string{i32: "i32", i64: "i64", f32: "f32", f64: "f64", v128: "v128", funcref: "funcref", externref: "externref"}

func isRef(t byte) bool { return t == funcref || t == externref }

// Sections, by their number; order is the order in which they must come.
const (
	secCustom, secType, secImport, secFunction, secTable, secMemory, secGlobal = 0, 1, 2, 3, 4, 5, 6
	secExport, secStart, secElement, secCode, secData, secDataCount, secTag    = 7, 8, 9, 10, 11, 12, 13
)

var sectionOrder = [...]int{secType: 1, secImport: 2, secFunction: 3, secTable: 4, secMemory: 5, secGlobal: 6,
	secExport: 7, secStart: 8, secElement: 9, secDataCount: 10, secCode: 11, secData: 12}

type funcType struct{ params, results []byte }

func (t funcType) String() string {
	list := func(ts []byte) string {
		var names []string
		for _, t := range ts {
			names = append(names, typeNames[t])
		}
		return "(" + strings.Join(names, " ") + ")"
	}
	return list(t.params) + " -> " + list(t.results)
}

type table struct {
	elem     byte
	min, max uint32
}

// A constExpr is an initialiser: its bytes as given with end, or a function index, which moves.
type constExpr struct {
	raw    []byte
	isFunc bool
	fn     uint32
}

type global struct {
	typ, mut byte
	init     constExpr
}

type export struct {
	name string
	kind byte
	idx  uint32
}

type element struct {
	flags  uint32
	table  uint32
	offset constExpr
	typ    byte
	funcs  []uint32    // when flags has no bit 2
	exprs  []constExpr // when it has
}

type segment struct {
	flags  uint32
	offset constExpr
	bytes  []byte
}

// A code is a function body, and after validateBodies a summary of it.
type code struct {
	start, end int      // in the module; locals first
	cost       uint64   // of every operator once
	weight     uint64   // of a frame
	callees    []uint32 // when few calls and all direct, else complex is set
	complex    bool     // calls indirectly or often
	small      bool     // see findSmall
}

type module struct {
	bin       []byte
	opt       Options
	types     []funcType
	imports   []Extern
	funcs     []uint32 // type of each function, imported ones first
	tables    []table
	hasMemory bool
	memMin    uint32
	memMax    uint32
	globals   []global
	exports   []export
	hasStart  bool
	start     uint32
	elements  []element
	dataCount int64 // -1 without the section
	code      []code
	data      []segment
	names     map[uint32]string

	declared map[uint32]bool // functions that ref.func may name in a body
	added    added
}

func parse(bin []byte, opt Options) *module {
	atMost("bytes", uint64(len(bin)), MaxModule)
	r := reader{b: bin, end: len(bin)}
	if !bytes.HasPrefix(bin, []byte("\x00asm")) {
		r.fail("magic number is not \\0asm")
	}
	r.pos = 4
	if v := r.bytes(4); v[0] != 1 || v[1] != 0 || v[2] != 0 || v[3] != 0 {
		if v[2] == 1 {
			r.refuse("the component model")
		}
		r.fail("unknown version")
	}
	m := &module{bin: bin, opt: opt, dataCount: -1, declared: map[uint32]bool{}}
	var last int
	var custom []reader
	for r.more() {
		id := r.byte()
		s := r.sub(r.u32())
		if id == secCustom {
			if s.name() == "name" && opt.KeepNames {
				custom = append(custom, s)
			}
			continue
		}
		if id == secTag {
			r.refuse("exceptions")
		}
		if int(id) >= len(sectionOrder) {
			s.fail("unknown section")
		}
		if sectionOrder[id] <= last {
			s.fail("section out of order")
		}
		last = sectionOrder[id]
		m.section(id, &s)
		if s.more() {
			s.fail("section size mismatch")
		}
	}
	if len(m.code) != len(m.funcs)-len(m.imports) {
		r.fail("function and code section have inconsistent lengths")
	}
	if m.dataCount >= 0 && m.dataCount != int64(len(m.data)) {
		r.fail("data count and data section have inconsistent lengths")
	}
	for _, s := range custom {
		m.readNames(s)
	}
	return m
}

func (m *module) section(id byte, r *reader) {
	switch id {
	case secType:
		for range r.count("types", MaxTypes) {
			m.types = append(m.types, m.funcType(r))
		}
	case secImport:
		for range r.count("imports", MaxImports) {
			m.importEntry(r)
		}
	case secFunction:
		for range r.count("functions", MaxFunctions) {
			m.funcs = append(m.funcs, m.typeIndex(r))
		}
	case secTable:
		var sum uint64
		for range r.count("tables", MaxTables) {
			t := table{elem: m.refType(r)}
			var has bool
			if t.min, t.max, has = m.limits(r, 1<<32-1); !has {
				t.max = 1<<32 - 1
			}
			sum += uint64(t.min)
			atMost("table elements", sum, MaxElements)
			m.tables = append(m.tables, t)
		}
		for i := range m.tables {
			t := &m.tables[i]
			t.max = min(t.max, max(t.min, uint32(MaxElements/len(m.tables))))
		}
	case secMemory:
		for range r.count("memories", 1<<32) {
			if m.hasMemory {
				r.refuse("several memories")
			}
			m.memory(r)
		}
	case secGlobal:
		for range r.count("globals", MaxGlobals) {
			g := global{typ: m.valueType(r), mut: r.byte()}
			if g.mut > 1 {
				r.fail("malformed mutability")
			}
			g.init = m.constExpr(r, g.typ)
			m.globals = append(m.globals, g)
		}
	case secExport:
		seen := map[string]bool{}
		for range r.count("exports", MaxExports) {
			m.exportEntry(r, seen)
		}
	case secStart:
		m.hasStart, m.start = true, m.funcIndex(r)
		if t := m.typeOf(m.start); len(t.params)+len(t.results) != 0 {
			r.fail("start function with parameters or results")
		}
	case secElement:
		for range r.count("element segments", MaxSegments) {
			m.elements = append(m.elements, m.element(r))
		}
	case secDataCount:
		n := r.u32()
		atMost("data segments", uint64(n), MaxSegments)
		m.dataCount = int64(n)
	case secCode:
		for range r.count("functions", MaxFunctions) {
			n := r.u32()
			atMost("bytes of one function", uint64(n), MaxBody)
			s := r.sub(n)
			m.code = append(m.code, code{start: s.pos, end: s.end})
		}
	case secData:
		for range r.count("data segments", MaxSegments) {
			m.data = append(m.data, m.segment(r))
		}
	}
}

func (m *module) funcType(r *reader) funcType {
	switch r.byte() {
	case 0x60:
	case 0x5f, 0x5e, 0x50, 0x4f, 0x4e:
		r.refuse("garbage-collected types")
	default:
		r.fail("malformed function type")
	}
	list := func(what string, limit uint64) []byte {
		ts := make([]byte, r.count(what, limit))
		for i := range ts {
			ts[i] = m.valueType(r)
		}
		return ts
	}
	return funcType{list("parameters of a function", MaxParams), list("results of a function", MaxResults)}
}

func (m *module) valueType(r *reader) byte {
	t := r.byte()
	switch t {
	case i32, i64, f32, f64, v128, funcref, externref:
	case 0x63, 0x64, 0x65, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x71, 0x72, 0x73:
		r.refuse("garbage-collected types")
	case 0x69:
		r.refuse("exceptions")
	default:
		r.fail("malformed value type")
	}
	return t
}

func (m *module) refType(r *reader) byte {
	t := m.valueType(r)
	if !isRef(t) {
		r.fail("malformed reference type")
	}
	return t
}

func (m *module) limits(r *reader, bound uint32) (lo, hi uint32, hasMax bool) {
	flags := r.byte()
	switch {
	case flags&^7 != 0:
		r.fail("malformed limits flags")
	case flags&4 != 0:
		r.refuse("64-bit memory")
	case flags&2 != 0:
		r.refuse("shared memory")
	}
	if lo = r.u32(); lo > bound {
		r.fail("limits: minimum out of range")
	}
	if flags == 1 {
		if hi = r.u32(); hi > bound || hi < lo {
			r.fail("limits: size minimum must not be greater than maximum")
		}
	}
	return lo, hi, flags == 1
}

func (m *module) memory(r *reader) {
	m.hasMemory = true
	var has bool
	if m.memMin, m.memMax, has = m.limits(r, maxPages); !has {
		m.memMax = maxPages
	}
	if m.memMin > m.opt.MemoryLimitPages {
		panic(fault{ErrMemory{m.memMin, m.opt.MemoryLimitPages}})
	}
	m.memMax = min(m.memMax, m.opt.MemoryLimitPages)
}

func (m *module) importEntry(r *reader) {
	e := Extern{Module: r.name(), Name: r.name(), Kind: r.byte()}
	switch e.Kind {
	case KindFunc:
	case KindTable, KindMemory, KindGlobal:
		r.refuse("an imported memory, table or global")
	case 4:
		r.refuse("exceptions")
	default:
		r.fail("malformed import kind")
	}
	if e.Module == ImportModule && e.Name == ImportRefuel {
		r.refuse("the reserved import " + ImportModule + "." + ImportRefuel)
	}
	t := m.typeIndex(r)
	e.Type = m.types[t].String()
	m.imports = append(m.imports, e)
	m.funcs = append(m.funcs, t)
}

func (m *module) exportEntry(r *reader, seen map[string]bool) {
	e := export{name: r.name(), kind: r.byte()}
	if seen[e.name] {
		r.fail("duplicate export name")
	}
	if e.name == FuelGlobal || e.name == DepthGlobal {
		r.refuse("the reserved export " + e.name)
	}
	seen[e.name] = true
	switch e.kind {
	case KindFunc:
		e.idx = m.funcIndex(r)
		m.declared[e.idx] = true
	case KindTable:
		e.idx = m.index(r, "table", len(m.tables))
	case KindMemory:
		n := 0
		if m.hasMemory {
			n = 1
		}
		e.idx = m.index(r, "memory", n)
	case KindGlobal:
		e.idx = m.index(r, "global", len(m.globals))
	case 4:
		r.refuse("exceptions")
	default:
		r.fail("malformed export kind")
	}
	m.exports = append(m.exports, e)
}

func (m *module) index(r *reader, what string, n int) uint32 {
	i := r.u32()
	if uint64(i) >= uint64(n) {
		r.fail("unknown " + what)
	}
	return i
}

func (m *module) typeIndex(r *reader) uint32 { return m.index(r, "type", len(m.types)) }

func (m *module) funcIndex(r *reader) uint32 { return m.index(r, "function", len(m.funcs)) }

func (m *module) typeOf(fn uint32) funcType { return m.types[m.funcs[fn]] }

// constExpr reads one constant and end. Nothing may be imported but functions, so global.get
// has nothing to name here.
func (m *module) constExpr(r *reader, want byte) constExpr {
	start := r.pos
	var e constExpr
	var got byte
	switch op := r.byte(); op {
	case 0x41:
		r.signed(32)
		got = i32
	case 0x42:
		r.signed(64)
		got = i64
	case 0x43:
		r.bytes(4)
		got = f32
	case 0x44:
		r.bytes(8)
		got = f64
	case 0xd0:
		got = m.refType(r)
	case 0xd2:
		e.isFunc, e.fn = true, m.funcIndex(r)
		m.declared[e.fn] = true
		got = funcref
	case 0xfd:
		if r.u32() != 12 {
			r.fail("constant expression required")
		}
		r.bytes(16)
		got = v128
	case 0x23:
		r.u32()
		r.fail("unknown global in a constant expression")
	case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e:
		r.refuse("extended constant expressions")
	default:
		r.fail("constant expression required")
	}
	if got != want {
		r.fail("type mismatch in a constant expression")
	}
	if r.byte() != 0x0b {
		r.fail("constant expression required")
	}
	e.raw = r.b[start:r.pos]
	return e
}

func (m *module) element(r *reader) element {
	e := element{flags: r.u32(), typ: funcref}
	if e.flags > 7 {
		r.fail("malformed elements segment kind")
	}
	active := e.flags&1 == 0
	if active {
		if e.flags&2 != 0 {
			e.table = r.u32()
		}
		if uint64(e.table) >= uint64(len(m.tables)) {
			r.fail("unknown table")
		}
		e.offset = m.constExpr(r, i32)
	}
	if e.flags&3 != 0 {
		if e.flags&4 != 0 {
			e.typ = m.refType(r)
		} else if r.byte() != 0 {
			r.fail("malformed element kind")
		}
	}
	if active && m.tables[e.table].elem != e.typ {
		r.fail("type mismatch between table and element segment")
	}
	n := r.count("elements of a segment", 10*MaxElements)
	if e.flags&4 != 0 {
		for range n {
			e.exprs = append(e.exprs, m.constExpr(r, e.typ))
		}
		return e
	}
	for range n {
		f := m.funcIndex(r)
		m.declared[f] = true
		e.funcs = append(e.funcs, f)
	}
	return e
}

func (m *module) segment(r *reader) segment {
	s := segment{flags: r.u32()}
	switch s.flags {
	case 0, 2:
		if s.flags == 2 && r.u32() != 0 || !m.hasMemory {
			r.fail("unknown memory")
		}
		s.offset = m.constExpr(r, i32)
	case 1:
	default:
		r.fail("malformed data segment kind")
	}
	s.bytes = r.bytes(r.u32())
	return s
}

// readNames reads the function names of a name section. It is for people only, so that
// whatever is wrong in it ends the reading and no more.
func (m *module) readNames(r reader) {
	m.names = map[uint32]string{}
	defer func() {
		if f, ok := recover().(fault); !ok && f.err != nil {
			panic(f)
		}
	}()
	for r.more() {
		id := r.byte()
		s := r.sub(r.u32())
		if id != 1 {
			continue
		}
		for range s.count("names", MaxFunctions+MaxImports) {
			i := m.funcIndex(&s)
			m.names[i] = s.name()
		}
	}
}

func (m *module) info(opt Options) Info {
	in := Info{Imports: m.imports, HasMemory: m.hasMemory, MemoryMin: m.memMin, MemoryMax: m.memMax,
		HasStart: m.hasStart, Functions: len(m.code), DepthLimit: opt.DepthLimit}
	for _, e := range m.exports {
		x := Extern{Name: e.name, Kind: e.kind}
		if e.kind == KindFunc {
			x.Type = m.typeOf(e.idx).String()
		}
		in.Exports = append(in.Exports, x)
	}
	return in
}
