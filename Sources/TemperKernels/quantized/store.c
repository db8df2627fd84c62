#include <string.h>

#include "quantized.h"

int64_t temper_stored_row_bytes(int64_t columns, int32_t bits) {
  return columns / 8 * bits + (columns % 8 * bits + 7) / 8;
}

// The low `bits` of every `width` bits of a word.
static uint64_t low_bits(int bits, int width) {
  uint64_t mask = 0;
  for (int place = 0; place < 64; place += width) mask |= ((1ull << bits) - 1) << place;
  return mask;
}

// Eight codes, one a byte, as one number of 8 * bits bits and back: neighbours move together, then pairs, then fours.
typedef struct eight_codes {
  int bits;
  uint64_t one, two, four;  // the low bits, 2 * bits and 4 * bits of every 8, 16 and 32
} eight_codes;

static eight_codes eight_codes_of(int bits) {
  return (eight_codes){bits, low_bits(bits, 16), low_bits(2 * bits, 32),
                       bits == 8 ? 0xffffffff : (1ull << 4 * bits) - 1};
}

static inline uint64_t together(const eight_codes *codes, uint64_t word) {
  const int gap = 8 - codes->bits;
  word = (word & codes->one) | (word >> gap & codes->one << codes->bits);
  word = (word & codes->two) | (word >> 2 * gap & codes->two << 2 * codes->bits);
  return (word & codes->four) | (word >> 4 * gap & codes->four << 4 * codes->bits);
}

static inline uint64_t apart(const eight_codes *codes, uint64_t word) {
  const int gap = 8 - codes->bits;
  word = (word & codes->four) | (word & codes->four << 4 * codes->bits) << 4 * gap;
  word = (word & codes->two) | (word & codes->two << 2 * codes->bits) << 2 * gap;
  return (word & codes->one) | (word & codes->one << codes->bits) << gap;
}

void temper_store_rows(int64_t columns, int32_t bits, const uint8_t *loose, int64_t row_begin, int64_t row_end,
                       uint8_t *stored) {
  const int64_t row_bytes = temper_stored_row_bytes(columns, bits);
  const eight_codes eight = eight_codes_of(bits);
  for (int64_t row = row_begin; row < row_end; row++) {
    const uint8_t *codes = loose + row * columns;
    uint8_t *out = stored + row * row_bytes;
    const uint8_t *end = out + row_bytes;
    int64_t c = 0;
    // Whole words, whose unused bytes the next ones overwrite.
    for (; c + 8 <= columns && end - out >= 8; c += 8, out += bits) {
      uint64_t word;
      memcpy(&word, codes + c, 8);
      word = together(&eight, word);
      memcpy(out, &word, 8);
    }
    for (; c < columns; c += 8, out += bits) {
      const int64_t count = columns - c < 8 ? columns - c : 8;
      uint64_t word = 0;
      memcpy(&word, codes + c, (size_t)count);
      word = together(&eight, word);
      memcpy(out, &word, (size_t)((count * bits + 7) / 8));
    }
  }
}

void temper_restore_rows(int64_t columns, int32_t bits, const uint8_t *stored, int64_t row_begin, int64_t row_end,
                         uint8_t *loose) {
  const int64_t row_bytes = temper_stored_row_bytes(columns, bits);
  const eight_codes eight = eight_codes_of(bits);
  for (int64_t row = row_begin; row < row_end; row++) {
    const uint8_t *in = stored + row * row_bytes;
    uint8_t *codes = loose + row * columns;
    const uint8_t *end = in + row_bytes;
    int64_t c = 0;
    for (; c + 8 <= columns && end - in >= 8; c += 8, in += bits) {
      uint64_t word;
      memcpy(&word, in, 8);
      word = apart(&eight, word);
      memcpy(codes + c, &word, 8);
    }
    for (; c < columns; c += 8, in += bits) {
      const int64_t count = columns - c < 8 ? columns - c : 8;
      uint64_t word = 0;
      memcpy(&word, in, (size_t)((count * bits + 7) / 8));
      word = apart(&eight, word);
      memcpy(codes + c, &word, (size_t)count);
    }
  }
}
