// Functions that are rare in losses: one value at a time.
#include <math.h>

double temper_digamma(double x);
double temper_erfinv(double x);

static const double pi = 3.14159265358979323846;

// The derivative of log gamma. Recurrence psi(x) = psi(x + 1) - 1 / x up to 10, then the asymptotic series
// log x - 1/(2x) - sum B_2k / (2k x^2k). Near the root 1.4616... the value is exact to about 1e-16 absolute.
double temper_digamma(double x) {
  if (x == 0) return copysign(INFINITY, -x);
  if (x < 0) {
    if (x == floor(x)) return NAN;  // poles (and -inf)
    // Reflection: psi(x) = psi(1 - x) - pi / tan(pi x), the angle reduced first
    return temper_digamma(1 - x) - pi / tan(pi * (x - round(x)));
  }
  double sum = 0;
  for (; x < 10; ++x) sum -= 1 / x;
  const double z = 1 / (x * x);
  const double series =
      z * (1.0 / 12 - z * (1.0 / 120 -
                           z * (1.0 / 252 - z * (1.0 / 240 - z * (1.0 / 132 - z * (691.0 / 32760 - z * (1.0 / 12)))))));
  return sum + (log(x) - 0.5 / x - series);
}

// The inverse of erf: a start from the logarithm, w = -log(1 - x^2), good to about 2e-3 (Winitzki, 2008), then three
// steps of Halley's method on erf, or on erfc in the tails, where erf has no bits left.
double temper_erfinv(double x) {
  const double size = fabs(x);
  if (!(size < 1)) return size == 1 ? copysign(INFINITY, x) : NAN;
  if (size < 1e-8) return x * 0.886226925452758013649;  // sqrt(pi) / 2; the next term is x^3
  const double a = 0.147, w = log1p(-x * x), b = 2 / (pi * a) + w / 2;
  double y = sqrt(sqrt(b * b - w / a) - b);
  for (int i = 0; i < 3; ++i) {
    const double error = size < 0.5 ? erf(y) - size : (1 - size) - erfc(y);
    const double newton = error * 0.886226925452758013649 * exp(y * y);
    y -= newton / (1 + y * newton);
  }
  return copysign(y, x);
}
