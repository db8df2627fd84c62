// Whole units of codes to one code a byte.
#ifndef TEMPER_QUANTIZED_UNPACK_H
#define TEMPER_QUANTIZED_UNPACK_H

#include "quantized.h"

void temper_unpack_units(int32_t bits, int64_t units, const uint8_t *codes, uint8_t *loose);

#endif
