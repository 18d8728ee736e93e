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

// A wrapper is a function that the pass adds to pass between the two types.
type wrapper struct {
	fn       uint32 // original index
	imported bool
}

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

// wrap returns the index of the wrapper of a function.
func (m *module) wrap(fn uint32) uint32 {
	w := wrapper{fn, int(fn) < len(m.imports)}
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
		return m.wrap(fn)
	}
	return m.shift(fn)
}

// outer is the index of a function for the host.
func (m *module) outer(fn uint32) uint32 {
	if int(fn) < len(m.imports) {
		return fn
	}
	return m.wrap(fn)
}

func (w wrapper) typ(m *module) uint32 {
	if w.imported {
		return m.metered(m.funcs[w.fn], 2)
	}
	return m.funcs[w.fn]
}

// body is the code of a wrapper, without its size.
func (w wrapper) body(m *module) []byte {
	b := []byte{0} // no locals
	get := func(op byte, i uint32) { b = appendU32(append(b, op), i) }
	params := uint32(len(m.typeOf(w.fn).params))
	for i := range params {
		get(opLocalGet, i)
	}
	if w.imported {
		get(opLocalGet, params)
		get(opGlobalSet, m.fuelGlobal())
		get(opCall, m.shift(w.fn))
		get(opGlobalGet, m.fuelGlobal())
		return append(b, opEnd)
	}
	get(opGlobalGet, m.fuelGlobal())
	if m.hidden(w.fn) > 1 {
		get(opGlobalGet, m.depthGlobal())
	}
	get(opCall, m.shift(w.fn))
	get(opGlobalSet, m.fuelGlobal())
	return append(b, opEnd)
}
