#include "../include/gather.h"

#include <string.h>

#include "../clones.h"

// What is short takes longer to call than to copy.
enum { SHORT_LEAST = 16, SHORT_MOST = 64 };

static inline void copy_short(char *to, const char *from, size_t bytes) {
  for (size_t k = 0; k + SHORT_LEAST < bytes; k += SHORT_LEAST) memcpy(to + k, from + k, SHORT_LEAST);
  memcpy(to + bytes - SHORT_LEAST, from + bytes - SHORT_LEAST, SHORT_LEAST);
}

void temper_gather_rows(const void *table, int64_t table_rows, int64_t table_row_bytes, const int32_t *indices,
                        void *out, size_t row_bytes, int64_t begin, int64_t end) {
  const bool is_short = row_bytes >= SHORT_LEAST && row_bytes <= SHORT_MOST;
  for (int64_t i = begin; i < end; ++i) {
    char *to = (char *)out + i * (int64_t)row_bytes;
    const char *from = (const char *)table + indices[i] * table_row_bytes;
    if (indices[i] < 0 || indices[i] >= table_rows)
      memset(to, 0, row_bytes);
    else if (is_short)
      copy_short(to, from, row_bytes);
    else
      memcpy(to, from, row_bytes);
  }
}

#define SCATTER_ADD(REAL, name)                                                                             \
  TEMPER_CLONES static void name(const REAL *rows, const int32_t *indices, int64_t count, REAL *table,      \
                                 int64_t columns, int64_t row_begin, int64_t row_end, int64_t column_begin, \
                                 int64_t column_end) {                                                      \
    for (int64_t i = 0; i < count; ++i) {                                                                   \
      if (indices[i] < row_begin || indices[i] >= row_end) continue;                                        \
      const REAL *from = rows + i * columns;                                                                \
      REAL *to = table + indices[i] * columns;                                                              \
      TEMPER_VECTORISED for (int64_t c = column_begin; c < column_end; ++c) to[c] += from[c];               \
    }                                                                                                       \
  }

SCATTER_ADD(float, scatter_add_f32)
SCATTER_ADD(double, scatter_add_f64)

void temper_scatter_add_rows(temper_element element, const void *rows, const int32_t *indices, int64_t count,
                             void *table, int64_t columns, int64_t row_begin, int64_t row_end, int64_t column_begin,
                             int64_t column_end) {
  if (element == TEMPER_ELEMENT_F32)
    scatter_add_f32(rows, indices, count, table, columns, row_begin, row_end, column_begin, column_end);
  else
    scatter_add_f64(rows, indices, count, table, columns, row_begin, row_end, column_begin, column_end);
}
