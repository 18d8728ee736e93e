// N-body: double arithmetic on arrays, stores in the inner loop.
#define N 5
static double x[N] = {0, 4.84, 8.34, 12.89, 15.37}, y[N] = {0, -1.16, 4.12, -15.11, -25.91}, z[N] = {0, -0.10, -0.40, -0.22, 0.17};
static double vx[N] = {0, 0.6, -1.01, 1.08, 0.97}, vy[N] = {0, 2.8, 1.81, 0.86, 0.59}, vz[N] = {0, -0.02, 0.008, -0.01, -0.03};
static double m[N] = {39.47, 0.037, 0.011, 0.0017, 0.002};

__attribute__((export_name("run"))) int run(int steps) {
  for (int s = 0; s < steps; s++) {
    for (int i = 0; i < N; i++)
      for (int j = i + 1; j < N; j++) {
        double dx = x[i] - x[j], dy = y[i] - y[j], dz = z[i] - z[j];
        double d2 = dx * dx + dy * dy + dz * dz;
        double mag = 0.01 / (d2 * __builtin_sqrt(d2));
        vx[i] -= dx * m[j] * mag; vy[i] -= dy * m[j] * mag; vz[i] -= dz * m[j] * mag;
        vx[j] += dx * m[i] * mag; vy[j] += dy * m[i] * mag; vz[j] += dz * m[i] * mag;
      }
    for (int i = 0; i < N; i++) { x[i] += 0.01 * vx[i]; y[i] += 0.01 * vy[i]; z[i] += 0.01 * vz[i]; }
  }
  return (int)(x[0] * 1e6);
}
