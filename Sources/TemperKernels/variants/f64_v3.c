#if defined(__x86_64__)
#define SINGLE 0
#define VARIANT(name) name##_f64_v3
#define TARGET "arch=x86-64-v3"
#define VECTOR_BYTES 32
#include "kernels.h"
#endif
