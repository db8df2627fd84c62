#include "../include/jaccard_weights.h"

#include <math.h>
#include <string.h>

#include "../clones.h"
#include "../include/row_order.h"

enum { BLOCK = TEMPER_JACCARD_BLOCK };

// Rows of samples that matter to each class of a block, and the errors of one class with their order.
typedef struct rooms {
  int32_t *found[BLOCK];
  void *errors;
  int32_t *order;
  void *sorting;
} rooms;

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

size_t temper_jaccard_scratch(int64_t samples) {
  const size_t n = (size_t)samples;
  return (BLOCK + 1) * aligned(n * sizeof(int32_t)) + aligned(n * sizeof(double)) + temper_sort_scratch(samples);
}

static rooms rooms_in(char *scratch, int64_t samples) {
  const size_t indices = aligned((size_t)samples * sizeof(int32_t));
  rooms r;
  for (int b = 0; b < BLOCK; ++b, scratch += indices) r.found[b] = (int32_t *)scratch;
  r.order = (int32_t *)scratch;
  r.errors = scratch + indices;
  r.sorting = scratch + indices + aligned((size_t)samples * sizeof(double));
  return r;
}

#define JACCARD(REAL, name, ELEMENT)                                                                              \
  static int64_t name##_count(const temper_jaccard_job *job) {                                                    \
    REAL *least = job->least;                                                                                     \
    int64_t counting = 0;                                                                                         \
    for (int64_t c = 0; c < job->classes; ++c) {                                                                  \
      job->counts[c] = 0;                                                                                         \
      least[c] = (REAL)INFINITY;                                                                                  \
    }                                                                                                             \
    for (int64_t n = 0; n < job->samples; ++n) {                                                                  \
      const int64_t c = job->ids[n];                                                                              \
      if (c < 0 || c >= job->classes) continue;                                                                   \
      const REAL error = 1 - ((const REAL *)job->p)[n * job->classes + c];                                        \
      counting += job->counts[c]++ == 0;                                                                          \
      if (error < least[c]) least[c] = error;                                                                     \
    }                                                                                                             \
    /* of a class without samples the largest error counts */                                                     \
    for (int64_t c = 0; job->all_classes && c < job->classes; ++c)                                                \
      if (job->counts[c] == 0) least[c] = -(REAL)INFINITY;                                                        \
    return job->all_classes ? job->classes : counting;                                                            \
  }                                                                                                               \
                                                                                                                  \
  /* Lists the samples whose weights may not be 0, for `width` classes from c on; the others are done. */         \
  TEMPER_CLONES static void name##_find(const temper_jaccard_job *job, int64_t c, int64_t width, int32_t **found, \
                                        int64_t *counts, REAL rest) {                                             \
    const REAL *least = (const REAL *)job->least + c;                                                             \
    for (int64_t n = 0; n < job->samples; ++n) {                                                                  \
      const REAL *p = (const REAL *)job->p + n * job->classes + c;                                                \
      REAL *w = (REAL *)job->w + n * job->classes + c;                                                            \
      const int64_t own = job->ids[n] - c;                                                                        \
      int any = own >= 0 && own < width;                                                                          \
      for (int64_t b = 0; b < width; ++b) {                                                                       \
        any |= p[b] >= least[b];                                                                                  \
        w[b] = rest;                                                                                              \
      }                                                                                                           \
      for (int64_t b = 0; any && b < width; ++b)                                                                  \
        if (b == own || p[b] >= least[b]) found[b][counts[b]++] = (int32_t)n;                                     \
    }                                                                                                             \
  }                                                                                                               \
                                                                                                                  \
  static void name##_weigh(const temper_jaccard_job *job, int64_t c, const int32_t *found, int64_t count,         \
                           double scale, const rooms *r) {                                                        \
    const int64_t total = job->counts[c];                                                                         \
    REAL *errors = r->errors;                                                                                     \
    for (int64_t i = 0; i < count; ++i) {                                                                         \
      const REAL p = ((const REAL *)job->p)[found[i] * job->classes + c];                                         \
      errors[i] = job->ids[found[i]] == c ? 1 - p : p;                                                            \
    }                                                                                                             \
    temper_sort_rows(ELEMENT, true, errors, count, NULL, r->order, count, 0, 1, r->sorting);                      \
    double before = 0;                                                                                            \
    for (int64_t k = 0, own = 0; k < count && (own < total || k == 0); ++k) {                                     \
      const int64_t n = found[r->order[k]];                                                                       \
      own += job->ids[n] == c;                                                                                    \
      const double loss = 1 - (double)(total - own) / (double)(total + k + 1 - own);                              \
      ((REAL *)job->w)[n * job->classes + c] = (REAL)((loss - before) * scale);                                   \
      before = loss;                                                                                              \
    }                                                                                                             \
  }                                                                                                               \
                                                                                                                  \
  static void name(const temper_jaccard_job *job, int64_t counting, int64_t block, const rooms *r) {              \
    const int64_t c = block * BLOCK, width = job->classes - c < BLOCK ? job->classes - c : BLOCK;                 \
    int64_t counts[BLOCK] = {0};                                                                                  \
    rooms lists = *r;                                                                                             \
    name##_find(job, c, width, lists.found, counts, counting > 0 ? 0 : (REAL)NAN);                                \
    for (int64_t b = 0; b < width; ++b)                                                                           \
      if (counts[b] > 0) name##_weigh(job, c + b, lists.found[b], counts[b], 1.0 / (double)counting, r);          \
  }

JACCARD(float, jaccard_f32, TEMPER_ELEMENT_F32)
JACCARD(double, jaccard_f64, TEMPER_ELEMENT_F64)

int64_t temper_jaccard_count(const temper_jaccard_job *job) {
  return job->element == TEMPER_ELEMENT_F32 ? jaccard_f32_count(job) : jaccard_f64_count(job);
}

void temper_jaccard_weights(const temper_jaccard_job *job, int64_t counting, int64_t begin, int64_t end,
                            void *scratch) {
  const rooms r = rooms_in(scratch, job->samples);
  for (int64_t block = begin; block < end; ++block)
    if (job->element == TEMPER_ELEMENT_F32)
      jaccard_f32(job, counting, block, &r);
    else
      jaccard_f64(job, counting, block, &r);
}
