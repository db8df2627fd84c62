/* Functions as old libraries have them; nothing here knows of Temper. legacy.toml says how they are called.
 *
 *   cc -shared -fPIC legacy.c -o legacy.so -lm */
#include <math.h>

double huber(double residual, double width);
double huber_slope(double residual, double width);
void pinball_(const int *n, const int *d, const double *x, const double *y, const double *tau, double *value,
              double *slope);
float row_distance(int length, const float *a, const float *b);

/* One number: the loss of Huber, 1964, of a residual; and its derivative. */
double huber(double residual, double width) {
  const double size = fabs(residual);
  return size <= width ? residual * residual / 2 : width * (size - width / 2);
}

double huber_slope(double residual, double width) {
  return fabs(residual) <= width ? residual : copysign(width, residual);
}

/* A whole batch, as a compiler of Fortran calls it: everything by its address, the name with an underscore.
 *
 *   subroutine pinball(n, d, x, y, tau, value, slope)
 *   double precision x(d, n), y(d, n), tau, value(n), slope(d, n) */
void pinball_(const int *n, const int *d, const double *x, const double *y, const double *tau, double *value,
              double *slope) {
  for (int i = 0; i < *n; ++i) {
    value[i] = 0;
    for (int j = i * *d; j < (i + 1) * *d; ++j) {
      const double rest = y[j] - x[j];
      value[i] += (rest > 0 ? *tau * rest : (*tau - 1) * rest) / *d;
      slope[j] = (rest > 0 ? -*tau : 1 - *tau) / *d;
    }
  }
}

/* One sample, in floats, without a gradient: sqrt(1 + |a - b|^2). */
float row_distance(int length, const float *a, const float *b) {
  float sum = 1;
  for (int i = 0; i < length; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sqrtf(sum);
}
