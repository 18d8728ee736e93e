package meter

// An operand is an entry of the operand stack during validation.
type operand struct {
	typ   byte
	taint int32
	addr  address
}

// A frame is an entry of the control stack (specification, appendix A.3).
type frame struct {
	op          byte // block, loop, if, else; block for the function
	params      []byte
	results     []byte
	height      int  // of the operand stack below
	unreachable bool // the rest of the frame cannot be reached
	dead        bool // nor can the frame
	skip        int  // where unreachable code begins

	label    int  // number of labels around its body in the rewritten function
	wrapped  bool // loop with its refuelling outside
	header   int  // loop: region of its header
	number   int  // loop: its serial
	targeted bool // some branch goes to its end
	synced   bool // the fuel global is exact at every branch to its end so far
	entry    bool // if: the global was exact where it branched
	serial   int  // over all frames of the function, from 1
}

// labels is what a branch to the frame carries.
func (f *frame) labels() []byte {
	if f.op == opLoop {
		return f.params
	}
	return f.results
}

// A region is a straight line of operators, charged where it starts.
type region struct {
	kind   regionKind
	cost   uint64
	flush  bool     // it may trap or leave: the global must be exact in it
	synced bool     // the global was exact before it
	inline bool     // loop: refuel inside
	keep   []uint32 // innermost loop: locals that its header needs, see function.touch
}

type regionKind byte

const (
	regionPlain    regionKind = iota
	regionEntry               // of the function
	regionReload              // after a call of the host, which changed the global
	regionReturned            // after a call, which left what remains on the stack
	regionLoop                // loop header
)

// syncedAfter reports whether the global is exact at the region's end.
func (r *region) syncedAfter() bool { return r.flush || r.cost == 0 && r.synced }

// An edit replaces bytes [pos, end) of the module in the rewritten function.
type edit struct {
	pos, end int
	kind     editKind
	arg      int
	text     [2]int // editText: in function.text
}

type editKind byte

const (
	editText   editKind = iota
	editBrIf            // arg: its label
	editCharge          // arg: region
	editLoop            // arg: region of the header; after a wrapped loop's end
	editNaN             // arg: mark
)

// A function validates one body and collects how to rewrite it. It is used again for the
// next body, so that its slices are allocated seldom.
type function struct {
	m    *module
	r    reader
	self uint32 // its index in the module
	code *code
	emit bool // collect edits; needs code.small of all functions

	typ      funcType
	locals   []byte // parameters first
	hidden   uint32 // parameters that the pass adds after the function's own
	groups   reader // the declarations of locals as given
	ngroups  uint32
	extra    []byte          // locals that the pass adds
	extraFor [localRoles]int // index and one, or 0

	stack  []operand
	frames []frame
	spent  int // operands popped and pushed
	budget int // for them
	high   int // of the operand stack
	loops  int
	nested int // loops around
	nan    nan

	bases    []base
	known    []localAddress // by local
	scans    int            // so far
	accesses []access
	opened   int // frames

	marks    []mark
	operands []byte // of marks
	run      int    // of marks
	uncut    int    // marks up to here have a cut, or none

	touched []int    // by local: the innermost loop in which it was last touched
	inner   int      // the current innermost loop, or 0 outside
	serial  int      // of the last loop, over all functions, from 1
	keep    []uint32 // locals that it reads before it sets them

	regions  []region
	cur      int
	edits    []edit
	text     []byte
	depth    int  // labels around in the rewritten function
	deepens  bool // it calls functions that count depth
	constant int64
	isConst  bool   // the operator before was an integer constant, in constant
	body     []byte // scratch of rewrite
}

// Locals that the pass adds to a function.
const (
	localTemp = iota // i32
	localF32         // for NaN
	localF64
	localV128
	localSpill // see function.waiting
	localSum   = localSpill + 5*maxSpill
	localHeld  = localSum + 5 // see function.hold
	localRoles = localHeld + maxHeld
)

func (f *function) fail(reason string) { f.r.fail(reason) }

// scan validates body i.
func (f *function) scan(i int) {
	m := f.m
	f.code, f.self = &m.code[i], uint32(len(m.imports)+i)
	f.typ = m.typeOf(f.self)
	f.r = reader{m.bin, f.code.start, f.code.end}
	f.locals = append(f.locals[:0], f.typ.params...)
	f.hidden = m.hidden(f.self)
	f.extra, f.extraFor = f.extra[:0], [localRoles]int{}
	f.declareLocals()
	f.stack, f.frames, f.high, f.loops, f.nested = f.stack[:0], f.frames[:0], 0, 0, 0
	f.regions, f.edits, f.text = f.regions[:0], f.edits[:0], f.text[:0]
	f.depth, f.deepens, f.isConst = 0, false, false
	f.spent, f.budget = 0, 1<<20+maxTypeWork*(f.code.end-f.code.start)
	f.nan.reset()
	f.resetAddresses()
	f.inner, f.opened = 0, 0
	if n := len(f.locals); n > len(f.touched) {
		f.touched = make([]int, 2*n) // loops of other functions have other numbers
	}
	f.marks, f.operands, f.run, f.uncut = f.marks[:0], f.operands[:0], 0, 0
	f.code.cost, f.code.complex, f.code.callees = 0, false, nil

	f.begin(regionEntry, false)
	f.push(frame{op: opBlock, results: f.typ.results, label: 0})
	for len(f.frames) > 0 {
		f.step()
	}
	if f.r.more() {
		f.fail("operators after the end of the function")
	}
	atMost("locals x loops in one function", uint64(len(f.locals))*uint64(f.loops), MaxLocalLoops)
	f.code.weight = f.weight()
}

func (f *function) declareLocals() {
	n := f.r.count("groups of locals", MaxLocals)
	f.groups, f.ngroups = reader{f.r.b, f.r.pos, 0}, uint32(n)
	for range n {
		k := f.r.u32()
		t := f.m.valueType(&f.r)
		atMost("locals in one function", uint64(len(f.locals))+uint64(k), MaxLocals)
		for range k {
			f.locals = append(f.locals, t)
		}
	}
	f.groups.end = f.r.pos
}

// index is where a local of the function stands in the rewritten one.
func (f *function) index(local uint32) uint32 {
	if int(local) < len(f.typ.params) {
		return local
	}
	return local + f.hidden
}

// add returns the index of an added local, by its role.
func (f *function) add(role int, typ byte) uint32 {
	if f.extraFor[role] == 0 {
		f.extraFor[role] = 1 + len(f.locals) + int(f.hidden) + len(f.extra)
		f.extra = append(f.extra, typ)
	}
	return uint32(f.extraFor[role] - 1)
}

// fuel and depth are the hidden parameters: what is left, and what may still be nested,
// first here and then in a function that is called.
func (f *function) fuel() uint32      { return uint32(len(f.typ.params)) }
func (f *function) depthLeft() uint32 { return f.fuel() + 1 }

// weight is how much of the depth limit a frame takes. A compiler may give every local and
// operand a slot in the native frame, and every value that lives across a call one more:
// in wazero at most 16 bytes for each of 64 slots, and 1.5 bytes for each byte of code (a
// v128 loaded, kept over a call and used takes 11). So a unit of weight is at most 2.6 KB of
// native stack, and MaxDepth of them 43 MB, where wazero's stack ends between 50 and 100 MB.
func (f *function) weight() uint64 {
	slots := len(f.locals) + f.high
	return 1 + uint64(slots/64) + uint64((f.code.end-f.code.start)/1024)
}

// Control stack.

func (f *function) top() *frame { return &f.frames[len(f.frames)-1] }

// live reports whether code here can be reached, as far as validation knows.
func (f *function) live() bool { t := f.top(); return !t.dead && !t.unreachable }

func (f *function) push(fr frame) {
	atMost("nested blocks", uint64(len(f.frames)), MaxBlockDepth)
	fr.synced = true
	fr.height = len(f.stack)
	f.opened++
	fr.serial = f.opened
	f.frames = append(f.frames, fr)
	f.pushTypes(fr.params)
}

// pop ends the innermost frame and checks its results.
func (f *function) pop() frame {
	fr := *f.top()
	f.popTypes(fr.results, nanObserve)
	if len(f.stack) != fr.height {
		f.fail("type mismatch: values left on the stack at the end of a block")
	}
	f.frames = f.frames[:len(f.frames)-1]
	return fr
}

// unreachable says that what follows cannot be reached. It is left out of the rewritten body.
func (f *function) unreachable() {
	t := f.top()
	f.stack = f.stack[:t.height]
	if f.live() {
		t.skip = f.r.pos
	}
	t.unreachable = true
}

func (f *function) target(depth uint32) *frame {
	if uint64(depth) >= uint64(len(f.frames)) {
		f.fail("unknown label")
	}
	return &f.frames[len(f.frames)-1-int(depth)]
}

// Operand stack.

func (f *function) pushType(t byte) { f.pushOperand(operand{typ: t}) }

func (f *function) pushTypes(ts []byte) {
	for _, t := range ts {
		f.pushType(t)
	}
}

func (f *function) pushOperand(o operand) {
	f.spend(1)
	f.stack = append(f.stack, o)
	if len(f.stack) > f.high {
		f.high = len(f.stack)
		atMost("operands on the stack", uint64(f.high), MaxOperands)
	}
}

// spend bounds the time that validation takes in proportion to the size of the body.
func (f *function) spend(n int) {
	if f.spent += n; f.spent > f.budget {
		atMost("operands of blocks and calls in one function", uint64(f.spent), uint64(f.budget))
	}
}

// popAny pops an operand of any type.
func (f *function) popAny() operand {
	t := f.top()
	if len(f.stack) == t.height {
		if !t.unreachable {
			f.fail("type mismatch: the operand stack is empty")
		}
		return operand{}
	}
	f.spend(1)
	o := f.stack[len(f.stack)-1]
	f.stack = f.stack[:len(f.stack)-1]
	return o
}

func (f *function) popType(want byte) operand {
	o := f.popAny()
	if o.typ != want && o.typ != unknown && want != unknown {
		f.fail("type mismatch: " + typeNames[o.typ] + " instead of " + typeNames[want])
	}
	return o
}

// popTypes pops operands of these types, last first. Observed ones are made canonical.
func (f *function) popTypes(ts []byte, class nanClass) {
	for i := len(ts) - 1; i >= 0; i-- {
		if t := f.top(); len(f.stack) == t.height && t.unreachable {
			return // the rest is whatever is wanted
		}
		if o := f.popType(ts[i]); class == nanObserve {
			f.nan.observe(o.taint)
		}
	}
}

// peekTypes checks the operands that a branch carries and leaves them.
func (f *function) peekTypes(ts []byte) {
	h := len(f.stack)
	for i := len(ts) - 1; i >= 0; i-- {
		t := f.top()
		h--
		if h < t.height {
			if t.unreachable {
				return
			}
			f.fail("type mismatch: the operand stack is empty")
		}
		f.spend(1)
		if o := f.stack[h]; o.typ != ts[i] && o.typ != unknown {
			f.fail("type mismatch: " + typeNames[o.typ] + " instead of " + typeNames[ts[i]])
		}
		f.nan.observe(f.stack[h].taint)
	}
}

// Regions.

func (f *function) begin(kind regionKind, synced bool) {
	f.regions = append(f.regions, region{kind: kind, synced: synced})
	f.cur = len(f.regions) - 1
	f.edit(edit{pos: f.r.pos, end: f.r.pos, kind: editCharge, arg: f.cur})
}

// charge adds to the region here.
func (f *function) charge(cost uint64, flush bool) {
	r := &f.regions[f.cur]
	r.cost += cost
	r.flush = r.flush || flush
	f.code.cost += cost
}

func (f *function) edit(e edit) {
	if f.emit {
		f.edits = append(f.edits, e)
	}
}

// replace puts text where the operator from pos on was.
func (f *function) replace(pos int, text []byte) {
	if f.emit {
		n := len(f.text)
		f.text = append(f.text, text...)
		f.edit(edit{pos: pos, end: f.r.pos, text: [2]int{n, len(f.text)}})
	}
}
