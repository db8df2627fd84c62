#include "batch.h"

#include <math.h>
#include <string.h>

// One rounding for each operation, so that instruction sets with a fused multiply-add give the same bits.
#pragma clang fp contract(off)

#if defined(__x86_64__)
#define VARIANTS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VARIANTS
#endif

void temper_scatter_rows(void *to, const void *from, const int32_t *ids, size_t count, size_t row_bytes) {
  for (size_t i = 0; i < count; i++)
    memcpy((char *)to + (size_t)ids[i] * row_bytes, (const char *)from + i * row_bytes, row_bytes);
}

// Element i goes to lane i % LANES; the lanes are then added pairwise.
enum { LANES = 32 };

static double tree(double *lane) {
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int j = 0; j < width; j++) lane[j] += lane[j + width];
  return lane[0];
}

#define SUM_SQUARES(NAME, TYPE)                                                           \
  VARIANTS double NAME(const TYPE *x, size_t count) {                                     \
    double lane[LANES] = {0};                                                             \
    size_t i = 0;                                                                         \
    for (; i + LANES <= count; i += LANES)                                                \
      for (int j = 0; j < LANES; j++) lane[j] += (double)x[i + j] * (double)x[i + j];     \
    for (int j = 0; i + j < count; j++) lane[j] += (double)x[i + j] * (double)x[i + j];   \
    return tree(lane);                                                                    \
  }

SUM_SQUARES(temper_sum_squares_f32, float)
SUM_SQUARES(temper_sum_squares_f64, double)

// x - x is 0 for finite x and NaN otherwise; a whole block is looked at before anyone asks where.
enum { BLOCK = 1024 };

#define FIRST_NOT_FINITE(NAME, TYPE)                                                      \
  VARIANTS size_t NAME(const TYPE *x, size_t count) {                                     \
    for (size_t begin = 0; begin < count; begin += BLOCK) {                               \
      size_t end = count - begin < BLOCK ? count : begin + BLOCK;                         \
      int bad = 0;                                                                        \
      for (size_t i = begin; i < end; i++) bad |= x[i] - x[i] != 0;                       \
      if (bad)                                                                            \
        for (size_t i = begin; i < end; i++)                                              \
          if (!isfinite(x[i])) return i;                                                  \
    }                                                                                     \
    return count;                                                                         \
  }

FIRST_NOT_FINITE(temper_first_not_finite_f32, float)
FIRST_NOT_FINITE(temper_first_not_finite_f64, double)
