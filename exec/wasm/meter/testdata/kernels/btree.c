// A B-tree of rows with keys of bytes, filled, searched and scanned: comparisons, moves, calls and pointers. With vm, SQLite's kind.
#define FAN 16
#define ROWS 4096
typedef struct { unsigned char key[12]; int value; } row;
typedef struct node { int n, leaf; row rows[2 * FAN - 1]; struct node *kid[2 * FAN]; } node;
static node pool[ROWS / (FAN - 1) + 8];
static int used;

static node *make(int leaf) { node *p = &pool[used++]; p->n = 0; p->leaf = leaf; return p; }
static void name(unsigned char *k, unsigned v) {
  v *= 2654435761u;
  for (int i = 0; i < 12; i++) k[i] = 'a' + (v >> (i * 5 & 31)) % 23;
}
static int compare(const unsigned char *a, const unsigned char *b) {
  for (int i = 0; i < 12; i++) if (a[i] != b[i]) return a[i] - b[i];
  return 0;
}
static int place(const node *p, const unsigned char *k, int *same) {
  int lo = 0, hi = p->n;
  for (*same = 0; lo < hi;) {
    int mid = (lo + hi) / 2, c = compare(k, p->rows[mid].key);
    if (!c) { *same = 1; return mid; }
    if (c < 0) hi = mid; else lo = mid + 1;
  }
  return lo;
}
static void split(node *p, int i) {
  node *l = p->kid[i], *r = make(l->leaf);
  r->n = l->n = FAN - 1;
  for (int j = 0; j < FAN - 1; j++) r->rows[j] = l->rows[j + FAN];
  if (!l->leaf) for (int j = 0; j < FAN; j++) r->kid[j] = l->kid[j + FAN];
  for (int j = p->n++; j > i; j--) { p->rows[j] = p->rows[j - 1]; p->kid[j + 1] = p->kid[j]; }
  p->rows[i] = l->rows[FAN - 1];
  p->kid[i + 1] = r;
}
static void insert(node *p, const row *r) {
  int same, i = place(p, r->key, &same);
  if (same) { p->rows[i].value += r->value; return; }
  if (p->leaf) {
    for (int j = p->n++; j > i; j--) p->rows[j] = p->rows[j - 1];
    p->rows[i] = *r;
    return;
  }
  if (p->kid[i]->n == 2 * FAN - 1) { split(p, i); insert(p, r); return; }
  insert(p->kid[i], r);
}
static const row *find(const node *p, const unsigned char *k) {
  int same, i = place(p, k, &same);
  return same ? &p->rows[i] : p->leaf ? 0 : find(p->kid[i], k);
}
static unsigned scan(const node *p, unsigned sum) {
  for (int i = 0; i < p->n; i++) {
    if (!p->leaf) sum = scan(p->kid[i], sum);
    sum = sum * 31 + p->rows[i].value;
  }
  return p->leaf ? sum : scan(p->kid[p->n], sum);
}

__attribute__((export_name("run"))) int run(int rounds) {
  unsigned sum = 0;
  for (int r = 0; r < rounds; r++) {
    used = 0;
    node *root = make(1);
    for (int i = 0; i < ROWS; i++) {
      row w;
      name(w.key, i * 7 + r);
      w.value = i;
      if (root->n == 2 * FAN - 1) { node *up = make(0); up->kid[0] = root; root = up; split(root, 0); }
      insert(root, &w);
    }
    for (int i = 0; i < ROWS; i++) {
      unsigned char k[12];
      name(k, i * 3);
      const row *f = find(root, k);
      if (f) sum += f->value;
    }
    sum = scan(root, sum);
  }
  return sum;
}
