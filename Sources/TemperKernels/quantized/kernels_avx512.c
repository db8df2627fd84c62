// A table of 16 floats is one register, and one instruction looks up 16 codes in it.
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), \
                             apply_to = function)

#define LANES 16
#define ROWS 4
#define MANY_INPUTS 4
#define ROWS_OF_MANY 2
#define NAME(x) x##_avx512
#define WHERE_SET(word, value) ((I)_mm512_maskz_set1_epi32((__mmask16)(word), value))
#define TABLE __m512
#define LOAD_TABLE(p) _mm512_loadu_ps(p)
#define LOOK_UP(table, codes) ((V)_mm512_permutexvar_ps((__m512i)(codes), table))
#define NIBBLES(p)                                                \
  ((I)_mm512_srlv_epi32(_mm512_broadcast_i32x2(_mm_loadu_si64(p)), \
                        _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28)))
#define SHUFFLE(order, a, b) ((V)_mm512_permutex2var_ps(a, _mm512_loadu_si512(order), b))
#include "kernels_template.h"

#pragma clang attribute pop
#endif
