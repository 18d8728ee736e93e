package meter

// Prices in fuel. One is what a simple operator of an optimising compiler takes; the others
// are rounded from measurement of wazero on amd64 (see Costs).
const (
	costFree     = 0 // structure: leaves no code
	costSimple   = 1
	costMemory   = 2 // loads and stores
	costFloat    = 2
	costRound    = 3
	costSimdMul  = 3
	costDivFloat = 5
	costDiv      = 8
	costCall     = 16
	costIndirect = 20
	costTable    = 4  // br_table
	costBulk     = 16 // and a unit for each 8 bytes or each element
	costGrow     = 64 // and costPage a page or a unit an element
	costPage     = 1024
)

func buildOps() *[768]op {
	t := new([768]op)
	buildCore(t)
	buildMisc(t)
	buildSIMD(t)
	return t
}

func buildCore(t *[768]op) {
	special(t, 0x00, costSimple, true, "unreachable")
	special(t, 0x01, costFree, false, "nop", "block", "loop")
	special(t, 0x04, costSimple, false, "if")
	special(t, 0x05, costFree, false, "else")
	special(t, 0x0b, costFree, false, "end")
	special(t, 0x0c, costSimple, false, "br", "br_if")
	special(t, 0x0e, costTable, false, "br_table")
	special(t, 0x0f, costSimple, false, "return")
	special(t, 0x10, costCall, false, "call")
	special(t, 0x11, costIndirect, true, "call_indirect")
	special(t, 0x1a, costFree, false, "drop")
	special(t, 0x1b, costSimple, false, "select", "select_t")
	special(t, 0x20, costSimple, false, "local.get", "local.set", "local.tee", "global.get", "global.set")
	special(t, 0x25, costMemory, true, "table.get", "table.set")
	special(t, 0xd0, costSimple, false, "ref.null", "ref.is_null", "ref.func")

	mem := func(code int, in, out string, align byte, names ...string) {
		set(t, code, in, out, op{imm: immMemory, arg: align, cost: costMemory, trap: true}, names...)
	}
	mem(0x28, "i", "i", 2, "i32.load")
	mem(0x29, "i", "l", 3, "i64.load")
	mem(0x2a, "i", "f", 2, "f32.load")
	mem(0x2b, "i", "d", 3, "f64.load")
	mem(0x2c, "i", "i", 0, "i32.load8_s", "i32.load8_u")
	mem(0x2e, "i", "i", 1, "i32.load16_s", "i32.load16_u")
	mem(0x30, "i", "l", 0, "i64.load8_s", "i64.load8_u")
	mem(0x32, "i", "l", 1, "i64.load16_s", "i64.load16_u")
	mem(0x34, "i", "l", 2, "i64.load32_s", "i64.load32_u")
	mem(0x36, "ii", "", 2, "i32.store")
	mem(0x37, "il", "", 3, "i64.store")
	mem(0x38, "if", "", 2, "f32.store")
	mem(0x39, "id", "", 3, "f64.store")
	mem(0x3a, "ii", "", 0, "i32.store8")
	mem(0x3b, "ii", "", 1, "i32.store16")
	mem(0x3c, "il", "", 0, "i64.store8")
	mem(0x3d, "il", "", 1, "i64.store16")
	mem(0x3e, "il", "", 2, "i64.store32")
	set(t, 0x3f, "", "i", op{imm: immBytes, arg: 1, cost: costSimple}, "memory.size")
	set(t, 0x40, "i", "i", op{imm: immBytes, arg: 1, cost: costGrow, trap: true}, "memory.grow")

	one := op{cost: costSimple}
	set(t, 0x41, "", "i", op{imm: immI32, cost: costSimple}, "i32.const")
	set(t, 0x42, "", "l", op{imm: immI64, cost: costSimple}, "i64.const")
	set(t, 0x43, "", "f", op{imm: immBytes, arg: 4, cost: costSimple}, "f32.const")
	set(t, 0x44, "", "d", op{imm: immBytes, arg: 8, cost: costSimple}, "f64.const")

	set(t, 0x45, "i", "i", one, "i32.eqz")
	set(t, 0x46, "ii", "i", one, "i32.eq", "i32.ne", "i32.lt_s", "i32.lt_u", "i32.gt_s", "i32.gt_u", "i32.le_s", "i32.le_u", "i32.ge_s", "i32.ge_u")
	set(t, 0x50, "l", "i", one, "i64.eqz")
	set(t, 0x51, "ll", "i", one, "i64.eq", "i64.ne", "i64.lt_s", "i64.lt_u", "i64.gt_s", "i64.gt_u", "i64.le_s", "i64.le_u", "i64.ge_s", "i64.ge_u")
	cmp := op{cost: costFloat, nan: nanBlind}
	set(t, 0x5b, "ff", "i", cmp, "f32.eq", "f32.ne", "f32.lt", "f32.gt", "f32.le", "f32.ge")
	set(t, 0x61, "dd", "i", cmp, "f64.eq", "f64.ne", "f64.lt", "f64.gt", "f64.le", "f64.ge")

	div := op{cost: costDiv, trap: true}
	set(t, 0x67, "i", "i", one, "i32.clz", "i32.ctz", "i32.popcnt")
	set(t, 0x6a, "ii", "i", one, "i32.add", "i32.sub", "i32.mul")
	set(t, 0x6d, "ii", "i", div, "i32.div_s", "i32.div_u", "i32.rem_s", "i32.rem_u")
	set(t, 0x71, "ii", "i", one, "i32.and", "i32.or", "i32.xor", "i32.shl", "i32.shr_s", "i32.shr_u", "i32.rotl", "i32.rotr")
	set(t, 0x79, "l", "l", one, "i64.clz", "i64.ctz", "i64.popcnt")
	set(t, 0x7c, "ll", "l", one, "i64.add", "i64.sub", "i64.mul")
	set(t, 0x7f, "ll", "l", div, "i64.div_s", "i64.div_u", "i64.rem_s", "i64.rem_u")
	set(t, 0x83, "ll", "l", one, "i64.and", "i64.or", "i64.xor", "i64.shl", "i64.shr_s", "i64.shr_u", "i64.rotl", "i64.rotr")

	pass := op{cost: costSimple, nan: nanPass}
	round := op{cost: costRound, nan: nanMake}
	arith := op{cost: costFloat, nan: nanMake}
	slow := op{cost: costDivFloat, nan: nanMake}
	for i, p := range []string{"f32", "f64"} {
		base, x := 0x8b+14*i, []string{"f", "d"}[i]
		set(t, base, x, x, pass, p+".abs", p+".neg")
		set(t, base+2, x, x, round, p+".ceil", p+".floor", p+".trunc", p+".nearest")
		set(t, base+6, x, x, slow, p+".sqrt")
		set(t, base+7, x+x, x, arith, p+".add", p+".sub", p+".mul")
		set(t, base+10, x+x, x, slow, p+".div")
		set(t, base+11, x+x, x, round, p+".min", p+".max")
		set(t, base+13, x+x, x, op{cost: costSimple, nan: nanSign}, p+".copysign")
	}

	conv := op{cost: costFloat}
	trunc := op{cost: costRound, trap: true, nan: nanBlind}
	set(t, 0xa7, "l", "i", one, "i32.wrap_i64")
	set(t, 0xa8, "f", "i", trunc, "i32.trunc_f32_s", "i32.trunc_f32_u")
	set(t, 0xaa, "d", "i", trunc, "i32.trunc_f64_s", "i32.trunc_f64_u")
	set(t, 0xac, "i", "l", one, "i64.extend_i32_s", "i64.extend_i32_u")
	set(t, 0xae, "f", "l", trunc, "i64.trunc_f32_s", "i64.trunc_f32_u")
	set(t, 0xb0, "d", "l", trunc, "i64.trunc_f64_s", "i64.trunc_f64_u")
	set(t, 0xb2, "i", "f", conv, "f32.convert_i32_s", "f32.convert_i32_u")
	set(t, 0xb4, "l", "f", conv, "f32.convert_i64_s", "f32.convert_i64_u")
	set(t, 0xb6, "d", "f", arith, "f32.demote_f64")
	set(t, 0xb7, "i", "d", conv, "f64.convert_i32_s", "f64.convert_i32_u")
	set(t, 0xb9, "l", "d", conv, "f64.convert_i64_s", "f64.convert_i64_u")
	set(t, 0xbb, "f", "d", arith, "f64.promote_f32")
	set(t, 0xbc, "f", "i", one, "i32.reinterpret_f32")
	set(t, 0xbd, "d", "l", one, "i64.reinterpret_f64")
	set(t, 0xbe, "i", "f", one, "f32.reinterpret_i32")
	set(t, 0xbf, "l", "d", one, "f64.reinterpret_i64")
	set(t, 0xc0, "i", "i", one, "i32.extend8_s", "i32.extend16_s")
	set(t, 0xc2, "l", "l", one, "i64.extend8_s", "i64.extend16_s", "i64.extend32_s")
}

func buildMisc(t *[768]op) {
	const misc = 256
	sat := op{cost: costRound, nan: nanBlind}
	set(t, misc+0, "f", "i", sat, "i32.trunc_sat_f32_s", "i32.trunc_sat_f32_u")
	set(t, misc+2, "d", "i", sat, "i32.trunc_sat_f64_s", "i32.trunc_sat_f64_u")
	set(t, misc+4, "f", "l", sat, "i64.trunc_sat_f32_s", "i64.trunc_sat_f32_u")
	set(t, misc+6, "d", "l", sat, "i64.trunc_sat_f64_s", "i64.trunc_sat_f64_u")
	special(t, misc+8, costBulk, true, "memory.init", "-", "memory.copy", "memory.fill", "table.init", "-", "table.copy")
	special(t, misc+9, costSimple, false, "data.drop")
	special(t, misc+13, costSimple, false, "elem.drop")
	special(t, misc+15, costGrow, true, "table.grow")
	special(t, misc+16, costSimple, false, "table.size")
	special(t, misc+17, costBulk, true, "table.fill")
}
