// What the pieces of a convolution derive from its job and plan.
#ifndef TEMPER_CONVOLUTION_PLAN_H
#define TEMPER_CONVOLUTION_PLAN_H

#include "convolution_kernels.h"
#include "geometry.h"

// Counts are in elements.
typedef struct shape {
  const convolution_kernels *kernels;
  geometry geometry;
  int64_t size;                         // bytes of an element
  int64_t taps;                         // of one filter and channel
  int64_t source_group, written_group;  // channels of a group that are read into planes, and that are written
  int64_t tiles, tile_rows;             // of the written channels of a group
  int64_t pitch, plane_rows, plane;     // of one plane: row to row, rows, all
  int64_t channel_planes;               // planes of one channel of one image
  int64_t slack;                        // zeros behind the last plane, for reads beyond the last results
  int64_t left;                         // weight gradient: one channel of the output gradient, laid out like a plane
} shape;

// How many rows of so many results make a vector: 1, where a row is whole vectors, 2 or 4; 0 if none of these.
static inline int64_t dense_segments(const convolution_kernels *kernels, int64_t columns) {
  if (columns % kernels->lanes == 0) return 1;
  if (columns * 2 == kernels->lanes) return 2;
  if (columns * 4 == kernels->lanes) return 4;
  return 0;
}

static inline int64_t segments_index(int64_t segments) { return segments == 4 ? 2 : segments == 2; }

shape temper_convolution_shape(const temper_convolution_job *job, const temper_convolution_plan *plan);

// The pieces of the two families of jobs.
void temper_correlation_arrange_filters(const temper_convolution_job *job, const temper_convolution_plan *plan,
                                        int64_t piece, void *workspace);
void temper_correlation_run_piece(const temper_convolution_job *job, const temper_convolution_plan *plan, int64_t piece,
                                  const void *workspace, void *scratch);
void temper_weight_gradient_run_piece(const temper_convolution_job *job, const temper_convolution_plan *plan,
                                      int64_t piece, void *workspace, void *scratch);
void temper_weight_gradient_add_parts(const temper_convolution_job *job, const temper_convolution_plan *plan,
                                      int64_t piece, const void *workspace);

#endif
