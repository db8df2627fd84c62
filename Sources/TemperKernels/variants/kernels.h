// The kernels that are compiled once for each element type and instruction set. The including file defines
//   SINGLE         1 for float, 0 for double
//   VARIANT(name)  the name with a suffix for type and instruction set
//   VECTOR_BYTES   width of a vector register
//   TARGET         the instruction set, if it is not the default one
#include <stdbool.h>
#include <stddef.h>

#include "../include/philox.h"
#include "../include/softmax.h"
#include "../mathematics/vector_math.h"
#include "../row_program/plan.h"

#ifdef TARGET
#pragma clang attribute push(__attribute__((target(TARGET))), apply_to = function)
#endif

// clang-format off: each of these uses the ones before it
#include "../rows/lanes.h"
#include "../rows/reduce_row.h"
#include "../rows/exp_row.h"
#include "../rows/transpose.h"
#include "../mathematics/philox_uniform.h"
#include "../row_program/block.h"
#include "../row_program/element_loops.h"
#include "../row_program/chain_links.h"
#include "../row_program/known_chains.h"
#include "../row_program/chain.h"
#include "../row_program/memory.h"
#include "../row_program/reductions.h"
#include "../row_program/streamed_softmax.h"
#include "../row_program/interpreter.h"
#include "../row_program/sweep.h"
#include "../rows/softmax_topk_kernel.h"
#include "../rows/threshold_kernel.h"
#include "../rows/batch_softmax_kernel.h"
// clang-format on

#ifdef TARGET
#pragma clang attribute pop
#endif
