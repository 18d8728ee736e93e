package meter

import "slices"

// Stretches.
//
// Making a value canonical where it stands takes a branch around the fix and a join after
// it, at which the compiler forgets what it knows of memory: n-body lost a third of its
// speed. So the values of straight-line code are only looked at, and code that sees a NaN
// leaves for a second copy of what follows, which makes values canonical and never comes
// back before the end of the stretch:
//
//	block                      ;; joined again
//	  block block              ;; slow 2, slow 1
//	    look at 1; if
//	      ... 1 to 2
//	      look at 2; if
//	        ... 2 to the end; br joined
//	      else br slow 2 end
//	    else br slow 1 end
//	  end                      ;; slow 1
//	  canonical 1; ... 1 to 2
//	  end                      ;; slow 2
//	  canonical 2; ... 2 to the end
//	end
//
// Where it is safe, one look is for several values: see held.go.
//
// The compiler lays the second copy out behind the first, so that what is left is a compare
// and a jump that is not taken. A stretch begins at a value that must be looked at and ends
// after the last where the operand stack of its frame is empty; what is on it at a check
// waits in locals. It contains no control operator and begins no region.

// A mark is a place where a value that may be tainted has come to the top of the stack.
type mark struct {
	taint    int32
	run      int // marks of one run have no control operator between them
	at       place
	operands [2]int // in function.operands: types on the frame's stack, the value last
	store    int    // access that stores it and has no other use for it, and one; or 0
	cut      place  // where the frame's stack is empty again, or zero
	tail     place  // where the run ends in a branch that a stretch may take along, or zero
}

// A place is a position in the module and the number of edits before it.
type place struct{ pos, edit int }

// Bounds of a stretch.
const (
	maxChecks = 32 // soft: a statement is not divided
	maxSpill  = 8  // operands that wait at a check
	maxTail   = 64 // bytes up to a branch
	maxHeld   = 8  // values that are looked at with a later one
)

// markNaN leaves room for making the value on top of the stack canonical.
func (f *function) markNaN(taint int32) {
	if taint == 0 || !f.emit || !f.live() {
		return
	}
	n := len(f.operands)
	for _, o := range f.stack[f.top().height:] {
		f.operands = append(f.operands, o.typ)
		if len(f.operands) > n+maxSpill {
			break
		}
	}
	f.marks = append(f.marks, mark{taint: taint, run: f.run, at: f.here(), operands: [2]int{n, len(f.operands)}})
	f.edit(edit{pos: f.r.pos, end: f.r.pos, kind: editNaN, arg: len(f.marks) - 1})
}

// statement follows each operator. Where one leaves its frame's stack empty a stretch may end.
func (f *function) statement() {
	if f.uncut == len(f.marks) || len(f.stack) != f.top().height {
		return
	}
	for ; f.uncut < len(f.marks); f.uncut++ {
		f.marks[f.uncut].cut = f.here()
	}
}

func (f *function) here() place { return place{f.r.pos, len(f.edits)} }

// branched follows a br_if that carries nothing: most often it closes a loop, and a copy that
// ends with it leads back to the first by itself.
func (f *function) branched() {
	if len(f.stack) != f.top().height {
		return
	}
	for k := len(f.marks) - 1; k >= 0 && f.marks[k].run == f.run; k-- {
		f.marks[k].tail = f.here()
	}
}

// endRun precedes a control operator.
func (f *function) endRun() {
	f.run++
	f.uncut = len(f.marks)
}

// checked reports whether the value at a mark must be made canonical.
func (f *function) checked(m *mark) bool {
	t := &f.nan.taints[m.taint]
	return t.tainted && t.observed && !f.m.opt.AnyNaN
}

// splits reports whether that can be done in a stretch.
func (f *function) splits(m *mark) bool {
	ops := f.operands[m.operands[0]:m.operands[1]]
	return m.cut.pos > 0 && len(ops) <= maxSpill && !slices.ContainsFunc(ops, isRef) && f.checked(m)
}

// stretch returns the marks that share one with mark i, which begins it, and its end.
func (f *function) stretch(i int) (list []int, end place) {
	list, end = []int{i}, f.marks[i].cut
	for k := i + 1; k < len(f.marks); k++ {
		m := &f.marks[k]
		if m.run != f.marks[i].run {
			break
		}
		if m.at.pos >= end.pos && len(list) >= maxChecks {
			return list, end
		}
		if f.splits(m) {
			list, end = append(list, k), m.cut
		}
	}
	if t := f.marks[i].tail; t.pos > 0 && t.pos-end.pos <= maxTail {
		end = t
	}
	return list, end
}

// appendStretch writes both copies.
func (f *function) appendStretch(b []byte, list []int, end place) []byte {
	n, held := len(list), f.held(list)
	part := func(b []byte, i, labels int) []byte { // from mark i to the next, or to the end
		from := f.marks[list[i]].at
		from.edit++
		if i+1 < n {
			next := &f.marks[list[i+1]]
			return f.wait(f.appendEdits(b, from, next.at, labels), next)
		}
		return f.appendEdits(b, from, end, labels)
	}
	b = f.wait(b, &f.marks[list[0]])
	for range n + 1 {
		b = append(b, opBlock, 0x40)
	}
	ifs := []int{} // by their marks
	for i, k := range list {
		m := &f.marks[k]
		t := &f.nan.taints[m.taint]
		v := f.waiting(m, m.operands[1]-1)
		together := i > 0 && held[i-1] > 0
		if together {
			b = f.appendSum(b, t, v)
			v = f.sum(t.typ)
		}
		switch {
		case held[i] > 0:
			looks := i + 1
			for held[looks] > 0 {
				looks++
			}
			b = f.appendHold(b, m, &f.marks[list[looks]], v, held[i]-1)
		case t.typ != v128:
			ge := byte(opF64Ge)
			if t.typ == f32 {
				ge = opF32Ge
			}
			b = append(f.appendTwice(b, v), ge, opIf, 0x40)
			ifs = append(ifs, i)
		default:
			b = appendLanesNaN(f.appendTwice(b, v), t.lane)
			if together {
				b = append(b, opI32Eqz, opIf, 0x40)
				ifs = append(ifs, i)
			} else {
				b = appendU32(append(b, opBrIf), uint32(len(ifs)+i))
			}
		}
		b = part(f.resume(b, m), i, len(ifs)+n+1)
	}
	b = appendU32(append(b, opBr), uint32(len(ifs)+n))
	for q := len(ifs) - 1; q >= 0; q-- {
		b = append(b, opElse)
		for i := ifs[q] - 1; i >= 0 && held[i] > 0; i-- {
			b = f.appendRepair(b, &f.marks[list[i]], &f.marks[list[ifs[q]]], held[i]-1)
		}
		b = append(appendU32(append(b, opBr), uint32(q+1+ifs[q])), opEnd)
	}
	for i, k := range list {
		m := &f.marks[k]
		v := f.waiting(m, m.operands[1]-1)
		b = appendU32(append(b, opEnd, opLocalGet), v)
		b = f.appendNaN(b, &f.nan.taints[m.taint])
		b = appendU32(append(b, opLocalSet), v)
		b = part(f.resume(b, m), i, n-i)
	}
	return append(b, opEnd)
}

func (f *function) appendTwice(b []byte, local uint32) []byte {
	b = appendU32(append(b, opLocalGet), local)
	return appendU32(append(b, opLocalGet), local)
}

// appendLanesNaN compares two equal v128 and leaves the lanes that are NaN, as bits.
func appendLanesNaN(b []byte, lane byte) []byte {
	ne, mask := uint32(opF32x4Ne), uint32(opI32x4Bitmask)
	if lane == laneF64 {
		ne, mask = opF64x2Ne, opI64x2Bitmask
	}
	return appendU32(append(appendU32(append(b, opSIMD), ne), opSIMD), mask)
}

// waiting is the local in which an operand of a mark waits.
func (f *function) waiting(m *mark, i int) uint32 {
	typ := f.operands[i]
	return f.add(localSpill+(i-m.operands[0])*5+int(i32-typ), typ)
}

// wait takes the operands of a mark off the stack, and resume puts them back.
func (f *function) wait(b []byte, m *mark) []byte {
	for i := m.operands[1] - 1; i >= m.operands[0]; i-- {
		b = appendU32(append(b, opLocalSet), f.waiting(m, i))
	}
	return b
}

func (f *function) resume(b []byte, m *mark) []byte {
	for i := m.operands[0]; i < m.operands[1]; i++ {
		b = appendU32(append(b, opLocalGet), f.waiting(m, i))
	}
	return b
}
