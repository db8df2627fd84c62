// What a training step needs around its plan: rows back into a table, a norm, a search for what is not finite.
#ifndef TEMPER_BATCH_H
#define TEMPER_BATCH_H

#include <stddef.h>
#include <stdint.h>

// to[ids[i]] = from[i] for i = 0, 1, ... in this order, by rows of `row_bytes`; ids must be inside the table.
void temper_scatter_rows(void *to, const void *from, const int32_t *ids, size_t count, size_t row_bytes);

// Sum of x[i]^2 in double precision, by one fixed tree: the same bits on every instruction set.
double temper_sum_squares_f32(const float *x, size_t count);
double temper_sum_squares_f64(const double *x, size_t count);

// Index of the first NaN or infinity; `count` if there is none.
size_t temper_first_not_finite_f32(const float *x, size_t count);
size_t temper_first_not_finite_f64(const double *x, size_t count);

#endif
