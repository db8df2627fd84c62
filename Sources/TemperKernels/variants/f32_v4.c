#if defined(__x86_64__)
#define SINGLE 1
#define VARIANT(name) name##_f32_v4
#define TARGET "arch=x86-64-v4,no-prefer-256-bit"
#define VECTOR_BYTES 64
#include "kernels.h"
#endif
