// 16 registers of 32 bytes. See vectors.h.
#include <immintrin.h>

#define E double
#define V __m256d
#define LANES 4
#define NAME(x) x##_avx2_f64
#define TILE_ROWS 6
#define DOT_ROWS 3
#define DOT_COLUMNS 3
#define MASK __m256i
#define MASK_OF(n) _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3))
#define LOAD_PARTIAL(p, mask) _mm256_maskload_pd(p, mask)
#define STORE_PARTIAL(p, mask, v) _mm256_maskstore_pd(p, mask, v)
#define EVEN_LANES 0, 2, 4, 6
#include "vectors.h"
