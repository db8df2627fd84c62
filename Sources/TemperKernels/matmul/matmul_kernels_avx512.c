// 32 registers of 64 bytes: tiles of 12 rows x 2 vectors (24 sums).
#if defined(__x86_64__)
#include <immintrin.h>

#include "matmul_kernels.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma"))), apply_to = function)

#define TILE_ROWS 12

#define E float
#define V __m512
#define LANES 16
#define NAME(x) x##_avx512_f32
#define MASK __mmask16
#define MASK_OF(n) ((MASK)((1u << (n)) - 1))
#define LOAD_PARTIAL(p, mask) _mm512_maskz_loadu_ps(mask, p)
#define STORE_PARTIAL(p, mask, v) _mm512_mask_storeu_ps(p, mask, v)
#define INTERLEAVE_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define INTERLEAVE_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#include "matmul_kernels_template.h"

#define E double
#define V __m512d
#define LANES 8
#define NAME(x) x##_avx512_f64
#define MASK __mmask8
#define MASK_OF(n) ((MASK)((1u << (n)) - 1))
#define LOAD_PARTIAL(p, mask) _mm512_maskz_loadu_pd(mask, p)
#define STORE_PARTIAL(p, mask, v) _mm512_mask_storeu_pd(p, mask, v)
#define INTERLEAVE_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#include "matmul_kernels_template.h"

#pragma clang attribute pop
#endif
