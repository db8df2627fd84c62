// Inverse and determinant of a square matrix, float64.
#ifndef TEMPER_INVERSE_H
#define TEMPER_INVERSE_H

#include <stdbool.h>
#include <stdint.h>

// a becomes its inverse. log_determinant = sum over pivots of weights[k] log |pivot k|, with weights NULL for ones: of a
// matrix of independent blocks, in whatever order its rows are, each row has the weight of its block. NaN where the
// determinant is negative. false where the matrix has no inverse; a is then spoilt. pivots: room for n.
bool temper_inverse(double *a, int64_t n, const double *weights, int32_t *pivots, double *log_determinant);

#endif
