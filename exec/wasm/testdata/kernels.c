// The kernels of the meter as one WASI command: kernels NAME N prints what NAME's run(N) returns.
// Built once for the guest and, by the benchmark, once for the machine itself.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KERNELS(X) X(nbody) X(sha256) X(matmul) X(sieve) X(mandelbrot) X(hash) X(fib) X(vm)

#define DECLARE(name) int run_##name(int);
KERNELS(DECLARE)

int main(int argc, char **argv) {
	if (argc < 3) return 2;
#define RUN(name) if (!strcmp(argv[1], #name)) return printf("%d\n", run_##name(atoi(argv[2]))) < 0;
	KERNELS(RUN)
	return 2;
}
