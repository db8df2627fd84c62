// Elementary functions, float and double.
#ifndef TEMPER_VECTOR_MATH_H
#define TEMPER_VECTOR_MATH_H

#include <math.h>

#define TEMPER_INLINE static inline __attribute__((always_inline))

#define TEMPER_FROM_LIBRARY(T, suffix, f)                                                                   \
  TEMPER_INLINE T temper_infinity_##suffix(void) { return (T)__builtin_inf(); }                                \
  TEMPER_INLINE T temper_abs_##suffix(T x) { return __builtin_fabs##f(x); }                                  \
  TEMPER_INLINE T temper_sqrt_##suffix(T x) { return __builtin_sqrt##f(x); }                                 \
  TEMPER_INLINE T temper_exp_##suffix(T x) { return exp##f(x); }                                             \
  TEMPER_INLINE T temper_expm1_##suffix(T x) { return expm1##f(x); }                                         \
  TEMPER_INLINE T temper_log_##suffix(T x) { return log##f(x); }                                             \
  TEMPER_INLINE T temper_log1p_##suffix(T x) { return log1p##f(x); }                                         \
  TEMPER_INLINE T temper_tanh_##suffix(T x) { return tanh##f(x); }                                           \
  TEMPER_INLINE T temper_sigmoid_##suffix(T x) {                                                             \
    const T e = temper_exp_##suffix(-temper_abs_##suffix(x));                                                \
    return (x >= 0 ? 1 : e) / (1 + e);                                                                       \
  }                                                                                                          \
  TEMPER_INLINE T temper_softplus_##suffix(T x) {                                                            \
    return (x > 0 ? x : x != x ? x : 0) + temper_log1p_##suffix(temper_exp_##suffix(-temper_abs_##suffix(x)));               \
  }                                                                                                          \
  TEMPER_INLINE T temper_erf_##suffix(T x) { return erf##f(x); }                                             \
  TEMPER_INLINE T temper_sin_##suffix(T x) { return sin##f(x); }                                             \
  TEMPER_INLINE T temper_cos_##suffix(T x) { return cos##f(x); }                                             \
  TEMPER_INLINE T temper_pow_##suffix(T x, T y) { return pow##f(x, y); }                                     \
  TEMPER_INLINE T temper_remainder_##suffix(T x, T y) {                                                      \
    const T r = fmod##f(x, y);                                                                               \
    return r == 0 ? __builtin_copysign##f(0, y) : (r < 0) != (y < 0) ? r + y : r;                            \
  }                                                                                                          \
  TEMPER_INLINE T temper_lgamma_##suffix(T x) { int sign; return lgamma##f##_r(x, &sign); }                  \
  TEMPER_INLINE T temper_digamma_##suffix(T x) { return (T)temper_digamma(x); }                              \
  TEMPER_INLINE T temper_atan_##suffix(T x) { return atan##f(x); }                                           \
  TEMPER_INLINE T temper_erfinv_##suffix(T x) { return (T)temper_erfinv(x); }                                \
  TEMPER_INLINE T temper_normal_cdf_##suffix(T x) { return (T)0.5 * erfc##f(-x * (T)0.70710678118654752440); }

double temper_digamma(double x);
double temper_erfinv(double x);

// Halves go to the even neighbour: adding 2^23 (2^52) leaves no bits for a fraction. -0 stays -0.
#define TEMPER_ROUNDING(T, suffix, f, limit)                                                   \
  TEMPER_INLINE T temper_round_##suffix(T x) {                                                 \
    const T shift = __builtin_copysign##f(limit, x);                                           \
    return __builtin_fabs##f(x) < limit ? __builtin_copysign##f((x + shift) - shift, x) : x;   \
  }                                                                                            \
  TEMPER_INLINE T temper_floor_##suffix(T x) {                                                 \
    const T r = temper_round_##suffix(x);                                                      \
    return r > x ? r - 1 : r;                                                                  \
  }                                                                                            \
  TEMPER_INLINE T temper_ceil_##suffix(T x) {                                                  \
    const T r = temper_round_##suffix(x);                                                      \
    return __builtin_copysign##f(r < x ? r + 1 : r, x);                                        \
  }

TEMPER_ROUNDING(float, f32, f, 0x1p23f)
TEMPER_ROUNDING(double, f64, , 0x1p52)

TEMPER_FROM_LIBRARY(float, f32, f)
TEMPER_FROM_LIBRARY(double, f64, )

#endif
