// Template over REAL: the loops of the element-wise instructions.
//
// A loop covers `segments` runs of `length` elements. In each run an operand is either a vector (one value per element)
// or a scalar (one value for the run); there is one function for each combination.

typedef struct loop {
  REAL *dst;
  const REAL *a, *b, *c;
  int64_t dst_step, a_step, b_step, c_step;  // from one segment to the next
  int64_t segments, length;
} loop;

typedef void loop_function(const loop *l);

#define VECTOR(pointer) pointer[i]
#define SCALAR(pointer) pointer##_scalar

// `assume_safety`: dst is either disjoint from an operand or exactly the same memory.
#define VECTORISED _Pragma("clang loop vectorize(assume_safety)")
#define ONE_BY_ONE _Pragma("clang loop vectorize(disable)")
#define ELEMENT_LOOP(HOW, name, A, B, C, expression)                               \
  static void name(const loop *l) {                                                \
    REAL *dst = l->dst;                                                            \
    const REAL *a = l->a, *b = l->b, *c = l->c;                                    \
    const int64_t length = l->length;                                              \
    for (int64_t segment = 0; segment < l->segments; ++segment) {                  \
      const REAL a_scalar = a[0], b_scalar = b[0], c_scalar = c[0];                \
      HOW for (int64_t i = 0; i < length; ++i) {                                   \
        const REAL x = A(a), y = B(b), z = C(c);                                   \
        (void)x, (void)y, (void)z, (void)a_scalar, (void)b_scalar, (void)c_scalar; \
        dst[i] = (expression);                                                     \
      }                                                                            \
      dst += l->dst_step, a += l->a_step, b += l->b_step, c += l->c_step;          \
    }                                                                              \
  }

#define UNARY(HOW, name, expression)                              \
  ELEMENT_LOOP(HOW, name##_0, VECTOR, SCALAR, SCALAR, expression) \
  ELEMENT_LOOP(HOW, name##_1, SCALAR, SCALAR, SCALAR, expression)

#define BINARY(HOW, name, expression)                             \
  ELEMENT_LOOP(HOW, name##_0, VECTOR, VECTOR, SCALAR, expression) \
  ELEMENT_LOOP(HOW, name##_1, SCALAR, VECTOR, SCALAR, expression) \
  ELEMENT_LOOP(HOW, name##_2, VECTOR, SCALAR, SCALAR, expression) \
  ELEMENT_LOOP(HOW, name##_3, SCALAR, SCALAR, SCALAR, expression)

#define TERNARY(HOW, name, expression)                            \
  ELEMENT_LOOP(HOW, name##_0, VECTOR, VECTOR, VECTOR, expression) \
  ELEMENT_LOOP(HOW, name##_1, SCALAR, VECTOR, VECTOR, expression) \
  ELEMENT_LOOP(HOW, name##_2, VECTOR, SCALAR, VECTOR, expression) \
  ELEMENT_LOOP(HOW, name##_3, SCALAR, SCALAR, VECTOR, expression) \
  ELEMENT_LOOP(HOW, name##_4, VECTOR, VECTOR, SCALAR, expression) \
  ELEMENT_LOOP(HOW, name##_5, SCALAR, VECTOR, SCALAR, expression) \
  ELEMENT_LOOP(HOW, name##_6, VECTOR, SCALAR, SCALAR, expression) \
  ELEMENT_LOOP(HOW, name##_7, SCALAR, SCALAR, SCALAR, expression)

UNARY(VECTORISED, copy, x)
UNARY(VECTORISED, negate, -x)
UNARY(VECTORISED, absolute, absolute_value(x))
UNARY(VECTORISED, sign, x > 0 ? (REAL)1 : x < 0 ? (REAL)-1 : x)
UNARY(VECTORISED, square, x *x)
UNARY(VECTORISED, square_root, square_root_of(x))
UNARY(VECTORISED, reciprocal, 1 / x)
UNARY(VECTORISED, exponential, exp_of(x))
UNARY(VECTORISED, exponential_minus_1, expm1_of(x))
UNARY(VECTORISED, logarithm, log_of(x))
UNARY(VECTORISED, logarithm_plus_1, log1p_of(x))
UNARY(VECTORISED, hyperbolic_tangent, tanh_of(x))
UNARY(VECTORISED, sigmoid, sigmoid_of(x))
UNARY(VECTORISED, softplus, softplus_of(x))
UNARY(VECTORISED, error_function, erf_of(x))
UNARY(VECTORISED, round_down, rounded_down(x))
UNARY(VECTORISED, round_up, rounded_up(x))
UNARY(VECTORISED, round_to_nearest, rounded(x))
UNARY(VECTORISED, logical_not, (REAL)(x == 0))
UNARY(VECTORISED, is_finite, (REAL)(absolute_value(x) < C(INFINITY)))
UNARY(ONE_BY_ONE, log_gamma, lgamma_of(x))
UNARY(ONE_BY_ONE, digamma, digamma_of(x))
UNARY(ONE_BY_ONE, arc_tangent, atan_of(x))
UNARY(ONE_BY_ONE, inverse_error_function, erfinv_of(x))
UNARY(VECTORISED, normal_cdf, normal_cdf_of(x))

// sin and cos: vector code unless an argument is too large for it, which then does not change the others' values.
UNARY(VECTORISED, sine_near, sin_of(x))
UNARY(VECTORISED, cosine_near, cos_of(x))
UNARY(ONE_BY_ONE, sine_any, sin_of_any(x))
UNARY(ONE_BY_ONE, cosine_any, cos_of_any(x))

static bool all_near(const loop *l, bool scalars) {
  int far = 0;
  for (int64_t segment = 0; segment < l->segments; ++segment) {
    const REAL *a = l->a + segment * l->a_step;
    const int64_t length = scalars ? 1 : l->length;
    for (int64_t i = 0; i < length; ++i) far |= !(absolute_value(a[i]) <= TRIGONOMETRIC_LIMIT);
  }
  return !far;
}

static void sine_0(const loop *l) { (all_near(l, false) ? sine_near_0 : sine_any_0)(l); }
static void sine_1(const loop *l) { (all_near(l, true) ? sine_near_1 : sine_any_1)(l); }
static void cosine_0(const loop *l) { (all_near(l, false) ? cosine_near_0 : cosine_any_0)(l); }
static void cosine_1(const loop *l) { (all_near(l, true) ? cosine_near_1 : cosine_any_1)(l); }

BINARY(VECTORISED, add, x + y)
BINARY(VECTORISED, subtract, x - y)
BINARY(VECTORISED, multiply, x *y)
BINARY(VECTORISED, divide, x / y)
#if SINGLE
BINARY(VECTORISED, power, pow_of(x, y))
#else
BINARY(ONE_BY_ONE, power, pow_of(x, y))
#endif
BINARY(VECTORISED, maximum, ((x > y) | (x != x)) ? x : y)
BINARY(VECTORISED, minimum, ((x < y) | (x != x)) ? x : y)
BINARY(ONE_BY_ONE, remainder_of_floor, remainder_of(x, y))
BINARY(VECTORISED, equal, (REAL)(x == y))
BINARY(VECTORISED, not_equal, (REAL)(x != y))
BINARY(VECTORISED, less, (REAL)(x < y))
BINARY(VECTORISED, less_equal, (REAL)(x <= y))
BINARY(VECTORISED, logical_and, (REAL)((x != 0) & (y != 0)))
BINARY(VECTORISED, logical_or, (REAL)((x != 0) | (y != 0)))
TERNARY(VECTORISED, select_one, x != 0 ? y : z)
TERNARY(VECTORISED, multiply_add, x *y + z)

#define UNARY_ENTRY(name) {name##_0, name##_1, name##_0, name##_1, name##_0, name##_1, name##_0, name##_1}
#define BINARY_ENTRY(name) {name##_0, name##_1, name##_2, name##_3, name##_0, name##_1, name##_2, name##_3}
#define TERNARY_ENTRY(name) {name##_0, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7}

// By opcode, then by the bits that say which operands are scalars.
static loop_function *const element_loops[TEMPER_OPCODE_COUNT][8] = {
    [TEMPER_FILL] = UNARY_ENTRY(copy),
    [TEMPER_COPY] = UNARY_ENTRY(copy),
    [TEMPER_NEGATE] = UNARY_ENTRY(negate),
    [TEMPER_ABS] = UNARY_ENTRY(absolute),
    [TEMPER_SIGN] = UNARY_ENTRY(sign),
    [TEMPER_SQUARE] = UNARY_ENTRY(square),
    [TEMPER_SQRT] = UNARY_ENTRY(square_root),
    [TEMPER_RECIPROCAL] = UNARY_ENTRY(reciprocal),
    [TEMPER_EXP] = UNARY_ENTRY(exponential),
    [TEMPER_EXPM1] = UNARY_ENTRY(exponential_minus_1),
    [TEMPER_LOG] = UNARY_ENTRY(logarithm),
    [TEMPER_LOG1P] = UNARY_ENTRY(logarithm_plus_1),
    [TEMPER_TANH] = UNARY_ENTRY(hyperbolic_tangent),
    [TEMPER_SIGMOID] = UNARY_ENTRY(sigmoid),
    [TEMPER_SOFTPLUS] = UNARY_ENTRY(softplus),
    [TEMPER_ERF] = UNARY_ENTRY(error_function),
    [TEMPER_SIN] = UNARY_ENTRY(sine),
    [TEMPER_COS] = UNARY_ENTRY(cosine),
    [TEMPER_FLOOR] = UNARY_ENTRY(round_down),
    [TEMPER_CEIL] = UNARY_ENTRY(round_up),
    [TEMPER_ROUND] = UNARY_ENTRY(round_to_nearest),
    [TEMPER_NOT] = UNARY_ENTRY(logical_not),
    [TEMPER_IS_FINITE] = UNARY_ENTRY(is_finite),
    [TEMPER_LGAMMA] = UNARY_ENTRY(log_gamma),
    [TEMPER_DIGAMMA] = UNARY_ENTRY(digamma),
    [TEMPER_ATAN] = UNARY_ENTRY(arc_tangent),
    [TEMPER_ERFINV] = UNARY_ENTRY(inverse_error_function),
    [TEMPER_NORMAL_CDF] = UNARY_ENTRY(normal_cdf),
    [TEMPER_ADD] = BINARY_ENTRY(add),
    [TEMPER_SUBTRACT] = BINARY_ENTRY(subtract),
    [TEMPER_MULTIPLY] = BINARY_ENTRY(multiply),
    [TEMPER_DIVIDE] = BINARY_ENTRY(divide),
    [TEMPER_POWER] = BINARY_ENTRY(power),
    [TEMPER_MAXIMUM] = BINARY_ENTRY(maximum),
    [TEMPER_MINIMUM] = BINARY_ENTRY(minimum),
    [TEMPER_REMAINDER] = BINARY_ENTRY(remainder_of_floor),
    [TEMPER_EQUAL] = BINARY_ENTRY(equal),
    [TEMPER_NOT_EQUAL] = BINARY_ENTRY(not_equal),
    [TEMPER_LESS] = BINARY_ENTRY(less),
    [TEMPER_LESS_EQUAL] = BINARY_ENTRY(less_equal),
    [TEMPER_AND] = BINARY_ENTRY(logical_and),
    [TEMPER_OR] = BINARY_ENTRY(logical_or),
    [TEMPER_SELECT] = TERNARY_ENTRY(select_one),
    [TEMPER_MULTIPLY_ADD] = TERNARY_ENTRY(multiply_add),
};

// The loop of an element-wise step over a block: one segment, or one for each row (transposed: for each column).
static loop loop_of(const block *k, const temper_step *step, const REAL *immediate, bool segmented) {
  const bool full = step->dst.kind == TEMPER_OPERAND_FULL;
  const int64_t steps[3] = {[TEMPER_OPERAND_IMMEDIATE] = 0,
                            [TEMPER_OPERAND_ROW] = is_transposed(k) ? 0 : 1,
                            [TEMPER_OPERAND_FULL] = k->pitch};
  const int64_t segments = is_transposed(k) ? k->columns : k->rows;
  const int64_t segment_length = is_transposed(k) ? k->pitch : k->columns;
  return (loop){
      .dst = address(k, step->dst),
      .a = step->a.kind == TEMPER_OPERAND_IMMEDIATE ? immediate : address(k, step->a),
      .b = step->b.kind == TEMPER_OPERAND_IMMEDIATE ? immediate : address(k, step->b),
      .c = step->c.kind == TEMPER_OPERAND_IMMEDIATE ? immediate : address(k, step->c),
      .dst_step = k->pitch,
      .a_step = steps[step->a.kind],
      .b_step = steps[step->b.kind],
      .c_step = steps[step->c.kind],
      .segments = segmented ? segments : 1,
      .length = segmented          ? segment_length
                : full             ? segments * segment_length
                : is_transposed(k) ? k->pitch
                                   : k->rows,
  };
}

// A value by row where there is one row: it lies in a register's own storage, and describing a loop would cost more.
static void run_once(const block *k, const temper_step *step, const REAL *immediate) {
#define ROW_VALUE(operand) ((operand).kind == TEMPER_OPERAND_ROW ? (const REAL *)k->plan->registers[(operand).reg] : immediate)
  const loop l = {.dst = k->plan->registers[step->dst.reg],
                  .a = ROW_VALUE(step->a),
                  .b = ROW_VALUE(step->b),
                  .c = ROW_VALUE(step->c),
                  .segments = 1,
                  .length = 1};
  element_loops[step->instruction->op][step->scalars](&l);
}

static void run_element_loop(const block *k, const temper_step *step) {
  const REAL immediate = (REAL)step->instruction->immediate;
  if (step->dst.kind == TEMPER_OPERAND_ROW && k->rows == 1 && !is_transposed(k)) {
    run_once(k, step, &immediate);
    return;
  }
  const loop l = loop_of(k, step, &immediate, step->segmented);
  element_loops[step->instruction->op][step->scalars](&l);
}
