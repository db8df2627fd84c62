// What every machine can run.
#include "int8_kernels.h"

typedef uint32_t words_plain __attribute__((vector_size(16)));
typedef int32_t quads_plain __attribute__((vector_size(16)));
typedef uint8_t bytes_plain __attribute__((vector_size(16)));
typedef uint16_t halves_plain __attribute__((vector_size(16)));

static inline words_plain dot_plain(words_plain sums, quads_plain u, quads_plain s) {
  for (int byte = 0; byte < 4; byte++) sums += (words_plain)((u >> 8 * byte & 255) * (s << (24 - 8 * byte) >> 24));
  return sums;
}

#define LANES 4
#define TILE_ROWS 2
#define NAME(x) x##_plain
#define UNSIGNED quads_plain
#define SIGNED quads_plain
#define AS_UNSIGNED(v) ((quads_plain)(v))
#define AS_SIGNED(v) ((quads_plain)(v))
#define DOT(sums, u, s) dot_plain(sums, u, s)
#define HALF_LANES 4
#define HALF_DOT(sums, u, s) dot_plain(sums, (quads_plain)(u), (quads_plain)(s))
#define LOW_8(a, b)                                                                                                   \
  ((W)__builtin_shufflevector((bytes_plain)(a), (bytes_plain)(b), 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, \
                              23))
#define HIGH_8(a, b)                                                                                                \
  ((W)__builtin_shufflevector((bytes_plain)(a), (bytes_plain)(b), 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, \
                              30, 15, 31))
#define LOW_16(a, b) ((W)__builtin_shufflevector((halves_plain)(a), (halves_plain)(b), 0, 8, 1, 9, 2, 10, 3, 11))
#define HIGH_16(a, b) ((W)__builtin_shufflevector((halves_plain)(a), (halves_plain)(b), 4, 12, 5, 13, 6, 14, 7, 15))
#include "int8_kernels_template.h"
