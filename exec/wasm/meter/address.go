package meter

// Addresses.
//
// Several stored values are looked at together (stretch.go) where what is loaded and stored between
// them is provably elsewhere. For that the pass knows operands and locals of type i32 as a base and a
// constant distance from it, modulo 2^32, through constants, additions and locals. Two accesses
// of the same base are apart if their distances are, as neither can wrap around the end of memory.
//
// A local that is set once in its function, in a frame that is still open, is what it was
// set to: frames are entered at their start alone, so that whoever stands in one has passed what lies before
// him in it, and after each time that ran he passes it again before he comes back. What was set
// from the same base in the same straight line keeps its distances for the same reason.

// An address is base + off modulo 2^32.
type address struct {
	base int32 // in function.bases; 0: nothing is known
	off  uint32
}

// baseZero is the base of constants.
const baseZero = 1

// A base is a value that is known by itself alone, or a local where a run reads it first.
type base struct {
	local int32   // or -1
	until int     // position where the run sets that local to something else, or 0
	set   address // what that local was set to, if it is set nowhere else
	is    address // resolved
}

// A localAddress is what is known of a local at a place in a function.
type localAddress struct {
	scan  int // that of the function; what is of another counts for nothing
	run   int // in which now is right, and one
	now   address
	sets  int     // so far
	first address // the first of them
	frame int     // with its serial
	depth int     // and how many are around it
}

// An access is a load or a store.
type access struct {
	pos    int     // of the operator
	given  address // of the operand
	offset uint32  // that the operator adds
	at     address // both, resolved
	size   uint32  // bytes
}

func (f *function) resetAddresses() {
	f.bases = append(f.bases[:0], base{local: -1}, base{local: -1})
	f.accesses = f.accesses[:0]
	f.scans++
	if n := len(f.locals); f.emit && n > len(f.known) {
		f.known = make([]localAddress, 2*n)
	}
}

func (f *function) knownOf(local uint32) *localAddress {
	l := &f.known[local]
	if l.scan != f.scans {
		*l = localAddress{scan: f.scans}
	}
	return l
}

func (f *function) newBase(b base) address {
	f.bases = append(f.bases, b)
	return address{base: int32(len(f.bases) - 1)}
}

// readAddress is what is known of a local that is read here.
func (f *function) readAddress(local uint32) address {
	if !f.emit || !f.live() || f.locals[local] != i32 {
		return address{}
	}
	l := f.knownOf(local)
	if l.run != f.run+1 {
		b := base{local: int32(local)}
		if l.sets == 1 && l.depth < len(f.frames) && f.frames[l.depth].serial == l.frame {
			b.set = l.first
		}
		l.run, l.now = f.run+1, f.newBase(b)
	}
	return l.now
}

// setAddress says what a local is set to, and returns what is known of it then.
func (f *function) setAddress(local uint32, a address) address {
	if !f.emit || f.locals[local] != i32 {
		return address{}
	}
	if a.base == 0 {
		a = f.newBase(base{local: -1})
	}
	l := f.knownOf(local)
	if l.run == f.run+1 {
		if b := &f.bases[l.now.base]; b.local == int32(local) && b.until == 0 {
			b.until = f.r.pos
		}
	}
	if l.sets++; l.sets == 1 {
		l.first, l.depth, l.frame = a, len(f.frames)-1, f.top().serial
	}
	l.run, l.now = f.run+1, a
	return a
}

// sum is the address of two operands added, or subtracted.
func (a address) sum(b address, subtract bool) address {
	switch {
	case b.base == baseZero && subtract:
		return address{a.base, a.off - b.off}
	case b.base == baseZero && a.base != 0:
		return address{a.base, a.off + b.off}
	case a.base == baseZero && b.base != 0 && !subtract:
		return address{b.base, a.off + b.off}
	}
	return address{}
}

// accessed notes a load or store at pos. Only what follows a mark in its run is asked for later.
func (f *function) accessed(pos int, at address, offset, size uint32) {
	n := len(f.marks)
	if !f.emit || !f.live() || n == 0 || f.marks[n-1].run != f.run {
		return
	}
	f.accesses = append(f.accesses, access{pos: pos, given: at, offset: offset, size: size})
}

// stored notes that the access just made stores the value of a mark and nothing else has it.
func (f *function) stored(pos int) {
	n := len(f.marks)
	if f.emit && f.live() && n > 0 && f.marks[n-1].run == f.run && f.marks[n-1].at.pos == pos {
		f.marks[n-1].store = len(f.accesses)
	}
}

// resolveAddresses finds out, at the end of a function, which bases are the same.
func (f *function) resolveAddresses() {
	for i := range f.bases {
		b := &f.bases[i]
		b.is = address{base: int32(i)}
		switch {
		case b.local < 0:
		case f.known[b.local].sets == 0: // the same in all of the function
			b.is = address{base: -1 - b.local}
		case f.known[b.local].sets == 1 && b.set.base != 0:
			is := f.bases[b.set.base].is // earlier
			b.is = address{is.base, is.off + b.set.off}
		}
	}
	for i := range f.accesses {
		a := &f.accesses[i]
		if a.given.base != 0 {
			is := f.bases[a.given.base].is
			a.at = address{is.base, is.off + a.given.off + a.offset}
		}
	}
}

// apart reports whether two accesses provably share no byte.
func (a *access) apart(b *access) bool {
	between := a.at.off - b.at.off
	return a.at.base != 0 && a.at.base == b.at.base && between >= b.size && -between >= a.size
}
