#if defined(__x86_64__)
#define REAL float
#define M(name) temper_##name##_f32
#define INTERPRETER temper_row_program_run_f32_v3
#define TARGET "arch=x86-64-v3"
#define VECTOR_BYTES 32
#include "interpreter.h"
#endif
