// 16-bit floating-point numbers to float32, exactly: every bit pattern has its own.
#ifndef TEMPER_HALF_NUMBERS_H
#define TEMPER_HALF_NUMBERS_H

#include <stdint.h>

// IEEE binary16: sign, 5 bits of exponent (bias 15), 10 bits of fraction. `halves` need no alignment.
void temper_float16_to_float32(const void *halves, int64_t count, float *out);

// bfloat16: the upper half of a float32.
void temper_bfloat16_to_float32(const void *halves, int64_t count, float *out);

#endif
