// Template over REAL: exponentials of a row and their sum in one loop.

// out = e^(x - shift), and the sum of it.
static REAL exp_and_sum(const REAL *x, REAL shift, REAL *out, int64_t n) {
#pragma clang fp reassociate(on)
  REAL sum = 0;
#pragma clang loop vectorize(assume_safety) interleave_count(4)
  for (int64_t i = 0; i < n; ++i) {
    const REAL e = exp_of(x[i] - shift);
    out[i] = e;
    sum += e;
  }
  return sum;
}

static REAL exp_sum(const REAL *x, REAL shift, int64_t n) {
#pragma clang fp reassociate(on)
  REAL sum = 0;
#pragma clang loop vectorize(assume_safety) interleave_count(4)
  for (int64_t i = 0; i < n; ++i) sum += exp_of(x[i] - shift);
  return sum;
}
