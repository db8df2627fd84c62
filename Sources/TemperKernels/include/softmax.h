// The largest probabilities of a softmax, its sums over a batch, and the thresholds of entmax.
#ifndef TEMPER_SOFTMAX_H
#define TEMPER_SOFTMAX_H

#include <stdint.h>

#include "row_program.h"
#include "variant.h"

// Strides are in elements; the elements of a row are contiguous. F32 or F64.

// The k largest probabilities of each row, falling, and where they are; of equals the first. The other probabilities are
// never written, and a row is read once.
typedef struct temper_softmax_topk_job {
  temper_element element;
  temper_variant variant;
  int64_t classes, k;  // k at least 1, classes at least k
  const void *logits;
  int64_t row_stride;
  void *out;        // k for each row, one row after the other
  void *positions;  // the same, numbers of the element type
} temper_softmax_topk_job;

// Does the rows [begin, end).
void temper_softmax_topk(const temper_softmax_topk_job *job, int64_t begin, int64_t end);

// For each row the threshold t with sum_i u_i^(1/s) = 1, u_i = max(0, s (x_i - max x - t)): s = alpha - 1 is that of
// entmax (1 of sparsemax), a negative s that of the heavy-tailed exponential with t = 1 - s. NaN for rows with NaN or whose
// largest entry is infinite.
typedef struct temper_threshold_job {
  temper_element element;
  temper_variant variant;
  int64_t classes;  // at least 1
  double s;         // not 0
  const void *logits;
  int64_t row_stride;
  void *out, *largest;  // t and max x, one for each row
  void *conjugate;      // or NULL: where s > 0, sum_i p_i (x_i - max x) + (p_i - p_i u_i) / (s + s^2), p = u^(1/s)
} temper_threshold_job;

// Does the rows [begin, end).
void temper_threshold(const temper_threshold_job *job, int64_t begin, int64_t end);

// The sums over some rows of their softmax.
typedef struct temper_batch_softmax_job {
  temper_element element;
  temper_variant variant;
  int64_t classes;       // at least 1
  const void *logits;    // dense
  void *top, *log_sum;   // max x and log sum exp(x - max x), one for each row
  void *sums, *scratch;  // `classes` elements each
} temper_batch_softmax_job;

// Does the rows [begin, end): `sums` are theirs.
void temper_batch_softmax(const temper_batch_softmax_job *job, int64_t begin, int64_t end);

#endif
