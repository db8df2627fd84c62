// Template over REAL: the instructions that turn a row into one value. The order of operations follows from the number
// of columns only: transposed, column after column; otherwise as in reduce_row.h for each column block, and the blocks
// one after the other.

#define COLUMNS_REDUCTION(name, JOIN, identity)                                             \
  static void name##_of_columns(const block *k, const temper_step *step) {                  \
    const REAL *a = address(k, step->a);                                                    \
    REAL *dst = address(k, step->dst);                                                      \
    for (int64_t r = 0; r < k->pitch; r += LANES) {                                         \
      lanes v = k->columns > 0 ? lanes_at(a + r) : (lanes)(identity);                       \
      for (int64_t c = 1; c < k->columns; ++c) v = JOIN(v, lanes_at(a + c * k->pitch + r)); \
      lanes_store(dst + r, v);                                                              \
    }                                                                                       \
  }

#define ROW_REDUCTION(name, JOIN, identity)                         \
  COLUMNS_REDUCTION(name, JOIN, identity)                           \
  static void row_##name(const block *k, const temper_step *step) { \
    if (is_transposed(k)) {                                         \
      name##_of_columns(k, step);                                   \
      return;                                                       \
    }                                                               \
    const REAL *a = address(k, step->a);                            \
    REAL *dst = address(k, step->dst);                              \
    for (int64_t r = 0; r < k->rows; ++r, a += k->pitch) {          \
      const REAL value = name##_of_row(a, k->columns);              \
      dst[r] = k->first ? value : JOIN(dst[r], value);              \
    }                                                               \
  }

COLUMNS_REDUCTION(sum, SUM, 0)
// Long rows have many blocks: their sums are added in double.
static void row_sum(const block *k, temper_step *step) {
  if (is_transposed(k)) {
    sum_of_columns(k, step);
    return;
  }
  const REAL *a = address(k, step->a);
  REAL *dst = address(k, step->dst);
  for (int64_t r = 0; r < k->rows; ++r, a += k->pitch) {
    const REAL value = sum_of_row(a, k->columns);
    dst[r] = (REAL)(step->state = k->first ? value : step->state + value);
  }
}

ROW_REDUCTION(product, PRODUCT, 1)
ROW_REDUCTION(max, LARGER, -C(INFINITY))
ROW_REDUCTION(min, SMALLER, C(INFINITY))

#define IS_LARGER(x, y) ((x) > (y))
#define IS_SMALLER(x, y) ((x) < (y))

// Index of the first of the extreme values, or of the first NaN. Not transposed: the extreme value of the block first,
// then where it is.
#define ROW_ARGUMENT(name, BETTER)                                                                \
  static void row_arg##name(const block *k, temper_step *step) {                                  \
    const REAL *a = address(k, step->a);                                                          \
    REAL *dst = address(k, step->dst);                                                            \
    if (is_transposed(k)) {                                                                       \
      for (int64_t r = 0; r < k->pitch; r += LANES) {                                             \
        lanes best = lanes_at(a + r), index = 0;                                                  \
        for (int64_t c = 1; c < k->columns; ++c) {                                                \
          const lanes x = lanes_at(a + c * k->pitch + r);                                         \
          index = (BETTER(x, best) | ((x != x) & (best == best))) ? (lanes)(REAL)c : index;       \
          best = (BETTER(x, best) | ((x != x) & (best == best))) ? x : best;                      \
        }                                                                                         \
        lanes_store(dst + r, index);                                                              \
      }                                                                                           \
      return;                                                                                     \
    }                                                                                             \
    for (int64_t r = 0; r < k->rows; ++r, a += k->pitch) {                                        \
      const REAL best = name##_of_row(a, k->columns), before = (REAL)step->state;                 \
      if (!k->first && !(BETTER(best, before) | ((best != best) & (before == before)))) continue; \
      dst[r] = (REAL)(k->column + position_of(best, a, k->columns));                              \
      step->state = best;                                                                         \
    }                                                                                             \
  }

ROW_ARGUMENT(max, IS_LARGER)
ROW_ARGUMENT(min, IS_SMALLER)

// dst = a at column b
static void pick(const block *k, const temper_step *step) {
  const REAL immediate = (REAL)step->instruction->immediate;
  const row_values index = row_values_of(k, step->b, &immediate);
  const REAL *a = address(k, step->a);
  REAL *dst = address(k, step->dst);
  if (is_transposed(k)) {
    for (int64_t r = 0; r < k->pitch; r += LANES) {
      const lanes at = row_lanes(index, r);
      lanes v = 0;
      for (int64_t c = 0; c < k->columns; ++c) v = at == (lanes)(REAL)c ? lanes_at(a + c * k->pitch + r) : v;
      lanes_store(dst + r, v);
    }
    return;
  }
  for (int64_t r = 0; r < k->rows; ++r, a += k->pitch) {
    const REAL at = index.values[r * index.step] - (REAL)k->column;
    const bool inside = at >= 0 && at < (REAL)k->columns && at == (REAL)(int64_t)at;
    if (inside)
      dst[r] = a[(int64_t)at];
    else if (k->first)
      dst[r] = 0;
  }
}
