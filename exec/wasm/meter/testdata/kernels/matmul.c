// Matrix product in double, column by column: a load-bound inner loop.
#define N 64
static double a[N][N], b[N][N], c[N][N];
__attribute__((export_name("run"))) int run(int n) {
  for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) { a[i][j] = i - j; b[i][j] = i + j; }
  for (int r = 0; r < n; r++)
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) {
        double s = 0;
        for (int k = 0; k < N; k++) s += a[i][k] * b[k][j];
        c[i][j] = s;
      }
  return (int)c[N / 2][3];
}
