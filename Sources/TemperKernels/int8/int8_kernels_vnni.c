// AVX-512 with VNNI: one instruction sums the four products of each of 16 quads.
#if defined(__x86_64__)
#include <immintrin.h>

#include "int8_kernels.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx512vnni,avx2,fma"))), \
                             apply_to = function)

#define NAME(x) x##_vnni
#define UNSIGNED __m512i
#define SIGNED __m512i
#define AS_UNSIGNED(v) ((__m512i)(v))
#define AS_SIGNED(v) ((__m512i)(v))
#define DOT(sums, u, s) ((W)_mm512_dpbusd_epi32((__m512i)(sums), u, s))
#define HALF_LANES 8
#define HALF_DOT(sums, u, s) ((HALF)_mm256_dpbusd_epi32((__m256i)(sums), (__m256i)(u), (__m256i)(s)))
#include "avx512_vectors.h"
#include "int8_kernels_template.h"

#pragma clang attribute pop
#endif
