// The instruction-set specific parts of convolutions. Strides are in elements.
//
// A channel of an image is copied into planes, with its zero padding: one for each column of the filter, shifted by it,
// in which the columns of the result lie side by side (and, with a stride, for each residue of the row). Position f of
// a band of results, counted along its rows, then reads for every tap of the filter element f of a plane, from that
// tap's offset. So a convolution is a matrix product whose right operand has contiguous rows at arbitrary offsets; that
// takes one copy of the image per column of the filter, not one per tap.
#ifndef TEMPER_CONVOLUTION_KERNELS_H
#define TEMPER_CONVOLUTION_KERNELS_H

#include "convolution.h"

enum { MAX_STRIP_ROWS = 12, MAX_SINGLE_VECTORS = 8, STRIP_VECTORS = 2 };

// sums[i * sums_stride + f] = (accumulate ? itself : 0) + sum over t < taps of filters[t * rows + i] *
// planes[offsets[t] + f], for rows i and whole vectors of positions f that the place in the table fixes.
typedef void strip_function(int64_t taps, const void *filters, const void *planes, const int64_t *offsets,
                            bool accumulate, void *sums, int64_t sums_stride);

// Some of the results of a strip: `length` elements from `from`, which go to `to` and on by column_stride.
typedef struct run {
  int64_t from, length, to;
} run;

// output[i * channel_stride + run.to + j * column_stride] = activation(sums[i * sums_stride + run.from + j] + bias[i])
typedef void scatter_function(int64_t rows, const void *sums, int64_t sums_stride, const run *runs, int64_t run_count,
                              void *output, int64_t channel_stride, int64_t column_stride, const void *bias, bool relu);

// sums[i * sums_stride + t] += sum over images g and positions f < length, which is in whole vectors, of
// left[i * left_stride + g * left_image + f] * right[offsets[t] + g * right_image + f].
typedef void dot_function(int64_t images, int64_t length, const void *left, int64_t left_stride, int64_t left_image,
                          const void *right, const int64_t *offsets, int64_t right_image, void *sums,
                          int64_t sums_stride);

// plane[i * pitch + j] = source[(first_row + i * row_step) * width + first_column + j * column_step], 0 outside the
// source's height and width, for i < rows and j < pitch.
typedef void fill_function(const void *source, int64_t height, int64_t width, int64_t first_row, int64_t row_step,
                           int64_t first_column, int64_t column_step, int64_t rows, int64_t pitch, void *plane);

typedef struct convolution_kernels {
  int64_t lanes, strip_rows, dot_rows, dot_columns;
  strip_function *strips[STRIP_VECTORS][MAX_STRIP_ROWS];  // [vectors - 1][rows - 1]
  strip_function *singles[4];                             // one row of 1, 2, 4, 8 vectors
  dot_function *dots[2][3];                               // [1 row, dot_rows][1, 3, dot_columns columns]
  scatter_function *scatter;
  fill_function *fill;
} convolution_kernels;

extern const convolution_kernels temper_convolution_kernels_plain_f32, temper_convolution_kernels_plain_f64;
#if defined(__x86_64__)
extern const convolution_kernels temper_convolution_kernels_avx2_f32, temper_convolution_kernels_avx2_f64;
extern const convolution_kernels temper_convolution_kernels_avx512_f32, temper_convolution_kernels_avx512_f64;
#endif

const convolution_kernels *temper_convolution_kernels(temper_variant resolved, temper_element element);

#endif
