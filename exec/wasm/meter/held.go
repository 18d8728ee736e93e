package meter

import "slices"

// Values held.
//
// A look costs a compare and a jump for each value. But values that are only stored may be looked at together
// with a later one, through their sum: it is a NaN if one of them is. (It is also one of infinities that differ in
// sign; then the second copy of the stretch runs for nothing.) Until then what is in memory may be any NaN,
// so nothing may read or write there: what is accessed in between must be apart (address.go). The code that sees a NaN in
// the sum makes what was stored canonical, and then the value that it looked at.
//
// An access in between that traps leaves such a NaN in memory, where nobody looks any more: neither
// code of the module nor a call of the host follows.

// held says for each mark of a stretch which local its address waits in, and one, until a later
// mark has been looked at; 0 where there is a look, which is for all that was held before.
func (f *function) held(list []int) []int {
	out := make([]int, len(list))
	var open []access
	for i := range list[:len(list)-1] {
		m, next := &f.marks[list[i]], &f.marks[list[i+1]]
		a, b := &f.nan.taints[m.taint], &f.nan.taints[next.taint]
		if m.store > 0 && a.typ == b.typ && a.lane == b.lane && len(open) < maxHeld && f.apart(m, next.at.pos, open) {
			open = append(open, f.accesses[m.store-1])
			out[i] = len(open)
		} else {
			open = open[:0]
		}
	}
	return out
}

// apart reports whether the store of a mark's value is apart from the open ones, and whether
// what is accessed from there up to a position is apart from it and from them.
func (f *function) apart(m *mark, to int, open []access) bool {
	store := f.accesses[m.store-1]
	clash := func(a access) bool {
		return slices.ContainsFunc(open, func(o access) bool { return !a.apart(&o) })
	}
	if store.at.base == 0 || clash(store) {
		return false
	}
	for _, a := range f.accesses[m.store:] {
		if a.pos >= to {
			break
		}
		if !a.apart(&store) || clash(a) {
			return false
		}
	}
	return true
}

// sum is the local for the sum of held values.
func (f *function) sum(typ byte) uint32 { return f.add(localSum+int(i32-typ), typ) }

// appendSum adds a value to the sum.
func (f *function) appendSum(b []byte, t *taint, v uint32) []byte {
	b = appendU32(append(b, opLocalGet), f.sum(t.typ))
	b = appendU32(append(b, opLocalGet), v)
	switch {
	case t.typ == f32:
		b = append(b, opF32Add)
	case t.typ == f64:
		b = append(b, opF64Add)
	case t.lane == laneF32:
		b = appendU32(append(b, opSIMD), opF32x4Add)
	default:
		b = appendU32(append(b, opSIMD), opF64x2Add)
	}
	return appendU32(append(b, opLocalSet), f.sum(t.typ))
}

// appendHold keeps the address of a held value until the mark that looks, and v, the sum with it.
func (f *function) appendHold(b []byte, m, looks *mark, v uint32, slot int) []byte {
	if sum := f.sum(f.nan.taints[m.taint].typ); v != sum {
		b = appendU32(append(b, opLocalGet), v)
		b = appendU32(append(b, opLocalSet), sum)
	}
	if _, ok := f.still(m, looks); ok {
		return b
	}
	b = appendU32(append(b, opLocalGet), f.waiting(m, m.operands[1]-2))
	return appendU32(append(b, opLocalSet), f.add(localHeld+slot, i32))
}

// still is the local from which the address of a mark's store can be told when a later mark of the run
// looks. To keep the address itself takes a register or a place on the stack.
func (f *function) still(m, looks *mark) (local int32, ok bool) {
	b := &f.bases[f.accesses[m.store-1].given.base]
	return b.local, b.local >= 0 && (b.until == 0 || b.until > looks.at.pos)
}

// appendRepair makes a held value canonical where it was stored.
func (f *function) appendRepair(b []byte, m, looks *mark, slot int) []byte {
	t := &f.nan.taints[m.taint]
	var load, store []byte
	switch t.typ {
	case f32:
		load, store = []byte{opF32Load}, []byte{opF32Store}
	case f64:
		load, store = []byte{opF64Load}, []byte{opF64Store}
	default:
		load, store = []byte{opSIMD, opV128Load}, []byte{opSIMD, opV128Store & 0xff}
	}
	a := &f.accesses[m.store-1]
	for range 2 {
		if local, ok := f.still(m, looks); ok {
			b = appendU32(append(b, opLocalGet), f.index(uint32(local)))
			b = append(appendS64(append(b, opI32Const), int64(int32(a.given.off))), opI32Add)
		} else {
			b = appendU32(append(b, opLocalGet), f.add(localHeld+slot, i32))
		}
	}
	b = appendU32(append(append(b, load...), 0), a.offset)
	b = f.appendNaN(b, t)
	return appendU32(append(append(b, store...), 0), a.offset)
}
