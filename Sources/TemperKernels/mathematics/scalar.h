// Template over SINGLE (1: float, 0: double): what the elementary functions are written with. They are branch-free, so
// that loops over them become vector code, and inlined, so that each instruction set gets its own. Products that are
// added are contracted to a fused multiply-add where the machine has one; nothing relies on it.
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#if SINGLE
#define REAL float
typedef int32_t integer;
typedef uint32_t bits;
enum { MANTISSA_BITS = 23, EXPONENT_BIAS = 127 };
#else
#define REAL double
typedef int64_t integer;
typedef uint64_t bits;
enum { MANTISSA_BITS = 52, EXPONENT_BIAS = 1023 };
#endif

#define C(constant) ((REAL)(constant))
#define INLINE static inline __attribute__((always_inline))

INLINE bits bits_of(REAL x) {
  bits b;
  __builtin_memcpy(&b, &x, sizeof x);
  return b;
}

INLINE REAL real_of(bits b) {
  REAL x;
  __builtin_memcpy(&x, &b, sizeof x);
  return x;
}

INLINE REAL absolute_value(REAL x) { return SINGLE ? C(__builtin_fabsf((float)x)) : C(__builtin_fabs(x)); }
INLINE REAL with_sign(REAL x, REAL sign) {
  return SINGLE ? C(__builtin_copysignf((float)x, (float)sign)) : C(__builtin_copysign(x, sign));
}
INLINE REAL square_root_of(REAL x) { return SINGLE ? C(__builtin_sqrtf((float)x)) : C(__builtin_sqrt(x)); }

// 2^k for a normal result.
INLINE REAL power_of_two(bits k) { return real_of((k + EXPONENT_BIAS) << MANTISSA_BITS); }

// x + SHIFT has no bits for a fraction: it is rounded to an integer (halves to even), which its lowest bits hold.
#define SHIFT (SINGLE ? C(0x1.8p23) : C(0x1.8p52))

// Halves to even; -0 stays -0.
INLINE REAL rounded(REAL x) {
  const REAL limit = SINGLE ? C(0x1p23) : C(0x1p52);
  const REAL shift = with_sign(limit, x);
  return absolute_value(x) < limit ? with_sign((x + shift) - shift, x) : x;
}

INLINE REAL rounded_down(REAL x) {
  const REAL r = rounded(x);
  return r > x ? r - 1 : r;
}

INLINE REAL rounded_up(REAL x) {
  const REAL r = rounded(x);
  return with_sign(r < x ? r + 1 : r, x);
}
