// Functions that are rare in losses, or that have no fast form: one value at a time.

double temper_digamma(double x);
double temper_erfinv(double x);

INLINE REAL digamma_of(REAL x) { return (REAL)temper_digamma(x); }
INLINE REAL erfinv_of(REAL x) { return (REAL)temper_erfinv(x); }
INLINE REAL atan_of(REAL x) { return SINGLE ? C(atanf((float)x)) : C(atan(x)); }

// lgamma itself writes a global variable.
INLINE REAL lgamma_of(REAL x) {
  int sign;
  return SINGLE ? C(lgammaf_r((float)x, &sign)) : C(lgamma_r(x, &sign));
}

// x - y floor(x / y), exactly: with the sign of y.
INLINE REAL remainder_of(REAL x, REAL y) {
  const REAL r = SINGLE ? C(fmodf((float)x, (float)y)) : C(fmod(x, y));
  return r == 0 ? with_sign(0, y) : (r < 0) != (y < 0) ? r + y : r;
}

INLINE REAL sin_of_any(REAL x) {
  const REAL far = absolute_value(x) <= TRIGONOMETRIC_LIMIT ? 0 : SINGLE ? C(sinf((float)x)) : C(sin(x));
  return absolute_value(x) <= TRIGONOMETRIC_LIMIT ? sin_of(x) : far;
}

INLINE REAL cos_of_any(REAL x) {
  const REAL far = absolute_value(x) <= TRIGONOMETRIC_LIMIT ? 0 : SINGLE ? C(cosf((float)x)) : C(cos(x));
  return absolute_value(x) <= TRIGONOMETRIC_LIMIT ? cos_of(x) : far;
}
