// Samples by features, row after row, float64: sums by column, distances to points, sums by cluster.
#ifndef TEMPER_SAMPLES_H
#define TEMPER_SAMPLES_H

#include <stdint.h>

// sums[c] = sum over rows of samples[r][c].
void temper_column_sums(const double *samples, int64_t rows, int64_t columns, double *sums);

// sums[c] = sum over rows of (samples[r][c] - centre[c])^2.
void temper_column_squares(const double *samples, const double *centre, int64_t rows, int64_t columns, double *sums);

// Each row less `centre`, in place.
void temper_rows_shift(double *samples, const double *centre, int64_t rows, int64_t columns);

// squares[r] = the smaller of what it is and |samples[r] - point|^2.
void temper_squares_lower(double *squares, const double *samples, const double *point, int64_t rows, int64_t columns);

// For each row the first of the nearest of `count` centres, and its squared distance. The centres come by column:
// centres[c * count + k].
void temper_nearest_centre(int32_t *ids, double *squares, const double *samples, const double *centres, int64_t rows,
                           int64_t columns, int64_t count);

// next[a] += weight now[b] and next[b] += weight now[a] for each edge (a, b) = edges[2 e], edges[2 e + 1].
void temper_edges_add(double *next, const double *now, const int32_t *edges, const double *weights, int64_t count,
                      int64_t columns);

// sums[ids[r]] += samples[r], row by row.
void temper_sums_by_id(double *sums, const double *samples, const int32_t *ids, int64_t rows, int64_t columns);

#endif
