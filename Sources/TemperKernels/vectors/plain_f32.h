// 16 registers of 16 bytes or more, which every instruction set in use has. See vectors.h.
#include <string.h>

typedef float vector_f32 __attribute__((vector_size(16)));

static inline vector_f32 load_partial_f32(const float *p, int64_t count) {
  vector_f32 v = {};
  memcpy(&v, p, (size_t)count * sizeof(float));
  return v;
}

static inline void store_partial_f32(float *p, int64_t count, vector_f32 v) {
  memcpy(p, &v, (size_t)count * sizeof(float));
}

#define E float
#define V vector_f32
#define LANES 4
#define NAME(x) x##_plain_f32
#define TILE_ROWS 4
#define DOT_ROWS 3
#define DOT_COLUMNS 3
#define MASK int64_t
#define MASK_OF(n) (n)
#define LOAD_PARTIAL(p, mask) load_partial_f32(p, mask)
#define STORE_PARTIAL(p, mask, v) store_partial_f32(p, mask, v)
#define EVEN_LANES 0, 2, 4, 6
#include "vectors.h"
