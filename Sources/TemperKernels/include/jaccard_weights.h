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
// known, nearly all have, and only the others are sorted.
typedef struct temper_jaccard_job {
  temper_element element;  // F32 or F64
  bool all_classes;        // else w is 0 for classes without samples
  int64_t samples, classes;
  const void *p;           // samples x classes, dense
  const int32_t *ids;      // outside [0, classes): of no class
  void *w;                 // like p, times 1 / number of classes that count; all NaN if none does
  int32_t *counts;         // samples of each class
  void *least;             // `classes` numbers: the least error of a class's own samples
} temper_jaccard_job;

// Fills `counts` and `least`, and returns how many classes count.
int64_t temper_jaccard_count(const temper_jaccard_job *job);

enum { TEMPER_JACCARD_BLOCK = 16 };  // classes at a time: a line of memory

// Does blocks of classes [begin, end); `counting` is what temper_jaccard_count returned, `scratch` has
// temper_jaccard_scratch(samples) bytes and is 64-byte aligned.
size_t temper_jaccard_scratch(int64_t samples);
void temper_jaccard_weights(const temper_jaccard_job *job, int64_t counting, int64_t begin, int64_t end, void *scratch);

#endif
