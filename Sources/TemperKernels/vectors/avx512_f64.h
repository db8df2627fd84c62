// 32 registers of 64 bytes. See vectors.h.
#include <immintrin.h>

#define E double
#define V __m512d
#define LANES 8
#define NAME(x) x##_avx512_f64
#define TILE_ROWS 12
#define DOT_ROWS 4
#define DOT_COLUMNS 6
#define MASK __mmask8
#define MASK_OF(n) ((MASK)((1u << (n)) - 1))
#define LOAD_PARTIAL(p, mask) _mm512_maskz_loadu_pd(mask, p)
#define STORE_PARTIAL(p, mask, v) _mm512_mask_storeu_pd(p, mask, v)
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14
#include "vectors.h"
