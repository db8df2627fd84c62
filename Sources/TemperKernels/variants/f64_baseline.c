#define SINGLE 0
#define VARIANT(name) name##_f64_baseline
#define VECTOR_BYTES 16
#include "../small.h"
#include "kernels.h"
#pragma clang attribute pop
