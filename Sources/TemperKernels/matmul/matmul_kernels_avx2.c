// 16 registers of 32 bytes: tiles of 6 rows x 2 vectors (12 sums).
#if defined(__x86_64__)
#include <immintrin.h>

#include "matmul_kernels.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

#define TILE_ROWS 6

#define E float
#define V __m256
#define LANES 8
#define NAME(x) x##_avx2_f32
#define MASK __m256i
#define MASK_OF(n) _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define LOAD_PARTIAL(p, mask) _mm256_maskload_ps(p, mask)
#define STORE_PARTIAL(p, mask, v) _mm256_maskstore_ps(p, mask, v)
#define INTERLEAVE_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#include "matmul_kernels_template.h"

#define E double
#define V __m256d
#define LANES 4
#define NAME(x) x##_avx2_f64
#define MASK __m256i
#define MASK_OF(n) _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3))
#define LOAD_PARTIAL(p, mask) _mm256_maskload_pd(p, mask)
#define STORE_PARTIAL(p, mask, v) _mm256_maskstore_pd(p, mask, v)
#define INTERLEAVE_LOW 0, 4, 1, 5
#define INTERLEAVE_HIGH 2, 6, 3, 7
#include "matmul_kernels_template.h"

#pragma clang attribute pop
#endif
