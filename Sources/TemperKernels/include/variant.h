// The instruction sets that the kernels are compiled for. A kernel picks the best that the machine has; the others can
// be asked for so that tests reach each of them. Results may differ in the last bits between two of them.
#ifndef TEMPER_VARIANT_H
#define TEMPER_VARIANT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum temper_variant : uint8_t {
  TEMPER_VARIANT_BEST,    // the best one of this machine
  TEMPER_VARIANT_PLAIN,  // what every machine of the architecture has
  TEMPER_VARIANT_AVX2,  // x86-64-v3: AVX2, FMA
  TEMPER_VARIANT_AVX512,  // x86-64-v4: AVX-512 F, VL, DQ, BW, CD
  TEMPER_VARIANT_AVX512_VNNI,  // the same with VNNI, which products of 8-bit integers know; else it is AVX512
} temper_variant;

// Whether this machine can run the variant.
bool temper_variant_available(temper_variant variant);

// The variant itself where this machine can run it, else the best that it can; never BEST nor AVX512_VNNI.
temper_variant temper_variant_resolve(temper_variant wanted);

#endif
