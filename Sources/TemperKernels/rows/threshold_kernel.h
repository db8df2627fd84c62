// Template over REAL: softmax.h, thresholds. Newton's method on the 1/s-norm of the powers: it is nearly a line in the
// threshold, and convex or concave such that every step ends before the root. Few classes: many rows at a time.

// Rows of up to FEW classes, TOGETHER of them at a time.
enum { FEW = 32, TOGETHER = 64 };

// u^(1/s) and what the sum of it changes by, but for a factor: u^(1/s - 1).
typedef struct power_terms {
  REAL value, slope;
} power_terms;

typedef struct power_law {
  REAL s, exponent;   // the one of the slope where s > 0, of the value with 1/u as base where s < 0
  int32_t whole;      // the exponent, if that is a small whole number
} power_law;

enum { POWER_UP, POWER_UP_WHOLE, POWER_DOWN, POWER_DOWN_WHOLE };

INLINE REAL whole_power(REAL base, int32_t exponent) {
  const REAL square = base * base, fourth = square * square, eighth = fourth * fourth;
  const REAL low = (exponent & 1 ? base : 1) * (exponent & 2 ? square : 1);
  return low * (exponent & 4 ? fourth : 1) * (exponent & 8 ? eighth : 1);
}

INLINE power_terms power_terms_of(REAL z, REAL threshold, const power_law *law, int form) {
  const REAL u = law->s * (z - threshold);
  if (form == POWER_UP || form == POWER_UP_WHOLE) {
    const REAL inside = u < 0 ? 0 : u;  // NaN stays
    const REAL slope =
        form == POWER_UP ? exp_of(law->exponent * log_of(inside)) : u <= 0 ? 0 : whole_power(inside, law->whole);
    return (power_terms){slope * inside, slope};
  }
  const REAL inverse = 1 / u;
  const REAL value =
      form == POWER_DOWN ? exp_of(law->exponent * log_of(inverse)) : whole_power(inverse, law->whole);
  return (power_terms){value, value * inverse};
}

// Sums over a row of x - largest.
#define ROW_POWERS(name, form)                                                                             \
  static power_terms name##_of_row(const REAL *x, REAL largest, REAL threshold, const power_law *law, int64_t n) { \
    _Pragma("clang fp reassociate(on)") REAL value = 0, slope = 0;                                         \
    _Pragma("clang loop vectorize(assume_safety) interleave_count(2)") for (int64_t i = 0; i < n; ++i) {   \
      const power_terms terms = power_terms_of(x[i] - largest, threshold, law, form);                      \
      value += terms.value;                                                                                \
      slope += terms.slope;                                                                                \
    }                                                                                                      \
    return (power_terms){value, slope};                                                                    \
  }                                                                                                        \
  static void name##_of_columns(const REAL *z, const REAL *threshold, const power_law *law, int64_t n, REAL *value, \
                                REAL *slope) {                                                             \
    for (int r = 0; r < TOGETHER; ++r) value[r] = slope[r] = 0;                                            \
    for (int64_t c = 0; c < n; ++c, z += TOGETHER)                                                         \
      _Pragma("clang loop vectorize(assume_safety)") for (int r = 0; r < TOGETHER; ++r) {                  \
        const power_terms terms = power_terms_of(z[r], threshold[r], law, form);                           \
        value[r] += terms.value;                                                                           \
        slope[r] += terms.slope;                                                                           \
      }                                                                                                    \
  }

ROW_POWERS(powers_up, POWER_UP)
ROW_POWERS(whole_powers_up, POWER_UP_WHOLE)
ROW_POWERS(powers_down, POWER_DOWN)
ROW_POWERS(whole_powers_down, POWER_DOWN_WHOLE)

static int form_of(const power_law *law) {
  if (law->s > 0) return law->whole >= 0 ? POWER_UP_WHOLE : POWER_UP;
  return law->whole >= 0 ? POWER_DOWN_WHOLE : POWER_DOWN;
}

static power_terms row_powers(const REAL *x, REAL largest, REAL threshold, const power_law *law, int64_t n) {
  switch (form_of(law)) {
    case POWER_UP:
      return powers_up_of_row(x, largest, threshold, law, n);
    case POWER_UP_WHOLE:
      return whole_powers_up_of_row(x, largest, threshold, law, n);
    case POWER_DOWN:
      return powers_down_of_row(x, largest, threshold, law, n);
    default:
      return whole_powers_down_of_row(x, largest, threshold, law, n);
  }
}

static void column_powers(const REAL *z, const REAL *threshold, const power_law *law, int64_t n, REAL *value,
                          REAL *slope) {
  switch (form_of(law)) {
    case POWER_UP:
      return powers_up_of_columns(z, threshold, law, n, value, slope);
    case POWER_UP_WHOLE:
      return whole_powers_up_of_columns(z, threshold, law, n, value, slope);
    case POWER_DOWN:
      return powers_down_of_columns(z, threshold, law, n, value, slope);
    default:
      return whole_powers_down_of_columns(z, threshold, law, n, value, slope);
  }
}

// value^(1 - s)
INLINE REAL power_beside(REAL value, REAL s) { return exp_of((1 - s) * log_of(value)); }

// How far the threshold still is from the root, or less.
INLINE REAL newton_step(REAL value, REAL beside, REAL slope, REAL s) { return (value - beside) / (s * slope); }

static REAL power_beside_of(REAL value, REAL s) {
  return s == 1 ? 1 : s == C(0.5) ? square_root_of(value) : power_beside(value, s);
}

static void powers_beside(const REAL *value, REAL s, REAL *beside) {
  if (s == 1)
    for (int r = 0; r < TOGETHER; ++r) beside[r] = 1;
  else if (s == C(0.5))
    for (int r = 0; r < TOGETHER; ++r) beside[r] = square_root_of(value[r]);
  else
    for (int r = 0; r < TOGETHER; ++r) beside[r] = power_beside(value[r], s);
}

enum { THRESHOLD_STEPS = 100 };

// The last step, as a part of the threshold. Where all entries count (s < 0) an error becomes about its square.
static REAL settled(REAL s) {
  return s < 0 ? (SINGLE ? C(0x1p-13) : C(0x1p-27)) : (SINGLE ? C(0x1p-24) : C(0x1p-53));
}

// Where to begin, from the mean of x - largest: no threshold is below that of a single entry. For s < 0, where it may
// begin above the root too, that of equal entries.
INLINE REAL first_threshold(REAL s, REAL one, REAL all, REAL mean) {
  return s < 0 && mean + all > one ? mean + all : one;
}

// Takes a step that is larger than `least`: only the first may go down.
INLINE REAL stepped(REAL threshold, REAL step, REAL one, REAL least) {
  const REAL next = threshold + (((step > least) | (step != step)) ? step : 0);
  return next < one ? one : next;
}

// Whether a step, if it was taken, leaves more to gain.
INLINE bool still_moves(REAL step, REAL threshold, REAL least, REAL small) {
  return (step > least) & (absolute_value(step) > small * absolute_value(threshold));
}

static REAL least_step(int step) { return step == 0 ? -C(INFINITY) : 0; }

// Which of TOGETHER entries less `largest` are above -reach, a bit each.
static uint64_t bits_of_near(const REAL *x, REAL largest, REAL reach) {
  typedef bool truths __attribute__((ext_vector_type(LANES)));
  uint64_t bits = 0;
  for (int part = 0; part < TOGETHER / LANES; ++part) {
    const truths near = __builtin_convertvector((lanes_at(x + part * LANES) - largest) > -reach, truths);
    uint64_t some = 0;
    __builtin_memcpy(&some, &near, (LANES + 7) / 8);
    bits |= (some & (((uint64_t)1 << LANES) - 1)) << (part * LANES);
  }
  return bits;
}

// The entries x - largest that can be above any threshold, or -1 if they are more than `room`.
static int64_t near_largest(const REAL *x, REAL largest, REAL reach, REAL *near, int64_t room, int64_t n) {
  int64_t count = 0, begin = 0;
  for (; begin + TOGETHER <= n; begin += TOGETHER) {
    uint64_t bits = bits_of_near(x + begin, largest, reach);
    if (bits == 0) continue;
    if (count + TOGETHER > room) return -1;
    for (; bits; bits &= bits - 1) near[count++] = x[begin + __builtin_ctzll(bits)] - largest;
  }
  if (count + n - begin > room) return -1;
  for (; begin < n; ++begin) {
    near[count] = x[begin] - largest;
    count += near[count] > -reach;
  }
  return count;
}

// The threshold of a row of x - largest.
static REAL threshold_of_row(const REAL *x, REAL largest, REAL begin, REAL one, const power_law *law, int64_t n) {
  REAL threshold = begin;
  for (int step = 0; step < THRESHOLD_STEPS; ++step) {
    const power_terms sums = row_powers(x, largest, threshold, law, n);
    const REAL moved = newton_step(sums.value, power_beside_of(sums.value, law->s), sums.slope, law->s);
    threshold = stepped(threshold, moved, one, least_step(step));
    if (!still_moves(moved, threshold, least_step(step), settled(law->s))) break;
  }
  return threshold;
}

// s > 1: the sum is not convex, but it falls.
static REAL bisected(const REAL *x, REAL largest, const power_law *law, int64_t n) {
  REAL low = -1 / law->s, high = -exp_of(-law->s * log_of((REAL)n)) / law->s;
  for (int step = 0; step < THRESHOLD_STEPS; ++step) {
    const REAL middle = C(0.5) * (low + high);
    if (!(middle > low && middle < high)) break;
    REAL sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      const REAL u = law->s * ((x[i] - largest) - middle);
      sum += u > 0 ? exp_of(log_of(u) / law->s) : u != u ? u : 0;
    }
    if (sum != sum) return sum;
    if (sum > 1)
      low = middle;
    else
      high = middle;
  }
  return C(0.5) * (low + high);
}

static power_law law_of(double s) {
  const double exponent = s > 0 ? 1 / s - 1 : -1 / s;
  power_law law = {.s = (REAL)s, .exponent = (REAL)exponent, .whole = -1};
  const int32_t near = exponent < 15.5 ? (int32_t)(exponent + 0.5) : -1;
  // s comes as an element: a whole exponent is whole but for its rounding.
  if (near >= 0 && __builtin_fabs(exponent - near) < (SINGLE ? 1e-6 : 1e-12)) law.whole = near;
  return law;
}

// What an entry adds to sum_i p_i z_i and to sum_i p_i - p_i u_i, p = u^(1/s).
INLINE void add_entropy(REAL z, REAL threshold, const power_law *law, int form, REAL *value, REAL *rest) {
  const REAL u = law->s * (z - threshold), p = power_terms_of(z, threshold, law, form).value;
  *value += u <= 0 ? 0 : p * z;  // NaN stays
  *rest += u <= 0 ? 0 : p - p * u;
}

// The largest p . z + H(p) over all distributions, where p is.
INLINE REAL conjugate_of(REAL value, REAL rest, REAL s) { return value + rest / (s + s * s); }

INLINE REAL sum_conjugate(const REAL *x, REAL largest, REAL threshold, const power_law *law, int64_t n, int form) {
#pragma clang fp reassociate(on)
  REAL value = 0, rest = 0;
#pragma clang loop vectorize(assume_safety)
  for (int64_t i = 0; i < n; ++i) add_entropy(x[i] - largest, threshold, law, form, &value, &rest);
  return conjugate_of(value, rest, law->s);
}

static REAL row_conjugate(const REAL *x, REAL largest, REAL threshold, const power_law *law, int64_t n) {
  return form_of(law) == POWER_UP_WHOLE ? sum_conjugate(x, largest, threshold, law, n, POWER_UP_WHOLE)
                                        : sum_conjugate(x, largest, threshold, law, n, POWER_UP);
}

INLINE void sum_conjugates(const REAL *z, const REAL *threshold, const power_law *law, int64_t n, int form,
                           REAL *value) {
  REAL rest[TOGETHER] = {0};
  for (int r = 0; r < TOGETHER; ++r) value[r] = 0;
  for (int64_t c = 0; c < n; ++c, z += TOGETHER)
#pragma clang loop vectorize(assume_safety)
    for (int r = 0; r < TOGETHER; ++r) add_entropy(z[r], threshold[r], law, form, &value[r], &rest[r]);
  for (int r = 0; r < TOGETHER; ++r) value[r] = conjugate_of(value[r], rest[r], law->s);
}

static void column_conjugates(const REAL *z, const REAL *threshold, const power_law *law, int64_t n, REAL *value) {
  if (form_of(law) == POWER_UP_WHOLE)
    sum_conjugates(z, threshold, law, n, POWER_UP_WHOLE, value);
  else
    sum_conjugates(z, threshold, law, n, POWER_UP, value);
}

void VARIANT(temper_threshold)(const temper_threshold_job *job, int64_t begin, int64_t end) {
  const int64_t classes = job->classes;
  const power_law law = law_of(job->s);
  // The thresholds of one entry, and of so many alike, above their mean.
  const REAL one = -1 / law.s, all = -exp_of(-law.s * log_of((REAL)classes)) / law.s;
  REAL few[FEW * TOGETHER] = {0}, largest[TOGETHER], threshold[TOGETHER], value[TOGETHER], slope[TOGETHER],
      beside[TOGETHER];
  for (int64_t row = begin, rows; row < end; row += rows) {
    const REAL *x = (const REAL *)job->logits + row * job->row_stride;
    REAL *out = (REAL *)job->out + row, *tops = (REAL *)job->largest + row;
    REAL *conjugate = job->conjugate ? (REAL *)job->conjugate + row : NULL;
    rows = classes > FEW || law.s > 1 ? 1 : end - row < TOGETHER ? end - row : TOGETHER;
    if (rows == 1) {
      const REAL top = tops[0] = max_of_row(x, classes);
      if (!(absolute_value(top) < C(INFINITY))) {
        out[0] = C(NAN);
      } else if (law.s > 1) {
        out[0] = bisected(x, top, &law, classes);
      } else if (law.s < 0) {
        const REAL mean = sum_of_row(x, classes) / (REAL)classes - top;
        out[0] = threshold_of_row(x, top, first_threshold(law.s, one, all, mean), one, &law, classes);
      } else {
        const int64_t near = near_largest(x, top, -one, few, FEW * TOGETHER, classes);
        out[0] = near < 0 ? threshold_of_row(x, top, one, one, &law, classes)
                          : threshold_of_row(few, 0, one, one, &law, near);
        if (conjugate && near >= 0) {
          *conjugate = row_conjugate(few, 0, out[0], &law, near);
          continue;
        }
      }
      if (conjugate) *conjugate = row_conjugate(x, top, out[0], &law, classes);
      continue;
    }
    to_columns(few, TOGETHER, x, job->row_stride, rows, classes);
    for (int r = 0; r < TOGETHER; ++r) {
      largest[r] = few[r];
      value[r] = 0;
    }
    for (int64_t c = 1; c < classes; ++c)
      for (int r = 0; r < TOGETHER; ++r) largest[r] = LARGER(largest[r], few[c * TOGETHER + r]);
    for (int64_t c = 0; c < classes; ++c)
      for (int r = 0; r < TOGETHER; ++r) value[r] += few[c * TOGETHER + r] -= largest[r];
    for (int r = 0; r < TOGETHER; ++r) threshold[r] = first_threshold(law.s, one, all, value[r] / (REAL)classes);
    for (int step = 0, moves = 1; moves && step < THRESHOLD_STEPS; ++step) {
      column_powers(few, threshold, &law, classes, value, slope);
      powers_beside(value, law.s, beside);
      moves = 0;
      const REAL least = least_step(step), small = settled(law.s);
      for (int r = 0; r < TOGETHER; ++r) {
        const REAL moved = newton_step(value[r], beside[r], slope[r], law.s);
        threshold[r] = stepped(threshold[r], moved, one, least);
        moves |= (r < rows) & still_moves(moved, threshold[r], least, small);
      }
    }
    if (conjugate) column_conjugates(few, threshold, &law, classes, value);
    for (int64_t r = 0; r < rows; ++r) {
      out[r] = threshold[r];
      tops[r] = largest[r];
      if (conjugate) conjugate[r] = value[r];
    }
  }
}
