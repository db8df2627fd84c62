#include "symmetric_eigen.h"

#include <math.h>
#include <string.h>

#include "../clones.h"

#pragma clang fp reassociate(on)

enum { MOST_SWEEPS = 40 };

TEMPER_CLONES static double dot(const double *a, const double *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

// (a, b) <- (c a - s b, s a + c b)
TEMPER_CLONES static void rotate(double *restrict a, double *restrict b, int64_t n, double c, double s) {
  for (int64_t i = 0; i < n; i++) {
    const double x = a[i], y = b[i];
    a[i] = c * x - s * y;
    b[i] = s * x + c * y;
  }
}

TEMPER_CLONES static void subtract(double *restrict a, const double *restrict b, int64_t n, double factor) {
  for (int64_t i = 0; i < n; i++) a[i] -= factor * b[i];
}

void temper_symmetric_eigen(double *a, double *vectors, double *values, int64_t n) {
  memset(vectors, 0, (size_t)(n * n) * sizeof(double));
  for (int64_t i = 0; i < n; i++) vectors[i * (n + 1)] = 1;
  // Rows of V A end at right angles: then V A A^T V^T is diagonal, and so is V A V^T.
  for (int sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    int is_done = 1;
    for (int64_t i = 0; i < n; i++) values[i] = dot(a + i * n, a + i * n, n);
    for (int64_t p = 0; p < n - 1; p++) {
      for (int64_t q = p + 1; q < n; q++) {
        const double between = dot(a + p * n, a + q * n, n);
        if (!(fabs(between) > 1e-15 * sqrt(values[p] * values[q]))) continue;
        is_done = 0;
        const double zeta = (values[q] - values[p]) / (2 * between);
        const double t = copysign(1, zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta));
        const double c = 1 / sqrt(1 + t * t), s = c * t;
        rotate(a + p * n, a + q * n, n, c, s);
        rotate(vectors + p * n, vectors + q * n, n, c, s);
        values[p] -= t * between;
        values[q] += t * between;
      }
    }
    if (is_done) break;
  }
  for (int64_t i = 0; i < n; i++) values[i] = sqrt(dot(a + i * n, a + i * n, n));
}

void temper_orthonormal_rows(double *rows, int64_t n, double rounding) {
  double largest = 0;
  for (int64_t i = 0; i < n; i++) {
    const double length = sqrt(dot(rows + i * n, rows + i * n, n));
    if (!isfinite(length)) return;
    largest = fmax(largest, length);
  }
  for (int64_t i = 0; i < n; i++) {
    double *row = rows + i * n;
    double length = 0;
    for (int64_t attempt = -1; attempt < n; attempt++) {
      if (attempt >= 0) {  // dependent: an axis that is not
        memset(row, 0, (size_t)n * sizeof(double));
        row[(i + attempt) % n] = 1;
      }
      for (int round = 0; round < 2; round++) {
        for (int64_t j = 0; j < i; j++) subtract(row, rows + j * n, n, dot(row, rows + j * n, n));
      }
      length = sqrt(dot(row, row, n));
      if (length > (attempt < 0 ? rounding * largest : 0.5 / sqrt((double)n))) break;
    }
    for (int64_t k = 0; k < n; k++) row[k] /= length;
  }
}
