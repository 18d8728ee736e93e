package meter

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// maxKeep is how many locals pass through the refuelling of a loop.
const maxKeep = 24

// Opcodes that only the rewriting uses.
const (
	opI64LtS        = 0x53
	opI64LeU        = 0x58
	opF32Ge         = 0x60
	opF64Ge         = 0x66
	opI64Add        = 0x7c
	opI64Sub        = 0x7d
	opI64Mul        = 0x7e
	opI64Or         = 0x84
	opI64ShrU       = 0x88
	opI64ExtendI32U = 0xad
	opF32Const      = 0x43
	opF64Const      = 0x44
	opI32Eqz        = 0x45
	opF32Add        = 0x92
	opF64Add        = 0xa0
	opF32Load       = 0x2a
	opF64Load       = 0x2b
	opMemorySize    = 0x3f

	opV128Load      = 0 // after opSIMD, and those below
	opV128Const     = 12
	opF32x4Eq       = 65
	opF32x4Ne       = 66
	opF64x2Eq       = 71
	opF64x2Ne       = 72
	opI32x4Bitmask  = 164
	opI64x2Bitmask  = 196
	opV128Bitselect = 82
	opF32x4Add      = 228
	opF64x2Add      = 240
)

func appendU32(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

func appendS64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// rewrite validates body i again and appends it rewritten, with its size before it.
func (f *function) rewrite(out []byte, i int) []byte {
	f.emit = true
	f.scan(i)
	f.nan.solve()
	f.resolveAddresses()
	body := f.body[:0]
	done := place{f.groups.end, 0}
	for i := range f.marks {
		if m := &f.marks[i]; m.at.edit >= done.edit && f.splits(m) {
			body = f.appendEdits(body, done, m.at, 0)
			list, end := f.stretch(i)
			body, done = f.appendStretch(body, list, end), end
		}
	}
	// The body's own end closes the block that is now around it.
	body = f.appendEdits(body, done, place{f.r.end, len(f.edits)}, 0)
	body = append(appendU32(append(body, opLocalGet), f.fuel()), opEnd)
	f.body = body

	head := appendU32(nil, f.ngroups+uint32(len(f.extra)))
	head = append(head, f.groups.b[f.groups.pos:f.groups.end]...)
	for _, t := range f.extra {
		head = append(head, 1, t)
	}
	head = append(append(head, opBlock), f.m.blockOf(f.m.funcs[f.self])...)
	out = appendU32(out, uint32(len(head)+len(body)))
	return append(append(out, head...), body...)
}

// appendEdits writes what is between two places, within added labels.
func (f *function) appendEdits(b []byte, from, to place, labels int) []byte {
	pos := from.pos
	for _, e := range f.edits[from.edit:to.edit] {
		b = append(b, f.r.b[pos:e.pos]...)
		switch e.kind {
		case editText:
			b = append(b, f.text[e.text[0]:e.text[1]]...)
		case editBrIf:
			b = appendU32(append(b, opBrIf), uint32(e.arg+labels))
		case editCharge:
			b = f.appendCharge(b, &f.regions[e.arg])
		case editLoop:
			b = f.appendLoopEnd(b, &f.regions[e.arg])
		case editNaN:
			if m := &f.marks[e.arg]; f.checked(m) {
				b = f.appendNaN(b, &f.nan.taints[m.taint])
			}
		}
		pos = e.end
	}
	return append(b, f.r.b[pos:to.pos]...)
}

// appendCharge charges a region at its start.
func (f *function) appendCharge(b []byte, r *region) []byte {
	fuel, global := f.fuel(), f.m.fuelGlobal()
	get := func(op byte, i uint32) { b = appendU32(append(b, op), i) }
	arrives := r.kind == regionReload || r.kind == regionReturned
	checks := r.kind == regionLoop || r.kind == regionEntry && !f.code.small
	if !arrives && !checks && r.cost == 0 && (!r.flush || r.synced) {
		return b
	}
	switch r.kind {
	case regionReload:
		get(opGlobalGet, global)
	case regionReturned:
	default:
		get(opLocalGet, fuel)
	}
	if r.cost > 0 {
		b = append(appendS64(append(b, opI64Const), int64(r.cost)), opI64Sub)
	}
	switch stores := r.flush && (r.cost > 0 || !r.synced); {
	case stores:
		get(opLocalTee, fuel)
		get(opGlobalSet, global)
	default:
		get(opLocalSet, fuel)
	}
	if !checks {
		return b
	}
	get(opLocalGet, fuel)
	if r.kind == regionLoop {
		b = append(b, opI64Const, 0, opI64LtS)
		if !r.inline {
			return append(b, opBrIf, 1)
		}
		b = append(b, opIf, 0x40)
		get(opLocalGet, fuel)
		get(opCall, f.m.helper(helperRefuel))
		get(opLocalSet, fuel)
		return append(b, opEnd)
	}
	depth := f.depthLeft()
	get(opLocalGet, depth)
	b = append(b, opI64Or, opI64Const, 0, opI64LtS, opIf, 0x40)
	// What lives across a call is stored at its definition, even if the call hardly ever runs:
	// so the function begins again from outside, and nothing does. See wrapper.
	for i := range depth + 1 {
		get(opLocalGet, i)
	}
	get(opCall, f.m.again(f.self, r.cost))
	b = append(b, opReturn, opEnd)
	if f.deepens {
		get(opLocalGet, depth)
		b = append(appendS64(append(b, opI64Const), int64(f.code.weight)), opI64Sub)
		get(opLocalSet, depth)
	}
	return b
}

// appendLoopEnd closes what function.loop opened.
func (f *function) appendLoopEnd(b []byte, r *region) []byte {
	b = append(b, opBr, 2, opEnd)
	refuel := f.m.helper(helperRefuel)
	keep := r.keep
	slices.SortFunc(keep, func(x, y uint32) int { return cmp.Compare(f.locals[x], f.locals[y]) })
	var types []byte
	for _, l := range keep {
		types = append(types, f.locals[l])
	}
	if len(keep) > maxKeep || slices.ContainsFunc(types, isRef) {
		keep = nil
	}
	if len(keep) > 0 {
		refuel = f.m.keep(types)
	}
	for _, l := range keep {
		b = appendU32(append(b, opLocalGet), f.index(l))
	}
	b = appendU32(append(b, opLocalGet), f.fuel())
	b = appendU32(append(b, opCall), refuel)
	if r.cost > 0 {
		b = append(appendS64(append(b, opI64Const), int64(r.cost)), opI64Add)
	}
	b = appendU32(append(b, opLocalSet), f.fuel())
	for _, l := range slices.Backward(keep) {
		b = appendU32(append(b, opLocalSet), f.index(l))
	}
	return append(b, opBr, 0, opEnd, opEnd)
}

// appendNaN makes the value on top of the stack canonical. Scalars branch on x >= x, which
// is false for NaN alone and which wazero turns into one compare and one jump never taken
// (x == x takes two jumps, select three instructions more); lanes are chosen by mask.
func (f *function) appendNaN(b []byte, t *taint) []byte {
	switch {
	case t.typ == f32:
		nan := binary.LittleEndian.AppendUint32([]byte{opF32Const}, nan32)
		return appendScalarNaN(b, f.add(localF32, f32), opF32Ge, nan)
	case t.typ == f64:
		nan := binary.LittleEndian.AppendUint64([]byte{opF64Const}, nan64)
		return appendScalarNaN(b, f.add(localF64, f64), opF64Ge, nan)
	case t.lane == laneF32:
		return appendLaneNaN(b, f.add(localV128, v128), opF32x4Eq, nan32<<32|nan32)
	}
	return appendLaneNaN(b, f.add(localV128, v128), opF64x2Eq, nan64)
}

func appendScalarNaN(b []byte, local uint32, ge byte, nan []byte) []byte {
	b = appendU32(append(b, opLocalSet), local)
	b = appendU32(append(b, opLocalGet), local)
	b = appendU32(append(b, opLocalGet), local)
	b = append(append(b, ge, opIf, 0x40, opElse), nan...)
	b = append(appendU32(append(b, opLocalSet), local), opEnd)
	return appendU32(append(b, opLocalGet), local)
}

func appendLaneNaN(b []byte, local uint32, eq byte, half uint64) []byte {
	b = append(appendU32(append(b, opLocalTee), local), opSIMD, opV128Const)
	b = binary.LittleEndian.AppendUint64(b, half)
	b = binary.LittleEndian.AppendUint64(b, half)
	b = appendU32(append(b, opLocalGet), local)
	b = appendU32(append(b, opLocalGet), local)
	return append(b, opSIMD, eq, opSIMD, opV128Bitselect)
}

// The canonical NaN: positive, quiet, no payload.
const (
	nan32 = 0x7fc00000
	nan64 = 0x7ff8000000000000
)
