// Kernels in which the elements of a row depend on each other in order: cumulative sums, sorting.
#ifndef TEMPER_ROW_ORDER_H
#define TEMPER_ROW_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "row_program.h"

// out[r, c] = in[r, 0] + ... + in[r, c]; reversed: in[r, c] + ... + in[r, columns - 1]. For rows [row_begin, row_end);
// row strides are in elements. F32 or F64. In place if out is in.
void temper_cumulative_sum(temper_element element, bool reversed, const void *in, int64_t in_row_stride, void *out,
                           int64_t out_row_stride, int64_t columns, int64_t row_begin, int64_t row_end);

// Sorts each row, equal elements (0 and -0 are) in their given order, NaN last in either direction. `values`, dense
// rows x columns like `in`, and `indices`, the columns that the values came from, may each be NULL. `columns` is at
// most 2^31 - 1. F32 or F64. `scratch` is 64-byte aligned and has temper_sort_scratch(columns) bytes.
size_t temper_sort_scratch(int64_t columns);
void temper_sort_rows(temper_element element, bool descending, const void *in, int64_t in_row_stride, void *values,
                      int32_t *indices, int64_t columns, int64_t row_begin, int64_t row_end, void *scratch);

#endif
