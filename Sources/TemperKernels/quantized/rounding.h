// Rounding to the levels of a grid, shared by what encodes, measures and feeds errors forward.
#ifndef TEMPER_QUANTIZED_ROUNDING_H
#define TEMPER_QUANTIZED_ROUNDING_H

#include "quantized.h"

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

// The whole number nearest to value / scale within [lowest, highest], ties to even: adding and subtracting 1.5 * 2^23
// rounds where |x| < 2^22.
INLINE float whole_steps(float value, float scale, float lowest, float highest) {
  const float rounder = 12582912;
  float steps = value / scale;
  steps = steps < lowest ? lowest : steps;
  steps = steps > highest ? highest : steps;
  return (steps + rounder) - rounder;
}

// How many thresholds lie below the value: counted where they are few, else by halving.
INLINE int thresholds_below(const float *thresholds, int count, float value) {
  int below = 0;
  if (count < 16) {
    for (int i = 0; i < count; i++) below += value > thresholds[i];
  } else {
    for (int step = 128; step > 0; step /= 2) {
      if (below + step <= count && value > thresholds[below + step - 1]) below += step;
    }
  }
  return below;
}

#endif
