#include "cholesky.h"

#include <math.h>

#include "matmul.h"

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

enum { BLOCK = 64 };

static int64_t block_size(int64_t n, int64_t block) { return n - block * BLOCK < BLOCK ? n - block * BLOCK : BLOCK; }

int64_t temper_cholesky_steps(int64_t n) { return (n + BLOCK - 1) / BLOCK; }

// L[j][j] = sqrt(A[j][j] - sum of L[j][k]^2), L[i][j] = (A[i][j] - sum of L[i][k] L[j][k]) / L[j][j], over k < j.
bool temper_cholesky_diagonal(double *a, int64_t n, int64_t step) {
  double *block = a + step * BLOCK * (n + 1);
  const int64_t size = block_size(n, step);
  for (int64_t j = 0; j < size; j++) {
    double pivot = block[j * n + j];
    for (int64_t k = 0; k < j; k++) pivot -= block[j * n + k] * block[j * n + k];
    if (!(pivot > 0) || isinf(pivot)) return false;
    const double root = sqrt(pivot);
    block[j * n + j] = root;
    for (int64_t i = j + 1; i < size; i++) {
      double sum = block[i * n + j];
      for (int64_t k = 0; k < j; k++) sum -= block[i * n + k] * block[j * n + k];
      block[i * n + j] = sum / root;
    }
  }
  return true;
}

// Rows X of the panel: X L^T = A, column by column, for all rows of the block at once.
CLONES void temper_cholesky_panel(double *a, int64_t n, int64_t step, int64_t piece) {
  const double *lower = a + step * BLOCK * (n + 1);
  const int64_t row = step + 1 + piece, rows = block_size(n, row), size = block_size(n, step);
  double *panel = a + row * BLOCK * n + step * BLOCK;
  double columns[BLOCK][BLOCK];  // the block transposed
  for (int64_t j = 0; j < size; j++) {
    for (int64_t r = 0; r < rows; r++) columns[j][r] = panel[r * n + j];
    for (int64_t r = rows; r < BLOCK; r++) columns[j][r] = 0;
  }
  for (int64_t j = 0; j < size; j++) {
    for (int64_t k = 0; k < j; k++) {
      const double factor = lower[j * n + k];
      for (int64_t r = 0; r < BLOCK; r++) columns[j][r] -= columns[k][r] * factor;
    }
    const double root = lower[j * n + j];
    for (int64_t r = 0; r < BLOCK; r++) columns[j][r] /= root;
  }
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t j = 0; j < size; j++) panel[r * n + j] = columns[j][r];
  }
}

// One block of rows of A - P P^T, left of and on its diagonal block.
static temper_matmul_job trailing_job(int64_t n, int64_t step, int64_t piece) {
  const int64_t row = step + 1 + piece;
  return (temper_matmul_job){
      .element = TEMPER_ELEMENT_F64,
      .variant = TEMPER_VARIANT_BEST,
      .accumulate = true,
      .alpha = -1,
      .m = block_size(n, row),
      .n = piece * BLOCK + block_size(n, row),
      .k = BLOCK,
      .batch = 1,
      .a_row_stride = n,
      .a_column_stride = 1,
      .b_row_stride = 1,
      .b_column_stride = n,
      .c_row_stride = n,
  };
}

size_t temper_cholesky_scratch(int64_t n) {
  size_t bytes = 0;
  for (int64_t piece = 0; piece + 1 < temper_cholesky_steps(n); piece++) {
    const temper_matmul_job job = trailing_job(n, 0, piece);
    const temper_matmul_plan plan = temper_matmul_plan_make(&job);
    if (plan.scratch_bytes > bytes) bytes = plan.scratch_bytes;
  }
  return bytes;
}

void temper_cholesky_trailing(double *a, int64_t n, int64_t step, int64_t piece, void *scratch) {
  const int64_t row = step + 1 + piece, first = (step + 1) * BLOCK;
  temper_matmul_job job = trailing_job(n, step, piece);
  job.a = a + row * BLOCK * n + step * BLOCK;
  job.b = a + first * n + step * BLOCK;
  job.c = a + row * BLOCK * n + first;
  temper_matmul_plan plan = temper_matmul_plan_make(&job);
  // It is one piece already, and so short a sum is never cut.
  plan.row_pieces = plan.column_pieces = 1;
  plan.piece_counts[0] = 1;
  temper_matmul_run(&job, &plan, NULL, scratch);
}
