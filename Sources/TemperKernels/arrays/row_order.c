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

static void insertion_sort(item *items, int64_t count) {
  for (int64_t i = 1; i < count; ++i) {
    const item x = items[i];
    int64_t j = i;
    for (; j > 0 && items[j - 1].key > x.key; --j) items[j] = items[j - 1];
    items[j] = x;
  }
}

// By one byte of the key after the other, lowest first, each pass stable; bytes that all keys share take no pass.
// Returns where the sorted items are.
static item *radix_sort(item *items, item *other, int64_t count, int bytes) {
  uint32_t counts[8][DIGITS] = {{0}};
  for (int64_t i = 0; i < count; ++i)
    for (int b = 0; b < bytes; ++b) ++counts[b][items[i].key >> 8 * b & 0xFF];
  for (int b = 0; b < bytes; ++b) {
    if (counts[b][items[0].key >> 8 * b & 0xFF] == count) continue;
    uint32_t start = 0;
    for (int digit = 0; digit < DIGITS; ++digit) {
      const uint32_t n = counts[b][digit];
      counts[b][digit] = start;
      start += n;
    }
    for (int64_t i = 0; i < count; ++i) other[counts[b][items[i].key >> 8 * b & 0xFF]++] = items[i];
    item *t = items;
    items = other;
    other = t;
  }
  return items;
}

size_t temper_sort_scratch(int64_t columns) { return 2 * (size_t)columns * sizeof(item); }

void temper_sort_rows(temper_element element, bool descending, const void *in, int64_t in_row_stride, void *values,
                      int32_t *indices, int64_t columns, int64_t row_begin, int64_t row_end, void *scratch) {
  if (columns == 0) return;
  const bool single = element == TEMPER_ELEMENT_F32;
  for (int64_t r = row_begin; r < row_end; ++r) {
    const float *row_f32 = (const float *)in + r * in_row_stride;
    const double *row_f64 = (const double *)in + r * in_row_stride;
    item *items = scratch;
    for (int64_t c = 0; c < columns; ++c)
      items[c] = (item){single ? key_f32(row_f32[c], descending) : key_f64(row_f64[c], descending), (uint32_t)c};
    if (columns <= INSERTION_MAX)
      insertion_sort(items, columns);
    else
      items = radix_sort(items, items + columns, columns, single ? 4 : 8);
    for (int64_t c = 0; c < columns; ++c) {
      if (indices) indices[r * columns + c] = (int32_t)items[c].column;
      if (values && single) ((float *)values)[r * columns + c] = row_f32[items[c].column];
      if (values && !single) ((double *)values)[r * columns + c] = row_f64[items[c].column];
    }
  }
}
