// How the positions of an image relate to those of its planes, along one axis. See convolution_kernels.h for planes.
//
// FORWARD and WEIGHT_GRADIENT: output i reads input i * stride + r * dilation - padding. The input is split by residue
// into `stride` planes: plane a holds at t the input t * stride + a - padding (from the beginning of a band), so tap r
// reads plane (r * dilation) % stride at i + (r * dilation) / stride.
//
// INPUT_GRADIENT: input p gathers outputs (p + padding - r * dilation) / stride, where that is whole: inputs of residue
// a = (p + padding) % stride take the taps with (r * dilation) % stride = a, and the position
// (p + padding) / stride - (r * dilation) / stride. There is one plane; it is the inputs that are split by residue.
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

// The position in the source of element 0 of a plane, for results from `begin`, which is a multiple of result_step.
static inline int64_t plane_origin(const axis *axis, int64_t begin, int64_t residue) {
  if (!axis->transposed) return begin * axis->stride + residue - axis->padding;
  return (begin + axis->padding) / axis->stride - tap_shift(axis, axis->taps - 1);
}

// The elements of a plane that `count` results read.
static inline int64_t plane_extent(const axis *axis, int64_t begin, int64_t count) {
  const int64_t shift = tap_shift(axis, axis->taps - 1);
  if (!axis->transposed) return count + shift;
  return (begin + count - 1 + axis->padding) / axis->stride - (begin + axis->padding) / axis->stride + shift + 1;
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

// Where in its plane the first result of a residue finds the element for `tap`.
static inline int64_t tap_offset(const axis *axis, int64_t tap, int64_t begin, int64_t first_result) {
  if (!axis->transposed) return tap_shift(axis, tap);
  return (first_result + axis->padding) / axis->stride - tap_shift(axis, tap) - plane_origin(axis, begin, 0);
}

// Elements from one row of a plane to the next: its columns, but zeros at both ends are kept only once, as the end of
// one row and the beginning of the next; and never less than a row of results.
static inline int64_t plane_pitch(const axis *columns) {
  const int64_t extent = plane_extent(columns, 0, columns->written), step = plane_step(columns);
  int64_t shared = extent;
  for (int64_t residue = 0; residue < plane_residues(columns); residue++) {
    const int64_t origin = plane_origin(columns, 0, residue);
    const int64_t leading = origin < 0 ? divide_up(-origin, step) : 0;
    const int64_t end = columns->source > origin ? divide_up(columns->source - origin, step) : 0;
    const int64_t trailing = maximum(0, extent - end);
    shared = minimum(shared, minimum(leading, trailing));
  }
  return maximum(extent - shared, divide_up(columns->written, result_step(columns)));
}

#endif
