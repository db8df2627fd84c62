#include "include/variant.h"

bool temper_variant_available(temper_variant variant) {
  switch (variant) {
    case TEMPER_VARIANT_BEST:
    case TEMPER_VARIANT_PLAIN:
      return true;
#if defined(__x86_64__)
    case TEMPER_VARIANT_AVX2:
      return __builtin_cpu_supports("x86-64-v3");
    case TEMPER_VARIANT_AVX512:
      return __builtin_cpu_supports("x86-64-v4");
    case TEMPER_VARIANT_AVX512_VNNI:
      return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vnni");
#endif
    default:
      return false;
  }
}

temper_variant temper_variant_resolve(temper_variant wanted) {
  if (wanted != TEMPER_VARIANT_BEST && wanted != TEMPER_VARIANT_AVX512_VNNI && temper_variant_available(wanted)) return wanted;
  if (temper_variant_available(TEMPER_VARIANT_AVX512)) return TEMPER_VARIANT_AVX512;
  if (temper_variant_available(TEMPER_VARIANT_AVX2)) return TEMPER_VARIANT_AVX2;
  return TEMPER_VARIANT_PLAIN;
}
