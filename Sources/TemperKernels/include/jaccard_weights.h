// The weights that the Lovasz extension of the Jaccard loss gives to the errors of each class.
#ifndef TEMPER_JACCARD_WEIGHTS_H
#define TEMPER_JACCARD_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "row_program.h"

// The error of sample n for class c is e = 1 - p[n, c] if ids[n] is c, else p[n, c]. With the samples from the largest
// error on, of equals the first before, J_k = 1 - |class without the first k| / |class with the first k| has the
// differences w = J_k - J_{k-1}. Samples after the last one of the class have w = 0: where a class is far from being
// known, nearly all have, and only the others are sorted. By p the slopes are s = -w for a sample's own class, else w.
typedef struct temper_jaccard_job {
  temper_element element;  // F32 or F64
  bool all_classes;        // else w is 0 for classes without samples
  int64_t samples, classes;
  const void *p;           // samples x classes, dense
  const int32_t *ids;      // outside [0, classes): of no class
  void *w;                 // like p: s, times 1 / number of classes that count; all NaN if none does
  int32_t *counts;         // samples of each class
  void *least;             // `classes` numbers: the least error of a class's own samples
  int32_t *found;          // of each sample: how many of its weights may not be 0
  int64_t *starts;         // classes + 1: where the samples of each class that matter begin in `list`
  int32_t *list;
} temper_jaccard_job;

// In this order. Fills `counts` and `least`, and returns how many classes count.
int64_t temper_jaccard_count(const temper_jaccard_job *job);
// Samples [begin, end): fills `found`. Their rows of w hold notes, which the next two read.
void temper_jaccard_find(const temper_jaccard_job *job, int64_t begin, int64_t end);
// Fills `starts`, and returns how long `list` must be.
int64_t temper_jaccard_starts(const temper_jaccard_job *job);
// Fills `list`.
void temper_jaccard_list(const temper_jaccard_job *job);
// Samples [begin, end): sets all weights to 0, or to NaN if no class counts.
void temper_jaccard_clear(const temper_jaccard_job *job, int64_t counting, int64_t begin, int64_t end);
// Classes [begin, end): sets the weights that are not 0. `scratch` is 64-byte aligned and has
// temper_jaccard_scratch(samples of the longest list) bytes.
size_t temper_jaccard_scratch(int64_t samples);
void temper_jaccard_weigh(const temper_jaccard_job *job, int64_t counting, int64_t begin, int64_t end, void *scratch);

#endif
