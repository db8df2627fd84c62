// Eigenvectors of a symmetric matrix without negative eigenvalues, and bases of rows. float64.
#ifndef TEMPER_SYMMETRIC_EIGEN_H
#define TEMPER_SYMMETRIC_EIGEN_H

#include <stdint.h>

// A = V^T diag(values) V with the rows of V orthonormal, by one-sided Jacobi rotations: only rows are touched, and small
// eigenvalues keep their relative accuracy (Demmel and Veselic, 1992). `a` is used up. Values are not sorted.
void temper_symmetric_eigen(double *a, double *vectors, double *values, int64_t n);

// Rows made orthonormal in order, twice over (Gram and Schmidt); a row of which no more than `rounding` times the longest is
// left across those before it becomes an axis across them. Rows that are not finite stay as they are.
void temper_orthonormal_rows(double *rows, int64_t n, double rounding);

#endif
