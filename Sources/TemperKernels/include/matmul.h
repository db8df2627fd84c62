// Matrix products: C = activation(alpha * A * B + beta * C + bias), beta 0 or 1, float32 and float64.
//
// A job says what to compute. A plan cuts it into pieces: phases run one after the other, the pieces of a phase are
// independent. The cut follows from the job's shape and strides alone, and every element of C is summed in an order
// that does not depend on who runs which piece, so the bits are the same for one thread and for many.
//
//   temper_matmul_plan plan = temper_matmul_plan_make(&job);      // once per shape; the pointers may change afterwards
//   for phase in 0 ..< plan.phase_count:
//     for piece in 0 ..< plan.piece_counts[phase], in parallel:
//       temper_matmul_run_piece(&job, &plan, phase, piece, workspace, scratch of this thread);
//
// Order of summation of one element: over k in sequence with fused multiply-adds, in blocks whose size follows from k;
// block sums are added in sequence. A row of C therefore does not depend on how many other rows there are, with two
// exceptions: a product with m = 1 or n = 1 may sum over k in vector lanes, and a product with a small C and a long k
// sums parts of k in separate pieces, and these in sequence.
#ifndef TEMPER_MATMUL_H
#define TEMPER_MATMUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "row_program.h"
#include "variant.h"

typedef enum temper_activation : uint8_t { TEMPER_ACTIVATION_NONE, TEMPER_ACTIVATION_RELU } temper_activation;

// Strides are in elements and may be anything, also 0 or negative, so a transpose is a swap of strides. C has unit
// column stride and overlaps neither A, B nor bias. No alignment is assumed beyond the element's own.
typedef struct temper_matmul_job {
  temper_element element;  // TEMPER_ELEMENT_F32 or TEMPER_ELEMENT_F64, of all operands
  temper_variant variant;
  temper_activation activation;
  bool accumulate;  // beta: true adds to C, false overwrites it without reading it
  double alpha;
  int64_t m, n, k;  // A is (m, k), B is (k, n), C is (m, n); each may be 0
  int64_t batch;    // number of such products, at least 1
  const void *a;
  int64_t a_row_stride, a_column_stride, a_batch_stride;
  const void *b;
  int64_t b_row_stride, b_column_stride, b_batch_stride;
  void *c;
  int64_t c_row_stride, c_batch_stride;
  const void *bias;  // n elements, added to every row, or NULL
} temper_matmul_job;

enum { TEMPER_MATMUL_MAX_PHASES = 2 };

typedef struct temper_matmul_plan {
  size_t workspace_bytes;  // memory shared by all pieces, 64-byte aligned; its contents need not outlive the run
  size_t scratch_bytes;    // memory of each thread, 64-byte aligned
  int32_t phase_count;
  int64_t piece_counts[TEMPER_MATMUL_MAX_PHASES];
  // How the pieces are cut; for `temper_matmul_run_piece` alone.
  temper_variant variant;
  bool is_vector_product;
  int64_t narrow_tile_rows;             // rows of a tile where C is narrow and short, else 0
  int64_t products_per_piece;         // of the batch
  int64_t row_pieces, column_pieces;  // of C
  int64_t depth_pieces;               // of k
} temper_matmul_plan;

// Reads shapes, strides and whether there is a bias, not the pointers' targets.
temper_matmul_plan temper_matmul_plan_make(const temper_matmul_job *job);

void temper_matmul_run_piece(const temper_matmul_job *job, const temper_matmul_plan *plan, int32_t phase, int64_t piece,
                             void *workspace, void *scratch);

// All pieces of all phases, on this thread.
void temper_matmul_run(const temper_matmul_job *job, const temper_matmul_plan *plan, void *workspace, void *scratch);

// The definition: three plain loops, summed in the widest type. For tests.
void temper_matmul_reference(const temper_matmul_job *job);

#endif
