// The smallest of many numbers, kept while blocks of them come by. float64.
#ifndef TEMPER_NEAREST_H
#define TEMPER_NEAREST_H

#include <stdint.h>

// The `k` smallest of products[j] + norms[j], 0 <= j < count, and of what `best` and `ids` hold already, in ascending
// order; element j has the id base + j, and of equal ones the first to come stays ahead. NaN is never taken. Empty places
// hold INFINITY.
void temper_nearest_update(const double *products, const double *norms, int64_t count, int64_t base, double *best,
                           int32_t *ids, int64_t k);

#endif
