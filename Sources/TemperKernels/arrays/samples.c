#include "../include/samples.h"

#include <math.h>

#include "../clones.h"

TEMPER_CLONES
void temper_column_sums(const double *samples, int64_t rows, int64_t columns, double *sums) {
  for (int64_t c = 0; c < columns; ++c) sums[c] = 0;
  for (int64_t r = 0; r < rows; ++r, samples += columns)
    TEMPER_VECTORISED for (int64_t c = 0; c < columns; ++c) sums[c] += samples[c];
}

TEMPER_CLONES
void temper_column_squares(const double *samples, const double *centre, int64_t rows, int64_t columns, double *sums) {
  for (int64_t c = 0; c < columns; ++c) sums[c] = 0;
  for (int64_t r = 0; r < rows; ++r, samples += columns)
    TEMPER_VECTORISED for (int64_t c = 0; c < columns; ++c) {
      const double difference = samples[c] - centre[c];
      sums[c] += difference * difference;
    }
}

TEMPER_CLONES
void temper_rows_shift(double *samples, const double *centre, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r, samples += columns)
    TEMPER_VECTORISED for (int64_t c = 0; c < columns; ++c) samples[c] -= centre[c];
}

TEMPER_CLONES
void temper_squares_lower(double *squares, const double *samples, const double *point, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r, samples += columns) {
    // Four sums in a fixed order: one would wait for itself.
    double sums[4] = {0, 0, 0, 0};
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4)
      for (int lane = 0; lane < 4; ++lane) {
        const double difference = samples[c + lane] - point[c + lane];
        sums[lane] += difference * difference;
      }
    for (; c < columns; ++c) {
      const double difference = samples[c] - point[c];
      sums[0] += difference * difference;
    }
    const double square = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    squares[r] = square < squares[r] ? square : squares[r];
  }
}

enum { tile = 64 };

TEMPER_CLONES
void temper_nearest_centre(int32_t *ids, double *squares, const double *samples, const double *centres, int64_t rows,
                           int64_t columns, int64_t count) {
  double sums[tile];
  for (int64_t r = 0; r < rows; ++r, samples += columns) {
    double best = INFINITY;
    int32_t id = 0;
    for (int64_t start = 0; start < count; start += tile) {
      const int64_t length = count - start < tile ? count - start : tile;
      for (int64_t k = 0; k < length; ++k) sums[k] = 0;
      for (int64_t c = 0; c < columns; ++c) {
        const double value = samples[c], *row = centres + c * count + start;
        TEMPER_VECTORISED for (int64_t k = 0; k < length; ++k) sums[k] += (value - row[k]) * (value - row[k]);
      }
      for (int64_t k = 0; k < length; ++k)
        if (sums[k] < best) best = sums[k], id = (int32_t)(start + k);
    }
    ids[r] = id;
    squares[r] = best;
  }
}

TEMPER_CLONES
void temper_edges_add(double *next, const double *now, const int32_t *edges, const double *weights, int64_t count,
                      int64_t columns) {
  for (int64_t e = 0; e < count; ++e) {
    const int64_t a = edges[2 * e] * columns, b = edges[2 * e + 1] * columns;
    TEMPER_VECTORISED for (int64_t c = 0; c < columns; ++c) next[a + c] += weights[e] * now[b + c];
    TEMPER_VECTORISED for (int64_t c = 0; c < columns; ++c) next[b + c] += weights[e] * now[a + c];
  }
}

TEMPER_CLONES
void temper_sums_by_id(double *sums, const double *samples, const int32_t *ids, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r, samples += columns) {
    double *sum = sums + ids[r] * columns;
    TEMPER_VECTORISED for (int64_t c = 0; c < columns; ++c) sum[c] += samples[c];
  }
}
