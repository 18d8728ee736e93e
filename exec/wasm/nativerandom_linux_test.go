package wasm

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/personal-power-plant/p3/exec"
)

var randomSeed = flag.Uint64("native.seed", 0, "seed of TestNativeRandomProgramsAgree, to run one again; 0 draws one")

// TestNativeRandomProgramsAgree makes modules of random functions and runs each function on both tiers, with
// the fuel for some of them to run out: the same memory, the same end, the same fuel.
func TestNativeRandomProgramsAgree(t *testing.T) {
	p := newNativePool(t, PoolOptions{})
	first := newLocal(t, LocalOptions{})
	seed := *randomSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again with -native.seed %d", seed)
	const functions = 24
	s := specOf(t, write(t, "random.wasm", string(randomModule(rand.New(rand.NewPCG(seed, 0)), functions))))
	s.Limits.Memory, s.Limits.Fuel = 3*pageSize, 2_000_000
	ends := map[exec.Status]int{}
	for i := range functions {
		s.Stdin = []byte{byte(i)}
		if !t.Run(fmt.Sprint(i), func(t *testing.T) { agree(t, first, p, s) }) {
			t.Fatalf("seed %d", seed)
		}
		ends[run(t, p, s).Status]++
	}
	t.Logf("the ends were %v", ends)
	if ends[exec.Exited] == 0 {
		t.Error("no function came to its end")
	}
}

// Value types, in the order of the locals of a random function.
const (
	typI32 = 0x7f
	typI64 = 0x7e
	typF32 = 0x7d
	typF64 = 0x7c
)

var randomTypes = []byte{typI32, typI64, typF32, typF64}

// A pick is an operator that a random expression may be made of: opcodes from..to take in.
type pick struct {
	from, to byte
	in       []byte
}

var randomPicks = map[byte][]pick{
	typI32: {
		{0x67, 0x69, []byte{typI32}}, {0xc0, 0xc1, []byte{typI32}}, {0x45, 0x45, []byte{typI32}}, {0x46, 0x4f, []byte{typI32, typI32}},
		{0x6a, 0x78, []byte{typI32, typI32}}, {0x50, 0x50, []byte{typI64}}, {0x51, 0x5a, []byte{typI64, typI64}},
		{0x5b, 0x60, []byte{typF32, typF32}}, {0x61, 0x66, []byte{typF64, typF64}}, {0xa7, 0xa7, []byte{typI64}},
		{0xa8, 0xa9, []byte{typF32}}, {0xaa, 0xab, []byte{typF64}}, {0xbc, 0xbc, []byte{typF32}},
	},
	typI64: {
		{0x79, 0x7b, []byte{typI64}}, {0xc2, 0xc4, []byte{typI64}}, {0x7c, 0x8a, []byte{typI64, typI64}}, {0xac, 0xad, []byte{typI32}},
		{0xae, 0xaf, []byte{typF32}}, {0xb0, 0xb1, []byte{typF64}}, {0xbd, 0xbd, []byte{typF64}},
	},
	typF32: {
		{0x8b, 0x91, []byte{typF32}}, {0x92, 0x98, []byte{typF32, typF32}}, {0x92, 0x98, []byte{typF32, typF32}}, {0xb2, 0xb3, []byte{typI32}},
		{0xb4, 0xb5, []byte{typI64}}, {0xb6, 0xb6, []byte{typF64}}, {0xbe, 0xbe, []byte{typI32}},
	},
	typF64: {
		{0x99, 0x9f, []byte{typF64}}, {0xa0, 0xa6, []byte{typF64, typF64}}, {0xa0, 0xa6, []byte{typF64, typF64}}, {0xb7, 0xb8, []byte{typI32}},
		{0xb9, 0xba, []byte{typI64}}, {0xbb, 0xbb, []byte{typF32}}, {0xbf, 0xbf, []byte{typI64}},
	},
}

// Loads and stores by type; any alignment is 1.
var (
	randomLoads = map[byte][]byte{
		typI32: {0x28, 0x2c, 0x2d, 0x2e, 0x2f}, typI64: {0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35}, typF32: {0x2a}, typF64: {0x2b},
	}
	randomStores = map[byte][]byte{typI32: {0x36, 0x3a, 0x3b}, typI64: {0x37, 0x3c, 0x3d, 0x3e}, typF32: {0x38}, typF64: {0x39}}
)

// A random function takes one value of each type and returns an f64: parameters 0 to 3, four more locals
// of the same types, and a counter for each loop around.
const (
	randomLocals = 8
	randomLoops  = 3
	randomTable  = 64 // entries; the rest is null
	randomFirst  = 3  // index of the first, after two imports and _start
)

type randomizer struct {
	*rand.Rand
	b     []byte
	left  int // operators, about
	self  int // number of the function
	loops int // around
	depth int // labels around
}

func (g *randomizer) op(b ...byte)         { g.b = append(g.b, b...); g.left-- }
func (g *randomizer) u(v uint64)           { g.b = binary.AppendUvarint(g.b, v) }
func (g *randomizer) one(list []byte) byte { return list[g.IntN(len(list))] }

func (g *randomizer) i32(v int32) { g.op(0x41); g.b = appendSigned(g.b, int64(v)) }

func appendSigned(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// bits are of numbers on which machines and compilers could differ.
func (g *randomizer) bits() uint64 {
	list := []uint64{0, 1, 1 << 63, 0x3ff0000000000000, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000000, 0x7ff4000000000001,
		0x41dfffffffc00000, 0xc1e0000000000000, 0x43e0000000000000, 0x000fffffffffffff, 0x7fefffffffffffff, g.Uint64()}
	return list[g.IntN(len(list))]
}

func (g *randomizer) bits32() uint32 {
	list := []uint32{0, 1, 1 << 31, 0x3f800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7fa00001, 0x4effffff, 0x4f000000, 0x5f000000, g.Uint32()}
	return list[g.IntN(len(list))]
}

func (g *randomizer) constant(typ byte) {
	switch typ {
	case typI32:
		g.i32([]int32{0, 1, -1, 7, 1 << 20, -1 << 31, int32(g.Uint32())}[g.IntN(7)])
	case typI64:
		g.op(0x42)
		g.b = appendSigned(g.b, []int64{0, 1, -1, 7, 1 << 40, -1 << 63, int64(g.Uint64())}[g.IntN(7)])
	case typF32:
		g.op(0x43)
		g.b = binary.LittleEndian.AppendUint32(g.b, g.bits32())
	case typF64:
		g.op(0x44)
		g.b = binary.LittleEndian.AppendUint64(g.b, g.bits())
	}
}

func (g *randomizer) local(typ byte) uint64 {
	return uint64(typI32-typ) + 4*uint64(g.IntN(2))
}

// address is most often within the first page.
func (g *randomizer) address(d int) {
	g.expr(typI32, d)
	if g.IntN(400) > 0 {
		g.i32(0x7fff)
		g.op(0x71)
	}
}

// expr pushes a value.
func (g *randomizer) expr(typ byte, d int) {
	if d <= 0 || g.left < 0 {
		if g.IntN(3) == 0 {
			g.constant(typ)
			return
		}
		g.op(0x20)
		g.u(g.local(typ))
		return
	}
	switch g.IntN(16) {
	case 0:
		g.address(d - 1)
		g.op(g.one(randomLoads[typ]), 0)
		g.u(uint64(g.IntN(200)))
	case 1:
		g.expr(typ, d-1)
		g.expr(typ, d-1)
		g.expr(typI32, d-1)
		g.op(0x1b)
	case 2:
		g.expr(typI32, d-1)
		g.op(0x04, typ)
		g.depth++
		g.expr(typ, d-1)
		g.op(0x05)
		g.expr(typ, d-1)
		g.op(0x0b)
		g.depth--
	case 3:
		g.expr(typ, d-1)
		g.op(0x22)
		g.u(g.local(typ))
	case 4:
		if typ == typF64 {
			g.call(d - 1)
			return
		}
		if typ == typI32 {
			if g.IntN(2) == 0 {
				g.op(0x3f, 0)
				return
			}
			g.expr(typI32, 0)
			g.op(0x40, 0)
			return
		}
		g.constant(typ)
	default:
		list := randomPicks[typ]
		p := list[g.IntN(len(list))]
		code := p.from + byte(g.IntN(int(p.to-p.from)+1))
		for i, in := range p.in {
			g.expr(in, d-1)
			if i == 1 && g.IntN(30) > 0 { // few divisions by zero
				switch {
				case code >= 0x6d && code <= 0x70:
					g.i32(3)
					g.op(0x72)
				case code >= 0x7f && code <= 0x82:
					g.op(0x42, 3, 0x84)
				}
			}
		}
		switch { // most conversions saturate instead of trapping
		case code >= 0xa8 && code <= 0xab && g.IntN(30) > 0:
			g.op(0xfc, code-0xa8)
		case code >= 0xae && code <= 0xb1 && g.IntN(30) > 0:
			g.op(0xfc, code-0xae+4)
		default:
			g.op(code)
		}
	}
}

// call calls a function before this one, or now and then any, itself too: depth or fuel ends what would not.
func (g *randomizer) call(d int) {
	for _, typ := range randomTypes {
		g.expr(typ, d)
	}
	if g.self > 3 && g.IntN(30) > 0 {
		g.op(0x10)
		g.u(uint64(randomFirst + g.IntN(g.self/4)))
		return
	}
	g.expr(typI32, d)
	g.i32(randomTable - 1)
	g.op(0x71, 0x11, 1, 0)
}

func (g *randomizer) statements(d int) {
	for range 1 + g.IntN(4) {
		if g.left > 0 {
			g.statement(d)
		}
	}
}

func (g *randomizer) statement(d int) {
	typ := g.one(randomTypes)
	switch k := g.IntN(14); {
	case k < 4:
		g.expr(typ, d)
		g.op(0x21)
		g.u(g.local(typ))
	case k < 8:
		g.address(d - 1)
		g.expr(typ, d)
		g.op(g.one(randomStores[typ]), 0)
		g.u(uint64(g.IntN(200)))
	case k == 8 && d > 0:
		g.expr(typI32, d-1)
		g.op(0x04, 0x40)
		g.depth++
		g.statements(d - 1)
		g.op(0x05)
		g.statements(d - 1)
		g.op(0x0b)
		g.depth--
	case k == 9 && d > 0 && g.loops < randomLoops:
		counter := uint64(randomLocals + g.loops)
		g.i32(int32(g.IntN(12)))
		g.op(0x21)
		g.u(counter)
		g.op(0x03, 0x40)
		g.loops++
		g.depth++
		g.statements(d - 1)
		g.op(0x20)
		g.u(counter)
		g.op(0x41, 1, 0x6b, 0x22)
		g.u(counter)
		g.op(0x41, 0, 0x4a, 0x0d, 0, 0x0b)
		g.loops--
		g.depth--
	case k == 10 && d > 0:
		g.op(0x02, 0x40)
		g.depth++
		g.expr(typI32, d-1)
		if g.IntN(2) == 0 {
			g.op(0x0d, 0)
		} else {
			g.op(0x04, 0x40)
			g.statements(d - 1)
			g.op(0x0c, 1, 0x0b)
		}
		g.statements(d - 1)
		g.op(0x0b)
		g.depth--
	case k == 11:
		g.address(0)
		if g.IntN(2) == 0 {
			g.expr(typI32, 0)
			g.i32(int32(g.IntN(3000)))
			g.op(0xfc, 11, 0)
		} else {
			g.address(0)
			g.i32(int32(g.IntN(3000)))
			g.op(0xfc, 10, 0, 0)
		}
	case k == 12 && g.depth > 1 && g.IntN(4) == 0:
		g.expr(typF64, 1)
		g.expr(typI32, 1)
		g.op(0x04, 0x7c) // returns, or drops it
		g.constant(typF64)
		g.op(0x0f, 0x05)
		g.constant(typF64)
		g.op(0x0b, 0x1a, 0x1a)
	case k == 13 && g.self > 0:
		g.call(0)
		g.op(0x1a)
	default:
		g.op(0x01)
	}
}

// randomModule has functions in its table, and a _start that runs the one that a byte on stdin says and
// writes its memory to stdout.
func randomModule(r *rand.Rand, functions int) []byte {
	section := func(b []byte, id byte, items ...[]byte) []byte {
		content := binary.AppendUvarint(nil, uint64(len(items)))
		for _, i := range items {
			content = append(content, i...)
		}
		return append(binary.AppendUvarint(append(b, id), uint64(len(content))), content...)
	}
	body := func(code []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(code))), code...) }
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	wasi := func(f string) []byte { return append(append(name("wasi_snapshot_preview1"), name(f)...), 0, 2) }

	start := &randomizer{Rand: r}
	start.op(0)                                                           // no locals
	start.op(0x41, 0, 0x41, 16, 0x36, 2, 0, 0x41, 4, 0x41, 1, 0x36, 2, 0) // one byte to 16
	start.op(0x41, 0, 0x41, 0, 0x41, 1, 0x41, 8, 0x10, 0, 0x1a)
	start.op(0x41, 24) // its result to 24
	for _, typ := range randomTypes {
		start.constant(typ)
	}
	start.op(0x41, 16, 0x2d, 0, 0, 0x11, 1, 0, 0x39, 0, 0)
	start.op(0x41, 0, 0x41, 0, 0x36, 2, 0, 0x41, 4, 0x41, 0x80, 0x80, 4, 0x36, 2, 0)
	start.op(0x41, 1, 0x41, 0, 0x41, 1, 0x41, 8, 0x10, 1, 0x1a, 0x0b)

	types := [][]byte{{0x60, 0, 0}, {0x60, 4, typI32, typI64, typF32, typF64, 1, typF64}, {0x60, 4, typI32, typI32, typI32, typI32, 1, typI32}}
	funcs, bodies := [][]byte{{0}}, [][]byte{body(start.b)}
	elements := []byte{0, 0x41, 0, 0x0b}
	elements = binary.AppendUvarint(elements, uint64(functions))
	for i := range functions {
		g := &randomizer{Rand: r, left: 20 + r.IntN(300), depth: 1, self: i}
		g.op(5, 1, typI32, 1, typI64, 1, typF32, 1, typF64, randomLoops, typI32)
		for g.left > 0 {
			g.statement(3)
		}
		g.expr(typF64, 2)
		g.op(0x0b)
		funcs, bodies = append(funcs, []byte{1}), append(bodies, body(g.b))
		elements = binary.AppendUvarint(elements, uint64(randomFirst+i))
	}
	b := []byte("\x00asm\x01\x00\x00\x00")
	b = section(b, 1, types...)
	b = section(b, 2, wasi("fd_read"), wasi("fd_write"))
	b = section(b, 3, funcs...)
	b = section(b, 4, binary.AppendUvarint([]byte{0x70, 0}, randomTable))
	b = section(b, 5, []byte{1, 1, 3})
	b = section(b, 7, append(name("memory"), 2, 0), append(name("_start"), 0, 2))
	b = section(b, 9, elements)
	return section(b, 10, bodies...)
}
