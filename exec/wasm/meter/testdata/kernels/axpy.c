// SIMD of floats: y += a*x, and the largest element.
#include <wasm_simd128.h>
#define N 4096
static float x[N], y[N];
__attribute__((export_name("run"))) int run(int rounds) {
  for (int i = 0; i < N; i++) { x[i] = i; y[i] = N - i; }
  v128_t top = wasm_f32x4_splat(0);
  for (int r = 0; r < rounds; r++)
    for (int i = 0; i < N; i += 4) {
      v128_t v = wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(x + i), wasm_f32x4_splat(0.5f)), wasm_v128_load(y + i));
      v = wasm_f32x4_mul(v, wasm_f32x4_splat(0.5f));
      wasm_v128_store(y + i, v);
      top = wasm_f32x4_pmax(top, v);
    }
  return (int)wasm_f32x4_extract_lane(top, 1);
}
