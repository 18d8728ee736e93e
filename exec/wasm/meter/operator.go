package meter

// Opcodes that the pass treats itself, reads or writes.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opSelectT      = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opMemoryGrow   = 0x40
	opF32Store     = 0x38
	opF64Store     = 0x39
	opI32Const     = 0x41
	opI64Const     = 0x42
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opSIMD         = 0xfd

	opV128Store  = 0xfd0b
	opMemoryInit = 0xfc08
	opDataDrop   = 0xfc09
	opMemoryCopy = 0xfc0a
	opMemoryFill = 0xfc0b
	opTableInit  = 0xfc0c
	opElemDrop   = 0xfc0d
	opTableCopy  = 0xfc0e
	opTableGrow  = 0xfc0f
	opTableSize  = 0xfc10
	opTableFill  = 0xfc11
)

// step reads and validates one operator.
func (f *function) step() {
	pos := f.r.pos
	code := uint32(f.r.byte())
	var o *op
	switch code {
	case opMisc, opSIMD:
		n := f.r.u32()
		if o = opAt(byte(code), n); o == nil || !o.used {
			f.refuseOp(code, n)
		}
		code = code<<8 | n
	default:
		if o = opAt(0, code); !o.used {
			f.refuseOp(code, 0)
		}
	}
	wasConst, c := f.isConst, f.constant
	f.isConst = false
	if f.live() {
		flush := o.trap
		if flush && wasConst && c != 0 && c != -1 && isDiv(code) {
			flush = false // neither by zero nor -2^n / -1
		}
		f.charge(uint64(o.cost), flush)
	}
	if o.sig {
		f.plain(pos, o, code)
		if code == opMemoryGrow && f.live() {
			f.memoryGrow(pos)
		}
		f.statement()
		return
	}
	switch {
	case code < opDrop:
		f.control(pos, code)
		f.endRun()
		return
	case code >= opMisc<<8:
		f.accessed(pos, address{}, 0, 0)
		f.bulk(pos, code, wasConst, c)
	default:
		f.variable(pos, code)
	}
	f.statement()
}

func isDiv(code uint32) bool { return code >= 0x6d && code <= 0x70 || code >= 0x7f && code <= 0x82 }

func (f *function) refuseOp(code, n uint32) {
	switch {
	case code == 0x06 || code >= 0x08 && code <= 0x0a || code == 0x07 || code == 0x18 || code == 0x19 || code == 0x1f:
		f.r.refuse("exceptions")
	case code == 0x12 || code == 0x13:
		f.r.refuse("tail calls")
	case code == 0x14 || code == 0x15 || code == 0xd3 || code == 0xd4 || code == 0xd5 || code == 0xd6 || code == 0xfb:
		f.r.refuse("garbage-collected types")
	case code == 0xfe:
		f.r.refuse("threads")
	case code == opSIMD && n >= 0x100:
		f.r.refuse("relaxed SIMD")
	}
	f.fail("unknown operator")
}

// plain validates an operator whose types the table gives.
func (f *function) plain(pos int, o *op, code uint32) {
	r := &f.r
	var offset uint32
	switch o.imm {
	case immMemory:
		offset = f.memoryArg(o)
	case immMemoryLane:
		offset = f.memoryArg(o)
		if r.byte() >= 16>>o.arg {
			f.fail("invalid lane index")
		}
	case immLane:
		if r.byte() >= o.arg {
			f.fail("invalid lane index")
		}
	case immBytes:
		b := r.bytes(uint32(o.arg))
		if code == 0x3f || code == opMemoryGrow {
			if b[0] != 0 {
				f.fail("zero byte expected")
			}
			f.needMemory()
		}
	case immShuffle:
		for _, l := range r.bytes(16) {
			if l >= 32 {
				f.fail("invalid lane index")
			}
		}
	case immI32:
		f.constant, f.isConst = r.signed(32), true
	case immI64:
		f.constant, f.isConst = r.signed(64), true
	}
	var args [3]operand
	for i := len(o.in) - 1; i >= 0; i-- {
		args[i] = f.popType(o.in[i])
	}
	taint := f.nan.operands(o, args[:len(o.in)])
	result := operand{typ: o.out, taint: taint}
	switch {
	case o.imm == immMemory || o.imm == immMemoryLane:
		f.accessed(pos, args[0].addr, offset, 1<<o.arg)
		if code == opF32Store || code == opF64Store || code == opV128Store {
			f.stored(pos)
		}
	case code == opMemoryGrow:
		f.accessed(pos, address{}, 0, 0)
	case code == opI32Const:
		result.addr = address{baseZero, uint32(f.constant)}
	case code == opI32Add || code == opI32Sub:
		result.addr = args[0].addr.sum(args[1].addr, code == opI32Sub)
	}
	if o.out == 0 {
		return
	}
	f.pushOperand(result)
	f.markNaN(taint)
}

func (f *function) needMemory() {
	if !f.m.hasMemory {
		f.fail("unknown memory")
	}
}

// memoryArg reads the alignment and returns the offset of a load or store.
func (f *function) memoryArg(o *op) uint32 {
	f.needMemory()
	align := f.r.u32()
	if align >= 64 && align < 128 {
		f.r.refuse("several memories")
	}
	if align > uint32(o.arg) {
		f.fail("alignment must not be larger than natural")
	}
	return f.r.u32()
}

// variable validates parametric operators and those on locals, globals, tables and references.
func (f *function) variable(pos int, code uint32) {
	m, r := f.m, &f.r
	switch code {
	case opDrop:
		f.popAny()
	case opSelect:
		f.popType(i32)
		b, a := f.popAny(), f.popAny()
		if isRef(a.typ) || isRef(b.typ) || a.typ != b.typ && a.typ != unknown && b.typ != unknown {
			f.fail("type mismatch in select")
		}
		if a.typ == unknown {
			a.typ = b.typ
		}
		f.selected(a, b)
	case opSelectT:
		if r.u32() != 1 {
			f.fail("invalid result arity of select")
		}
		t := m.valueType(r)
		f.popType(i32)
		b, a := f.popType(t), f.popType(t)
		a.typ = t
		f.selected(a, b)
	case opLocalGet:
		i := f.local(pos, code)
		t := f.locals[i]
		var taint int32
		if t == f32 || t == f64 {
			taint = f.nan.read(i, t)
		}
		f.pushOperand(operand{t, taint, f.readAddress(i)})
		f.markNaN(taint)
	case opLocalSet, opLocalTee:
		i := f.local(pos, code)
		o := f.popType(f.locals[i])
		if o.typ == v128 {
			f.nan.observe(o.taint)
		} else if o.taint != 0 {
			f.nan.flows = append(f.nan.flows, flow{int32(i), o.taint})
		}
		o.addr = f.setAddress(i, o.addr)
		if code == opLocalTee {
			o.typ = f.locals[i]
			f.pushOperand(o)
		}
	case opGlobalGet:
		f.pushType(m.globals[m.index(r, "global", len(m.globals))].typ)
	case opGlobalSet:
		g := m.globals[m.index(r, "global", len(m.globals))]
		if g.mut == 0 {
			f.fail("global is immutable")
		}
		f.popTypes([]byte{g.typ}, nanObserve)
	case opTableGet:
		t := f.table()
		f.popType(i32)
		f.pushType(t.elem)
	case opTableSet:
		t := f.table()
		f.popType(t.elem)
		f.popType(i32)
	case opRefNull:
		f.pushType(m.refType(r))
	case opRefIsNull:
		if o := f.popAny(); o.typ != unknown && !isRef(o.typ) {
			f.fail("type mismatch: reference expected")
		}
		f.pushType(i32)
	case opRefFunc:
		i := m.funcIndex(r)
		if !m.declared[i] {
			f.fail("undeclared function reference")
		}
		f.pushType(funcref)
		if f.emit && f.live() {
			m.added.named[m.ref(i)] = true
			f.replace(pos, appendU32([]byte{opRefFunc}, m.ref(i)))
		}
	}
}

// selected pushes what select returns: one of two operands, tainted if either is.
func (f *function) selected(a, b operand) {
	if a.taint == 0 && b.taint == 0 {
		f.pushType(a.typ)
		return
	}
	la, lb := f.nan.taints[a.taint].lane, f.nan.taints[b.taint].lane
	if a.typ == v128 && (a.taint == 0 || b.taint == 0 || la != lb) {
		// One of them may be integers, on which a canonical NaN must not be put.
		f.nan.observe(a.taint)
		f.nan.observe(b.taint)
		f.pushType(v128)
		return
	}
	t := f.nan.add(taint{local: -1, typ: a.typ, lane: max(la, lb), from: [2]int32{a.taint, b.taint}})
	f.pushOperand(operand{typ: a.typ, taint: t})
	f.markNaN(t)
}

// local reads the index of a local, which hidden parameters move.
func (f *function) local(pos int, code uint32) uint32 {
	i := f.r.u32()
	if uint64(i) >= uint64(len(f.locals)) {
		f.fail("unknown local")
	}
	f.touch(i, code)
	if f.emit && f.live() && int(i) >= len(f.typ.params) {
		f.replace(pos, appendU32([]byte{byte(code)}, f.index(i)))
	}
	return i
}

func (f *function) table() table { return f.m.tables[f.m.index(&f.r, "table", len(f.m.tables))] }
