#include "unpack.h"

#include <string.h>

#include "../clones.h"

enum { UNIT = TEMPER_PACKED_UNIT };

typedef uint8_t bytes_16 __attribute__((vector_size(16)));
typedef uint8_t bytes_8 __attribute__((vector_size(8)));
typedef uint32_t words_8 __attribute__((vector_size(32)));
typedef bytes_16 unaligned_16 __attribute__((aligned(1), may_alias));
typedef words_8 unaligned_words __attribute__((aligned(1), may_alias));

#define INLINE static inline __attribute__((always_inline))

// Byte c of the result takes code c of the plane: a word of 4 codes is spread over its bytes by shifts.
INLINE void add_two_bit_plane(words_8 *result, const uint8_t *plane, int shift) {
  bytes_8 packed;
  memcpy(&packed, plane, sizeof packed);
  const words_8 words = __builtin_convertvector(packed, words_8);
  *result |= ((words | words << 6 | words << 12 | words << 18) & 0x03030303) << shift;
}

INLINE void add_one_bit_plane(words_8 *result, const uint8_t *plane, int shift) {
  uint32_t packed;
  memcpy(&packed, plane, sizeof packed);
  const words_8 nibbles = (packed - (words_8){}) >> (words_8){0, 4, 8, 12, 16, 20, 24, 28} & 15;
  *result |= ((nibbles | nibbles << 7 | nibbles << 14 | nibbles << 21) & 0x01010101) << shift;
}

#define BEHIND(a, b)                                                                                                  \
  __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, \
                          24, 25, 26, 27, 28, 29, 30, 31)

#define UNPACK(bits)                                                                 \
  for (int64_t unit = 0; unit < units; unit++, codes += 4 * (bits), loose += UNIT) { \
    const uint8_t *plane = codes;                                                    \
    words_8 result = {};                                                             \
    int shift = 0;                                                                   \
    if ((bits) & 4) {                                                                \
      const bytes_16 halves = *(const unaligned_16 *)plane;                          \
      result = (words_8)BEHIND(halves & 15, halves >> 4);                            \
      plane += 16;                                                                   \
      shift = 4;                                                                     \
    }                                                                                \
    if ((bits) & 2) {                                                                \
      add_two_bit_plane(&result, plane, shift);                                      \
      plane += 8;                                                                    \
      shift += 2;                                                                    \
    }                                                                                \
    if ((bits) & 1) add_one_bit_plane(&result, plane, shift);                        \
    *(unaligned_words *)loose = result;                                              \
  }                                                                                  \
  return;

TEMPER_CLONES void temper_unpack_units(int32_t bits, int64_t units, const uint8_t *codes, uint8_t *loose) {
  switch (bits) {
    case 1:
      UNPACK(1)
    case 2:
      UNPACK(2)
    case 3:
      UNPACK(3)
    case 4:
      UNPACK(4)
    case 5:
      UNPACK(5)
    case 6:
      UNPACK(6)
    case 7:
      UNPACK(7)
    default:
      memcpy(loose, codes, (size_t)(units * UNIT));
  }
}

void temper_unpack_rows(const temper_packed_matrix *matrix, int64_t row_begin, int64_t row_end, uint8_t *loose) {
  const int64_t columns = matrix->columns, units = columns / UNIT, rest = columns % UNIT;
  const int64_t row_bytes = temper_packed_row_bytes(columns, matrix->bits);
  for (int64_t row = row_begin; row < row_end; row++) {
    const uint8_t *codes = matrix->codes + row * row_bytes;
    uint8_t *out = loose + row * columns;
    temper_unpack_units(matrix->bits, units, codes, out);
    if (rest > 0) {
      uint8_t last[UNIT];
      temper_unpack_units(matrix->bits, 1, codes + units * 4 * matrix->bits, last);
      memcpy(out + units * UNIT, last, (size_t)rest);
    }
  }
}
