// Vectors of 16 bytes, which every instruction set in use has: tiles of 4 rows x 2 vectors (8 sums of 16 registers).
#include <string.h>

#include "matmul_kernels.h"

#define TILE_ROWS 4

typedef float vector_f32 __attribute__((vector_size(16)));
typedef double vector_f64 __attribute__((vector_size(16)));

#define PARTIAL(E, suffix)                                                                     \
  static inline vector_##suffix load_partial_##suffix(const E *p, int64_t count) {             \
    vector_##suffix v = {};                                                                    \
    memcpy(&v, p, (size_t)count * sizeof(E));                                                  \
    return v;                                                                                  \
  }                                                                                            \
  static inline void store_partial_##suffix(E *p, int64_t count, vector_##suffix v) {          \
    memcpy(p, &v, (size_t)count * sizeof(E));                                                  \
  }

PARTIAL(float, f32)
PARTIAL(double, f64)

#define E float
#define V vector_f32
#define LANES 4
#define NAME(x) x##_plain_f32
#define MASK int64_t
#define MASK_OF(n) (n)
#define LOAD_PARTIAL(p, mask) load_partial_f32(p, mask)
#define STORE_PARTIAL(p, mask, v) store_partial_f32(p, mask, v)
#define INTERLEAVE_LOW 0, 4, 1, 5
#define INTERLEAVE_HIGH 2, 6, 3, 7
#include "matmul_kernels_template.h"

#define E double
#define V vector_f64
#define LANES 2
#define NAME(x) x##_plain_f64
#define MASK int64_t
#define MASK_OF(n) (n)
#define LOAD_PARTIAL(p, mask) load_partial_f64(p, mask)
#define STORE_PARTIAL(p, mask, v) store_partial_f64(p, mask, v)
#define INTERLEAVE_LOW 0, 2
#define INTERLEAVE_HIGH 1, 3
#include "matmul_kernels_template.h"
