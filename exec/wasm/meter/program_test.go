package meter_test

import (
	"encoding/binary"
	"math"
)

// An ins is one operator of a test program, with the bodies of a block inside it.
type ins struct {
	op      string
	a       int64 // immediate
	f       float64
	typ     byte // block: 0x40, or result type; 0 for type index a
	body    []ins
	els     []ins // of an if; nil for none
	targets []int64
}

// A fn is a function of a test program; its type is (i32 x params) -> i32 unless typ says otherwise.
type fn struct {
	params int
	locals []byte // further ones
	body   []ins
}

// A program has a memory of one page (three at most), a table of its functions and the
// export "run" for the last function. Function i of the program has index i.
type program struct {
	fns   []fn
	table []int
}

const (
	tI32  = 0x7f
	tI64  = 0x7e
	tF32  = 0x7d
	tF64  = 0x7c
	tV128 = 0x7b
	tVoid = 0x40

	memoryPages    = 1
	memoryMaxPages = 3
	maxParams      = 3
	typeLoopI32    = maxParams + 1 // (i32) -> i32 as a block type
)

var opcodes = map[string][]byte{
	"unreachable": {0x00}, "nop": {0x01}, "block": {0x02}, "loop": {0x03}, "if": {0x04}, "br": {0x0c}, "br_if": {0x0d},
	"br_table": {0x0e}, "return": {0x0f}, "call": {0x10}, "call_indirect": {0x11}, "drop": {0x1a}, "select": {0x1b},
	"local.get": {0x20}, "local.set": {0x21}, "local.tee": {0x22}, "i32.load": {0x28}, "i64.load": {0x29}, "f32.load": {0x2a}, "f64.load": {0x2b}, "i32.store": {0x36},
	"i64.store": {0x37}, "f32.store": {0x38}, "f64.store": {0x39}, "memory.size": {0x3f}, "memory.grow": {0x40}, "i32.const": {0x41},
	"i64.const": {0x42}, "f32.const": {0x43}, "f64.const": {0x44}, "i32.eqz": {0x45}, "f32.eq": {0x5b}, "f64.eq": {0x61}, "i32.lt_s": {0x48}, "i32.gt_s": {0x4a}, "i32.add": {0x6a},
	"i32.sub": {0x6b}, "i32.mul": {0x6c}, "i32.div_s": {0x6d}, "i32.rem_u": {0x70}, "i32.and": {0x71}, "i32.xor": {0x73},
	"i64.add": {0x7c}, "i64.mul": {0x7e}, "i64.div_u": {0x80}, "i32.wrap_i64": {0xa7}, "i64.extend_i32_s": {0xac},
	"memory.copy": {0xfc, 10}, "memory.fill": {0xfc, 11}, "table.size": {0xfc, 16},
	"f32.abs": {0x8b}, "f32.neg": {0x8c}, "f32.ceil": {0x8d}, "f32.nearest": {0x90}, "f32.sqrt": {0x91}, "f32.add": {0x92}, "f32.sub": {0x93},
	"f32.mul": {0x94}, "f32.div": {0x95}, "f32.min": {0x96}, "f32.max": {0x97}, "f32.copysign": {0x98},
	"f64.abs": {0x99}, "f64.neg": {0x9a}, "f64.ceil": {0x9b}, "f64.nearest": {0x9e}, "f64.sqrt": {0x9f}, "f64.add": {0xa0}, "f64.sub": {0xa1},
	"f64.mul": {0xa2}, "f64.div": {0xa3}, "f64.min": {0xa4}, "f64.max": {0xa5}, "f64.copysign": {0xa6},
	"f32.demote_f64": {0xb6}, "f64.promote_f32": {0xbb}, "i32.reinterpret_f32": {0xbc}, "i64.reinterpret_f64": {0xbd},
	"f32x4.splat": {0xfd, 19}, "f64x2.splat": {0xfd, 20}, "f32x4.extract_lane": {0xfd, 31}, "f64x2.extract_lane": {0xfd, 33},
	"f32x4.demote_f64x2_zero": {0xfd, 94}, "f64x2.promote_low_f32x4": {0xfd, 95}, "v128.load": {0xfd, 0}, "v128.store": {0xfd, 11}, "v128.not": {0xfd, 77}, "v128.bitselect": {0xfd, 82},
	"f32x4.eq": {0xfd, 65}, "f64x2.eq": {0xfd, 71}, "f64x2.add": {0xfd, 0xf0, 1},
	"f32x4.abs": {0xfd, 0xe0, 1}, "f32x4.neg": {0xfd, 0xe1, 1}, "f32x4.sqrt": {0xfd, 0xe3, 1}, "f32x4.add": {0xfd, 0xe4, 1},
	"f32x4.div": {0xfd, 0xe7, 1}, "f32x4.min": {0xfd, 0xe8, 1}, "f32x4.pmin": {0xfd, 0xea, 1}, "f32x4.nearest": {0xfd, 106},
	"f64x2.abs": {0xfd, 0xec, 1}, "f64x2.neg": {0xfd, 0xed, 1}, "f64x2.sqrt": {0xfd, 0xef, 1}, "f64x2.sub": {0xfd, 0xf1, 1},
	"f64x2.mul": {0xfd, 0xf2, 1}, "f64x2.max": {0xfd, 0xf5, 1}, "f64x2.pmin": {0xfd, 0xf6, 1}, "f64x2.div": {0xfd, 0xf3, 1}, "f64x2.pmax": {0xfd, 0xf7, 1}, "f64x2.ceil": {0xfd, 116},
}

func leb(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func uleb(b []byte, v int) []byte { return binary.AppendUvarint(b, uint64(v)) }

func assemble(b []byte, body []ins) []byte {
	for _, i := range body {
		b = append(b, opcodes[i.op]...)
		switch i.op {
		case "block", "loop", "if":
			if i.typ == 0 {
				b = leb(b, i.a)
			} else {
				b = append(b, i.typ)
			}
			b = assemble(b, i.body)
			if i.els != nil {
				b = assemble(append(b, 0x05), i.els)
			}
			b = append(b, 0x0b)
		case "br", "br_if", "call", "local.get", "local.set", "local.tee":
			b = uleb(b, int(i.a))
		case "br_table":
			b = uleb(b, len(i.targets)-1)
			for _, t := range i.targets {
				b = uleb(b, int(t))
			}
		case "call_indirect":
			b = append(uleb(b, int(i.a)), 0)
		case "i32.const", "i64.const":
			b = leb(b, i.a)
		case "f32.const":
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(i.f)))
		case "f64.const":
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(i.f))
		case "i32.load", "i64.load", "f32.load", "f64.load", "i32.store", "i64.store", "f32.store", "f64.store", "v128.load", "v128.store":
			b = uleb(append(b, 0), int(i.a))
		case "memory.size", "memory.grow", "memory.fill", "table.size", "f32x4.extract_lane", "f64x2.extract_lane":
			b = append(b, byte(i.a))
		case "memory.copy":
			b = append(b, 0, 0)
		}
	}
	return b
}

func section(b []byte, id byte, content []byte) []byte {
	return append(uleb(append(b, id), len(content)), content...)
}

func vec(items ...[]byte) []byte {
	b := uleb(nil, len(items))
	for _, i := range items {
		b = append(b, i...)
	}
	return b
}

const header = "\x00asm\x01\x00\x00\x00"

// encode writes the module.
func (p program) encode() []byte {
	var types, funcs, codes, elems [][]byte
	for n := range maxParams + 1 {
		t := uleb([]byte{0x60}, n)
		for range n {
			t = append(t, tI32)
		}
		types = append(types, append(t, 1, tI32))
	}
	types = append(types, []byte{0x60, 1, tI32, 1, tI32})
	for _, f := range p.fns {
		funcs = append(funcs, uleb(nil, f.params))
		b := uleb(nil, len(f.locals))
		for _, l := range f.locals {
			b = append(b, 1, l)
		}
		b = append(assemble(b, f.body), 0x0b)
		codes = append(codes, append(uleb(nil, len(b)), b...))
	}
	for _, i := range p.table {
		elems = append(elems, uleb(nil, i))
	}
	b := []byte(header)
	b = section(b, 1, vec(types...))
	b = section(b, 3, vec(funcs...))
	b = section(b, 4, vec(append([]byte{0x70, 0}, uleb(nil, len(p.table)+1)...))) // the last is null
	b = section(b, 5, vec([]byte{1, memoryPages, memoryMaxPages}))
	b = section(b, 7, vec(append([]byte("\x03run\x00"), uleb(nil, len(p.fns)-1)...), []byte("\x03mem\x02\x00")))
	b = section(b, 9, vec(append([]byte{0, 0x41, 0, 0x0b}, vec(elems...)...)))
	return section(b, 10, vec(codes...))
}
