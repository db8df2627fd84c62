// The vector kernels: loops over plain pointers. They allocate nothing, keep no state and know no shape beyond
// the numbers they are handed. Each has a plain reference beside it, against which it is tested.
#ifndef TEMPER_KERNELS_H
#define TEMPER_KERNELS_H

#include "batch.h"
#include "cholesky.h"
#include "column_reduce.h"
#include "extremes.h"
#include "fits.h"
#include "gather.h"
#include "gguf_blocks.h"
#include "half_numbers.h"
#include "int8_activations.h"
#include "int8_product.h"
#include "convolution.h"
#include "inverse.h"
#include "jaccard_weights.h"
#include "matmul.h"
#include "nearest.h"
#include "philox.h"
#include "pooling.h"
#include "processor.h"
#include "quantized.h"
#include "row_order.h"
#include "row_program.h"
#include "samples.h"
#include "softmax.h"
#include "strided_copy.h"
#include "symmetric_eigen.h"
#include "variant.h"
#include "vector_codes.h"

#endif
