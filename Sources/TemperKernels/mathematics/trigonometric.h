// sin and cos.
//
// x = n pi/2 + r with |r| <= pi/4. pi/2 is subtracted in parts, all but the last with so few bits that their products
// with n are exact as long as |x| is at most TRIGONOMETRIC_LIMIT. Beyond, the library's functions are called.

#define TRIGONOMETRIC_LIMIT (SINGLE ? C(8192) : C(0x1p20))

// sin(x + quarters pi/2)
INLINE REAL sin_of_sum(REAL x, bits quarters) {
  const REAL shifted = x * C(0x1.45f306dc9c883p-1) + SHIFT;
  const REAL n = shifted - SHIFT;
#if SINGLE
  const REAL r = ((x - n * C(0x1.92p+0)) - n * C(0x1.fb4p-12)) - n * C(0x1.444p-24) - n * C(0x1.68c234p-39);
#else
  const REAL r = ((x - n * C(0x1.921fb544p+0)) - n * C(0x1.0b4611a6p-34)) - n * C(0x1.3198a2e037073p-69);
#endif
  const bits quarter = bits_of(shifted) + quarters;
  const REAL z = r * r;
  REAL sine, cosine;
  {
#if SINGLE
    REAL p = C(0x1.6cd5e2p-19);
    p = p * z + C(-0x1.a00f94p-13);
    p = p * z + C(0x1.111108p-7);
    p = p * z + C(-0x1.555556p-3);
#else
    REAL p = C(-0x1.aaa381d9ba01fp-41);
    p = p * z + C(0x1.61208f3542db3p-33);
    p = p * z + C(-0x1.ae645292e3b84p-26);
    p = p * z + C(0x1.71de3a533565cp-19);
    p = p * z + C(-0x1.a01a01a018ab3p-13);
    p = p * z + C(0x1.111111111110bp-7);
    p = p * z + C(-0x1.5555555555555p-3);
#endif
    sine = r * z * p + r;
  }
  {
#if SINGLE
    REAL p = C(0x1.99ff6ep-16);
    p = p * z + C(-0x1.6c0c82p-10);
    p = p * z + C(0x1.55554ap-5);
#else
    REAL p = C(0x1.aac3f60b3f0b4p-45);
    p = p * z + C(-0x1.939334846bccep-37);
    p = p * z + C(0x1.1eed8ca06e726p-29);
    p = p * z + C(-0x1.27e4fb75faa85p-22);
    p = p * z + C(0x1.a01a01a018dc1p-16);
    p = p * z + C(-0x1.6c16c16c16c1p-10);
    p = p * z + C(0x1.5555555555555p-5);
#endif
    cosine = 1 - (C(0.5) * z - z * z * p);
  }
  const REAL value = quarter & 1 ? cosine : sine;
  return real_of(bits_of(value) ^ (quarter & 2) << (8 * sizeof(REAL) - 2));
}

INLINE REAL sin_of(REAL x) {
  const REAL value = sin_of_sum(x, 0);
  return x == 0 ? x : value;
}
INLINE REAL cos_of(REAL x) { return sin_of_sum(x, 1); }
