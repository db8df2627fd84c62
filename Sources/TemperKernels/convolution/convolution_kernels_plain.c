#include <string.h>

#include "convolution_kernels.h"

#include "../small.h"
#include "../vectors/plain_f32.h"
#include "convolution_kernels_template.h"
#include "../vectors/end_vectors.h"

#include "../vectors/plain_f64.h"
#include "convolution_kernels_template.h"
#include "../vectors/end_vectors.h"
#pragma clang attribute pop
