// LZ77 with hash chains, its tokens as bits, and back again: byte loads, short copies, branches on data. zlib's kind.
#define N 16384
#define BITS 12
static unsigned char text[N], back[N], packed[2 * N];
static int head[1 << BITS], prev[N];
static unsigned long long bits;
static int held, at, from;

static void put(unsigned v, int n) {
  bits |= (unsigned long long)v << held;
  for (held += n; held >= 8; held -= 8, bits >>= 8) packed[at++] = bits;
}
static unsigned get(int n) {
  for (; held < n; held += 8) bits |= (unsigned long long)packed[from++] << held;
  unsigned v = bits & ((1u << n) - 1);
  bits >>= n, held -= n;
  return v;
}
static unsigned hash(const unsigned char *p) { return (p[0] | p[1] << 8 | p[2] << 16) * 2654435761u >> (32 - BITS); }

static void compress(void) {
  for (int i = 0; i < 1 << BITS; i++) head[i] = -1;
  for (int i = 0; i < N;) {
    int best = 2, dist = 0;
    if (i + 3 <= N) {
      unsigned h = hash(text + i);
      for (int j = head[h], tries = 16; j >= 0 && tries; j = prev[j], tries--) {
        int n = 0;
        while (n < 255 && i + n < N && text[j + n] == text[i + n]) n++;
        if (n > best) best = n, dist = i - j;
      }
    }
    int n = dist ? best : 1;
    if (dist) put(1, 1), put(best, 8), put(dist, 14);
    else put(text[i] << 1, 9);
    for (; n; n--, i++)
      if (i + 3 <= N) { unsigned h = hash(text + i); prev[i] = head[h], head[h] = i; }
  }
  put(0, 7);
}
static void expand(void) {
  for (int i = 0; i < N;)
    if (get(1)) {
      int n = get(8), d = get(14);
      for (; n; n--, i++) back[i] = back[i - d];
    } else back[i++] = get(8);
}

__attribute__((export_name("run"))) int run(int rounds) {
  static const char word[16][9] = {"the ", "of ", "and ", "lease ", "job ", "peer ", "to ", "in ", "fuel ", "a ", "is ", "that ", "credit ", "for ", "it ", "\n"};
  unsigned x = 7, sum = 0;
  for (int r = 0; r < rounds; r++) {
    for (int i = 0; i < N;) {
      x = x * 1664525 + 1013904223;
      for (const char *w = word[x >> 28]; *w && i < N; w++) text[i++] = *w;
    }
    bits = held = at = from = 0;
    compress();
    bits = held = 0;
    expand();
    for (int i = 0; i < N; i++) if (back[i] != text[i]) return -1;
    sum = sum * 31 + at;
  }
  return sum;
}
