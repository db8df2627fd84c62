// How the positions of an image relate to those of its planes, along one axis. See convolution_kernels.h for planes.
//
// FORWARD and WEIGHT_GRADIENT: output i reads input i * stride + r * dilation - padding. Along rows the input is split
// by residue into `stride` planes: plane a holds at t the input t * stride + a - padding (from the beginning of a
// band), so tap r reads plane (r * dilation) % stride at i + (r * dilation) / stride.
//
// INPUT_GRADIENT: input p gathers outputs (p + padding - r * dilation) / stride, where that is whole: inputs of residue
// a = (p + padding) % stride take the taps with (r * dilation) % stride = a, and the position
// (p + padding) / stride - (r * dilation) / stride. There is one plane; it is the inputs that are split by residue.
//
// Along columns every tap has planes of its own, in which the positions of the results lie side by side.
#ifndef TEMPER_CONVOLUTION_GEOMETRY_H
#define TEMPER_CONVOLUTION_GEOMETRY_H

#include "../cut.h"
#include "convolution.h"

typedef struct axis {
  int64_t source, written;  // lengths of what is read into planes and of what the positions of the result are
  int64_t taps, stride, padding, dilation;
  bool transposed;  // INPUT_GRADIENT
} axis;

typedef struct geometry {
  axis rows, columns;
} geometry;

static inline axis axis_of(const temper_convolution_job *job, int64_t input, int64_t output, int64_t taps,
                           int64_t stride, int64_t padding, int64_t dilation) {
  const bool transposed = job->kind == TEMPER_CONVOLUTION_INPUT_GRADIENT;
  return (axis){transposed ? output : input, transposed ? input : output, taps, stride, padding, dilation, transposed};
}

static inline geometry geometry_of(const temper_convolution_job *job) {
  return (geometry){
      .rows = axis_of(job, job->height, temper_convolution_out_height(job), job->kernel_height, job->stride_height,
                      job->padding_height, job->dilation_height),
      .columns = axis_of(job, job->width, temper_convolution_out_width(job), job->kernel_width, job->stride_width,
                         job->padding_width, job->dilation_width),
  };
}

static inline int64_t plane_residues(const axis *axis) { return axis->transposed ? 1 : axis->stride; }
static inline int64_t result_residues(const axis *axis) { return axis->transposed ? axis->stride : 1; }
static inline int64_t plane_step(const axis *axis) { return axis->transposed ? 1 : axis->stride; }
static inline int64_t result_step(const axis *axis) { return axis->transposed ? axis->stride : 1; }

static inline int64_t tap_residue(const axis *axis, int64_t tap) { return tap * axis->dilation % axis->stride; }
static inline int64_t tap_shift(const axis *axis, int64_t tap) { return tap * axis->dilation / axis->stride; }

// Whether some tap has the residue.
static inline bool residue_occurs(const axis *axis, int64_t residue) {
  for (int64_t tap = 0; tap < axis->taps; tap++) {
    if (tap_residue(axis, tap) == residue) return true;
  }
  return false;
}

// The results of one residue among positions begin ..< end.
typedef struct results {
  int64_t first, count;
} results;

static inline results results_of(const axis *axis, int64_t residue, int64_t begin, int64_t end) {
  const int64_t step = result_step(axis);
  int64_t ahead = axis->transposed ? (residue - axis->padding - begin) % step : 0;
  if (ahead < 0) ahead += step;
  const int64_t first = begin + ahead;
  return (results){first, first < end ? (end - 1 - first) / step + 1 : 0};
}

// Rows: the position in the source of row 0 of a plane, for results from `begin`, which is a multiple of result_step.
static inline int64_t plane_origin(const axis *rows, int64_t begin, int64_t residue) {
  if (!rows->transposed) return begin * rows->stride + residue - rows->padding;
  return (begin + rows->padding) / rows->stride - tap_shift(rows, rows->taps - 1);
}

// Rows: those of a plane that `count` results read.
static inline int64_t plane_extent(const axis *rows, int64_t begin, int64_t count) {
  const int64_t shift = tap_shift(rows, rows->taps - 1);
  if (!rows->transposed) return count + shift;
  return (begin + count - 1 + rows->padding) / rows->stride - (begin + rows->padding) / rows->stride + shift + 1;
}

// Rows: where in its plane the first result of a residue finds the row for `tap`.
static inline int64_t tap_row(const axis *rows, int64_t tap, int64_t begin, int64_t first_result) {
  if (!rows->transposed) return tap_shift(rows, tap);
  return (first_result + rows->padding) / rows->stride - tap_shift(rows, tap) - plane_origin(rows, begin, 0);
}

// Columns: the results that the planes of a tap hold, side by side, and the position in the source of the first.
static inline results tap_results(const axis *columns, int64_t tap) {
  return results_of(columns, columns->transposed ? tap_residue(columns, tap) : 0, 0, columns->written);
}

static inline int64_t tap_origin(const axis *columns, int64_t tap) {
  if (!columns->transposed) return tap * columns->dilation - columns->padding;
  return (tap_results(columns, tap).first + columns->padding) / columns->stride - tap_shift(columns, tap);
}

#endif
