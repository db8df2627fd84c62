// log and the functions made of it.

// x = 2^k m with m in [2/3, 4/3) (float), [sqrt(1/2), sqrt(2)) (double), f = m - 1.
// float: log(1 + f) = f - f^2/2 + f^3 P(f). double: with s = f / (2 + f) and z = s^2,
// log(1 + f) = 2 s + s z R(z) = f - (f^2/2 - s (f^2/2 + z R(z))), which rounds last what is largest.
//
// k ln 2 + log(1 + f).
INLINE REAL log_of_parts(REAL k, REAL f) {
  const REAL high = SINGLE ? C(0x1.62e4p-1) : C(0x1.62e42fefa3p-1);
  const REAL low = SINGLE ? C(0x1.7f7d1cf79abcap-20) : C(0x1.3de6af278ece6p-42);
#if SINGLE
  REAL p = C(0x1.ebd018p-4);
  p = p * f + C(-0x1.071108p-3);
  p = p * f + C(0x1.b87e6p-4);
  p = p * f + C(-0x1.f38a16p-4);
  p = p * f + C(0x1.24f48cp-3);
  p = p * f + C(-0x1.559906p-3);
  p = p * f + C(0x1.99977ep-3);
  p = p * f + C(-0x1.ffff0ep-3);
  p = p * f + C(0x1.555556p-2);
  const REAL square = f * f;
  const REAL rest = f * square * p + k * low;
  return k * high + (f + (rest - C(0.5) * square));
#else
  const REAL s = f / (2 + f), z = s * s, half_square = C(0.5) * f * f;
  REAL p = C(0x1.0f6a9b675abf2p-3);
  p = p * z + C(0x1.0f5bf5ec85626p-3);
  p = p * z + C(0x1.3b20b4df849a9p-3);
  p = p * z + C(0x1.745cddff654cp-3);
  p = p * z + C(0x1.c71c7259aa2b7p-3);
  p = p * z + C(0x1.249249242aaf9p-2);
  p = p * z + C(0x1.9999999999e06p-2);
  p = p * z + C(0x1.5555555555555p-1);
  return k * high - ((half_square - (s * (half_square + z * p) + k * low)) - f);
#endif
}

// k is taken lower by `shift`, for an x that was scaled up by 2^shift.
INLINE REAL log_of_normal(REAL x, REAL shift) {
  const bits b = bits_of(x);
  const bits above = b - bits_of(SINGLE ? C(0x1.555556p-1) : C(0x1.6a09ep-1));
  const bits exponent_mask = ~(((bits)1 << MANTISSA_BITS) - 1);
  return log_of_parts(C((integer)above >> MANTISSA_BITS) - shift, real_of(b - (above & exponent_mask)) - 1);
}

INLINE REAL log_of(REAL x) {
  const bool denormal = x < (SINGLE ? C(0x1p-126) : C(0x1p-1022));
  const REAL scaled = x * (SINGLE ? C(0x1p23) : C(0x1p52));
  const REAL value = log_of_normal(denormal ? scaled : x, denormal ? C(MANTISSA_BITS) : C(0));
  const REAL positive = x < C(INFINITY) ? value : x;  // NaN too
  return x > 0 ? positive : x == 0 ? C(-INFINITY) : C(NAN);
}

// log(u) with u = 1 + x rounded, and the rounding error d of u made good to first order: d / u.
INLINE REAL log1p_of(REAL x) {
  const REAL u = 1 + x;
  const REAL d = x < 1 ? x - (u - 1) : 1 - (u - x);
  const REAL value = with_sign(log_of_normal(u, 0) + d / u, x);
  const REAL inside = x < C(INFINITY) ? value : x;  // NaN too
  return x > -1 ? inside : x == -1 ? C(-INFINITY) : C(NAN);
}

typedef struct softplus_and_slope {
  REAL value, slope;
} softplus_and_slope;

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), and the sigmoid of x, its slope, with one exponential and one division.
// 1 + e of an e up to 1 has k = 0 or 1, and f without rounding: e, or (e - 1) / 2.
INLINE softplus_and_slope softplus_and_slope_of(REAL x) {
  const REAL e = exp_of(-absolute_value(x));
  const bool halved = e > (SINGLE ? C(0x1.555556p-2) : C(0x1.a827cp-2));
  const REAL value = log_of_parts(halved ? 1 : 0, halved ? C(0.5) * e - C(0.5) : e);
  return (softplus_and_slope){(x > 0 ? x : 0) + value, (x < 0 ? e : 1) / (1 + e)};
}

INLINE REAL softplus_of(REAL x) { return softplus_and_slope_of(x).value; }
