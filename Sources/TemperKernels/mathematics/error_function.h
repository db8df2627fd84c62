// erf and the normal distribution function.

// |x| < 1: x + x P(x^2). Beyond: 1 - e^-Q(|x| - 1), Q a polynomial for -log(erfc); 1 from where it rounds to that.
INLINE REAL erf_of(REAL x) {
  const REAL size = absolute_value(x), top = SINGLE ? C(4) : C(6);
  REAL near, far;
  {
    const REAL z = x * x;
#if SINGLE
    REAL p = C(0x1.4969f8p-14);
    p = p * z + C(-0x1.a3f714p-11);
    p = p * z + C(0x1.5405bcp-8);
    p = p * z + C(-0x1.b7f91p-6);
    p = p * z + C(0x1.ce2cf8p-4);
    p = p * z + C(-0x1.81273ep-2);
    p = p * z + C(0x1.06eba8p-3);
#else
    REAL p = C(0x1.05799a17328e8p-34);
    p = p * z + C(-0x1.386ac98e8cd9fp-30);
    p = p * z + C(0x1.f7a41a8893071p-27);
    p = p * z + C(-0x1.5f1d381f0e5d1p-23);
    p = p * z + C(0x1.b9def1db68865p-20);
    p = p * z + C(-0x1.f4d1df3fe93adp-17);
    p = p * z + C(0x1.f9a321a19222cp-14);
    p = p * z + C(-0x1.c02db3d8f2412p-11);
    p = p * z + C(0x1.565bcd0db0521p-8);
    p = p * z + C(-0x1.b82ce312849afp-6);
    p = p * z + C(0x1.ce2f21a042b21p-4);
    p = p * z + C(-0x1.812746b0379e6p-2);
    p = p * z + C(0x1.06eba8214db69p-3);
#endif
    near = x * p + x;
  }
  {
    const REAL u = (size > top ? top : size) - 1;
#if SINGLE
    REAL p = C(-0x1.86dcf2p-13);
    p = p * u + C(0x1.df8f96p-10);
    p = p * u + C(-0x1.44411cp-7);
    p = p * u + C(0x1.53ff24p-5);
    p = p * u + C(0x1.afad1cp-1);
    p = p * u + C(0x1.51c9aap+1);
    p = p * u + C(0x1.d97fcp+0);
#else
    REAL p = C(-0x1.2772bd294a4cbp-40);
    p = p * u + C(0x1.ff5cc55896b54p-36);
    p = p * u + C(-0x1.97e28880304cfp-32);
    p = p * u + C(0x1.8c0bdfbc35cbep-29);
    p = p * u + C(-0x1.017acd64b9721p-26);
    p = p * u + C(0x1.c0fcd510dad7bp-25);
    p = p * u + C(-0x1.a52add5a2fe84p-24);
    p = p * u + C(-0x1.310271cdea88ep-23);
    p = p * u + C(0x1.1451a62f66649p-19);
    p = p * u + C(-0x1.4263b259c99d9p-17);
    p = p * u + C(0x1.c7a4c0e1c694fp-16);
    p = p * u + C(-0x1.b8dd43c0a6b9ap-16);
    p = p * u + C(-0x1.f1b3988f68f06p-13);
    p = p * u + C(0x1.033f65e9b1771p-9);
    p = p * u + C(-0x1.48c9d3ed59cf9p-7);
    p = p * u + C(0x1.5477f09c109ap-5);
    p = p * u + C(0x1.afabc11a29554p-1);
    p = p * u + C(0x1.51c9b0006c237p+1);
    p = p * u + C(0x1.d97fbf27aa2a1p+0);
#endif
    far = with_sign(1 - exp_of(-p), x);
  }
  return size < 1 ? near : far;
}

// The upper tail at t = |x|: e^(-t^2/2) G(q) / (t + k) with q = (t - k) / (t + k), which runs over a bounded interval
// where G is smooth (after Shepherd and Laframboise, 1981). t^2 is taken in two parts, because e^(-t^2/2) magnifies its
// rounding error.
INLINE REAL normal_cdf_of(REAL x) {
  const REAL k = SINGLE ? C(2) : C(4), top = SINGLE ? C(15) : C(39);
  REAL t = absolute_value(x);
  t = t > top ? top : t;
  const REAL d = 1 / (t + k);
  const REAL q = (t - k) * d;
#if SINGLE
  REAL p = C(-0x1.4c1de4p-14);
  p = p * q + C(0x1.bf5a78p-16);
  p = p * q + C(0x1.7d0e96p-11);
  p = p * q + C(0x1.d23a7ep-11);
  p = p * q + C(-0x1.efc4ep-10);
  p = p * q + C(-0x1.ba9b88p-8);
  p = p * q + C(-0x1.fab4fcp-12);
  p = p * q + C(0x1.2cd37p-5);
  p = p * q + C(0x1.d7d546p-6);
  p = p * q + C(-0x1.535bb8p-2);
  p = p * q + C(0x1.5845dcp-1);
#else
  REAL p = C(-0x1.48e65cc36ff15p-30);
  p = p * q + C(-0x1.74c5452fd92c4p-32);
  p = p * q + C(0x1.f64e04678a148p-27);
  p = p * q + C(0x1.14111c6d7df44p-26);
  p = p * q + C(-0x1.4b9db714d90acp-24);
  p = p * q + C(-0x1.50475fa67046p-23);
  p = p * q + C(0x1.1ba23f227cce8p-22);
  p = p * q + C(0x1.124d7c8a76148p-20);
  p = p * q + C(-0x1.4faabe06c5fb4p-21);
  p = p * q + C(-0x1.8d4904a5d3ca8p-18);
  p = p * q + C(0x1.7fd97d15ed922p-21);
  p = p * q + C(0x1.26d0637dc156p-15);
  p = p * q + C(-0x1.001105188096cp-19);
  p = p * q + C(-0x1.e4a421b7fe796p-13);
  p = p * q + C(0x1.17a4a5f80078bp-13);
  p = p * q + C(0x1.ab825fb0b02e9p-10);
  p = p * q + C(-0x1.c81719c957265p-9);
  p = p * q + C(-0x1.ee27610439448p-8);
  p = p * q + C(0x1.eec4cc3e4435dp-5);
  p = p * q + C(-0x1.7dff2bff6848ep-3);
  p = p * q + C(0x1.8c6dbf2cfc308p-2);
  p = p * q + C(-0x1.373e3a893c28ap-1);
  p = p * q + C(0x1.82b4bb8c94dcep-1);
#endif
  const REAL short_t = real_of(bits_of(t) & (SINGLE ? ~(bits)0xFFF : ~(bits)0x7FFFFFF));
  const REAL tail = exp_of_sum(C(-0.5) * short_t * short_t, C(-0.5) * (t - short_t) * (t + short_t)) * (p * d);
  return x < 0 ? tail : 1 - tail;
}
