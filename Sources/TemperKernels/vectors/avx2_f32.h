// 16 registers of 32 bytes. See vectors.h.
#include <immintrin.h>

#define E float
#define V __m256
#define LANES 8
#define NAME(x) x##_avx2_f32
#define TILE_ROWS 6
#define DOT_ROWS 3
#define DOT_COLUMNS 3
#define MASK __m256i
#define MASK_OF(n) _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define LOAD_PARTIAL(p, mask) _mm256_maskload_ps(p, mask)
#define STORE_PARTIAL(p, mask, v) _mm256_maskstore_ps(p, mask, v)
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14
#include "vectors.h"
