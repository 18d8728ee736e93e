package meter

// Hidden parameters.
//
// A function of the module is passed what fuel is left, after its own parameters, and then
// what may still be nested if it counts depth; it returns what fuel is left, after its own
// results. In registers that costs next to nothing, where a global would be a store and a
// load around each call. Whoever calls with the original type goes through a wrapper: the
// host calls exports and the start function with it, and functions of the host that a
// reference names are called without it.

// A metered is the type of functions with hidden parameters.
type metered struct {
	typ    uint32 // original
	hidden uint32
}

// A wrapper is a function that the pass adds to call another one: by the other of the two
// types, or again after refuelling.
type wrapper struct {
	fn   uint32 // original index
	kind wrapperKind
	cost uint64 // again: what the entry has charged, and will charge again
	keep string // keep: types of what passes through
}

type wrapperKind byte

const (
	wrapExport wrapperKind = iota
	wrapImport
	wrapAgain
	wrapKeep
)

// added is what rewriting turns out to need besides the module's own.
type added struct {
	types    []funcType // after the module's own and those of the helpers
	metered  map[metered]uint32
	results  map[uint32]uint32 // original type to the type of a block with its results
	wrappers []wrapper         // functions after the helpers
	wrapped  map[wrapper]uint32
	named    map[uint32]bool // rewritten functions that ref.func names in a body
}

func (m *module) addType(t funcType) uint32 {
	m.added.types = append(m.added.types, t)
	return uint32(len(m.types) + helpers + len(m.added.types) - 1)
}

// metered returns the type of functions that had the given one.
func (m *module) metered(typ, hidden uint32) uint32 {
	k := metered{typ, hidden}
	i, ok := m.added.metered[k]
	if !ok {
		t := m.types[typ]
		p := append([]byte{}, t.params...)
		for range hidden {
			p = append(p, i64)
		}
		i = m.addType(funcType{p, append(append([]byte{}, t.results...), i64)})
		m.added.metered[k] = i
	}
	return i
}

// blockOf encodes the type of a block around a body.
func (m *module) blockOf(typ uint32) []byte {
	switch r := m.types[typ].results; len(r) {
	case 0:
		return []byte{0x40}
	case 1:
		return r
	default:
		i, ok := m.added.results[typ]
		if !ok {
			i = m.addType(funcType{nil, r})
			m.added.results[typ] = i
		}
		return appendS64(nil, int64(i))
	}
}

// wrap returns the index of a wrapper.
func (m *module) wrap(w wrapper) uint32 {
	i, ok := m.added.wrapped[w]
	if !ok {
		i = m.helper(uint32(m.helperCount() + len(m.added.wrappers)))
		m.added.wrappers = append(m.added.wrappers, w)
		m.added.wrapped[w] = i
	}
	return i
}

// ref is the index of a function for a reference, by which functions of the module call it.
func (m *module) ref(fn uint32) uint32 {
	if int(fn) < len(m.imports) {
		return m.wrap(wrapper{fn: fn, kind: wrapImport})
	}
	return m.shift(fn)
}

// outer is the index of a function for the host.
func (m *module) outer(fn uint32) uint32 {
	if int(fn) < len(m.imports) {
		return fn
	}
	return m.wrap(wrapper{fn: fn, kind: wrapExport})
}

// again is the index of what a function calls, and returns, when its entry finds too little
// fuel or depth: it refuels, or traps, and calls the function as before.
func (m *module) again(fn uint32, cost uint64) uint32 {
	return m.wrap(wrapper{fn: fn, kind: wrapAgain, cost: cost})
}

// keep is the index of a function that refuels and returns, before what is left, its other
// arguments. Through it go the values that a loop goes on with, so that the compiler need
// not keep them on the stack for the call.
func (m *module) keep(types []byte) uint32 {
	return m.wrap(wrapper{kind: wrapKeep, keep: string(types)})
}

func (w wrapper) typ(m *module) uint32 {
	switch w.kind {
	case wrapExport:
		return m.funcs[w.fn]
	case wrapKeep:
		t := append([]byte(w.keep), i64)
		return m.addType(funcType{t, t})
	}
	return m.metered(m.funcs[w.fn], 2)
}

// body is the code of a wrapper, without its size.
func (w wrapper) body(m *module) []byte {
	b := []byte{0} // no locals
	get := func(op byte, i uint32) { b = appendU32(append(b, op), i) }
	params := uint32(len(w.keep))
	if w.kind != wrapKeep {
		params = uint32(len(m.typeOf(w.fn).params))
	}
	for i := range params {
		get(opLocalGet, i)
	}
	switch w.kind {
	case wrapImport:
		get(opLocalGet, params)
		get(opGlobalSet, m.fuelGlobal())
		get(opCall, m.shift(w.fn))
		get(opGlobalGet, m.fuelGlobal())
	case wrapExport:
		get(opGlobalGet, m.fuelGlobal())
		if m.hidden(w.fn) > 1 {
			get(opGlobalGet, m.depthGlobal())
		}
		get(opCall, m.shift(w.fn))
		get(opGlobalSet, m.fuelGlobal())
	case wrapKeep:
		get(opLocalGet, params)
		get(opCall, m.helper(helperRefuel))
	case wrapAgain:
		get(opLocalGet, params)
		get(opLocalGet, params+1)
		get(opCall, m.helper(helperEnter))
		b = append(appendS64(append(b, opI64Const), int64(w.cost)), opI64Add)
		get(opLocalGet, params+1)
		get(opCall, m.shift(w.fn))
	}
	return append(b, opEnd)
}
