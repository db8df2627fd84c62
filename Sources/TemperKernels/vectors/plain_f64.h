// 16 registers of 16 bytes or more, which every instruction set in use has. See vectors.h.
#include <string.h>

typedef double vector_f64 __attribute__((vector_size(16)));

static inline vector_f64 load_partial_f64(const double *p, int64_t count) {
  vector_f64 v = {};
  memcpy(&v, p, (size_t)count * sizeof(double));
  return v;
}

static inline void store_partial_f64(double *p, int64_t count, vector_f64 v) {
  memcpy(p, &v, (size_t)count * sizeof(double));
}

#define E double
#define V vector_f64
#define LANES 2
#define NAME(x) x##_plain_f64
#define TILE_ROWS 4
#define DOT_ROWS 3
#define DOT_COLUMNS 3
#define MASK int64_t
#define MASK_OF(n) (n)
#define LOAD_PARTIAL(p, mask) load_partial_f64(p, mask)
#define STORE_PARTIAL(p, mask, v) store_partial_f64(p, mask, v)
#define EVEN_LANES 0, 2
#include "vectors.h"
