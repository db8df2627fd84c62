// A table of 16 floats is two registers; bit 3 of a code, moved to the sign, chooses between them.
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

typedef struct table_avx2 {
  __m256 low, high;
} table_avx2;

static inline __attribute__((always_inline)) table_avx2 load_table_avx2(const float *p) {
  return (table_avx2){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

static inline __attribute__((always_inline)) __m256 look_up_avx2(table_avx2 table, __m256i codes) {
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, codes), _mm256_permutevar8x32_ps(table.high, codes),
                          _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
}

#define LANES 8
#define ROWS 2
#define MANY_INPUTS 2
#define ROWS_OF_MANY 1
#define NAME(x) x##_avx2
#define TABLE table_avx2
#define LOAD_TABLE(p) load_table_avx2(p)
#define LOOK_UP(table, codes) ((V)look_up_avx2(table, (__m256i)(codes)))
#include "kernels_template.h"

#pragma clang attribute pop
#endif
