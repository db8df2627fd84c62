#if defined(__x86_64__)
#define SINGLE 1
#define INTERPRETER temper_row_program_run_f32_v3
#define TARGET "arch=x86-64-v3"
#define VECTOR_BYTES 32
#include "interpreter.h"
#endif
