package meter_test

import (
	"encoding/binary"
	"math"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// A reference runs a test program and charges every operator before executing it, by the
// published table. It knows nothing of regions, but for the rest of one when a trap cuts it.
type reference struct {
	p     program
	costs map[string]uint64
	mem   []byte
	fuel  uint64
	steps int
	stack []uint64

	path []place // from the function's body to the operator being executed
}

// A place is a position in a list of operators; fall says whether leaving the list at its
// end goes on in the same region of the list around it.
type place struct {
	list []ins
	at   int
	fall bool
}

type (
	refTrap  string
	refSteps struct{}
)

const (
	sigNext   = -1
	sigReturn = -2
)

func newReference(p program) *reference {
	r := &reference{p: p, costs: map[string]uint64{}, mem: make([]byte, memoryPages*meter.PageSize)}
	for _, c := range meter.Costs() {
		r.costs[c.Operator] = c.Fuel
	}
	return r
}

// run calls the last function. trap is "" when it returned, else the kind of trap.
func (r *reference) run(args ...uint64) (result uint64, trap string) {
	defer func() {
		switch t := recover().(type) {
		case nil:
		case refTrap:
			trap = string(t)
			r.restOfRegion()
		default:
			panic(t)
		}
	}()
	return r.call(len(r.p.fns)-1, args), ""
}

func (r *reference) charge(n uint64) {
	r.fuel += n
	if r.steps++; r.steps > 2_000_000 {
		panic(refSteps{})
	}
}

// restOfRegion charges what stands between a trap and the end of its region.
func (r *reference) restOfRegion() {
	for first := true; len(r.path) > 0; first = false {
		p := r.path[len(r.path)-1]
		if first && endsRegion(p.list[p.at].op) || r.straight(p.list, p.at+1) || !p.fall {
			return
		}
		r.path = r.path[:len(r.path)-1]
	}
}

func endsRegion(op string) bool {
	switch op {
	case "if", "br", "br_if", "br_table", "return", "unreachable", "call", "call_indirect":
		return true
	}
	return false
}

// straight charges operators from k on up to the end of the region, and reports whether that
// is among them.
func (r *reference) straight(list []ins, k int) (ended bool) {
	for ; k < len(list); k++ {
		i := list[k]
		r.fuel += r.costs[i.op]
		switch {
		case endsRegion(i.op) || i.op == "loop":
			return true
		case i.op == "block" && (r.straight(i.body, 0) || targeted(i.body, 0)):
			return true
		case (i.op == "memory.fill" || i.op == "memory.copy") && k > 0 && list[k-1].op == "i32.const":
			if n := list[k-1].a; n >= 0 && n <= 4096 { // a larger size is charged when it runs
				r.fuel += uint64(n) / 8
			}
		}
	}
	return false
}

// targeted reports whether a branch that can be reached goes to the end of the block around list.
func targeted(list []ins, depth int64) bool {
	for _, i := range list {
		for _, t := range i.targets {
			if t == depth {
				return true
			}
		}
		switch i.op {
		case "br", "br_if":
			if i.a == depth {
				return true
			}
		case "block", "loop", "if":
			if targeted(i.body, depth+1) || targeted(i.els, depth+1) {
				return true
			}
		}
		switch i.op {
		case "br", "br_table", "return", "unreachable":
			return false
		}
	}
	return false
}

func dead(list []ins) bool {
	for _, i := range list {
		switch i.op {
		case "br", "br_table", "return", "unreachable":
			return true
		}
	}
	return false
}

func (r *reference) push(v uint64)    { r.stack = append(r.stack, v) }
func (r *reference) pushI32(v int32)  { r.push(uint64(uint32(v))) }
func (r *reference) pushBool(b bool)  { r.push(map[bool]uint64{true: 1}[b]) }
func (r *reference) popI32() int32    { return int32(uint32(r.pop())) }
func (r *reference) trap(kind string) { panic(refTrap(kind)) }

func (r *reference) pop() uint64 {
	v := r.stack[len(r.stack)-1]
	r.stack = r.stack[:len(r.stack)-1]
	return v
}

func (r *reference) call(i int, args []uint64) uint64 {
	f := r.p.fns[i]
	locals := append(append([]uint64{}, args...), make([]uint64, len(f.locals))...)
	saved := len(r.stack)
	// A trap in the callee leaves the caller's region complete: a call ends it.
	outer := r.path
	r.path = nil
	r.list(f.body, locals, false)
	r.path = outer
	v := r.pop()
	r.stack = r.stack[:saved]
	return v
}

// list executes operators and returns the label that a branch out of it goes to.
func (r *reference) list(list []ins, locals []uint64, fall bool) int64 {
	r.path = append(r.path, place{list, 0, fall})
	depth := len(r.path) - 1
	for k := range list {
		r.path[depth].at = k
		r.charge(r.costs[list[k].op])
		if sig := r.one(&list[k], locals); sig != sigNext {
			r.path = r.path[:depth]
			return sig
		}
	}
	r.path = r.path[:depth]
	return sigNext
}

func (r *reference) block(i *ins, body []ins, locals []uint64) int64 {
	height := len(r.stack)
	if i.typ == 0 {
		height-- // the parameter
	}
	for {
		fall := i.op == "loop" || i.op == "block" && !targeted(i.body, 0) && !dead(i.body)
		sig := r.list(body, locals, fall)
		switch {
		case sig == 0 && i.op == "loop":
			n := 0
			if i.typ == 0 {
				n = 1
			}
			r.unwind(height, n)
			r.charge(r.costs["loop"])
			continue
		case sig == 0:
			n := 1
			if i.typ == tVoid {
				n = 0
			}
			r.unwind(height, n)
			return sigNext
		case sig > 0:
			return sig - 1
		}
		return sig
	}
}

func (r *reference) unwind(height, keep int) {
	top := r.stack[len(r.stack)-keep:]
	r.stack = append(r.stack[:height], top...)
}

func (r *reference) at(offset int64, n int) []byte {
	a := uint64(uint32(r.popI32())) + uint64(offset)
	if a+uint64(n) > uint64(len(r.mem)) {
		r.trap("out of bounds memory access")
	}
	return r.mem[a:]
}

func (r *reference) one(i *ins, locals []uint64) int64 {
	switch i.op {
	case "unreachable":
		r.trap("unreachable")
	case "nop":
	case "block", "loop":
		return r.block(i, i.body, locals)
	case "if":
		if r.popI32() != 0 {
			return r.block(i, i.body, locals)
		}
		return r.block(i, i.els, locals)
	case "br":
		return i.a
	case "br_if":
		if r.popI32() != 0 {
			return i.a
		}
	case "br_table":
		k := uint32(r.popI32())
		return i.targets[min(uint64(k), uint64(len(i.targets)-1))]
	case "return":
		return sigReturn
	case "call", "call_indirect":
		f := int(i.a)
		if i.op == "call_indirect" {
			k := uint32(r.popI32())
			if int64(k) >= int64(len(r.p.table)) {
				r.trap("invalid table access")
			}
			f = r.p.table[k]
			if r.p.fns[f].params != int(i.a) {
				r.trap("indirect call type mismatch")
			}
		}
		n := r.p.fns[f].params
		args := append([]uint64{}, r.stack[len(r.stack)-n:]...)
		r.stack = r.stack[:len(r.stack)-n]
		r.push(r.call(f, args))
	case "drop":
		r.pop()
	case "select":
		c, b, a := r.popI32(), r.pop(), r.pop()
		if c == 0 {
			a = b
		}
		r.push(a)
	case "local.get":
		r.push(locals[i.a])
	case "local.set":
		locals[i.a] = r.pop()
	case "local.tee":
		locals[i.a] = r.stack[len(r.stack)-1]
	case "i32.load":
		r.push(uint64(binary.LittleEndian.Uint32(r.at(i.a, 4))))
	case "i64.load":
		r.push(binary.LittleEndian.Uint64(r.at(i.a, 8)))
	case "i32.store":
		v := r.pop()
		binary.LittleEndian.PutUint32(r.at(i.a, 4), uint32(v))
	case "i64.store":
		v := r.pop()
		binary.LittleEndian.PutUint64(r.at(i.a, 8), v)
	case "memory.size":
		r.pushI32(int32(len(r.mem) / meter.PageSize))
	case "memory.grow":
		n := uint32(r.popI32())
		old := uint32(len(r.mem) / meter.PageSize)
		if uint64(old)+uint64(n) > memoryMaxPages {
			r.pushI32(-1)
			break
		}
		r.charge(uint64(n) * 1024)
		r.mem = append(r.mem, make([]byte, n*meter.PageSize)...)
		r.pushI32(int32(old))
	case "memory.fill":
		n, v, d := uint32(r.popI32()), byte(r.popI32()), uint32(r.popI32())
		r.charge(uint64(n) / 8)
		if uint64(d)+uint64(n) > uint64(len(r.mem)) {
			r.trap("out of bounds memory access")
		}
		for k := range n {
			r.mem[d+k] = v
		}
	case "memory.copy":
		n, s, d := uint32(r.popI32()), uint32(r.popI32()), uint32(r.popI32())
		r.charge(uint64(n) / 8)
		if uint64(max(s, d))+uint64(n) > uint64(len(r.mem)) {
			r.trap("out of bounds memory access")
		}
		copy(r.mem[d:d+n], r.mem[s:s+n])
	case "i32.const", "i64.const":
		if i.op == "i32.const" {
			r.pushI32(int32(i.a))
		} else {
			r.push(uint64(i.a))
		}
	case "i32.eqz":
		r.pushBool(r.popI32() == 0)
	case "i64.add", "i64.mul", "i64.div_u":
		b, a := r.pop(), r.pop()
		switch {
		case i.op == "i64.add":
			r.push(a + b)
		case i.op == "i64.mul":
			r.push(a * b)
		case b == 0:
			r.trap("integer divide by zero")
		default:
			r.push(a / b)
		}
	case "i32.wrap_i64":
		r.push(uint64(uint32(r.pop())))
	case "i64.extend_i32_s":
		r.push(uint64(int64(r.popI32())))
	default:
		r.binary(i.op)
	}
	return sigNext
}

func (r *reference) binary(op string) {
	b, a := r.popI32(), r.popI32()
	switch op {
	case "i32.lt_s":
		r.pushBool(a < b)
	case "i32.gt_s":
		r.pushBool(a > b)
	case "i32.add":
		r.pushI32(a + b)
	case "i32.sub":
		r.pushI32(a - b)
	case "i32.mul":
		r.pushI32(a * b)
	case "i32.and":
		r.pushI32(a & b)
	case "i32.xor":
		r.pushI32(a ^ b)
	case "i32.div_s":
		switch {
		case b == 0:
			r.trap("integer divide by zero")
		case a == math.MinInt32 && b == -1:
			r.trap("integer overflow")
		}
		r.pushI32(a / b)
	case "i32.rem_u":
		if b == 0 {
			r.trap("integer divide by zero")
		}
		r.pushI32(int32(uint32(a) % uint32(b)))
	default:
		panic("reference lacks " + op)
	}
}
