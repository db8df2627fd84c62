#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "convolution_kernels.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma"))), apply_to = function)

#include "../vectors/avx512_f32.h"
#include "convolution_kernels_template.h"
#include "../vectors/end_vectors.h"

#include "../vectors/avx512_f64.h"
#include "convolution_kernels_template.h"
#include "../vectors/end_vectors.h"

#pragma clang attribute pop
#endif
