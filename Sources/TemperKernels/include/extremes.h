// The least and the greatest of many numbers.
#ifndef TEMPER_EXTREMES_H
#define TEMPER_EXTREMES_H

#include <stdint.h>

// NaN is passed over; of no numbers the least is infinity and the greatest -infinity.
void temper_extremes_f32(const float *x, int64_t count, float *least, float *greatest);
void temper_extremes_f64(const double *x, int64_t count, double *least, double *greatest);

#endif
