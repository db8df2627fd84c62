#define SINGLE 1
#define INTERPRETER temper_row_program_run_f32_baseline
#define VECTOR_BYTES 16
#include "interpreter.h"
