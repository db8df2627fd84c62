#define SINGLE 0
#define INTERPRETER temper_row_program_run_f64_baseline
#define VECTOR_BYTES 16
#include "interpreter.h"
