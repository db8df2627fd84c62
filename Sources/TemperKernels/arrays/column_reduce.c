#include "../include/column_reduce.h"

#include <math.h>
#include <stdbool.h>

#include "../clones.h"

// Columns that are reduced together, and rows whose sum is made before it is added to the total: sums of sums of sums
// keep rounding errors to those of about 3 * 64 additions for a quarter of a million rows.
enum { STRIP = 256, GROUP = 64 };

#define SUM(x, y) ((x) + (y))
#define LARGER(x, y) ((((x) > (y)) | ((x) != (x))) ? (x) : (y))
#define SMALLER(x, y) ((((x) < (y)) | ((x) != (x))) ? (x) : (y))

// Reduces `width` <= STRIP columns of `rows` rows into total[0..<width].
#define STRIP_REDUCTION(REAL, name, JOIN, identity)                                                          \
  TEMPER_CLONES static void name(const REAL *in, int64_t rows, int64_t stride, int64_t width, REAL *total) { \
    REAL group[STRIP], groups[STRIP];                                                                        \
    for (int64_t c = 0; c < width; ++c) total[c] = groups[c] = identity;                                     \
    for (int64_t row = 0, count = 0; row < rows; row += GROUP) {                                             \
      const int64_t end = row + GROUP < rows ? row + GROUP : rows;                                           \
      for (int64_t c = 0; c < width; ++c) group[c] = identity;                                               \
      int64_t r = row;                                                                                       \
      for (; r + 4 <= end; r += 4) {                                                                         \
        const REAL *a = in + r * stride, *b = a + stride, *d = b + stride, *e = d + stride;                  \
        TEMPER_VECTORISED for (int64_t c = 0; c < width; ++c) {                                              \
          const REAL first = JOIN(a[c], b[c]), second = JOIN(d[c], e[c]), both = JOIN(first, second);        \
          group[c] = JOIN(group[c], both);                                                                   \
        }                                                                                                    \
      }                                                                                                      \
      for (; r < end; ++r) {                                                                                 \
        const REAL *a = in + r * stride;                                                                     \
        TEMPER_VECTORISED for (int64_t c = 0; c < width; ++c) group[c] = JOIN(group[c], a[c]);               \
      }                                                                                                      \
      TEMPER_VECTORISED for (int64_t c = 0; c < width; ++c) groups[c] = JOIN(groups[c], group[c]);           \
      if (++count % GROUP == 0 || end == rows) TEMPER_VECTORISED for (int64_t c = 0; c < width; ++c) {       \
          total[c] = JOIN(total[c], groups[c]);                                                              \
          groups[c] = identity;                                                                              \
        }                                                                                                    \
    }                                                                                                        \
  }

// Few columns: `fold` rows in a row of memory are taken as one wide row, whose parts are joined at the end.
#define COLUMN_REDUCTION(REAL, name, JOIN, identity)                                                               \
  STRIP_REDUCTION(REAL, name##_strip, JOIN, identity)                                                              \
  static void name(const temper_column_reduce_job *job, int64_t begin, int64_t end) {                              \
    const int64_t inner = job->inner;                                                                              \
    const int64_t fold = job->reduced_stride == inner && inner < STRIP / 4 ? STRIP / inner : 1;                    \
    const int64_t wide_rows = fold > 1 ? job->reduced / fold : 0;                                                  \
    while (begin < end) {                                                                                          \
      const int64_t o = begin / inner, i = begin % inner;                                                          \
      int64_t width = inner - i < end - begin ? inner - i : end - begin;                                           \
      if (width > STRIP) width = STRIP;                                                                            \
      const REAL *in = (const REAL *)job->in + o * job->outer_stride;                                              \
      REAL *out = (REAL *)job->out + begin;                                                                        \
      REAL total[STRIP], wide[STRIP];                                                                              \
      name##_strip(in + wide_rows * fold * inner + i, job->reduced - wide_rows * fold, job->reduced_stride, width, \
                   total);                                                                                         \
      if (wide_rows > 0) {                                                                                         \
        name##_strip(in, wide_rows, fold * inner, fold * inner, wide);                                             \
        for (int64_t f = 0; f < fold; ++f)                                                                         \
          for (int64_t c = 0; c < width; ++c) total[c] = JOIN(total[c], wide[f * inner + i + c]);                  \
      }                                                                                                            \
      for (int64_t c = 0; c < width; ++c) out[c] = total[c];                                                       \
      begin += width;                                                                                              \
    }                                                                                                              \
  }

COLUMN_REDUCTION(float, sum_f32, SUM, 0)
COLUMN_REDUCTION(float, max_f32, LARGER, -INFINITY)
COLUMN_REDUCTION(float, min_f32, SMALLER, INFINITY)
COLUMN_REDUCTION(double, sum_f64, SUM, 0)
COLUMN_REDUCTION(double, max_f64, LARGER, -(double)INFINITY)
COLUMN_REDUCTION(double, min_f64, SMALLER, (double)INFINITY)

void temper_column_reduce(const temper_column_reduce_job *job, int64_t begin, int64_t end) {
  const bool single = job->element == TEMPER_ELEMENT_F32;
  switch (job->reduction) {
    case TEMPER_REDUCE_SUM:
      (single ? sum_f32 : sum_f64)(job, begin, end);
      break;
    case TEMPER_REDUCE_MAX:
      (single ? max_f32 : max_f64)(job, begin, end);
      break;
    case TEMPER_REDUCE_MIN:
      (single ? min_f32 : min_f64)(job, begin, end);
      break;
  }
}
