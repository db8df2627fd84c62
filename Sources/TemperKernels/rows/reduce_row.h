// Template over REAL: one value from a contiguous row. Four vectors of partial results are joined pairwise: the order
// follows from the length only.

#define SUM(x, y) ((x) + (y))
#define PRODUCT(x, y) ((x) * (y))
// NaN if either is NaN. The bitwise forms serve numbers and vectors alike.
#define LARGER(x, y) ((((x) > (y)) | ((x) != (x))) ? (x) : (y))
#define SMALLER(x, y) ((((x) < (y)) | ((x) != (x))) ? (x) : (y))

#define REDUCE_ROW(name, JOIN, identity)                                                    \
  static REAL name##_of_lanes(lanes v) {                                                    \
    const __auto_type half = JOIN(v.lo, v.hi);                                              \
    REAL part[LANES / 2];                                                                   \
    __builtin_memcpy(part, &half, sizeof part);                                             \
    for (int width = LANES / 4; width > 0; width /= 2)                                      \
      for (int l = 0; l < width; ++l) part[l] = JOIN(part[l], part[l + width]);             \
    return part[0];                                                                         \
  }                                                                                         \
  /* the whole from partial results of the first i, a multiple of 4 * LANES */              \
  static REAL name##_with_rest(const lanes *v, const REAL *a, int64_t i, int64_t n) {       \
    lanes v0 = v[0], v1 = v[1];                                                             \
    for (; i + LANES <= n; i += LANES) v0 = JOIN(v0, lanes_at(a + i));                      \
    /* the last vector again, without what it shares with the one before */                 \
    if (i < n) v1 = JOIN(v1, lanes_from(i + LANES - n, lanes_at(a + n - LANES), identity)); \
    v0 = JOIN(v0, v[2]);                                                                    \
    v1 = JOIN(v1, v[3]);                                                                    \
    v0 = JOIN(v0, v1);                                                                      \
    return name##_of_lanes(v0);                                                             \
  }                                                                                         \
  static REAL name##_of_row(const REAL *a, int64_t n) {                                     \
    if (n < LANES) {                                                                        \
      REAL value = identity;                                                                \
      for (int64_t i = 0; i < n; ++i) value = JOIN(value, a[i]);                            \
      return value;                                                                         \
    }                                                                                       \
    lanes v0 = identity, v1 = identity, v2 = identity, v3 = identity;                       \
    int64_t i = 0;                                                                          \
    for (; i + 4 * LANES <= n; i += 4 * LANES) {                                            \
      v0 = JOIN(v0, lanes_at(a + i));                                                       \
      v1 = JOIN(v1, lanes_at(a + i + LANES));                                               \
      v2 = JOIN(v2, lanes_at(a + i + 2 * LANES));                                           \
      v3 = JOIN(v3, lanes_at(a + i + 3 * LANES));                                           \
    }                                                                                       \
    const lanes v[4] = {v0, v1, v2, v3};                                                    \
    return name##_with_rest(v, a, i, n);                                                    \
  }

REDUCE_ROW(sum, SUM, 0)
REDUCE_ROW(product, PRODUCT, 1)
REDUCE_ROW(max, LARGER, -C(INFINITY))
REDUCE_ROW(min, SMALLER, C(INFINITY))

// The first position of `value`, or of NaN if it is NaN, which is among the n.
static int64_t position_of(REAL value, const REAL *a, int64_t n) {
  int64_t i = 0;
  for (; i + 4 * LANES <= n; i += 4 * LANES) {
    int found = 0;
    for (int l = 0; l < 4 * LANES; ++l) found |= (a[i + l] == value) | ((a[i + l] != a[i + l]) & (value != value));
    if (found) break;
  }
  while (value == value ? a[i] != value : a[i] == a[i]) ++i;
  return i;
}
