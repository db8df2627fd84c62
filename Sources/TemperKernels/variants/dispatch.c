#include "../include/row_program.h"
#include "../include/softmax.h"

#if defined(__x86_64__)
#define CHOOSE(variant, name) \
  ((variant) == TEMPER_VARIANT_AVX512 ? name##_v4 : (variant) == TEMPER_VARIANT_AVX2 ? name##_v3 : name##_baseline)
#define DECLARE(function, name) function name##_baseline, name##_v3, name##_v4;
#else
#define CHOOSE(variant, name) ((void)(variant), name##_baseline)
#define DECLARE(function, name) function name##_baseline;
#endif

typedef void interpreter(const temper_row_program *, const temper_slot *, int64_t, int64_t, int64_t, int64_t, void *);

#define DEFINE_ROW_PROGRAM_RUN(type)                                                                                 \
  DECLARE(interpreter, temper_row_program_run_##type)                                                                \
  void temper_row_program_run_##type##_variant(temper_variant variant, const temper_row_program *program,            \
                                               const temper_slot *slots, int64_t row_begin, int64_t row_end,         \
                                               int64_t column_begin, int64_t column_end, void *scratch) {            \
    const temper_variant resolved = temper_variant_resolve(variant);                                                 \
    CHOOSE(resolved, temper_row_program_run_##type)                                                                  \
    (program, slots, row_begin, row_end, column_begin, column_end, scratch);                                         \
  }                                                                                                                  \
  void temper_row_program_run_##type(const temper_row_program *program, const temper_slot *slots, int64_t row_begin, \
                                     int64_t row_end, int64_t column_begin, int64_t column_end, void *scratch) {     \
    temper_row_program_run_##type##_variant(TEMPER_VARIANT_BEST, program, slots, row_begin, row_end, column_begin,   \
                                            column_end, scratch);                                                    \
  }

DEFINE_ROW_PROGRAM_RUN(f32)
DEFINE_ROW_PROGRAM_RUN(f64)

typedef void sweeper(const temper_row_program *, const temper_slot *, void *const *, const int64_t *, int64_t, int64_t,
                     void *);

#define DEFINE_ROW_PROGRAM_SWEEP(type)                                                                              \
  DECLARE(sweeper, temper_row_program_sweep_##type)                                                                 \
  void temper_row_program_sweep_##type(const temper_row_program *program, const temper_slot *slots,                 \
                                       void *const *bases, const int64_t *lengths, int64_t begin, int64_t end,      \
                                       void *scratch) {                                                             \
    const temper_variant best = temper_variant_resolve(TEMPER_VARIANT_BEST);                                        \
    CHOOSE(best, temper_row_program_sweep_##type)(program, slots, bases, lengths, begin, end, scratch);             \
  }

DEFINE_ROW_PROGRAM_SWEEP(f32)
DEFINE_ROW_PROGRAM_SWEEP(f64)

// A kernel whose job names the element type and the variant.
#define DEFINE_KERNEL(name, job_type)                                     \
  typedef void name##_function(const job_type *, int64_t, int64_t);       \
  DECLARE(name##_function, name##_f32)                                    \
  DECLARE(name##_function, name##_f64)                                    \
  void name(const job_type *job, int64_t begin, int64_t end) {            \
    const temper_variant resolved = temper_variant_resolve(job->variant); \
    if (job->element == TEMPER_ELEMENT_F32)                               \
      CHOOSE(resolved, name##_f32)(job, begin, end);                      \
    else                                                                  \
      CHOOSE(resolved, name##_f64)(job, begin, end);                      \
  }

DEFINE_KERNEL(temper_softmax_topk, temper_softmax_topk_job)
DEFINE_KERNEL(temper_threshold, temper_threshold_job)
DEFINE_KERNEL(temper_batch_softmax, temper_batch_softmax_job)
