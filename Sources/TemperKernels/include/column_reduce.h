// Reductions over an axis that is not the last one, such as the gradient of a bias.
#ifndef TEMPER_COLUMN_REDUCE_H
#define TEMPER_COLUMN_REDUCE_H

#include <stdint.h>

#include "row_program.h"

typedef enum temper_reduction : uint8_t { TEMPER_REDUCE_SUM, TEMPER_REDUCE_MAX, TEMPER_REDUCE_MIN } temper_reduction;

// out[o, i] = the sum (maximum, minimum) over r of in[o, r, i], for o < outer, r < reduced, i < inner. Strides are in
// elements; i is contiguous; out is dense. Maximum and minimum are NaN if any element is. Over nothing: 0, -inf, inf.
typedef struct temper_column_reduce_job {
  temper_element element;  // F32 or F64
  temper_reduction reduction;
  int64_t outer, reduced, inner;
  const void *in;
  int64_t outer_stride, reduced_stride;
  void *out;
} temper_column_reduce_job;

// Does the outputs [begin, end) of the outer * inner ones. The order of a sum follows from `reduced`, `inner` and
// `reduced_stride` only. To share one long reduction between threads, reduce parts of it into rows of a buffer and then
// these.
void temper_column_reduce(const temper_column_reduce_job *job, int64_t begin, int64_t end);

#endif
