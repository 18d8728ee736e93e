// Open-addressing hash table: dependent loads and branches that are hard to predict.
#define SIZE (1 << 16)
static unsigned keys[SIZE], values[SIZE];
static unsigned find(unsigned k) {
  unsigned i = k * 2654435761u >> 16;
  while (keys[i] && keys[i] != k) i = (i + 1) & (SIZE - 1);
  return i;
}
__attribute__((export_name("run"))) int run(int n) {
  unsigned x = 1, sum = 0;
  for (int i = 0; i < n; i++) {
    x = x * 1664525 + 1013904223;
    unsigned k = (x >> 12) % 40000 + 1, at = find(k);
    keys[at] = k;
    sum += values[at]++;
  }
  return sum;
}
