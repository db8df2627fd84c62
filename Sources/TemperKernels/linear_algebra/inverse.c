#include "../include/inverse.h"

#include <math.h>

#include "../clones.h"

static void swap(double *a, double *b) {
  const double kept = *a;
  *a = *b;
  *b = kept;
}

// Gauss and Jordan: what is left of A and what is made of A^-1 share the memory. Rows with nothing to eliminate are
// passed over, so that blocks cost what they would alone.
TEMPER_CLONES
bool temper_inverse(double *a, int64_t n, const double *weights, int32_t *pivots, double *log_determinant) {
  double sum = 0;
  bool negative = false;
  for (int64_t k = 0; k < n; ++k) {
    int64_t top = k;
    for (int64_t r = k + 1; r < n; ++r)
      if (fabs(a[r * n + k]) > fabs(a[top * n + k])) top = r;
    double *own = a + k * n;
    pivots[k] = (int32_t)top;
    if (top != k) {
      negative = !negative;
      for (int64_t c = 0; c < n; ++c) swap(own + c, a + top * n + c);
    }
    const double pivot = own[k];
    if (pivot == 0 || !isfinite(pivot)) return false;
    if (pivot < 0) negative = !negative;
    sum += (weights ? weights[k] : 1) * log(fabs(pivot));
    own[k] = 1;
    for (int64_t c = 0; c < n; ++c) own[c] /= pivot;
    for (int64_t r = 0; r < n; ++r) {
      double *row = a + r * n;
      const double factor = row[k];
      if (r == k || factor == 0) continue;
      row[k] = 0;
      TEMPER_VECTORISED for (int64_t c = 0; c < n; ++c) row[c] -= factor * own[c];
    }
  }
  // The rows that changed places are columns of the inverse.
  for (int64_t k = n - 1; k >= 0; --k)
    for (int64_t r = 0; pivots[k] != k && r < n; ++r) swap(a + r * n + k, a + r * n + pivots[k]);
  *log_determinant = negative ? NAN : sum;
  return true;
}
