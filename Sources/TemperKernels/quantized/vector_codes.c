#include "vector_codes.h"

#include "../clones.h"
#include "../cut.h"
#include "quantized.h"
#include "unpack.h"

// Codes of a row that are looked up while their part of the lookup table (32 KB at most) is in the first-level cache.
// The rows whose codes stay in the second-level cache meanwhile.
enum { UNIT = TEMPER_PACKED_UNIT, BLOCK_ROWS = 128 };

static int64_t vectors_of(const temper_vector_codes *matrix) { return divide_up(matrix->columns, matrix->length); }

int64_t temper_vector_codes_width(const temper_vector_codes *matrix) {
  return vectors_of(matrix) * matrix->table_count;
}

static const uint8_t *row_codes(const temper_vector_codes *matrix, int64_t row) {
  return matrix->codes + row * temper_packed_row_bytes(temper_vector_codes_width(matrix), matrix->bits);
}

static const float *table_vector(const temper_vector_codes *matrix, int64_t table, int64_t code) {
  return matrix->tables + ((table << matrix->bits) + code) * matrix->length;
}

TEMPER_CLONES void temper_vector_codes_decode(const temper_vector_codes *matrix, int64_t row_begin, int64_t row_end,
                                              float *out) {
  const int64_t length = matrix->length, width = temper_vector_codes_width(matrix);
  for (int64_t row = row_begin; row < row_end; row++, out += matrix->columns) {
    const uint8_t *codes = row_codes(matrix, row);
    const float scale = matrix->scales[row];
    int64_t table = 0, vector = 0;
    for (int64_t begin = 0; begin < width; begin += UNIT) {
      uint8_t loose[UNIT];
      temper_unpack_units(matrix->bits, 1, codes + begin / UNIT * 4 * matrix->bits, loose);
      for (int64_t i = 0; i < minimum(UNIT, width - begin); i++) {
        const float *from = table_vector(matrix, table, loose[i]);
        float *to = out + vector * length;
        const int64_t count = minimum(length, matrix->columns - vector * length);
        const bool is_last = ++table == matrix->table_count;
        if (table == 1 && is_last) {
          for (int64_t p = 0; p < count; p++) to[p] = scale * from[p];
        } else if (table == 1) {
          for (int64_t p = 0; p < count; p++) to[p] = from[p];
        } else if (is_last) {
          for (int64_t p = 0; p < count; p++) to[p] = scale * (to[p] + from[p]);
        } else {
          for (int64_t p = 0; p < count; p++) to[p] += from[p];
        }
        if (is_last) {
          table = 0;
          vector++;
        }
      }
    }
  }
}

// --- products by looking up

size_t temper_vector_codes_lookup_bytes(const temper_vector_codes *matrix) {
  return (size_t)((temper_vector_codes_width(matrix) << matrix->bits) * (int64_t)sizeof(float));
}

TEMPER_CLONES void temper_vector_codes_dots(const temper_vector_codes *matrix, const float *x, int64_t code_begin,
                                            int64_t code_end, float *lookup) {
  const int64_t length = matrix->length, size = 1 << matrix->bits;
  for (int64_t place = code_begin; place < code_end; place++) {
    const int64_t vector = place / matrix->table_count, table = place % matrix->table_count;
    const int64_t count = minimum(length, matrix->columns - vector * length);
    const float *part = x + vector * length, *from = table_vector(matrix, table, 0);
    for (int64_t code = 0; code < size; code++) {
      float sum = 0;
      for (int64_t p = 0; p < count; p++) sum += part[p] * from[code * length + p];
      lookup[(place << matrix->bits) + code] = sum;
    }
  }
}

// The sum of one unit's entries; the compiler must not gather them into vectors, which takes longer than adding them.
static inline float unit_sum(const float *block, int32_t bits, int64_t count, const uint8_t *loose) {
  float sums[4] = {0};
  int64_t i = 0;
#pragma clang loop vectorize(disable) interleave(disable)
  for (; i + 4 <= count; i += 4) {
    sums[0] += block[(i << bits) + loose[i]];
    sums[1] += block[((i + 1) << bits) + loose[i + 1]];
    sums[2] += block[((i + 2) << bits) + loose[i + 2]];
    sums[3] += block[((i + 3) << bits) + loose[i + 3]];
  }
  for (; i < count; i++) sums[0] += block[(i << bits) + loose[i]];
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

void temper_vector_codes_look_up(const temper_vector_codes *matrix, const float *lookup, int64_t row_begin,
                                 int64_t row_end, float *y) {
  const int64_t width = temper_vector_codes_width(matrix);
  for (int64_t first = row_begin; first < row_end; first += BLOCK_ROWS) {
    const int64_t last = minimum(row_end, first + BLOCK_ROWS);
    for (int64_t row = first; row < last; row++) y[row] = 0;
    for (int64_t begin = 0; begin < width; begin += UNIT) {
      const float *block = lookup + (begin << matrix->bits);
      const int64_t count = minimum(UNIT, width - begin);
      for (int64_t row = first; row < last; row++) {
        uint8_t loose[UNIT];
        temper_unpack_units(matrix->bits, 1, row_codes(matrix, row) + begin / UNIT * 4 * matrix->bits, loose);
        y[row] += unit_sum(block, matrix->bits, count, loose);
      }
    }
    for (int64_t row = first; row < last; row++) y[row] *= matrix->scales[row];
  }
}

void temper_vector_codes_product_reference(const temper_vector_codes *matrix, const float *x, float *y) {
  const temper_packed_matrix packed = {
      .columns = temper_vector_codes_width(matrix), .bits = matrix->bits, .codes = matrix->codes};
  for (int64_t row = 0; row < matrix->rows; row++) {
    double sum = 0;
    for (int64_t c = 0; c < matrix->columns; c++) {
      const int64_t vector = c / matrix->length;
      double weight = 0;
      for (int64_t table = 0; table < matrix->table_count; table++) {
        const int64_t code = temper_packed_code(&packed, row, vector * matrix->table_count + table);
        weight += (double)table_vector(matrix, table, code)[c % matrix->length];
      }
      sum += (double)x[c] * weight;
    }
    y[row] = (float)((double)matrix->scales[row] * sum);
  }
}
