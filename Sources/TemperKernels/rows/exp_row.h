// Template over REAL: exponentials of a row and their sum in one loop.

enum { EXP_TILE = 4 * LANES, LINE_ELEMENTS = 64 / sizeof(REAL) };

static inline void exp_of_tile(const REAL *x, REAL shift, REAL *out) {
#pragma clang loop vectorize(assume_safety) interleave_count(4)
  for (int i = 0; i < EXP_TILE; ++i) out[i] = exp_of(x[i] - shift);
}

// What is moved while exponentials are computed, which leaves the memory idle: whole lines of a finished row go out
// past the caches, which would have to read them first and could not keep them, and a row to come is asked for.
typedef struct moved {
  const REAL *source;
  REAL *out;  // source * factor, or with `differs` (source - factor) - offset
  REAL factor, offset;
  bool differs;
  int64_t left;      // elements
  const REAL *next;  // or NULL
} moved;

static inline void move_line(moved *m) {
  for (int l = 0; l < LINE_ELEMENTS; l += LANES) {
    const lanes x = lanes_at(m->source + l);
    __builtin_nontemporal_store(m->differs ? x - m->factor - m->offset : x * m->factor, (lanes *)(m->out + l));
  }
  m->source += LINE_ELEMENTS;
  m->out += LINE_ELEMENTS;
  m->left -= LINE_ELEMENTS;
}

static inline void move_tile(moved *m) {
  for (int i = 0; i < EXP_TILE; i += LINE_ELEMENTS) {
    if (m->left > 0) move_line(m);
    if (m->next) {
      __builtin_prefetch(m->next, 0, 2);
      m->next += LINE_ELEMENTS;
    }
  }
}

// out = e^(x - shift), and the sum of it, added as `sum_of_row` does. `m` may be NULL.
static REAL exp_and_sum(const REAL *x, REAL shift, REAL *out, int64_t n, moved *m) {
  lanes v[4] = {0, 0, 0, 0};
  int64_t i = 0;
  for (; i + EXP_TILE <= n; i += EXP_TILE) {
    exp_of_tile(x + i, shift, out + i);
    for (int part = 0; part < 4; ++part) v[part] += lanes_at(out + i + part * LANES);
    if (m) move_tile(m);
  }
  for (int64_t rest = i; rest < n; ++rest) out[rest] = exp_of(x[rest] - shift);
  return i == 0 ? sum_of_row(out, n) : sum_with_rest(v, out, i, n);
}

static REAL exp_sum(const REAL *x, REAL shift, int64_t n) {
#pragma clang fp reassociate(on)
  REAL sum = 0;
#pragma clang loop vectorize(assume_safety) interleave_count(4)
  for (int64_t i = 0; i < n; ++i) sum += exp_of(x[i] - shift);
  return sum;
}
