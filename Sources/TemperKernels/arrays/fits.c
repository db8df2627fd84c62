#include "../include/fits.h"

#define SINGLE 0
#include "../clones.h"
#include "../mathematics/vector_math.h"

// Two instruction sets are enough: the third would make the code larger by half, and the loops hardly faster.
#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

enum { TILE = 64, LANES = 8 };

// In a fixed order, whatever the instruction set: one sum would wait for itself.
INLINE double sum_of(const double *terms, int64_t count) {
  double lanes[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    for (int lane = 0; lane < LANES; ++lane) lanes[lane] += terms[i + lane];
  for (; i < count; ++i) lanes[0] += terms[i];
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

CLONES
double temper_two_normals(double *shares, const double *values, int64_t count, const double *offsets,
                          const double *factors, const double *means) {
  double total = 0, terms[TILE];
  for (int64_t start = 0; start < count; start += TILE) {
    const int64_t length = count - start < TILE ? count - start : TILE;
    const double *x = values + start;
    double *share = shares + 2 * start;
    TEMPER_VECTORISED for (int64_t i = 0; i < length; ++i) {
      const double a = offsets[0] + factors[0] * (x[i] - means[0]) * (x[i] - means[0]);
      const double b = offsets[1] + factors[1] * (x[i] - means[1]) * (x[i] - means[1]);
      const double e = exp_of(-absolute_value(a - b)), larger = 1 / (1 + e), smaller = e / (1 + e);
      share[2 * i] = a >= b ? larger : smaller;
      share[2 * i + 1] = a >= b ? smaller : larger;
      terms[i] = (a >= b ? a : b) + log1p_of(e);
    }
    total += sum_of(terms, length);
  }
  return total;
}

CLONES
void temper_share_moments(double *sums, const double *shares, const double *values, int64_t count,
                          const double *centres) {
  double terms[6][TILE];
  for (int s = 0; s < 6; ++s) sums[s] = 0;
  for (int64_t start = 0; start < count; start += TILE) {
    const int64_t length = count - start < TILE ? count - start : TILE;
    TEMPER_VECTORISED for (int64_t i = 0; i < length; ++i) {
      const double x = values[start + i];
      for (int k = 0; k < 2; ++k) {
        const double share = shares[2 * (start + i) + k], difference = x - centres[k];
        terms[3 * k][i] = share;
        terms[3 * k + 1][i] = share * difference;
        terms[3 * k + 2][i] = share * difference * difference;
      }
    }
    for (int s = 0; s < 6; ++s) sums[s] += sum_of(terms[s], length);
  }
}

INLINE double product_of(const double *a, const double *b, int64_t count) {
  double lanes[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    for (int lane = 0; lane < LANES; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  for (; i < count; ++i) lanes[0] += a[i] * b[i];
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

CLONES
double temper_logistic_pass(double *gradient, double *scaled, const double *x, const double *targets,
                            const double *shares, const double *beta, int64_t rows, int64_t width) {
  double total = 0, z[TILE], slopes[TILE], curvatures[TILE];
  for (int64_t c = 0; c < width; ++c) gradient[c] = 0;
  for (int64_t start = 0; start < rows; start += TILE) {
    const int64_t length = rows - start < TILE ? rows - start : TILE;
    const double *target = targets + start, *share = shares + start;
    for (int64_t r = 0; r < length; ++r) z[r] = product_of(x + (start + r) * width, beta, width);
    TEMPER_VECTORISED for (int64_t r = 0; r < length; ++r) {
      const double e = exp_of(-absolute_value(z[r])), larger = 1 / (1 + e), smaller = e / (1 + e);
      const double value = (z[r] > 0 ? z[r] : 0) + log1p_of(e) - target[r] * z[r];
      slopes[r] = share[r] * (target[r] - (z[r] >= 0 ? larger : smaller));
      curvatures[r] = share[r] * larger * smaller;
      z[r] = share[r] * value;
    }
    total += sum_of(z, length);
    for (int64_t r = 0; r < length; ++r) {
      const double *from = x + (start + r) * width, slope = slopes[r], curvature = curvatures[r];
      double *to = scaled + (start + r) * width;
      TEMPER_VECTORISED for (int64_t c = 0; c < width; ++c) {
        gradient[c] += slope * from[c];
        to[c] = curvature * from[c];
      }
    }
  }
  return total;
}
