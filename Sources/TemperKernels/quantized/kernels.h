// The instruction-set specific parts of packed matrices, generated from `kernels_template.h`. They take
// groups that are whole units of columns, or one group a row.
#ifndef TEMPER_QUANTIZED_KERNELS_H
#define TEMPER_QUANTIZED_KERNELS_H

#include "quantized.h"

// y[row] = sum over c of x[c] * w[row, c]
typedef void packed_vector_product_function(const temper_packed_matrix *matrix, int64_t row_begin, int64_t row_end,
                                            const float *x, float *y);

typedef void dequantize_function(const temper_packed_matrix *matrix, int64_t row, int64_t column_begin,
                                 int64_t column_end, float *out);

typedef struct packed_kernels {
  packed_vector_product_function *vector_product[2][8];  // [has a table of levels][bits - 1]
  dequantize_function *dequantize[2][8];
} packed_kernels;

extern const packed_kernels temper_packed_kernels_plain;
#if defined(__x86_64__)
extern const packed_kernels temper_packed_kernels_avx2, temper_packed_kernels_avx512;
#endif

#endif
