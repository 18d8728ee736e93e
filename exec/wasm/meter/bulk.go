package meter

// constantBulk is the largest constant size of a bulk operator that is charged with its
// region; a larger one is charged, and checked, when it runs.
const constantBulk = 4096

// bulk validates the operators that cost by size.
func (f *function) bulk(pos int, code uint32, wasConst bool, c int64) {
	m, r := f.m, &f.r
	live := f.live()
	bytes := false
	switch code {
	case opMemoryInit, opDataDrop:
		if i := r.u32(); m.dataCount < 0 || int64(i) >= m.dataCount {
			f.fail("unknown data segment, or no data count section")
		}
		if code == opDataDrop {
			return
		}
		f.memoryIndex()
		bytes = true
	case opMemoryCopy:
		f.memoryIndex()
		f.memoryIndex()
		bytes = true
	case opMemoryFill:
		f.memoryIndex()
		bytes = true
	case opTableInit:
		e := m.elements[m.index(r, "element segment", len(m.elements))]
		if f.table().elem != e.typ {
			f.fail("type mismatch between table and element segment")
		}
	case opElemDrop:
		m.index(r, "element segment", len(m.elements))
		return
	case opTableCopy:
		if to, from := f.table(), f.table(); to.elem != from.elem {
			f.fail("type mismatch between tables")
		}
	case opTableGrow:
		f.tableGrow(pos)
		return
	case opTableSize:
		f.table()
		f.pushType(i32)
		return
	case opTableFill:
		t := f.table()
		f.popType(i32)
		f.popType(t.elem)
		f.popType(i32)
	}
	if code != opTableFill {
		f.popType(i32)
		f.popType(i32)
		f.popType(i32)
	}
	if !live {
		return
	}
	shift := 0
	if bytes {
		shift = 3
	}
	if wasConst && c >= 0 && c <= constantBulk {
		f.charge(uint64(c)>>shift, false)
		return
	}
	text := f.sizeOnTop()
	if bytes {
		text = append(text, opI64Const, 3, opI64ShrU)
	}
	f.replace(pos, append(f.chargeSize(text), r.b[pos:r.pos]...))
}

func (f *function) memoryIndex() {
	f.needMemory()
	if f.r.byte() != 0 {
		f.fail("zero byte expected")
	}
}

// sizeOnTop copies the i32 on top of the stack to an i64 above it.
func (f *function) sizeOnTop() []byte {
	t := f.add(localTemp, i32)
	text := appendU32([]byte{opLocalTee}, t)
	return append(appendU32(append(text, opLocalGet), t), opI64ExtendI32U)
}

// chargeSize charges the i64 on top of the stack.
func (f *function) chargeSize(text []byte) []byte {
	text = appendU32(append(text, opCall), f.m.helper(helperCharge))
	return appendU32(append(text, opLocalSet), f.fuel())
}

// tableGrow charges an element each, but nothing when it is going to fail:
// size > max - n, in 64 bits.
func (f *function) tableGrow(pos int) {
	i := f.m.index(&f.r, "table", len(f.m.tables))
	t := f.m.tables[i]
	f.popType(i32)
	f.popType(t.elem)
	if f.live() {
		text := f.sizeOnTop()
		n := appendU32([]byte{opLocalGet}, f.add(localTemp, i32))
		text = append(text, opI64Const, 0)
		text = append(append(text, n...), opI64ExtendI32U)
		text = appendU32(append(text, opMisc, opTableSize&0xff), i)
		text = append(text, opI64ExtendI32U, opI64Add)
		text = append(appendS64(append(text, opI64Const), int64(t.max)), opI64LeU, opSelect)
		f.replace(pos, append(f.chargeSize(text), f.r.b[pos:f.r.pos]...))
	}
	f.pushType(i32)
}

// memoryGrow puts the helper that charges for pages in the place of memory.grow.
func (f *function) memoryGrow(pos int) {
	text := appendU32([]byte{opCall}, f.m.helper(helperGrow))
	text = appendU32(append(text, opGlobalGet), f.m.fuelGlobal())
	f.replace(pos, appendU32(append(text, opLocalSet), f.fuel()))
}
