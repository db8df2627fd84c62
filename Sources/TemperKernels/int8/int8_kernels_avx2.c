// Without an instruction for quads: even and odd bytes as 16-bit numbers, whose products fit 32 bits in pairs.
#if defined(__x86_64__)
#include <immintrin.h>

#include "int8_kernels.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

typedef struct halves_avx2 {
  __m256i even, odd;
} halves_avx2;

static inline __attribute__((always_inline)) halves_avx2 unsigned_avx2(__m256i v) {
  return (halves_avx2){_mm256_and_si256(v, _mm256_set1_epi16(255)), _mm256_srli_epi16(v, 8)};
}

static inline __attribute__((always_inline)) halves_avx2 signed_avx2(__m256i v) {
  return (halves_avx2){_mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8), _mm256_srai_epi16(v, 8)};
}

static inline __attribute__((always_inline)) __m256i dot_avx2(__m256i sums, halves_avx2 u, halves_avx2 s) {
  sums = _mm256_add_epi32(sums, _mm256_madd_epi16(u.even, s.even));
  return _mm256_add_epi32(sums, _mm256_madd_epi16(u.odd, s.odd));
}

#define LANES 8
#define TILE_ROWS 4
#define NAME(x) x##_avx2
#define UNSIGNED halves_avx2
#define SIGNED halves_avx2
#define AS_UNSIGNED(v) unsigned_avx2((__m256i)(v))
#define AS_SIGNED(v) signed_avx2((__m256i)(v))
#define DOT(sums, u, s) ((W)dot_avx2((__m256i)(sums), u, s))
#define HALF_LANES 8
#define HALF_DOT(sums, u, s) DOT(sums, AS_UNSIGNED(u), AS_SIGNED(s))
#define LOW_8(a, b) ((W)_mm256_unpacklo_epi8((__m256i)(a), (__m256i)(b)))
#define HIGH_8(a, b) ((W)_mm256_unpackhi_epi8((__m256i)(a), (__m256i)(b)))
#define LOW_16(a, b) ((W)_mm256_unpacklo_epi16((__m256i)(a), (__m256i)(b)))
#define HIGH_16(a, b) ((W)_mm256_unpackhi_epi16((__m256i)(a), (__m256i)(b)))
#include "int8_kernels_template.h"

#pragma clang attribute pop
#endif
