// Products of packed matrices with activations that are rounded to 8-bit integers as they come: Y = X W^T in integers.
//
// A row of X becomes whole numbers q = round(x / s), ties to even, with its own scale s = max |x| / 127 (1 for a row of
// zeros). Then y = s * sum over parts of scale * (sum of q * (level - zero)): a part is the columns of one group, cut
// at TEMPER_INT8_PART columns or fewer; the inner sums are exact integers, the outer one runs in sequence in float32,
// for few rows of X in vector lanes. Levels must be whole (no table). A row that is not finite gives NaN.
#ifndef TEMPER_INT8_ACTIVATIONS_H
#define TEMPER_INT8_ACTIVATIONS_H

#include "quantized.h"

enum { TEMPER_INT8_PART = 2048 };

// Columns of a part: the groups', or a divisor of theirs.
int64_t temper_int8_part_columns(const temper_packed_matrix *matrix);

// X as it enters the products.
typedef struct temper_int8_activations {
  int64_t m;
  int8_t *values;  // (m, temper_int8_pitch(columns)), 64-byte aligned, filled up with zeros
  float *scales;   // m; NaN where the row is not finite
  int32_t *sums;   // (m, parts): of the values of a part
} temper_int8_activations;

int64_t temper_int8_pitch(int64_t columns);

// Rows [row_begin, row_end) of x (m, columns of the matrix).
void temper_int8_round_rows(const temper_packed_matrix *matrix, const float *x, int64_t x_row_stride, int64_t row_begin,
                            int64_t row_end, const temper_int8_activations *activations);

typedef struct temper_int8_packed_product {
  const temper_packed_matrix *matrix;
  temper_variant variant;
  const temper_int8_activations *x;
  float *y;  // (m, rows of the matrix)
  int64_t y_row_stride;
} temper_int8_packed_product;

typedef struct temper_int8_packed_plan {
  int64_t piece_count;
  size_t scratch_bytes;  // memory of each thread, 64-byte aligned
  // How the pieces are cut; for `temper_int8_packed_run_piece` alone.
  int64_t weight_rows;
} temper_int8_packed_plan;

temper_int8_packed_plan temper_int8_packed_plan_make(const temper_int8_packed_product *product);
void temper_int8_packed_run_piece(const temper_int8_packed_product *product, const temper_int8_packed_plan *plan,
                                  int64_t piece, void *scratch);

// The definition, from the rounded activations. For tests, and for groups that are not whole units.
void temper_int8_packed_reference(const temper_int8_packed_product *product, int64_t row_begin, int64_t row_end);

#endif
