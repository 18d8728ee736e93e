// Sieve of Eratosthenes and Collatz lengths: short loops of integers.
#define N 50000
static unsigned char composite[N];
__attribute__((export_name("run"))) int run(int rounds) {
  int count = 0;
  for (int r = 0; r < rounds; r++) {
    for (int i = 0; i < N; i++) composite[i] = 0;
    for (int i = 2; i < N; i++) {
      if (composite[i]) continue;
      count++;
      for (int j = 2 * i; j < N; j += i) composite[j] = 1;
    }
    for (int i = 1; i < 5000; i++)
      for (unsigned long long v = i; v != 1; count++) v = v & 1 ? 3 * v + 1 : v / 2;
  }
  return count;
}
