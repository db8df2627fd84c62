#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "convolution_kernels.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

#include "../vectors/avx2_f32.h"
#include "convolution_kernels_template.h"
#include "../vectors/end_vectors.h"

#include "../vectors/avx2_f64.h"
#include "convolution_kernels_template.h"
#include "../vectors/end_vectors.h"

#pragma clang attribute pop
#endif
