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
  int64_t strip_positions;              // of a strip of vectors that tiles are worked on in
  int64_t plane_rows, plane;            // of one plane: rows, elements
  int64_t channel_planes;               // planes of one channel of one image
  int64_t slack;                        // behind the last plane, for reads beyond the last results
  int64_t left;                         // weight gradient: positions of a band, in whole vectors
} shape;

// A plane of the source, for results from row `begin`: of a row residue, and shifted for a column of the filter.
static inline void fill_plane(const shape *shape, const void *source, int64_t begin, int64_t residue, int64_t column,
                              void *plane) {
  const axis *rows = &shape->geometry.rows, *columns = &shape->geometry.columns;
  shape->kernels->fill(source, rows->source, columns->source, plane_origin(rows, begin, residue), plane_step(rows),
                       tap_origin(columns, column), plane_step(columns), shape->plane_rows,
                       tap_results(columns, column).count, plane);
}

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
