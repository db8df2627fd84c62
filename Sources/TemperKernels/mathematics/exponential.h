// exp and the functions made of it.
//
// x = n ln 2 + r with |r| <= ln 2 / 2, and e^r = 1 + r + r^2 P(r), P minimax (Remez).

// expm1(r) for small |r|.
INLINE REAL expm1_reduced(REAL r) {
#if SINGLE  // relative error of the polynomial 3e-9
  REAL p = C(0x1.6dbc3ap-10);
  p = p * r + C(0x1.124148p-7);
  p = p * r + C(0x1.555454p-5);
  p = p * r + C(0x1.555486p-3);
  p = p * r + C(0x1p-1);
#else  // 6e-20
  REAL p = C(0x1.1fa18598197p-29);
  p = p * r + C(0x1.af72113bb2067p-26);
  p = p * r + C(0x1.27e4bcb0c9199p-22);
  p = p * r + C(0x1.71ddec925ec19p-19);
  p = p * r + C(0x1.a01a01b59edc1p-16);
  p = p * r + C(0x1.a01a01b4ed0d3p-13);
  p = p * r + C(0x1.6c16c16c130cbp-10);
  p = p * r + C(0x1.111111110e8a3p-7);
  p = p * r + C(0x1.555555555555fp-5);
  p = p * r + C(0x1.555555555555cp-3);
  p = p * r + C(0x1p-1);
#endif
  return r * r * p + r;
}

typedef struct exponent {
  bits n;  // two's complement
  REAL r;
} exponent;

// n and r of x - less. n ln 2 is subtracted in two parts, the first with so few bits that its product is exact.
INLINE exponent reduced_exponent(REAL x, REAL less) {
  const REAL high = SINGLE ? C(0x1.62e4p-1) : C(0x1.62e42fefa3p-1);
  const REAL low = SINGLE ? C(0x1.7f7d1cf79abcap-20) : C(0x1.3de6af278ece6p-42);
  const REAL shifted = x * C(0x1.71547652b82fep+0) + SHIFT;
  const REAL n = shifted - SHIFT;
  const REAL r = x - n * high;
  return (exponent){bits_of(shifted) - bits_of(SHIFT), (r - less) - n * low};
}

// e^(x - less), |less| < 0.12. n is added to the exponent field; what lies below the smallest normal number becomes 0.
// sum = x - less decides. NaN takes the branch of overflow.
INLINE REAL exp_in_range(REAL x, REAL less, REAL sum) {
  const REAL top = SINGLE ? C(0x1.62e42ep6) : C(0x1.62e42fefa39efp9);
  const REAL bottom = SINGLE ? C(-0x1.5d589f2fe5107p+6) : C(-0x1.6232bdd7abcd2p+9);
  const exponent e = reduced_exponent(x, less);
  const REAL value = real_of(bits_of(1 + expm1_reduced(e.r)) + (e.n << MANTISSA_BITS));
  const REAL limited = sum < bottom ? 0 : value;
  return sum <= top ? limited : sum + C(INFINITY);
}

INLINE REAL exp_of(REAL x) { return exp_in_range(x, 0, x); }
INLINE REAL exp_of_sum(REAL x, REAL tail) { return exp_in_range(x, -tail, x + tail); }

// 2^n expm1(r) + (2^n - 1), twice the half of it because 2^128 (2^1024) is no number.
INLINE REAL expm1_of(REAL x) {
  const REAL top = SINGLE ? C(89) : C(710), bottom = SINGLE ? C(-20) : C(-40);
  REAL limited = x > top ? top : x;
  limited = limited < bottom ? bottom : limited;
  const exponent e = reduced_exponent(limited, 0);
  const REAL half_scale = power_of_two(e.n - 1);
  return with_sign(2 * (half_scale * expm1_reduced(e.r) + (half_scale - C(0.5))), x);
}

// With t = expm1(-2|x|): tanh |x| = -t / (2 + t). float: 1 - 2 / (e^2|x| + 1), and x + x z P(z), z = x^2, below 0.625.
INLINE REAL tanh_of(REAL x) {
#if SINGLE
  const REAL z = x * x, size = absolute_value(x);
  REAL p = C(-0x1.76ac8ep-8);
  p = p * z + C(0x1.525748p-6);
  p = p * z + C(-0x1.b8446cp-5);
  p = p * z + C(0x1.11076ap-3);
  p = p * z + C(-0x1.555534p-2);
  const REAL near = x * z * p + x;
  const REAL far = 1 - 2 / (exp_of(2 * size) + 1);
  return with_sign(size < C(0.625) ? near : far, x);
#else
  const REAL t = expm1_of(-2 * absolute_value(x));
  return with_sign(t / (2 + t), x);
#endif
}

// 1 / (1 + e^-x), the exponent kept negative.
INLINE REAL sigmoid_of(REAL x) {
  const REAL e = exp_of(-absolute_value(x));
  return (x < 0 ? e : 1) / (1 + e);
}
