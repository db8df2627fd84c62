#include "../include/inverse.h"

#include <math.h>

#include "../clones.h"

#define INLINE static inline __attribute__((always_inline))

static void swap(double *a, double *b) {
  const double kept = *a;
  *a = *b;
  *b = kept;
}

// What Gauss and Jordan's elimination has made of A, and where it stands.
typedef struct elimination {
  double *a;
  int64_t n;
  const double *weights;
  int32_t *pivots;
  double sum;
  bool negative;
} elimination;

// Brings the largest element of column k to its place and divides its row by it; false where there is none.
INLINE bool take_pivot(elimination *e, int64_t k) {
  double *a = e->a;
  const int64_t n = e->n;
  int64_t top = k;
  for (int64_t r = k + 1; r < n; ++r)
    if (fabs(a[r * n + k]) > fabs(a[top * n + k])) top = r;
  double *own = a + k * n;
  e->pivots[k] = (int32_t)top;
  if (top != k) {
    e->negative = !e->negative;
    for (int64_t c = 0; c < n; ++c) swap(own + c, a + top * n + c);
  }
  const double pivot = own[k];
  if (pivot == 0 || !isfinite(pivot)) return false;
  if (pivot < 0) e->negative = !e->negative;
  e->sum += (e->weights ? e->weights[k] : 1) * log(fabs(pivot));
  own[k] = 1;
  for (int64_t c = 0; c < n; ++c) own[c] /= pivot;
  return true;
}

// row -= row[k] own, where what stands in column k is only the factor.
INLINE void eliminate(double *row, const double *own, int64_t k, int64_t n) {
  const double factor = row[k];
  if (factor == 0) return;
  row[k] = 0;
  TEMPER_VECTORISED for (int64_t c = 0; c < n; ++c) row[c] -= factor * own[c];
}

// The rows of the pivots k and k + 1, already divided, from another row, whose element k + 1 is as the first has left
// it.
INLINE void eliminate_two(double *row, const double *own, const double *next, int64_t k, int64_t n) {
  const double first = row[k], second = row[k + 1];
  if (first == 0) {
    eliminate(row, next, k + 1, n);
  } else if (second == 0) {
    eliminate(row, own, k, n);
    row[k + 1] = 0;
  } else {
    row[k] = 0;
    TEMPER_VECTORISED for (int64_t c = 0; c < n; ++c) {
      const double between = row[c] - first * own[c];
      row[c] = between - second * next[c];
    }
    row[k + 1] = -(second * next[k + 1]);
  }
}

// Gauss and Jordan: what is left of A and what is made of A^-1 share the memory. Two pivots go over the other rows
// together, each element in the order that one after the other has. Rows with nothing to eliminate are passed over, so
// that blocks cost what they would alone.
TEMPER_CLONES
bool temper_inverse(double *a, int64_t n, const double *weights, int32_t *pivots, double *log_determinant) {
  elimination e = {.a = a, .n = n, .weights = weights, .pivots = pivots};
  for (int64_t k = 0; k < n; k += 2) {
    if (!take_pivot(&e, k)) return false;
    double *own = a + k * n;
    if (k + 1 == n) {
      for (int64_t r = 0; r < k; ++r) eliminate(a + r * n, own, k, n);
      break;
    }
    // The next pivot comes from its column as it is after this one.
    int64_t top = k + 1;
    for (int64_t r = 0; r < n; ++r) {
      double *row = a + r * n;
      if (r != k && row[k] != 0) row[k + 1] -= row[k] * own[k + 1];
      if (r > top && fabs(row[k + 1]) > fabs(a[top * n + k + 1])) top = r;
    }
    double *chosen = a + top * n;
    const double pivot = chosen[k + 1];
    eliminate(chosen, own, k, n);
    chosen[k + 1] = pivot;
    if (!take_pivot(&e, k + 1)) return false;
    const double *next = a + (k + 1) * n;
    for (int64_t r = 0; r < n; ++r)
      if (r != k && r != k + 1) eliminate_two(a + r * n, own, next, k, n);
    eliminate(own, next, k + 1, n);
  }
  // The rows that changed places are columns of the inverse.
  for (int64_t k = n - 1; k >= 0; --k)
    for (int64_t r = 0; pivots[k] != k && r < n; ++r) swap(a + r * n + k, a + r * n + pivots[k]);
  *log_determinant = e.negative ? NAN : e.sum;
  return true;
}
