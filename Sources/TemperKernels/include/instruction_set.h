// The instruction sets that kernels are compiled for. A kernel picks the best that the machine has; the functions with
// an explicit set exist so that tests reach each of them.
#ifndef TEMPER_INSTRUCTION_SET_H
#define TEMPER_INSTRUCTION_SET_H

typedef enum temper_instruction_set {
  TEMPER_BASELINE,   // what every machine of the architecture has
  TEMPER_X86_64_V3,  // AVX2, FMA
  TEMPER_X86_64_V4,  // AVX-512
} temper_instruction_set;

static inline temper_instruction_set temper_best_instruction_set(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("x86-64-v4")) return TEMPER_X86_64_V4;
  if (__builtin_cpu_supports("x86-64-v3")) return TEMPER_X86_64_V3;
#endif
  return TEMPER_BASELINE;
}

#endif
