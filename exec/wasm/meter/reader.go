package meter

import "unicode/utf8"

// A reader decodes the binary format's primitives. Whatever is wrong panics with a fault.
type reader struct {
	b   []byte
	pos int
	end int
}

func (r *reader) fail(reason string) { panic(fault{ErrMalformed{r.pos, reason}}) }

func (r *reader) refuse(feature string) { panic(fault{ErrUnsupported{feature, r.pos}}) }

func (r *reader) more() bool { return r.pos < r.end }

func (r *reader) byte() byte {
	if r.pos >= r.end {
		r.fail("unexpected end")
	}
	c := r.b[r.pos]
	r.pos++
	return c
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.end-r.pos) {
		r.fail("unexpected end")
	}
	b := r.b[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b
}

// sub returns a reader of the next n bytes and steps over them.
func (r *reader) sub(n uint32) reader {
	r.bytes(n)
	return reader{r.b, r.pos - int(n), r.pos}
}

// u32 reads unsigned LEB128 of at most 32 bits in at most 5 bytes.
func (r *reader) u32() uint32 {
	if r.pos < r.end && r.b[r.pos] < 0x80 {
		r.pos++
		return uint32(r.b[r.pos-1])
	}
	var v uint32
	for shift := 0; ; shift += 7 {
		c := r.byte()
		if shift == 28 && c > 0x0f {
			r.fail("integer longer than 32 bits")
		}
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
}

// signed reads signed LEB128 of at most bits in at most ceil(bits/7) bytes.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if left := bits - shift; left < 7 {
			// What does not fit must repeat the sign bit, and there is no further byte.
			if top := int8(c<<1) >> left; c >= 0x80 || top != 0 && top != -1 {
				r.fail("integer too long")
			}
		}
		if c < 0x80 {
			if shift+7 < 64 {
				v = v << (57 - shift) >> (57 - shift)
			}
			return v
		}
	}
}

// count reads a vector's length: at most limit, and at most one for each byte left.
func (r *reader) count(what string, limit uint64) int {
	n := r.u32()
	if uint64(n) > uint64(r.end-r.pos) {
		r.fail(what + ": length out of bounds")
	}
	atMost(what, uint64(n), limit)
	return int(n)
}

func (r *reader) name() string {
	n := r.u32()
	b := r.bytes(n)
	atMost("a name's bytes", uint64(n), MaxNameLength)
	if !utf8.Valid(b) {
		r.fail("malformed UTF-8 encoding")
	}
	return string(b)
}
