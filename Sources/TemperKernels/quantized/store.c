#include "quantized.h"

int64_t temper_stored_row_bytes(int64_t columns, int32_t bits) {
  return columns / 8 * bits + (columns % 8 * bits + 7) / 8;
}

void temper_store_rows(int64_t columns, int32_t bits, const uint8_t *loose, int64_t row_begin, int64_t row_end,
                       uint8_t *stored) {
  const int64_t row_bytes = temper_stored_row_bytes(columns, bits);
  for (int64_t row = row_begin; row < row_end; row++) {
    const uint8_t *codes = loose + row * columns;
    uint8_t *out = stored + row * row_bytes;
    uint32_t window = 0;  // bits that have not filled a byte yet
    int filled = 0;
    for (int64_t c = 0; c < columns; c++) {
      window |= (uint32_t)codes[c] << filled;
      for (filled += bits; filled >= 8; filled -= 8, window >>= 8) *out++ = (uint8_t)window;
    }
    if (filled > 0) *out = (uint8_t)window;
  }
}

void temper_restore_rows(int64_t columns, int32_t bits, const uint8_t *stored, int64_t row_begin, int64_t row_end,
                         uint8_t *loose) {
  const int64_t row_bytes = temper_stored_row_bytes(columns, bits);
  const uint32_t mask = (1u << bits) - 1;
  for (int64_t row = row_begin; row < row_end; row++) {
    const uint8_t *in = stored + row * row_bytes;
    uint8_t *codes = loose + row * columns;
    uint32_t window = 0;
    int filled = 0;
    for (int64_t c = 0; c < columns; c++) {
      if (filled < bits) {
        window |= (uint32_t)*in++ << filled;
        filled += 8;
      }
      codes[c] = (uint8_t)(window & mask);
      window >>= bits;
      filled -= bits;
    }
  }
}
