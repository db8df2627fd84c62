// AVX-512 without VNNI: as int8_kernels_avx2.c, twice as wide.
#if defined(__x86_64__)
#include <immintrin.h>

#include "int8_kernels.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), \
                             apply_to = function)

typedef struct halves_avx512 {
  __m512i even, odd;
} halves_avx512;

static inline __attribute__((always_inline)) halves_avx512 unsigned_avx512(__m512i v) {
  return (halves_avx512){_mm512_and_si512(v, _mm512_set1_epi16(255)), _mm512_srli_epi16(v, 8)};
}

static inline __attribute__((always_inline)) halves_avx512 signed_avx512(__m512i v) {
  return (halves_avx512){_mm512_srai_epi16(_mm512_slli_epi16(v, 8), 8), _mm512_srai_epi16(v, 8)};
}

static inline __attribute__((always_inline)) __m512i dot_avx512(__m512i sums, halves_avx512 u, halves_avx512 s) {
  sums = _mm512_add_epi32(sums, _mm512_madd_epi16(u.even, s.even));
  return _mm512_add_epi32(sums, _mm512_madd_epi16(u.odd, s.odd));
}

static inline __attribute__((always_inline)) __m256i half_dot_avx512(__m256i sums, __m256i u, __m256i s) {
  const __m256i even =
      _mm256_madd_epi16(_mm256_and_si256(u, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));
  return _mm256_add_epi32(sums, _mm256_add_epi32(even, odd));
}

#define NAME(x) x##_avx512
#define UNSIGNED halves_avx512
#define SIGNED halves_avx512
#define AS_UNSIGNED(v) unsigned_avx512((__m512i)(v))
#define AS_SIGNED(v) signed_avx512((__m512i)(v))
#define DOT(sums, u, s) ((W)dot_avx512((__m512i)(sums), u, s))
#define HALF_LANES 8
#define HALF_DOT(sums, u, s) ((HALF)half_dot_avx512((__m256i)(sums), (__m256i)(u), (__m256i)(s)))
#include "avx512_vectors.h"
#include "int8_kernels_template.h"

#pragma clang attribute pop
#endif
