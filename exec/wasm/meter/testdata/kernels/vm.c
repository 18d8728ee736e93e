// A bytecode interpreter: a loop around a br_table, and indirect calls.
typedef int (*fn)(int);
static int twice(int v) { return 2 * v; }
static int less(int v) { return v - 3; }
static fn table[2] = {twice, less};
static const unsigned char code[] = {0, 1, 2, 0, 3, 1, 4, 2, 0, 5, 3, 6};
__attribute__((export_name("run"))) int run(int n) {
  int acc = 1, top = 0, stack[16] = {0};
  for (int i = 0; i < n; i++)
    for (unsigned pc = 0; pc < sizeof code; pc++)
      switch (code[pc]) {
      case 0: stack[top++ & 15] = acc; break;
      case 1: acc += 7; break;
      case 2: acc = acc * 3 + stack[--top & 15]; break;
      case 3: acc ^= acc >> 3; break;
      case 4: acc = table[acc & 1](acc); break;
      case 5: if (acc & 4) acc++; break;
      case 6: acc -= i; break;
      }
  return acc;
}
