package meter

// An operator of the table. Operators whose types depend on the module (control, calls,
// variables, tables, select, drop, references) have code in operator.go; here they have
// name and price only.
type op struct {
	name string
	in   []byte // operand types, first pushed first
	out  byte   // result type, 0 for none
	imm  imm
	arg  byte // imm memory: log2 of the natural alignment; imm lane: number of lanes
	cost uint16
	trap bool // may trap
	nan  nanClass
	lane byte // nan: lanes of a v128 operand, laneF32 or laneF64; of the result when it is a producer
	used bool
	sig  bool // in and out are complete
}

// What follows the opcode.
type imm byte

const (
	immNone imm = iota
	immMemory
	immLane
	immMemoryLane
	immBytes // arg bytes
	immShuffle
	immI32
	immI64
)

// ops by code: one byte, or prefix 0xfc and 0xfd with the number after it in the low byte.
var ops = buildOps()

func opAt(prefix byte, code uint32) *op {
	switch {
	case prefix == 0xfc && code < 256:
		return &ops[256+code]
	case prefix == 0xfd && code < 256:
		return &ops[512+code]
	case prefix == 0:
		return &ops[code&0xff]
	}
	return nil
}

func types(s string) []byte {
	letter := map[rune]byte{'i': i32, 'l': i64, 'f': f32, 'd': f64, 'v': v128}
	var ts []byte
	for _, c := range s {
		ts = append(ts, letter[c])
	}
	return ts
}

// set fills a run of operators that share everything but their names, from code on. "-"
// leaves a code unused.
func set(t *[768]op, code int, in, out string, proto op, names ...string) {
	proto.used, proto.sig, proto.in = true, true, types(in)
	if out != "" {
		proto.out = types(out)[0]
	}
	for _, n := range names {
		if n != "-" {
			o := proto
			o.name = n
			t[code] = o
		}
		code++
	}
}

// special fills operators whose types need the module.
func special(t *[768]op, code int, cost uint16, trap bool, names ...string) {
	for _, n := range names {
		if n != "-" {
			t[code] = op{name: n, cost: cost, trap: trap, used: true}
		}
		code++
	}
}
