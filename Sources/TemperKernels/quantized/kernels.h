// The instruction-set specific parts of packed matrices, generated from `kernels_template.h`. They take
// groups that are whole units of columns, or one group a row.
#ifndef TEMPER_QUANTIZED_KERNELS_H
#define TEMPER_QUANTIZED_KERNELS_H

#include "quantized.h"

// Rows of X that products straight from the codes take at most.
enum { PACKED_MOST_INPUTS = 32 };

// y[i, row] = sum over c of x[i, c] * w[row, c], for a few rows of x. `ordered` is room for one of them, whole units.
typedef void packed_vector_products_function(const temper_packed_matrix *matrix, int64_t row_begin, int64_t row_end,
                                             int64_t inputs, const float *x, int64_t x_row_stride, float *y,
                                             int64_t y_row_stride, float *ordered);

typedef void dequantize_function(const temper_packed_matrix *matrix, int64_t row, int64_t column_begin,
                                 int64_t column_end, float *out);

typedef struct packed_kernels {
  packed_vector_products_function *vector_products[2][8];  // [has a table of levels][bits - 1]
  dequantize_function *dequantize[2][8];
} packed_kernels;

extern const packed_kernels temper_packed_kernels_plain;
#if defined(__x86_64__)
extern const packed_kernels temper_packed_kernels_avx2, temper_packed_kernels_avx512;
#endif

#endif
