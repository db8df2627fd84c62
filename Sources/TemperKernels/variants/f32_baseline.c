#define SINGLE 1
#define VARIANT(name) name##_f32_baseline
#define VECTOR_BYTES 16
#include "../small.h"
#include "kernels.h"
#pragma clang attribute pop
