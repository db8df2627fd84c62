#include "../include/jaccard_weights.h"

#include <math.h>

#include "../clones.h"
#include "../include/row_order.h"

// The errors of one class and their order.
typedef struct rooms {
  void *errors;
  int32_t *order;
  bool *own;
  void *sorting;
} rooms;

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

size_t temper_jaccard_scratch(int64_t samples) {
  const size_t n = (size_t)samples;
  return aligned(n * sizeof(int32_t)) + aligned(n * sizeof(double)) + aligned(n) + temper_sort_scratch(samples);
}

static rooms rooms_in(char *scratch, int64_t samples) {
  const size_t n = (size_t)samples;
  char *errors = scratch + aligned(n * sizeof(int32_t)), *own = errors + aligned(n * sizeof(double));
  return (rooms){errors, (int32_t *)scratch, (bool *)own, own + aligned(n)};
}

// Classes that are looked at together: a line of memory.
enum { TOGETHER = 16 };

#define JACCARD(REAL, name, ELEMENT)                                                                                   \
  static int64_t name##_count(const temper_jaccard_job *job) {                                                         \
    REAL *least = job->least;                                                                                          \
    int64_t counting = 0;                                                                                              \
    for (int64_t c = 0; c < job->classes; ++c) {                                                                       \
      job->counts[c] = 0;                                                                                              \
      least[c] = (REAL)INFINITY;                                                                                       \
    }                                                                                                                  \
    for (int64_t n = 0; n < job->samples; ++n) {                                                                       \
      const int64_t c = job->ids[n];                                                                                   \
      if (c < 0 || c >= job->classes) continue;                                                                        \
      const REAL error = 1 - ((const REAL *)job->p)[n * job->classes + c];                                             \
      counting += job->counts[c]++ == 0;                                                                               \
      if (error < least[c]) least[c] = error;                                                                          \
    }                                                                                                                  \
    /* of a class without samples the largest error counts */                                                          \
    for (int64_t c = 0; job->all_classes && c < job->classes; ++c)                                                     \
      if (job->counts[c] == 0) least[c] = -(REAL)INFINITY;                                                             \
    return job->all_classes ? job->classes : counting;                                                                 \
  }                                                                                                                    \
                                                                                                                       \
  /* The classes for which a sample's weight may not be 0 are written where its weights will be. */                    \
  TEMPER_CLONES static void name##_find(const temper_jaccard_job *job, int64_t begin, int64_t end) {                   \
    const REAL *least = job->least;                                                                                    \
    const int64_t classes = job->classes;                                                                              \
    for (int64_t n = begin; n < end; ++n) {                                                                            \
      const REAL *p = (const REAL *)job->p + n * classes;                                                              \
      int32_t *notes = (int32_t *)((REAL *)job->w + n * classes), count = 0;                                           \
      int64_t c = 0;                                                                                                   \
      for (; c + TOGETHER <= classes; c += TOGETHER) {                                                                 \
        int any = 0;                                                                                                   \
        for (int64_t b = c; b < c + TOGETHER; ++b) any |= p[b] >= least[b];                                            \
        for (int64_t b = c; any && b < c + TOGETHER; ++b) {                                                            \
          notes[count] = (int32_t)b;                                                                                   \
          count += p[b] >= least[b];                                                                                   \
        }                                                                                                              \
      }                                                                                                                \
      for (; c < classes; ++c) {                                                                                       \
        notes[count] = (int32_t)c;                                                                                     \
        count += p[c] >= least[c];                                                                                     \
      }                                                                                                                \
      const int32_t own = job->ids[n];                                                                                 \
      if (own >= 0 && own < classes && !(p[own] >= least[own])) notes[count++] = own;                                  \
      job->found[n] = count;                                                                                           \
    }                                                                                                                  \
  }                                                                                                                    \
                                                                                                                       \
  static void name##_clear(const temper_jaccard_job *job, REAL rest, int64_t begin, int64_t end) {                     \
    REAL *w = (REAL *)job->w + begin * job->classes;                                                                   \
    for (int64_t i = 0; i < (end - begin) * job->classes; ++i) w[i] = rest;                                            \
  }                                                                                                                    \
                                                                                                                       \
  static void name##_weigh(const temper_jaccard_job *job, int64_t c, const int32_t *list, int64_t count, double scale, \
                           const rooms *r) {                                                                           \
    const int64_t total = job->counts[c];                                                                              \
    REAL *errors = r->errors;                                                                                          \
    for (int64_t i = 0; i < count; ++i) {                                                                              \
      const REAL p = ((const REAL *)job->p)[list[i] * job->classes + c];                                               \
      r->own[i] = job->ids[list[i]] == c;                                                                              \
      errors[i] = r->own[i] ? 1 - p : p;                                                                               \
    }                                                                                                                  \
    temper_sort_rows(ELEMENT, true, errors, count, NULL, r->order, count, 0, 1, r->sorting);                           \
    /* weights take the errors' places */                                                                              \
    double before = 0;                                                                                                 \
    for (int64_t k = 0, own = 0; k < count; ++k) {                                                                     \
      const bool counts = own < total || k == 0;                                                                       \
      const int32_t i = r->order[k];                                                                                   \
      own += r->own[i];                                                                                                \
      const double loss = counts ? 1 - (double)(total - own) / (double)(total + k + 1 - own) : before;                 \
      errors[i] = (REAL)((loss - before) * scale);                                                                     \
      before = loss;                                                                                                   \
    }                                                                                                                  \
    for (int64_t i = 0; i < count; ++i)                                                                                \
      ((REAL *)job->w)[list[i] * job->classes + c] = r->own[i] ? -errors[i] : errors[i];                               \
  }

JACCARD(float, jaccard_f32, TEMPER_ELEMENT_F32)
JACCARD(double, jaccard_f64, TEMPER_ELEMENT_F64)

static bool is_single(const temper_jaccard_job *job) { return job->element == TEMPER_ELEMENT_F32; }

int64_t temper_jaccard_count(const temper_jaccard_job *job) {
  return is_single(job) ? jaccard_f32_count(job) : jaccard_f64_count(job);
}

void temper_jaccard_find(const temper_jaccard_job *job, int64_t begin, int64_t end) {
  is_single(job) ? jaccard_f32_find(job, begin, end) : jaccard_f64_find(job, begin, end);
}

static const int32_t *notes_of(const temper_jaccard_job *job, int64_t n) {
  const size_t size = is_single(job) ? sizeof(float) : sizeof(double);
  return (const int32_t *)((const char *)job->w + (size_t)(n * job->classes) * size);
}

int64_t temper_jaccard_starts(const temper_jaccard_job *job) {
  for (int64_t c = 0; c <= job->classes; ++c) job->starts[c] = 0;
  for (int64_t n = 0; n < job->samples; ++n) {
    const int32_t *notes = notes_of(job, n);
    for (int32_t k = 0; k < job->found[n]; ++k) ++job->starts[notes[k] + 1];
  }
  for (int64_t c = 0; c < job->classes; ++c) job->starts[c + 1] += job->starts[c];
  return job->starts[job->classes];
}

void temper_jaccard_list(const temper_jaccard_job *job) {
  for (int64_t n = 0; n < job->samples; ++n) {
    const int32_t *notes = notes_of(job, n);
    for (int32_t k = 0; k < job->found[n]; ++k) job->list[job->starts[notes[k]]++] = (int32_t)n;
  }
  // Each start is now the next one.
  for (int64_t c = job->classes; c > 0; --c) job->starts[c] = job->starts[c - 1];
  job->starts[0] = 0;
}

void temper_jaccard_clear(const temper_jaccard_job *job, int64_t counting, int64_t begin, int64_t end) {
  if (is_single(job))
    jaccard_f32_clear(job, counting > 0 ? 0 : NAN, begin, end);
  else
    jaccard_f64_clear(job, counting > 0 ? 0 : NAN, begin, end);
}

void temper_jaccard_weigh(const temper_jaccard_job *job, int64_t counting, int64_t begin, int64_t end, void *scratch) {
  for (int64_t c = begin; c < end; ++c) {
    const int64_t count = job->starts[c + 1] - job->starts[c];
    const rooms r = rooms_in(scratch, count);
    const int32_t *list = job->list + job->starts[c];
    if (count == 0) continue;
    if (is_single(job))
      jaccard_f32_weigh(job, c, list, count, 1.0 / (double)counting, &r);
    else
      jaccard_f64_weigh(job, c, list, count, 1.0 / (double)counting, &r);
  }
}
