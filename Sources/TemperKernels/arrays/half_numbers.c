#include "half_numbers.h"

#include <string.h>

#include "../clones.h"

// Exponent and fraction in their places of a float32 make 2^-112 of the number, subnormal numbers too; infinities and
// NaN get the largest exponent.
TEMPER_CLONES void temper_float16_to_float32(const void *halves, int64_t count, float *out) {
  const uint8_t *from = halves;
  TEMPER_VECTORISED for (int64_t i = 0; i < count; i++) {
    uint16_t half;
    memcpy(&half, from + 2 * i, sizeof half);
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, size = (uint32_t)(half & 0x7fff) << 13;
    float scaled;
    memcpy(&scaled, &size, sizeof scaled);
    scaled *= 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &scaled, sizeof bits);
    bits = (half & 0x7c00) == 0x7c00 ? size | 0x7f800000 : bits;
    bits |= sign;
    memcpy(out + i, &bits, sizeof bits);
  }
}

TEMPER_CLONES void temper_bfloat16_to_float32(const void *halves, int64_t count, float *out) {
  const uint8_t *from = halves;
  TEMPER_VECTORISED for (int64_t i = 0; i < count; i++) {
    uint16_t half;
    memcpy(&half, from + 2 * i, sizeof half);
    const uint32_t bits = (uint32_t)half << 16;
    memcpy(out + i, &bits, sizeof bits);
  }
}
