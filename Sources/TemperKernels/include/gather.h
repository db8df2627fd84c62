// Rows by index: embeddings, batches, and their gradients.
#ifndef TEMPER_GATHER_H
#define TEMPER_GATHER_H

#include <stddef.h>
#include <stdint.h>

#include "row_program.h"

// out[i] = table[indices[i]] for i in [begin, end), rows of `row_bytes` bytes; zeros where the index is outside
// [0, table_rows). Rows of `out` are dense, those of `table` are `table_row_bytes` apart.
void temper_gather_rows(const void *table, int64_t table_rows, int64_t table_row_bytes, const int32_t *indices,
                        void *out, size_t row_bytes, int64_t begin, int64_t end);

// table[indices[i]] += rows[i] for i = 0, 1, ... count - 1 in this order, columns [column_begin, column_end) of those
// table rows that are in [row_begin, row_end): cut by either. Other indices are passed over. F32 or F64; `rows` and
// `table` are dense, of `columns` columns.
void temper_scatter_add_rows(temper_element element, const void *rows, const int32_t *indices, int64_t count,
                             void *table, int64_t columns, int64_t row_begin, int64_t row_end, int64_t column_begin,
                             int64_t column_end);

#endif
