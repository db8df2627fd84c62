#include "../include/row_program.h"

typedef void interpreter(const temper_row_program *, const temper_slot *, int64_t, int64_t, int64_t, int64_t, void *);

interpreter temper_row_program_run_f32_baseline, temper_row_program_run_f64_baseline;
#if defined(__x86_64__)
interpreter temper_row_program_run_f32_v3, temper_row_program_run_f64_v3;
interpreter temper_row_program_run_f32_v4, temper_row_program_run_f64_v4;
#define CHOOSE(name, variant)                                                        \
  ((variant) == TEMPER_VARIANT_AVX512 ? temper_row_program_run_##name##_v4           \
   : (variant) == TEMPER_VARIANT_AVX2 ? temper_row_program_run_##name##_v3           \
                                      : temper_row_program_run_##name##_baseline)
#else
#define CHOOSE(name, variant) ((void)(variant), temper_row_program_run_##name##_baseline)
#endif

#define DEFINE(name)                                                                                                 \
  void temper_row_program_run_##name##_variant(temper_variant variant, const temper_row_program *program,            \
                                               const temper_slot *slots, int64_t row_begin, int64_t row_end,         \
                                               int64_t column_begin, int64_t column_end, void *scratch) {            \
    const temper_variant resolved = temper_variant_resolve(variant);                                                 \
    CHOOSE(name, resolved)(program, slots, row_begin, row_end, column_begin, column_end, scratch);                   \
  }                                                                                                                  \
  void temper_row_program_run_##name(const temper_row_program *program, const temper_slot *slots, int64_t row_begin, \
                                     int64_t row_end, int64_t column_begin, int64_t column_end, void *scratch) {     \
    temper_row_program_run_##name##_variant(TEMPER_VARIANT_BEST, program, slots, row_begin, row_end, column_begin,   \
                                            column_end, scratch);                                                    \
  }

DEFINE(f32)
DEFINE(f64)
