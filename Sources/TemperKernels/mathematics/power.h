// x to the power of y, with the special cases of C's pow.

#if SINGLE
// 2^(y log2|x|) in double: 2 s + s z R(z) as in log, |y log2|x|| <= 160 so that errors of 1e-11 stay below float's.
INLINE float pow_of(float x, float y) {
  const double size = __builtin_fabs((double)x);
  uint64_t b;
  __builtin_memcpy(&b, &size, sizeof b);
  const uint64_t above = b - 0x3FE6A09E00000000u;
  const double k = (double)(int32_t)(int64_t)((int64_t)above >> 52);
  b -= above & 0xFFF0000000000000u;
  double mantissa;
  __builtin_memcpy(&mantissa, &b, sizeof b);
  const double f = mantissa - 1, s = f / (2 + f), z = s * s;
  double p = 0x1.e2fdae17da528p-3;
  p = p * z + 0x1.2438aa5ee2dd1p-2;
  p = p * z + 0x1.999a7b2e5f97cp-2;
  p = p * z + 0x1.555554fd4c7e7p-1;
  double log2_size = k + 0x1.71547652b82fep+0 * (2 * s + s * z * p);
  log2_size = size == 0 ? -(double)INFINITY : size < (double)INFINITY ? log2_size : (double)INFINITY;

  double exponent = (double)y * log2_size;
  exponent = exponent > 160 ? 160 : exponent;
  exponent = exponent < -160 ? -160 : exponent;
  const double shifted = exponent + 0x1.8p52, r = (exponent - (shifted - 0x1.8p52)) * 0x1.62e42fefa39efp-1;
  uint64_t n;
  __builtin_memcpy(&n, &shifted, sizeof n);
  n = (n + 1023) << 52;
  double scale;
  __builtin_memcpy(&scale, &n, sizeof n);
  double e = 0x1.a1c0d8b3d8f82p-13;
  e = e * r + 0x1.6d9e24548437dp-10;
  e = e * r + 0x1.11107666546a3p-7;
  e = e * r + 0x1.555477d170134p-5;
  e = e * r + 0x1.5555559ca3f2bp-3;
  e = e * r + 0x1.00000046f365ap-1;
  e = 1 + (r + r * r * e);
  float result = (float)(e * scale);

  result = size == 1 ? 1 : result;
  const float half = y * 0.5f;
  const bool whole = rounded(y) == y, odd = whole & (rounded(half) != half);
  result = ((x < 0) & !whole & (size < (double)INFINITY)) ? NAN : result;
  result = odd ? __builtin_copysignf(result, x) : result;
  result = ((x != x) | (y != y)) ? NAN : result;
  return ((y == 0) | (x == 1)) ? 1 : result;
}
#else
INLINE double pow_of(double x, double y) { return pow(x, y); }
#endif
