// Matrices whose rows are vectors of neighbouring columns, each the sum of one vector from each of several tables
// (additive codebooks): w[row, v * length + p] = scale[row] * sum over t of tables[t][code(row, v, t)][p].
//
// Codes lie as in quantized.h: column v * table_count + t of a row of `bits` bits.
#ifndef TEMPER_VECTOR_CODES_H
#define TEMPER_VECTOR_CODES_H

#include <stddef.h>
#include <stdint.h>

typedef struct temper_vector_codes {
  int64_t rows, columns;
  int64_t length;  // of a vector; the last one of a row may reach beyond its columns
  int64_t table_count;
  int32_t bits;          // 1 to 8: each table has 2^bits vectors
  const float *tables;   // (table_count, 2^bits, length)
  const float *scales;   // of the rows
  const uint8_t *codes;  // rows * temper_packed_row_bytes(vectors of a row * table_count, bits)
} temper_vector_codes;

int64_t temper_vector_codes_width(const temper_vector_codes *matrix);  // codes of a row

// Rows [row_begin, row_end), dense.
void temper_vector_codes_decode(const temper_vector_codes *matrix, int64_t row_begin, int64_t row_end, float *out);

// y[row] = sum over c of x[c] * w[row, c] by looking up: first the dot products of x's vectors with all vectors of the
// tables, for codes [code_begin, code_end) of a row (multiples of 32 or the end), then their sums over rows.
size_t temper_vector_codes_lookup_bytes(const temper_vector_codes *matrix);
void temper_vector_codes_dots(const temper_vector_codes *matrix, const float *x, int64_t code_begin, int64_t code_end,
                              float *lookup);
void temper_vector_codes_look_up(const temper_vector_codes *matrix, const float *lookup, int64_t row_begin,
                                 int64_t row_end, float *y);

// The definition, summed in double. For tests.
void temper_vector_codes_product_reference(const temper_vector_codes *matrix, const float *x, float *y);

#endif
