// Matrices of low-bit codes: encoding, decoding, and products straight from the packed codes.
//
// The value of an element: w = scale * (level - zero), each operation rounded to float32, where scale and zero belong
// to the element's group of columns and level = levels[code], or first_level + code where there is no table.
//
// Layout of the codes: a row is cut into units of 32 columns, the last one padded with code 0. A unit of b-bit codes
// takes 4 * b bytes: for b = 8 the codes in order, else up to three planes one after the other, low bits first:
//   4 bits (b & 4)  16 bytes: byte i holds column i in its low half and column 16 + i in its high half
//   2 bits (b & 2)   8 bytes: bits 2c and 2c + 1 of a little-endian number belong to column c
//   1 bit  (b & 1)   4 bytes: bit c belongs to column c
#ifndef TEMPER_QUANTIZED_H
#define TEMPER_QUANTIZED_H

#include "matmul.h"

enum { TEMPER_PACKED_UNIT = 32 };

typedef struct temper_packed_matrix {
  int64_t rows, columns;
  int32_t bits;              // 1 to 8
  float first_level;         // of code 0, where `levels` is NULL
  const float *levels;       // 2^bits values, or NULL
  const uint8_t *codes;      // rows * temper_packed_row_bytes(columns, bits)
  int64_t group_size;        // columns that share a scale, at least 1
  int64_t scale_row_stride;  // 0 where all rows share their scales
  const float *scales;       // of (row, group) at [row * scale_row_stride + group]
  const uint8_t *zeros;      // laid out like the scales, or NULL: 0
} temper_packed_matrix;

int64_t temper_packed_row_bytes(int64_t columns, int32_t bits);

// --- encoding; all work on rows [row_begin, row_end), so that rows can be cut into pieces

// Smallest and largest value of each group, at [row * groups of a row + group]. Returns false if a value is not finite.
bool temper_group_ranges(const float *weights, int64_t columns, int64_t group_size, int64_t row_begin, int64_t row_end,
                         float *minima, float *maxima);

// The levels that weights may be rounded to. Whole ones: first_level + code for lowest_code <= code <= highest_code,
// ties to even levels. Or the `count` levels of a table: a value v takes code codes[i] of level levels[i], where i is the
// number of thresholds below v; the thresholds ascend.
typedef struct temper_levels {
  int32_t lowest_code, highest_code;
  float first_level;
  int32_t count;  // 0: whole levels
  const float *thresholds, *levels;
  const uint8_t *codes;
} temper_levels;

// Writes to `codes` the code of the level nearest to each weight under the matrix's scales, which are positive, and zeros.
void temper_encode_rows(const temper_packed_matrix *matrix, const temper_levels *levels, const float *weights,
                        int64_t row_begin, int64_t row_end, uint8_t *codes);

// The code of each value under one scale and zero point, one a byte.
void temper_round_values(const temper_levels *levels, const float *values, int64_t count, float scale, float zero,
                         uint8_t *loose);

// Sum of (v - scale * (level - zero))^2 over values and the levels nearest to them.
double temper_rounding_error(const temper_levels *levels, const float *values, int64_t count, float scale, float zero);

// Rounding with error feedback: column by column, each target is the weight plus what the errors of earlier columns ask
// for: target[i] = w[i] + sum over j < i of factors[j][i] * (w[j] - rounded[j]).
typedef struct temper_feedback {
  const temper_levels *levels;
  int64_t columns;
  const float *factors;      // (columns, columns), read above the diagonal
  const int32_t *groups;     // of each column
  int64_t scale_row_stride;  // 0 where all rows share their scales
  const float *scales;       // of (row, group)
  const uint8_t *zeros;      // like the scales, or NULL
  const float *weights;      // (rows, columns)
  float *errors;             // (rows, columns): receives w - rounded
  uint8_t *codes;            // (rows, columns), one a byte
} temper_feedback;

size_t temper_feedback_scratch(const temper_feedback *feedback, int64_t rows);  // 64-byte aligned
void temper_feedback_rows(const temper_feedback *feedback, int64_t row_begin, int64_t row_end, void *scratch);

// One code a byte, dense, to and from the packed layout.
void temper_pack_rows(int64_t columns, int32_t bits, const uint8_t *loose, int64_t row_begin, int64_t row_end,
                      uint8_t *codes);
void temper_unpack_rows(const temper_packed_matrix *matrix, int64_t row_begin, int64_t row_end, uint8_t *loose);

// The code of one element.
int32_t temper_packed_code(const temper_packed_matrix *matrix, int64_t row, int64_t column);

// To and from the layout of files: column c of a row takes bits [bits * c, bits * c + bits) of the row's bytes, lowest
// first; a row fills whole bytes, the last one up with zeros.
int64_t temper_stored_row_bytes(int64_t columns, int32_t bits);
void temper_store_rows(int64_t columns, int32_t bits, const uint8_t *loose, int64_t row_begin, int64_t row_end,
                       uint8_t *stored);
void temper_restore_rows(int64_t columns, int32_t bits, const uint8_t *stored, int64_t row_begin, int64_t row_end,
                         uint8_t *loose);

// How far a row is from the weights it stands for.
typedef struct temper_row_error {
  double squared_error, squared_weight, largest_error;
} temper_row_error;

temper_row_error temper_packed_row_error(const temper_packed_matrix *matrix, const float *weights, int64_t row);

// --- decoding

// Columns [column_begin, column_end) of a row; column_begin is a multiple of TEMPER_PACKED_UNIT.
void temper_dequantize_row(const temper_packed_matrix *matrix, temper_variant variant, int64_t row,
                           int64_t column_begin, int64_t column_end, float *out);
void temper_dequantize_row_reference(const temper_packed_matrix *matrix, int64_t row, int64_t column_begin,
                                     int64_t column_end, float *out);

// --- products: Y = X W^T, X (m, columns of W), Y (m, rows of W), both float32 or both float64

// The weights enter with exactly their decoded values. Up to 32 rows of X with float32: lane c % 32 sums column c with
// fused multiply-adds, and a tree adds the 32 lanes, so AVX2 and AVX-512 give the same bits, and a row's do not depend
// on the others. Otherwise blocks of rows of W are decoded into panels and go through matrix products (matmul.h).
typedef struct temper_packed_product {
  const temper_packed_matrix *matrix;
  temper_element element;  // TEMPER_ELEMENT_F32 or TEMPER_ELEMENT_F64, of X and Y
  temper_variant variant;
  int64_t m;
  const void *x;
  int64_t x_row_stride;  // in elements; columns have stride 1
  void *y;
  int64_t y_row_stride;
} temper_packed_product;

typedef struct temper_packed_plan {
  int64_t piece_count;
  size_t scratch_bytes;  // memory of each thread, 64-byte aligned
  // How the pieces are cut; for `temper_packed_run_piece` alone.
  temper_variant variant;
  bool is_direct;
  int64_t weight_rows, x_rows;  // of a piece
} temper_packed_plan;

// Reads shapes and the layout of groups, not the pointers' targets.
temper_packed_plan temper_packed_plan_make(const temper_packed_product *product);

void temper_packed_run_piece(const temper_packed_product *product, const temper_packed_plan *plan, int64_t piece,
                             void *scratch);

// The definition: decode, then three plain loops, summed in the widest type. For tests.
void temper_packed_product_reference(const temper_packed_product *product);

#endif
