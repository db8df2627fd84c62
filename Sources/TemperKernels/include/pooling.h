// Two-dimensional max and average pooling of planes (the batch and channels of NCHW), forward and backward.
#ifndef TEMPER_POOLING_H
#define TEMPER_POOLING_H

#include <stdbool.h>
#include <stdint.h>

#include "row_program.h"

typedef struct temper_pooling {
  temper_element element;         // F32 or F64
  int64_t height, width;          // of an input plane
  int64_t out_height, out_width;  // of an output plane
  int64_t kernel_height, kernel_width;
  int64_t stride_height, stride_width;
  int64_t padding_height, padding_width;  // on the upper and left side; below and right, what the output size needs
  bool count_padding;                     // average: divide by the whole window, not by its part inside the plane
} temper_pooling;

// All do the planes [begin, end). `argmax` holds y * width + x within the input plane: the first of equals, or the
// first NaN, or -1 where a window lies in the padding altogether (whose maximum is -inf). Backward overwrites
// `in_gradient`.
void temper_max_pool(const temper_pooling *pooling, const void *in, void *out, int32_t *argmax, int64_t begin,
                     int64_t end);
void temper_max_pool_backward(const temper_pooling *pooling, const void *out_gradient, const int32_t *argmax,
                              void *in_gradient, int64_t begin, int64_t end);
void temper_average_pool(const temper_pooling *pooling, const void *in, void *out, int64_t begin, int64_t end);
void temper_average_pool_backward(const temper_pooling *pooling, const void *out_gradient, void *in_gradient,
                                  int64_t begin, int64_t end);

#endif
