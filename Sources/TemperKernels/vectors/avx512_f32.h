// 32 registers of 64 bytes. See vectors.h.
#include <immintrin.h>

#define E float
#define V __m512
#define LANES 16
#define NAME(x) x##_avx512_f32
#define TILE_ROWS 12
#define DOT_ROWS 4
#define DOT_COLUMNS 6
#define MASK __mmask16
#define MASK_OF(n) ((MASK)((1u << (n)) - 1))
#define LOAD_PARTIAL(p, mask) _mm512_maskz_loadu_ps(mask, p)
#define STORE_PARTIAL(p, mask, v) _mm512_mask_storeu_ps(p, mask, v)
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#include "vectors.h"
