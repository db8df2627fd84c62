// Two-dimensional convolutions (N, C, H, W) and their gradients, float32 and float64:
//   y[n, o, i, j] = sum over c, r, q of w[o, c, r, q] * x[n, c, i * stride + r * dilation - padding, ...] + bias[o]
// where x is 0 outside its bounds and, with several groups, o sees only the channels of its own group.
//
// Jobs, plans, pieces and their promises are those of `matmul.h`: the bits do not depend on who runs which piece.
#ifndef TEMPER_CONVOLUTION_H
#define TEMPER_CONVOLUTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "matmul.h"
#include "row_program.h"
#include "variant.h"

typedef enum temper_convolution_kind : uint8_t {
  TEMPER_CONVOLUTION_FORWARD,          // output = activation(input * weight + bias)
  TEMPER_CONVOLUTION_INPUT_GRADIENT,   // input = gradient with respect to it, from weight and the gradient in output
  TEMPER_CONVOLUTION_WEIGHT_GRADIENT,  // weight = gradient with respect to it, from input and the gradient in output
} temper_convolution_kind;

// All tensors are dense. The kind says which of them is written; nothing is accumulated. Input is
// (images, channels, height, width); weight is (out_channels, channels / groups, kernel_height, kernel_width); output
// is (images, out_channels, out height, out width) with out height = (height + 2 * padding_height - dilation_height *
// (kernel_height - 1) - 1) / stride_height + 1, at least 1; likewise width.
//
// The weight gradient multiplies some elements of input by an exact 0: where the input is not finite, NaN may reach
// weights that the definition would spare.
typedef struct temper_convolution_job {
  temper_element element;  // TEMPER_ELEMENT_F32 or TEMPER_ELEMENT_F64, of all tensors
  temper_variant variant;
  temper_convolution_kind kind;
  temper_activation activation;  // FORWARD only
  int64_t images, channels, height, width;
  int64_t out_channels, kernel_height, kernel_width;
  int64_t stride_height, stride_width;      // at least 1
  int64_t padding_height, padding_width;    // at least 0
  int64_t dilation_height, dilation_width;  // at least 1
  int64_t groups;                           // divides channels and out_channels
  void *input, *weight, *output;
  const void *bias;  // out_channels elements, or NULL; FORWARD only
} temper_convolution_job;

enum { TEMPER_CONVOLUTION_MAX_PHASES = 2 };

typedef struct temper_convolution_plan {
  size_t workspace_bytes;  // memory shared by all pieces, 64-byte aligned; its contents need not outlive the run
  size_t scratch_bytes;    // memory of each thread, 64-byte aligned
  int32_t phase_count;
  int64_t piece_counts[TEMPER_CONVOLUTION_MAX_PHASES];
  // How the pieces are cut; for `temper_convolution_run_piece` alone.
  temper_variant variant;
  int64_t band_rows, bands;  // bands of rows of what is written (weight gradient: of output) that an image is cut into
  int64_t unit_pieces;       // ranges of (image, band)
  int64_t row_pieces;        // ranges of the written channels of each group
  // Weight gradient: images whose sums stay in registers, channels of input and output that stay in the cache.
  int64_t images_together, channels_together, rows_together;
} temper_convolution_plan;

int64_t temper_convolution_out_height(const temper_convolution_job *job);
int64_t temper_convolution_out_width(const temper_convolution_job *job);

temper_convolution_plan temper_convolution_plan_make(const temper_convolution_job *job);

void temper_convolution_run_piece(const temper_convolution_job *job, const temper_convolution_plan *plan, int32_t phase,
                                  int64_t piece, void *workspace, void *scratch);

// All pieces of all phases, on this thread.
void temper_convolution_run(const temper_convolution_job *job, const temper_convolution_plan *plan, void *workspace,
                            void *scratch);

// The definition: plain loops, summed in float64. For tests.
void temper_convolution_reference(const temper_convolution_job *job);

#endif
