// A = L L^T for a symmetric positive definite matrix, float64, in steps of blocks; L overwrites the lower triangle.
//
//   for step in 0 ..< temper_cholesky_steps(n):
//     temper_cholesky_diagonal(a, n, step)
//     for piece in 0 ..< temper_cholesky_steps(n) - step - 1, in parallel: temper_cholesky_panel(a, n, step, piece)
//     for piece in the same, in parallel: temper_cholesky_trailing(a, n, step, piece, scratch of this thread)
#ifndef TEMPER_CHOLESKY_H
#define TEMPER_CHOLESKY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t temper_cholesky_steps(int64_t n);

size_t temper_cholesky_scratch(int64_t n);  // 64-byte aligned

// Returns false if the matrix is not positive definite.
bool temper_cholesky_diagonal(double *a, int64_t n, int64_t step);
void temper_cholesky_panel(double *a, int64_t n, int64_t step, int64_t piece);
void temper_cholesky_trailing(double *a, int64_t n, int64_t step, int64_t piece, void *scratch);

#endif
