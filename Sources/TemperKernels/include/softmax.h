// Softmax, log-softmax and softmax cross-entropy of rows.
#ifndef TEMPER_SOFTMAX_H
#define TEMPER_SOFTMAX_H

#include <stdbool.h>
#include <stdint.h>

#include "row_program.h"
#include "variant.h"

// Strides are in elements; the elements of a row are contiguous. F32 or F64.
typedef struct temper_softmax_job {
  temper_element element;
  temper_variant variant;
  bool logarithm;   // of the softmax
  int64_t classes;  // at least 1
  const void *logits;
  int64_t row_stride;
  void *out;  // in place if it is `logits`, with the same stride
  int64_t out_row_stride;
} temper_softmax_job;

// Does the rows [begin, end).
void temper_softmax(const temper_softmax_job *job, int64_t begin, int64_t end);

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
} temper_threshold_job;

// Does the rows [begin, end).
void temper_threshold(const temper_threshold_job *job, int64_t begin, int64_t end);

// With p = softmax(logits) and y the target: loss = -log p_y, gradient_k = scale (p_k - [k = y]). A row whose target is
// outside [0, classes) is left out: loss and gradient are 0.
typedef struct temper_softmax_cross_entropy_job {
  temper_element element;
  temper_variant variant;
  int64_t classes;  // at least 1
  const void *logits;
  int64_t row_stride;
  const int32_t *targets;
  void *loss;      // one per row
  void *gradient;  // or NULL; not `logits`
  int64_t gradient_row_stride;
  const void *row_scales;  // factor of each row's gradient, or NULL for 1
  double scale;            // factor of all
} temper_softmax_cross_entropy_job;

// Does the rows [begin, end).
void temper_softmax_cross_entropy(const temper_softmax_cross_entropy_job *job, int64_t begin, int64_t end);

#endif
