// What MeasureSpeed runs: integers, branches, memory and floating point in about the mix of
// ordinary programs. It never ends by itself.
//   clang --target=wasm32-wasi -O2 -nostdlib -fno-builtin -Wl,--strip-all -o kernel.wasm kernel.c
#define N 4096
static unsigned table[N];
static double field[N];
volatile unsigned result;

void _start(void) {
	unsigned x = 2463534242u;
	for (unsigned round = 1;; round++) {
		for (unsigned i = 0; i < N; i++) { // xorshift, scattered writes
			x ^= x << 13, x ^= x >> 17, x ^= x << 5;
			table[x % N] += i;
		}
		for (unsigned i = 1; i < N; i++) // branches that are hard to foresee
			if (table[i] < table[i - 1]) table[i] ^= table[i - 1];
		for (unsigned i = 1; i + 1 < N; i++) // a stencil
			field[i] = 0.25 * (field[i - 1] + field[i + 1]) + 0.5 * field[i] + table[i] * 1e-9;
		result = x + round + (unsigned)field[7];
	}
}
