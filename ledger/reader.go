package ledger

import "encoding/binary"

// A reader takes fixed big-endian fields off a record whose length its caller has checked.
// It notes the first number that is out of range.
type reader struct {
	b   []byte
	bad string
}

func (r *reader) next(n int) []byte {
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() uint8        { return r.next(1)[0] }
func (r *reader) u16() uint16      { return binary.BigEndian.Uint16(r.next(2)) }
func (r *reader) u32() uint32      { return binary.BigEndian.Uint32(r.next(4)) }
func (r *reader) u64() uint64      { return binary.BigEndian.Uint64(r.next(8)) }
func (r *reader) word() Digest     { return Digest(r.next(32)) }
func (r *reader) account() Account { return Account(r.next(20)) }

func (r *reader) credits() Credits {
	v := r.u64()
	if v > uint64(MaxCredits) {
		r.note("amount")
	}
	return Credits(v)
}

func (r *reader) time() uint64 {
	v := r.u64()
	if v > maxTimeMs {
		r.note("time")
	}
	return v
}

func (r *reader) note(what string) {
	if r.bad == "" {
		r.bad = what
	}
}
