// Template over REAL: runs of element-wise instructions, a tile of elements at a time.
//
// The loops of element_loops.h read and write the first-level cache for each instruction. Here the value just made
// stays in registers: a chain is a list of links, each of which does its part on the tile and jumps to the next. Every
// element sees the same operations in the same order as in the loops, so the bits are the same, and the loops do what
// is left over at the end of a segment.

typedef struct chain_link {
  int32_t code;            // LINK_CODE
  REAL *x, *y;             // operands in memory: one value per element, or one for all
  int64_t x_step, y_step;  // from one segment to the next
} chain_link;

#define LINK_CODE(op, form) ((op) * TEMPER_CHAIN_FORMS + (form))
enum {
  LINK_LOAD = LINK_CODE(TEMPER_LOAD, 0),
  LINK_STORE = LINK_CODE(TEMPER_STORE, 0),
  LINK_HOLD = LINK_CODE(TEMPER_LOAD, 1),      // + which
  LINK_RELEASE = LINK_CODE(TEMPER_STORE, 1),  // + which
  LINK_END = LINK_CODE(TEMPER_FILL, 0),
  LINK_AHEAD = LINK_CODE(TEMPER_FILL, 1),
  LINK_SUM = LINK_CODE(TEMPER_FILL, 2),  // + which
  LINK_PAIR = LINK_CODE(TEMPER_COLUMN, 0),  // + which of `pairs`
  LINK_CODES = LINK_CODE(TEMPER_MULTIPLY_ADD + 1, 0),
};

// Links that become one where they follow each other.
static const int32_t pairs[][2] = {
    {LINK_LOAD, LINK_CODE(TEMPER_SQUARE, 0)},
    {LINK_LOAD, LINK_CODE(TEMPER_ADD, TEMPER_FORM(0, 0, 0))},
    {LINK_LOAD, LINK_CODE(TEMPER_ADD, TEMPER_FORM(0, 1, 0))},
    {LINK_LOAD, LINK_CODE(TEMPER_SUBTRACT, TEMPER_FORM(0, 0, 0))},
    {LINK_LOAD, LINK_CODE(TEMPER_SUBTRACT, TEMPER_FORM(0, 1, 0))},
    {LINK_LOAD, LINK_CODE(TEMPER_MULTIPLY, TEMPER_FORM(0, 0, 0))},
    {LINK_LOAD, LINK_CODE(TEMPER_MULTIPLY, TEMPER_FORM(0, 1, 0))},
    {LINK_LOAD, LINK_CODE(TEMPER_MULTIPLY, TEMPER_FORM(1, 1, 0))},
    {LINK_CODE(TEMPER_EQUAL, TEMPER_FORM(0, 1, 0)), LINK_CODE(TEMPER_SELECT, TEMPER_FORM(0, 0, 1))},
    {LINK_CODE(TEMPER_EQUAL, TEMPER_FORM(0, 1, 0)), LINK_CODE(TEMPER_SELECT, TEMPER_FORM(0, 1, 0))},
    {LINK_CODE(TEMPER_EQUAL, TEMPER_FORM(0, 1, 0)), LINK_CODE(TEMPER_SELECT, TEMPER_FORM(0, 1, 1))},
    {LINK_LOAD, LINK_CODE(TEMPER_EQUAL, TEMPER_FORM(0, 1, 0))},
};
enum { LINK_PAIRS = sizeof pairs / sizeof *pairs };
// The codes with which pairs begin: most links need not be compared with each.
static const bool starts_pair[LINK_CODES] = {
    [LINK_LOAD] = true,
    [LINK_CODE(TEMPER_EQUAL, TEMPER_FORM(0, 1, 0))] = true,
};

enum {
  TILE = 4 * LANES,
  HELD_TILES = 2,
  AHEAD = 1536,  // bytes: memory of x and y is asked for that early, into the second-level cache
};
#define FOR_TILE(STATEMENT, ...) \
  STATEMENT(0, __VA_ARGS__) STATEMENT(1, __VA_ARGS__) STATEMENT(2, __VA_ARGS__) STATEMENT(3, __VA_ARGS__)

// Where operands come from.
#define TILE_VALUE(n) v##n
#define X_VECTOR(n) lanes_at(x_base + n * LANES)
#define Y_VECTOR(n) lanes_at(y_base + n * LANES)
#define X_SCALAR(n) (lanes) l->x[0]
#define Y_SCALAR(n) (lanes) l->y[0]
#define NOTHING(n) (lanes)0

#define COMPUTE_LANES(n, A, B, C, operation)     \
  {                                              \
    const lanes x = A(n), y = B(n), z = C(n);    \
    (void)x, (void)y, (void)z, v##n = operation; \
  }
#define LOAD_LANES(n, _) v##n = X_VECTOR(n);
#define HOLD_LANES(n, which) h##which##_##n = v##n;
#define RELEASE_LANES(n, which) lanes_store(x_base + n * LANES, h##which##_##n);
#define HELD(which) lanes h##which##_0 = 0, h##which##_1 = 0, h##which##_2 = 0, h##which##_3 = 0;
#define SUM_LANES(n, which) s##which##_##n += v##n;
#define SUM_OF(which) lanes s##which##_0 = 0, s##which##_1 = 0, s##which##_2 = 0, s##which##_3 = 0;
#define PUT_SUM(n, which) sums[which][n] = s##which##_##n;
#define STORE_LANES(n, _) lanes_store(x_base + n * LANES, v##n);
#define AHEAD_LANES(n, _)                                               \
  __builtin_prefetch((const char *)(x_base + n * LANES) + AHEAD, 0, 2); \
  __builtin_prefetch((const char *)(y_base + n * LANES) + AHEAD, 0, 2);

#define DO_LINK(STATEMENT, ...)                  \
  {                                              \
    REAL *x_base = l->x + i, *y_base = l->y + i; \
    (void)x_base, (void)y_base;                  \
    FOR_TILE(STATEMENT, __VA_ARGS__)             \
    ++l;                                         \
  }
#define LINK(label, STATEMENT, ...)    \
  label: {                             \
    DO_LINK(STATEMENT, __VA_ARGS__)    \
    goto *labels[l->code];             \
  }
// Two links in one: what the first loads is an operand of the second's instruction, and a comparison is not made a
// number for the selection to compare.
#define LOAD_AND(label, B, operation)                               \
  label: {                                                          \
    DO_LINK(LOAD_LANES, 0)                                          \
    DO_LINK(COMPUTE_LANES, TILE_VALUE, B, NOTHING, operation)       \
    goto *labels[l->code];                                          \
  }
#define EQUAL_AND_SELECT(label, B, C)                                     \
  label: {                                                                \
    DO_LINK(COMPUTE_LANES, TILE_VALUE, X_SCALAR, NOTHING, TRUTH(x == y))  \
    DO_LINK(COMPUTE_LANES, TILE_VALUE, B, C, x != 0 ? y : z)              \
    goto *labels[l->code];                                                \
  }

// A link for each way in which operands come: t the tile, v a vector in memory, s a scalar.
#define UNARY_LINKS(name, operation) LINK(name##_t, COMPUTE_LANES, TILE_VALUE, NOTHING, NOTHING, operation)
#define BINARY_LINKS(name, operation)                                      \
  LINK(name##_tv, COMPUTE_LANES, TILE_VALUE, X_VECTOR, NOTHING, operation) \
  LINK(name##_ts, COMPUTE_LANES, TILE_VALUE, X_SCALAR, NOTHING, operation) \
  LINK(name##_vt, COMPUTE_LANES, X_VECTOR, TILE_VALUE, NOTHING, operation) \
  LINK(name##_st, COMPUTE_LANES, X_SCALAR, TILE_VALUE, NOTHING, operation)
#define TERNARY_LINKS(name, operation)                                       \
  LINK(name##_tvv, COMPUTE_LANES, TILE_VALUE, X_VECTOR, Y_VECTOR, operation) \
  LINK(name##_tvs, COMPUTE_LANES, TILE_VALUE, X_VECTOR, Y_SCALAR, operation) \
  LINK(name##_tsv, COMPUTE_LANES, TILE_VALUE, X_SCALAR, Y_VECTOR, operation) \
  LINK(name##_tss, COMPUTE_LANES, TILE_VALUE, X_SCALAR, Y_SCALAR, operation) \
  LINK(name##_vtv, COMPUTE_LANES, X_VECTOR, TILE_VALUE, Y_VECTOR, operation) \
  LINK(name##_vts, COMPUTE_LANES, X_VECTOR, TILE_VALUE, Y_SCALAR, operation) \
  LINK(name##_stv, COMPUTE_LANES, X_SCALAR, TILE_VALUE, Y_VECTOR, operation) \
  LINK(name##_sts, COMPUTE_LANES, X_SCALAR, TILE_VALUE, Y_SCALAR, operation) \
  LINK(name##_vvt, COMPUTE_LANES, X_VECTOR, Y_VECTOR, TILE_VALUE, operation) \
  LINK(name##_vst, COMPUTE_LANES, X_VECTOR, Y_SCALAR, TILE_VALUE, operation) \
  LINK(name##_svt, COMPUTE_LANES, X_SCALAR, Y_VECTOR, TILE_VALUE, operation) \
  LINK(name##_sst, COMPUTE_LANES, X_SCALAR, Y_SCALAR, TILE_VALUE, operation)

#define UNARY_LABELS(op, name) [LINK_CODE(op, 0)] = &&name##_t
#define BINARY_LABELS(op, name)                                                                             \
  [LINK_CODE(op, TEMPER_FORM(0, 0, 0))] = &&name##_tv, [LINK_CODE(op, TEMPER_FORM(0, 1, 0))] = &&name##_ts, \
                                   [LINK_CODE(op, TEMPER_FORM(1, 0, 0))] = &&name##_vt,                     \
                                   [LINK_CODE(op, TEMPER_FORM(1, 1, 0))] = &&name##_st
#define TERNARY_LABELS(op, name)                                                                              \
  [LINK_CODE(op, TEMPER_FORM(0, 0, 0))] = &&name##_tvv, [LINK_CODE(op, TEMPER_FORM(0, 0, 1))] = &&name##_tvs, \
                                   [LINK_CODE(op, TEMPER_FORM(0, 1, 0))] = &&name##_tsv,                      \
                                   [LINK_CODE(op, TEMPER_FORM(0, 1, 1))] = &&name##_tss,                      \
                                   [LINK_CODE(op, TEMPER_FORM(1, 0, 0))] = &&name##_vtv,                      \
                                   [LINK_CODE(op, TEMPER_FORM(1, 0, 1))] = &&name##_vts,                      \
                                   [LINK_CODE(op, TEMPER_FORM(1, 1, 0))] = &&name##_stv,                      \
                                   [LINK_CODE(op, TEMPER_FORM(1, 1, 1))] = &&name##_sts,                      \
                                   [LINK_CODE(op, TEMPER_FORM(2, 0, 0))] = &&name##_vvt,                      \
                                   [LINK_CODE(op, TEMPER_FORM(2, 0, 1))] = &&name##_vst,                      \
                                   [LINK_CODE(op, TEMPER_FORM(2, 1, 0))] = &&name##_svt,                      \
                                   [LINK_CODE(op, TEMPER_FORM(2, 1, 1))] = &&name##_sst

// What a chain adds up, as in reduce_row.h: four partial sums each.
typedef lanes tile_sums[TEMPER_CHAIN_SUMS][4];

// Runs the links on the whole tiles of `length` elements and returns how many elements these are. `sums` may be NULL
// where nothing is added up.
static int64_t run_links(const chain_link *links, int64_t length, lanes (*sums)[4]) {
  static const void *const labels[LINK_CODES] = {
      [LINK_LOAD] = &&load,
      [LINK_STORE] = &&store,
      [LINK_HOLD] = &&hold_0,
      [LINK_HOLD + 1] = &&hold_1,
      [LINK_RELEASE] = &&release_0,
      [LINK_RELEASE + 1] = &&release_1,
      [LINK_END] = &&end,
      [LINK_AHEAD] = &&ahead,
      [LINK_SUM] = &&sum_0,
      [LINK_SUM + 1] = &&sum_1,
      [LINK_SUM + 2] = &&sum_2,
      [LINK_PAIR] = &&load_square,
      [LINK_PAIR + 1] = &&load_add_v,
      [LINK_PAIR + 2] = &&load_add_s,
      [LINK_PAIR + 3] = &&load_subtract_v,
      [LINK_PAIR + 4] = &&load_subtract_s,
      [LINK_PAIR + 5] = &&load_multiply_v,
      [LINK_PAIR + 6] = &&load_multiply_s,
      [LINK_PAIR + 7] = &&load_multiply_s,  // factors in either order
      [LINK_PAIR + 8] = &&equal_select_vs,
      [LINK_PAIR + 9] = &&equal_select_sv,
      [LINK_PAIR + 10] = &&equal_select_ss,
      [LINK_PAIR + 11] = &&load_equal,
      UNARY_LABELS(TEMPER_COPY, copy),
      UNARY_LABELS(TEMPER_NEGATE, negate),
      UNARY_LABELS(TEMPER_ABS, absolute),
      UNARY_LABELS(TEMPER_SIGN, sign),
      UNARY_LABELS(TEMPER_SQUARE, square),
      UNARY_LABELS(TEMPER_SQRT, square_root),
      UNARY_LABELS(TEMPER_RECIPROCAL, reciprocal),
      UNARY_LABELS(TEMPER_NOT, logical_not),
      BINARY_LABELS(TEMPER_ADD, add),
      BINARY_LABELS(TEMPER_SUBTRACT, subtract),
      BINARY_LABELS(TEMPER_MULTIPLY, multiply),
      BINARY_LABELS(TEMPER_DIVIDE, divide),
      BINARY_LABELS(TEMPER_MAXIMUM, maximum),
      BINARY_LABELS(TEMPER_MINIMUM, minimum),
      BINARY_LABELS(TEMPER_EQUAL, equal),
      BINARY_LABELS(TEMPER_NOT_EQUAL, not_equal),
      BINARY_LABELS(TEMPER_LESS, less),
      BINARY_LABELS(TEMPER_LESS_EQUAL, less_equal),
      BINARY_LABELS(TEMPER_AND, logical_and),
      BINARY_LABELS(TEMPER_OR, logical_or),
      TERNARY_LABELS(TEMPER_SELECT, select_one),
      TERNARY_LABELS(TEMPER_MULTIPLY_ADD, multiply_add),
  };
  lanes v0 = 0, v1 = 0, v2 = 0, v3 = 0;
  HELD(0) HELD(1) SUM_OF(0) SUM_OF(1) SUM_OF(2) int64_t i = 0;
  const chain_link *l = links;
  if (length < TILE) return 0;
  goto *labels[l->code];

  LINK(load, LOAD_LANES, 0)
  LINK(store, STORE_LANES, 0)
  LINK(hold_0, HOLD_LANES, 0)
  LINK(hold_1, HOLD_LANES, 1)
  LINK(release_0, RELEASE_LANES, 0)
  LINK(release_1, RELEASE_LANES, 1)
  LINK(ahead, AHEAD_LANES, 0)
  LINK(sum_0, SUM_LANES, 0)
  LINK(sum_1, SUM_LANES, 1)
  LINK(sum_2, SUM_LANES, 2)
  // The operations are those of element_loops.h, for vectors.
#define TRUTH(condition) (condition) ? (lanes)1 : (lanes)0
  UNARY_LINKS(copy, x)
  UNARY_LINKS(negate, -x)
  UNARY_LINKS(absolute, __builtin_elementwise_abs(x))
  UNARY_LINKS(sign, x > 0 ? (lanes)1 : x < 0 ? (lanes)-1 : x)
  UNARY_LINKS(square, x * x)
  UNARY_LINKS(square_root, __builtin_elementwise_sqrt(x))
  UNARY_LINKS(reciprocal, 1 / x)
  UNARY_LINKS(logical_not, TRUTH(x == 0))
  BINARY_LINKS(add, x + y)
  BINARY_LINKS(subtract, x - y)
  BINARY_LINKS(multiply, x * y)
  BINARY_LINKS(divide, x / y)
  BINARY_LINKS(maximum, ((x > y) | (x != x)) ? x : y)
  BINARY_LINKS(minimum, ((x < y) | (x != x)) ? x : y)
  BINARY_LINKS(equal, TRUTH(x == y))
  BINARY_LINKS(not_equal, TRUTH(x != y))
  BINARY_LINKS(less, TRUTH(x < y))
  BINARY_LINKS(less_equal, TRUTH(x <= y))
  BINARY_LINKS(logical_and, TRUTH((x != 0) & (y != 0)))
  BINARY_LINKS(logical_or, TRUTH((x != 0) | (y != 0)))
  TERNARY_LINKS(select_one, x != 0 ? y : z)
  TERNARY_LINKS(multiply_add, x * y + z)
  LOAD_AND(load_square, NOTHING, x * x)
  LOAD_AND(load_add_v, X_VECTOR, x + y)
  LOAD_AND(load_add_s, X_SCALAR, x + y)
  LOAD_AND(load_subtract_v, X_VECTOR, x - y)
  LOAD_AND(load_subtract_s, X_SCALAR, x - y)
  LOAD_AND(load_multiply_v, X_VECTOR, x * y)
  LOAD_AND(load_multiply_s, X_SCALAR, x * y)
  LOAD_AND(load_equal, X_SCALAR, TRUTH(x == y))
  EQUAL_AND_SELECT(equal_select_vs, X_VECTOR, Y_SCALAR)
  EQUAL_AND_SELECT(equal_select_sv, X_SCALAR, Y_VECTOR)
  EQUAL_AND_SELECT(equal_select_ss, X_SCALAR, Y_SCALAR)
end:
  i += TILE;
  l = links;
  if (i + TILE <= length) goto *labels[l->code];
  if (sums) {
    FOR_TILE(PUT_SUM, 0) FOR_TILE(PUT_SUM, 1) FOR_TILE(PUT_SUM, 2)
  }
  return i;
}
