#include "../include/extremes.h"

#include <math.h>

#include "../clones.h"

enum { LANES = 64 };

// In lanes, which are compared with each other at last. A comparison with NaN is false.
#define EXTREMES(REAL, name)                                                                         \
  TEMPER_CLONES void name(const REAL *x, int64_t count, REAL *least, REAL *greatest) {               \
    REAL low[LANES], high[LANES];                                                                    \
    for (int k = 0; k < LANES; ++k) low[k] = (REAL)INFINITY, high[k] = (REAL)-INFINITY;              \
    int64_t i = 0;                                                                                   \
    for (; i + LANES <= count; i += LANES) {                                                         \
      TEMPER_VECTORISED for (int k = 0; k < LANES; ++k) {                                            \
        low[k] = x[i + k] < low[k] ? x[i + k] : low[k];                                              \
        high[k] = x[i + k] > high[k] ? x[i + k] : high[k];                                           \
      }                                                                                              \
    }                                                                                                \
    for (int k = 0; i < count; ++i, ++k) {                                                           \
      low[k] = x[i] < low[k] ? x[i] : low[k];                                                        \
      high[k] = x[i] > high[k] ? x[i] : high[k];                                                     \
    }                                                                                                \
    *least = low[0], *greatest = high[0];                                                            \
    for (int k = 1; k < LANES; ++k) {                                                                \
      *least = low[k] < *least ? low[k] : *least;                                                    \
      *greatest = high[k] > *greatest ? high[k] : *greatest;                                         \
    }                                                                                                \
  }

EXTREMES(float, temper_extremes_f32)
EXTREMES(double, temper_extremes_f64)
