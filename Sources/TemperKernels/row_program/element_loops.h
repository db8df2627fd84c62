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
#define ELEMENT_LOOP(HOW, name, A, B, C, expression)                                                               \
  static void name(const loop *l) {                                                                                \
    REAL *dst = l->dst;                                                                                            \
    const REAL *a = l->a, *b = l->b, *c = l->c;                                                                    \
    const int64_t length = l->length;                                                                              \
    for (int64_t segment = 0; segment < l->segments; ++segment) {                                                  \
      const REAL a_scalar = a[0], b_scalar = b[0], c_scalar = c[0];                                                \
      HOW for (int64_t i = 0; i < length; ++i) {                                                                   \
        const REAL x = A(a), y = B(b), z = C(c);                                                                   \
        (void)x, (void)y, (void)z, (void)a_scalar, (void)b_scalar, (void)c_scalar;                                 \
        dst[i] = (expression);                                                                                     \
      }                                                                                                            \
      dst += l->dst_step, a += l->a_step, b += l->b_step, c += l->c_step;                                          \
    }                                                                                                              \
  }

#define UNARY(HOW, name, expression)                             \
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
UNARY(VECTORISED, absolute, M(abs)(x))
UNARY(VECTORISED, sign, x > 0 ? (REAL)1 : x < 0 ? (REAL)-1 : x)
UNARY(VECTORISED, square, x *x)
UNARY(VECTORISED, square_root, M(sqrt)(x))
UNARY(VECTORISED, reciprocal, 1 / x)
UNARY(ONE_BY_ONE, exponential, M(exp)(x))
UNARY(ONE_BY_ONE, exponential_minus_1, M(expm1)(x))
UNARY(ONE_BY_ONE, logarithm, M(log)(x))
UNARY(ONE_BY_ONE, logarithm_plus_1, M(log1p)(x))
UNARY(ONE_BY_ONE, hyperbolic_tangent, M(tanh)(x))
UNARY(ONE_BY_ONE, sigmoid, M(sigmoid)(x))
UNARY(ONE_BY_ONE, softplus, M(softplus)(x))
UNARY(ONE_BY_ONE, error_function, M(erf)(x))
UNARY(ONE_BY_ONE, sine, M(sin)(x))
UNARY(ONE_BY_ONE, cosine, M(cos)(x))
UNARY(VECTORISED, round_down, M(floor)(x))
UNARY(VECTORISED, round_up, M(ceil)(x))
UNARY(VECTORISED, round_to_nearest, M(round)(x))
UNARY(VECTORISED, logical_not, (REAL)(x == 0))
UNARY(VECTORISED, is_finite, (REAL)(M(abs)(x) < M(infinity)()))
UNARY(ONE_BY_ONE, log_gamma, M(lgamma)(x))
UNARY(ONE_BY_ONE, digamma, M(digamma)(x))
UNARY(ONE_BY_ONE, arc_tangent, M(atan)(x))
UNARY(ONE_BY_ONE, inverse_error_function, M(erfinv)(x))
UNARY(ONE_BY_ONE, normal_cdf, M(normal_cdf)(x))
BINARY(VECTORISED, add, x + y)
BINARY(VECTORISED, subtract, x - y)
BINARY(VECTORISED, multiply, x *y)
BINARY(VECTORISED, divide, x / y)
BINARY(ONE_BY_ONE, power, M(pow)(x, y))
BINARY(VECTORISED, maximum, ((x > y) | (x != x)) ? x : y)
BINARY(VECTORISED, minimum, ((x < y) | (x != x)) ? x : y)
BINARY(ONE_BY_ONE, remainder_of_floor, M(remainder)(x, y))
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
