// Passes over all samples that fits of a few numbers are made of, float64.
#ifndef TEMPER_FITS_H
#define TEMPER_FITS_H

#include <stdint.h>

// Of two normal distributions, k = 0 and 1, with log densities offsets[k] + factors[k] (x - means[k])^2: shares[2 i + k]
// = the part of value i that belongs to k. Returns the sum of the log densities.
double temper_two_normals(double *shares, const double *values, int64_t count, const double *offsets,
                          const double *factors, const double *means);

// sums[3 k ...] = the sums of share, share (x - centres[k]), share (x - centres[k])^2.
void temper_share_moments(double *sums, const double *shares, const double *values, int64_t count,
                          const double *centres);

// Logistic regression at beta, with z = x beta and p = 1 / (1 + e^-z) of each row: gradient = sum share (target - p) x,
// scaled = x, each row times share p (1 - p). Returns the sum of share (log(1 + e^z) - target z).
double temper_logistic_pass(double *gradient, double *scaled, const double *x, const double *targets,
                            const double *shares, const double *beta, int64_t rows, int64_t width);

#endif
