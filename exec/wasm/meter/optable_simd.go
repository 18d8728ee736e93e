package meter

// buildSIMD fills the 128-bit operators (WebAssembly 2.0, section 5.4.8).
func buildSIMD(t *[768]op) {
	const simd = 512
	at := func(code int, in, out string, proto op, names ...string) { set(t, simd+code, in, out, proto, names...) }
	mem := func(code int, in, out string, align byte, names ...string) {
		at(code, in, out, op{imm: immMemory, arg: align, cost: costMemory, trap: true}, names...)
	}
	one := op{cost: costSimple}
	mul := op{cost: costSimdMul}

	mem(0, "i", "v", 4, "v128.load")
	mem(1, "i", "v", 3, "v128.load8x8_s", "v128.load8x8_u", "v128.load16x4_s", "v128.load16x4_u", "v128.load32x2_s", "v128.load32x2_u")
	for i, n := range []string{"v128.load8_splat", "v128.load16_splat", "v128.load32_splat", "v128.load64_splat"} {
		mem(7+i, "i", "v", byte(i), n)
	}
	mem(11, "iv", "", 4, "v128.store")
	at(12, "", "v", op{imm: immBytes, arg: 16, cost: costSimple}, "v128.const")
	at(13, "vv", "v", op{imm: immShuffle, cost: costSimdMul}, "i8x16.shuffle")
	at(14, "vv", "v", one, "i8x16.swizzle")
	at(15, "i", "v", one, "i8x16.splat", "i16x8.splat", "i32x4.splat")
	at(18, "l", "v", one, "i64x2.splat")
	at(19, "f", "v", one, "f32x4.splat")
	at(20, "d", "v", one, "f64x2.splat")
	lane := func(code int, in, out string, n byte, names ...string) {
		at(code, in, out, op{imm: immLane, arg: n, cost: costSimple}, names...)
	}
	lane(21, "v", "i", 16, "i8x16.extract_lane_s", "i8x16.extract_lane_u")
	lane(23, "vi", "v", 16, "i8x16.replace_lane")
	lane(24, "v", "i", 8, "i16x8.extract_lane_s", "i16x8.extract_lane_u")
	lane(26, "vi", "v", 8, "i16x8.replace_lane")
	lane(27, "v", "i", 4, "i32x4.extract_lane")
	lane(28, "vi", "v", 4, "i32x4.replace_lane")
	lane(29, "v", "l", 2, "i64x2.extract_lane")
	lane(30, "vl", "v", 2, "i64x2.replace_lane")
	lane(31, "v", "f", 4, "f32x4.extract_lane")
	lane(32, "vf", "v", 4, "f32x4.replace_lane")
	lane(33, "v", "d", 2, "f64x2.extract_lane")
	lane(34, "vd", "v", 2, "f64x2.replace_lane")

	for i, p := range []string{"i8x16", "i16x8", "i32x4"} {
		at(35+10*i, "vv", "v", one, p+".eq", p+".ne", p+".lt_s", p+".lt_u", p+".gt_s", p+".gt_u", p+".le_s", p+".le_u", p+".ge_s", p+".ge_u")
	}
	at(214, "vv", "v", one, "i64x2.eq", "i64x2.ne", "i64x2.lt_s", "i64x2.gt_s", "i64x2.le_s", "i64x2.ge_s")
	at(77, "v", "v", one, "v128.not")
	at(78, "vv", "v", one, "v128.and", "v128.andnot", "v128.or", "v128.xor")
	at(82, "vvv", "v", one, "v128.bitselect")
	at(83, "v", "i", one, "v128.any_true")
	for i, n := range []string{"8", "16", "32", "64"} {
		l := op{imm: immMemoryLane, arg: byte(i), cost: costMemory, trap: true}
		at(84+i, "iv", "v", l, "v128.load"+n+"_lane")
		at(88+i, "iv", "", l, "v128.store"+n+"_lane")
	}
	mem(92, "i", "v", 2, "v128.load32_zero")
	mem(93, "i", "v", 3, "v128.load64_zero")

	at(96, "v", "v", one, "i8x16.abs", "i8x16.neg", "i8x16.popcnt")
	at(99, "v", "i", one, "i8x16.all_true", "i8x16.bitmask")
	at(101, "vv", "v", one, "i8x16.narrow_i16x8_s", "i8x16.narrow_i16x8_u")
	at(107, "vi", "v", one, "i8x16.shl", "i8x16.shr_s", "i8x16.shr_u")
	at(110, "vv", "v", one, "i8x16.add", "i8x16.add_sat_s", "i8x16.add_sat_u", "i8x16.sub", "i8x16.sub_sat_s", "i8x16.sub_sat_u")
	at(118, "vv", "v", one, "i8x16.min_s", "i8x16.min_u", "i8x16.max_s", "i8x16.max_u", "-", "i8x16.avgr_u")
	at(124, "v", "v", one, "i16x8.extadd_pairwise_i8x16_s", "i16x8.extadd_pairwise_i8x16_u", "i32x4.extadd_pairwise_i16x8_s", "i32x4.extadd_pairwise_i16x8_u")

	at(128, "v", "v", one, "i16x8.abs", "i16x8.neg")
	at(130, "vv", "v", mul, "i16x8.q15mulr_sat_s")
	at(131, "v", "i", one, "i16x8.all_true", "i16x8.bitmask")
	at(133, "vv", "v", one, "i16x8.narrow_i32x4_s", "i16x8.narrow_i32x4_u")
	at(135, "v", "v", one, "i16x8.extend_low_i8x16_s", "i16x8.extend_high_i8x16_s", "i16x8.extend_low_i8x16_u", "i16x8.extend_high_i8x16_u")
	at(139, "vi", "v", one, "i16x8.shl", "i16x8.shr_s", "i16x8.shr_u")
	at(142, "vv", "v", one, "i16x8.add", "i16x8.add_sat_s", "i16x8.add_sat_u", "i16x8.sub", "i16x8.sub_sat_s", "i16x8.sub_sat_u")
	at(149, "vv", "v", mul, "i16x8.mul")
	at(150, "vv", "v", one, "i16x8.min_s", "i16x8.min_u", "i16x8.max_s", "i16x8.max_u", "-", "i16x8.avgr_u")
	at(156, "vv", "v", mul, "i16x8.extmul_low_i8x16_s", "i16x8.extmul_high_i8x16_s", "i16x8.extmul_low_i8x16_u", "i16x8.extmul_high_i8x16_u")

	at(160, "v", "v", one, "i32x4.abs", "i32x4.neg")
	at(163, "v", "i", one, "i32x4.all_true", "i32x4.bitmask")
	at(167, "v", "v", one, "i32x4.extend_low_i16x8_s", "i32x4.extend_high_i16x8_s", "i32x4.extend_low_i16x8_u", "i32x4.extend_high_i16x8_u")
	at(171, "vi", "v", one, "i32x4.shl", "i32x4.shr_s", "i32x4.shr_u")
	at(174, "vv", "v", one, "i32x4.add", "-", "-", "i32x4.sub")
	at(181, "vv", "v", mul, "i32x4.mul")
	at(182, "vv", "v", one, "i32x4.min_s", "i32x4.min_u", "i32x4.max_s", "i32x4.max_u")
	at(186, "vv", "v", mul, "i32x4.dot_i16x8_s", "-", "i32x4.extmul_low_i16x8_s", "i32x4.extmul_high_i16x8_s", "i32x4.extmul_low_i16x8_u", "i32x4.extmul_high_i16x8_u")

	at(192, "v", "v", one, "i64x2.abs", "i64x2.neg")
	at(195, "v", "i", one, "i64x2.all_true", "i64x2.bitmask")
	at(199, "v", "v", one, "i64x2.extend_low_i32x4_s", "i64x2.extend_high_i32x4_s", "i64x2.extend_low_i32x4_u", "i64x2.extend_high_i32x4_u")
	at(203, "vi", "v", one, "i64x2.shl", "i64x2.shr_s", "i64x2.shr_u")
	at(206, "vv", "v", one, "i64x2.add", "-", "-", "i64x2.sub")
	at(213, "vv", "v", mul, "i64x2.mul")
	at(220, "vv", "v", mul, "i64x2.extmul_low_i32x4_s", "i64x2.extmul_high_i32x4_s", "i64x2.extmul_low_i32x4_u", "i64x2.extmul_high_i32x4_u")

	for i, p := range []string{"f32x4", "f64x2"} {
		l := []byte{laneF32, laneF64}[i]
		pass := op{cost: costSimple, nan: nanPass, lane: l}
		blind := op{cost: costFloat, nan: nanBlind, lane: l}
		round := op{cost: costRound, nan: nanMake, lane: l}
		arith := op{cost: costFloat, nan: nanMake, lane: l}
		slow := op{cost: costDivFloat, nan: nanMake, lane: l}
		at(65+6*i, "vv", "v", blind, p+".eq", p+".ne", p+".lt", p+".gt", p+".le", p+".ge")
		base := 224 + 12*i
		at(base, "v", "v", pass, p+".abs", p+".neg")
		at(base+3, "v", "v", slow, p+".sqrt")
		at(base+4, "vv", "v", arith, p+".add", p+".sub", p+".mul")
		at(base+7, "vv", "v", slow, p+".div")
		at(base+8, "vv", "v", round, p+".min", p+".max")
		at(base+10, "vv", "v", pass, p+".pmin", p+".pmax")
	}
	round32 := op{cost: costRound, nan: nanMake, lane: laneF32}
	round64 := op{cost: costRound, nan: nanMake, lane: laneF64}
	at(103, "v", "v", round32, "f32x4.ceil", "f32x4.floor", "f32x4.trunc", "f32x4.nearest")
	at(116, "v", "v", round64, "f64x2.ceil", "f64x2.floor")
	at(122, "v", "v", round64, "f64x2.trunc")
	at(148, "v", "v", round64, "f64x2.nearest")
	at(94, "v", "v", op{cost: costRound, nan: nanWiden, lane: laneF32}, "f32x4.demote_f64x2_zero")
	at(95, "v", "v", op{cost: costRound, nan: nanWiden, lane: laneF64}, "f64x2.promote_low_f32x4")
	at(248, "v", "v", op{cost: costRound, nan: nanBlind, lane: laneF32}, "i32x4.trunc_sat_f32x4_s", "i32x4.trunc_sat_f32x4_u")
	at(250, "v", "v", op{cost: costFloat}, "f32x4.convert_i32x4_s", "f32x4.convert_i32x4_u")
	at(252, "v", "v", op{cost: costRound, nan: nanBlind, lane: laneF64}, "i32x4.trunc_sat_f64x2_s_zero", "i32x4.trunc_sat_f64x2_u_zero")
	at(254, "v", "v", op{cost: costFloat}, "f64x2.convert_low_i32x4_s", "f64x2.convert_low_i32x4_u")
}
