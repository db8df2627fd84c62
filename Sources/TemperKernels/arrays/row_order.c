#include "../include/row_order.h"

#include <string.h>

#define CUMULATIVE_SUM(REAL, name)                                              \
  static void name(bool reversed, const REAL *in, REAL *out, int64_t columns) { \
    REAL sum = 0;                                                               \
    if (reversed)                                                               \
      for (int64_t c = columns - 1; c >= 0; --c) out[c] = sum += in[c];         \
    else                                                                        \
      for (int64_t c = 0; c < columns; ++c) out[c] = sum += in[c];              \
  }

CUMULATIVE_SUM(float, cumulative_sum_f32)
CUMULATIVE_SUM(double, cumulative_sum_f64)

void temper_cumulative_sum(temper_element element, bool reversed, const void *in, int64_t in_row_stride, void *out,
                           int64_t out_row_stride, int64_t columns, int64_t row_begin, int64_t row_end) {
  for (int64_t r = row_begin; r < row_end; ++r) {
    if (element == TEMPER_ELEMENT_F32)
      cumulative_sum_f32(reversed, (const float *)in + r * in_row_stride, (float *)out + r * out_row_stride, columns);
    else
      cumulative_sum_f64(reversed, (const double *)in + r * in_row_stride, (double *)out + r * out_row_stride, columns);
  }
}

// An element of a row by a key whose unsigned order is the order wanted.
typedef struct item {
  uint64_t key;
  uint32_t column;
} item;

// Positive numbers order as their bits do, negative ones the other way round. NaN is above all in either direction.
#define KEY(REAL, BITS, name)                           \
  static BITS name(REAL x, bool descending) {           \
    const BITS top = (BITS)1 << (8 * sizeof(BITS) - 1); \
    if (x != x) return (BITS) ~(BITS)0;                 \
    BITS bits;                                          \
    x += 0; /* -0 to 0 */                               \
    memcpy(&bits, &x, sizeof x);                        \
    bits = bits & top ? (BITS)~bits : bits | top;       \
    return descending ? (BITS)~bits : bits;             \
  }

KEY(float, uint32_t, key_f32)
KEY(double, uint64_t, key_f64)

enum { INSERTION_MAX = 48, DIGITS = 256 };

// By one byte of the key after the other, lowest first, each pass stable; bytes that all keys share take no pass.
// Returns where the sorted items are.
#define SORT(ITEM, name, KEY_OF, BYTES)                                                                   \
  static ITEM *name(ITEM *items, ITEM *other, int64_t count) {                                            \
    if (count <= INSERTION_MAX) {                                                                         \
      for (int64_t i = 1; i < count; ++i) {                                                               \
        const ITEM x = items[i];                                                                          \
        int64_t j = i;                                                                                    \
        for (; j > 0 && KEY_OF(items[j - 1]) > KEY_OF(x); --j) items[j] = items[j - 1];                   \
        items[j] = x;                                                                                     \
      }                                                                                                   \
      return items;                                                                                       \
    }                                                                                                     \
    uint32_t counts[BYTES][DIGITS] = {{0}};                                                               \
    for (int64_t i = 0; i < count; ++i)                                                                   \
      for (int b = 0; b < BYTES; ++b) ++counts[b][KEY_OF(items[i]) >> 8 * b & 0xFF];                      \
    for (int b = 0; b < BYTES; ++b) {                                                                     \
      if (counts[b][KEY_OF(items[0]) >> 8 * b & 0xFF] == count) continue;                                 \
      uint32_t start = 0;                                                                                 \
      for (int digit = 0; digit < DIGITS; ++digit) {                                                      \
        const uint32_t n = counts[b][digit];                                                              \
        counts[b][digit] = start;                                                                         \
        start += n;                                                                                       \
      }                                                                                                   \
      for (int64_t i = 0; i < count; ++i) other[counts[b][KEY_OF(items[i]) >> 8 * b & 0xFF]++] = items[i]; \
      ITEM *t = items;                                                                                    \
      items = other;                                                                                      \
      other = t;                                                                                          \
    }                                                                                                     \
    return items;                                                                                         \
  }

// A float's key and its column are one number.
#define PACKED_KEY(item) ((item) >> 32)
#define ITEM_KEY(item) ((item).key)
SORT(uint64_t, sort_packed, PACKED_KEY, 4)
SORT(item, sort_items, ITEM_KEY, 8)

size_t temper_sort_scratch(int64_t columns) { return 2 * (size_t)columns * sizeof(item); }

void temper_sort_rows(temper_element element, bool descending, const void *in, int64_t in_row_stride, void *values,
                      int32_t *indices, int64_t columns, int64_t row_begin, int64_t row_end, void *scratch) {
  if (columns == 0) return;
  const bool single = element == TEMPER_ELEMENT_F32;
  uint64_t *packed = scratch;
  item *items = scratch;
  for (int64_t r = row_begin; r < row_end; ++r) {
    const float *row_f32 = (const float *)in + r * in_row_stride;
    const double *row_f64 = (const double *)in + r * in_row_stride;
    for (int64_t c = 0; c < columns; ++c)
      if (single)
        packed[c] = (uint64_t)key_f32(row_f32[c], descending) << 32 | (uint32_t)c;
      else
        items[c] = (item){key_f64(row_f64[c], descending), (uint32_t)c};
    const uint64_t *sorted = single ? sort_packed(packed, packed + columns, columns) : NULL;
    const item *sorted_items = single ? NULL : sort_items(items, items + columns, columns);
    for (int64_t c = 0; c < columns; ++c) {
      const uint32_t column = single ? (uint32_t)sorted[c] : sorted_items[c].column;
      if (indices) indices[r * columns + c] = (int32_t)column;
      if (values && single) ((float *)values)[r * columns + c] = row_f32[column];
      if (values && !single) ((double *)values)[r * columns + c] = row_f64[column];
    }
  }
}
