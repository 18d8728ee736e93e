// SIMD of floats: y += a*x, and the largest element.
#ifdef __wasm__
#include <wasm_simd128.h>
#else // the benchmark builds it natively too
typedef float v128_t __attribute__((vector_size(16)));
#define wasm_f32x4_splat(a) ((v128_t){a, a, a, a})
#define wasm_f32x4_add(a, b) ((a) + (b))
#define wasm_f32x4_mul(a, b) ((a) * (b))
#define wasm_v128_load(p) (*(const v128_t *)(p))
#define wasm_v128_store(p, v) (*(v128_t *)(p) = (v))
#define wasm_f32x4_extract_lane(v, i) ((v)[i])
static v128_t wasm_f32x4_pmax(v128_t a, v128_t b) {
  typedef int mask __attribute__((vector_size(16)));
  mask less = a < b;
  return (v128_t)(less & (mask)b | ~less & (mask)a);
}
#endif
#define N 4096
static float x[N] __attribute__((aligned(16))), y[N] __attribute__((aligned(16)));
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
