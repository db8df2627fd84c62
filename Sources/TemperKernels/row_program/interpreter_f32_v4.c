#if defined(__x86_64__)
#define SINGLE 1
#define INTERPRETER temper_row_program_run_f32_v4
#define TARGET "arch=x86-64-v4,no-prefer-256-bit"
#define VECTOR_BYTES 64
#include "interpreter.h"
#endif
