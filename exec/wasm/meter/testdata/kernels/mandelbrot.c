// Mandelbrot set: double arithmetic in registers, hardly any memory.
__attribute__((export_name("run"))) int run(int size) {
  int inside = 0;
  for (int py = 0; py < size; py++)
    for (int px = 0; px < size; px++) {
      double cr = 3.0 * px / size - 2, ci = 2.0 * py / size - 1, r = 0, i = 0;
      int n = 0;
      for (; n < 200 && r * r + i * i < 4; n++) {
        double t = r * r - i * i + cr;
        i = 2 * r * i + ci;
        r = t;
      }
      inside += n == 200;
    }
  return inside;
}
