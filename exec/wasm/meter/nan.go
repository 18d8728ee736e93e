package meter

// Canonical NaN.
//
// WebAssembly leaves open which NaN an arithmetic operator returns (core specification,
// section 4.3.3, "NaN propagation"), and machines differ: 0/0 is negative on amd64 and
// positive on arm64, and which operand's payload survives depends on how a compiler orders
// them. Every other operator is exact to the bit. So a value is tainted when it may hold
// such a NaN, and must not be seen:
//
//   - make: add, sub, mul, div, sqrt, min, max, ceil, floor, trunc, nearest, demote, promote,
//     scalar and in lanes, return a tainted value. They may read tainted operands: a NaN
//     operand gives some NaN whatever its bits. Demote and promote in lanes are the exception:
//     they read lanes of another width than they return, and observe their operand.
//   - pass: abs, neg, pmin, pmax, the first operand of copysign and select change or choose
//     bits of a NaN, but which non-NaN comes out does not depend on them: tainted if an
//     operand is.
//   - blind: comparisons, and conversions to integers, treat all NaNs alike.
//   - everything else may observe bits, and gets a canonical NaN if the operand is tainted:
//     stores, reinterpret, the sign operand of copysign, lane and bit operators, calls and
//     returns, globals, block parameters and results. So what crosses one of these is never
//     tainted, and nor is what is loaded or constant: payloads in data survive a copy.
//
// Locals of type f32 and f64 may hold tainted values, since an accumulator in a hot loop is
// seldom observed there; the canonical NaN is put in where the local is read for an observer.
// A local is tainted if it ever is (flow-insensitively), so that a payload which shares a
// local with arithmetic may be lost, in the same way on all engines. A v128 local is used
// for integers as well, so it never holds a tainted value.
//
// An operator is made canonical just after it, where its result is on top of the stack,
// once it is known (at the end of the function) that something observes it; or a little later,
// where it is stored and nothing can look there before (held.go).
type nanClass byte

const (
	nanObserve nanClass = iota
	nanBlind
	nanMake
	nanPass
	nanSign  // copysign
	nanWiden // between lanes: observes its operand and makes
)

// Lanes of a v128. A NaN tainted in 32-bit lanes is no NaN in 64-bit lanes: reading it in
// other lanes observes it.
const (
	laneF32 byte = 1
	laneF64 byte = 2
)

// A taint is a value in a function that may be tainted: that of an operator, or of a local
// where it is read. Taints are numbered from 1; 0 is a value that never is.
type taint struct {
	from     [2]int32 // pass: taints it depends on
	local    int32    // read of a local, or -1
	typ      byte
	lane     byte
	makes    bool
	observed bool
	tainted  bool // solved: before it is made canonical
}

// A flow is a taint stored in a local.
type flow struct {
	local int32
	taint int32
}

// A nan solves which values of a function must be made canonical.
type nan struct {
	taints []taint
	flows  []flow
	locals map[int32]bool // tainted
}

func (n *nan) reset() {
	n.taints = append(n.taints[:0], taint{local: -1})
	n.flows = n.flows[:0]
}

func (n *nan) add(t taint) int32 {
	n.taints = append(n.taints, t)
	return int32(len(n.taints) - 1)
}

func (n *nan) observe(t int32) { n.taints[t].observed = true }

// read is the taint of a local where it is read.
func (n *nan) read(local uint32, typ byte) int32 {
	return n.add(taint{local: int32(local), typ: typ})
}

// operands accounts for what an operator of the table reads, and returns its result's taint.
func (n *nan) operands(o *op, args []operand) int32 {
	if o.nan == nanObserve {
		for _, a := range args {
			n.observe(a.taint)
		}
		return 0
	}
	t := taint{local: -1, typ: o.out, lane: o.lane, makes: o.nan == nanMake || o.nan == nanWiden}
	for i, a := range args {
		if a.taint == 0 {
			continue
		}
		if o.nan == nanSign && i == 1 || o.nan == nanWiden || n.taints[a.taint].lane != o.lane {
			n.observe(a.taint)
		} else {
			t.from[i] = a.taint
		}
	}
	if t.makes {
		t.from = [2]int32{}
		return n.add(t)
	}
	if o.nan == nanBlind || t.from == [2]int32{} {
		return 0
	}
	return n.add(t)
}

// solve decides which taints are real. Locals feed on each other through copies, so it goes
// round until nothing changes; a function made to need many rounds has all reads tainted.
func (n *nan) solve() {
	n.locals = map[int32]bool{}
	const rounds = 16
	for round := 0; ; round++ {
		for i := range n.taints {
			t := &n.taints[i]
			t.tainted = t.makes || t.local >= 0 && (round >= rounds || n.locals[t.local]) || n.leaks(t.from[0]) || n.leaks(t.from[1])
		}
		changed := false
		for _, f := range n.flows {
			if n.leaks(f.taint) && !n.locals[f.local] {
				n.locals[f.local], changed = true, true
			}
		}
		if !changed || round >= rounds {
			return
		}
	}
}

// leaks reports whether the value goes on tainted.
func (n *nan) leaks(t int32) bool { return n.taints[t].tainted && !n.taints[t].observed }
