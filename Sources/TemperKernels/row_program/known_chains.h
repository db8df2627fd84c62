// Template over REAL: the chains that some optimizers' rules become, each as one loop.
//
// The links of chain_links.h read every array with the same few load instructions, which hides from the processor that
// each array comes in order: long chains then wait for memory. A loop has a load of its own for each. It takes several
// vectors at a time and loads all of them before it stores any: a load waits for a store to the same place of another
// page, although they have nothing to do with each other. The operations and so the bits are those of the links.
//
// A chain is a list of its links, written once: MAKE(link, code, value) computes, PUT(link, code, of) stores the value
// that link `of` made, PASS(link, code) has nothing to do here. What the first link loads, the gradient, is taken times
// a number, as a gradient that is clipped by its norm; times 1 leaves the bits as they are.

enum { WIDE = VECTOR_BYTES / 16 };  // vectors at a time

#define UNARY_CODE(op) LINK_CODE(op, 0)
#define TV TEMPER_FORM(0, 0, 0)  // operands in order: t the value before, v a vector in memory, s a scalar
#define TS TEMPER_FORM(0, 1, 0)
#define VT TEMPER_FORM(1, 0, 0)
#define ST TEMPER_FORM(1, 1, 0)
#define STS TEMPER_FORM(1, 1, 1)
#define STV TEMPER_FORM(1, 1, 0)
#define SVT TEMPER_FORM(2, 1, 0)
#define SST TEMPER_FORM(2, 1, 1)
#define MULTIPLY_CODE(form) LINK_CODE(TEMPER_MULTIPLY, form)
#define MULTIPLY_ADD_CODE(form) LINK_CODE(TEMPER_MULTIPLY_ADD, form)
#define DIVIDE_CODE(form) LINK_CODE(TEMPER_DIVIDE, form)
#define SUBTRACT_CODE(form) LINK_CODE(TEMPER_SUBTRACT, form)

// By itself, so that what reads the product does not become one operation with it.
static inline lanes product_of(lanes x, lanes y) { return x * y; }

// What a value is made of: operands x and y of a link, as a vector or as a scalar, and the value of link k.
#define GRADIENT_AT(k) product_of(X_AT(k), scale)
#define X_AT(k) lanes_at(x##k + i + n * LANES)
#define Y_AT(k) lanes_at(y##k + i + n * LANES)
#define X_OF(k) x_of_##k
#define Y_OF(k) y_of_##k
#define V(k) v##k[n]

// m = b1 m + r1 g, v = b2 v + r2 g^2, q = m / (c sqrt(v) + e)
#define ADAM_MOMENTS(MAKE, PASS, PUT)                                                                          \
  MAKE(0, LINK_LOAD, GRADIENT_AT(0))                                                                           \
  MAKE(1, MULTIPLY_CODE(ST), X_OF(1) * V(0))                                                                   \
  MAKE(2, MULTIPLY_ADD_CODE(SVT), X_OF(2) * Y_AT(2) + V(1)) PASS(3, LINK_HOLD) PASS(4, LINK_STORE)             \
      MAKE(5, LINK_LOAD, GRADIENT_AT(5)) MAKE(6, UNARY_CODE(TEMPER_SQUARE), V(5) * V(5))                       \
          MAKE(7, MULTIPLY_CODE(ST), X_OF(7) * V(6)) MAKE(8, MULTIPLY_ADD_CODE(SVT), X_OF(8) * Y_AT(8) + V(7)) \
              PASS(9, LINK_HOLD + 1) MAKE(10, UNARY_CODE(TEMPER_SQRT), __builtin_elementwise_sqrt(V(8)))       \
                  MAKE(11, MULTIPLY_ADD_CODE(STS), X_OF(11) * V(10) + Y_OF(11))                                \
                      MAKE(12, DIVIDE_CODE(VT), V(2) / V(11))

// w = s q + w
#define ADAM(MAKE, PASS, PUT)                                   \
  ADAM_MOMENTS(MAKE, PASS, PUT)                                 \
  MAKE(13, MULTIPLY_ADD_CODE(STV), X_OF(13) * V(12) + Y_AT(13)) \
  PUT(14, LINK_STORE, 13) PUT(15, LINK_RELEASE, 2) PUT(16, LINK_RELEASE + 1, 8) PASS(17, LINK_END)

// w = s q + k w
#define ADAMW(MAKE, PASS, PUT)                                                                             \
  ADAM_MOMENTS(MAKE, PASS, PUT)                                                                            \
  PASS(13, LINK_STORE)                                                                                     \
  MAKE(14, LINK_LOAD, X_AT(14))                                                                            \
  MAKE(15, MULTIPLY_CODE(ST), X_OF(15) * V(14)) MAKE(16, MULTIPLY_ADD_CODE(SVT), X_OF(16) * V(12) + V(15)) \
      PUT(17, LINK_STORE, 16) PUT(18, LINK_RELEASE, 2) PUT(19, LINK_RELEASE + 1, 8) PASS(20, LINK_END)

// m = b1 m + r1 g, v = b2 v + r2 (g - m)^2 + e, w = s m / (c sqrt(v) + e) + w
#define ADABELIEF(MAKE, PASS, PUT)                                                                                  \
  MAKE(0, LINK_LOAD, GRADIENT_AT(0))                                                                                \
  MAKE(1, MULTIPLY_CODE(ST), X_OF(1) * V(0))                                                                        \
  MAKE(2, MULTIPLY_ADD_CODE(SVT), X_OF(2) * Y_AT(2) + V(1)) PASS(3, LINK_HOLD) PASS(4, LINK_STORE)                  \
      MAKE(5, SUBTRACT_CODE(VT), GRADIENT_AT(5) - V(2)) MAKE(6, UNARY_CODE(TEMPER_SQUARE), V(5) * V(5))             \
          MAKE(7, MULTIPLY_CODE(ST), X_OF(7) * V(6)) MAKE(8, MULTIPLY_ADD_CODE(SVT), X_OF(8) * Y_AT(8) + V(7))      \
              MAKE(9, LINK_CODE(TEMPER_ADD, TS), V(8) + X_OF(9)) PASS(10, LINK_HOLD + 1)                            \
                  MAKE(11, UNARY_CODE(TEMPER_SQRT), __builtin_elementwise_sqrt(V(9)))                               \
                      MAKE(12, MULTIPLY_ADD_CODE(STS), X_OF(12) * V(11) + Y_OF(12))                                 \
                          MAKE(13, DIVIDE_CODE(VT), V(2) / V(12))                                                   \
                              MAKE(14, MULTIPLY_ADD_CODE(STV), X_OF(14) * V(13) + Y_AT(14)) PUT(15, LINK_STORE, 14) \
                                  PUT(16, LINK_RELEASE, 2) PUT(17, LINK_RELEASE + 1, 9) PASS(18, LINK_END)

// d = first ? 0 : g - o, m = b1 m + r1 g, v = b2 v + r2 d, u = b3 u + r3 (b2 d + g)^2,
// w = k (w - (s1 m + s2 v) / (c sqrt(u) + e)), o = g
#define ADAN(MAKE, PASS, PUT)                                                                                          \
  MAKE(0, LINK_LOAD, GRADIENT_AT(0))                                                                                   \
  MAKE(1, MULTIPLY_CODE(ST), X_OF(1) * V(0))                                                                           \
  MAKE(2, MULTIPLY_ADD_CODE(SVT), X_OF(2) * Y_AT(2) + V(1)) PASS(3, LINK_HOLD) PASS(4, LINK_STORE)                     \
      MAKE(5, LINK_LOAD, X_AT(5)) MAKE(6, SUBTRACT_CODE(TV), V(5) - X_AT(6))                                           \
          MAKE(7, LINK_CODE(TEMPER_SELECT, SST), X_OF(7) != 0 ? Y_OF(7) : V(6)) PASS(8, LINK_STORE)                    \
              MAKE(9, MULTIPLY_CODE(ST), X_OF(9) * V(7)) MAKE(10, MULTIPLY_ADD_CODE(SVT), X_OF(10) * Y_AT(10) + V(9))  \
                  PASS(11, LINK_HOLD + 1) PASS(12, LINK_STORE) PASS(13, LINK_LOAD)                                     \
                      MAKE(14, MULTIPLY_ADD_CODE(STV), X_OF(14) * V(7) + Y_AT(14)) MAKE(                               \
                          15, UNARY_CODE(TEMPER_SQUARE), V(14) * V(14)) MAKE(16, MULTIPLY_CODE(ST), X_OF(16) * V(15))  \
                          MAKE(17, MULTIPLY_ADD_CODE(SVT), X_OF(17) * Y_AT(17) + V(16)) PUT(18, LINK_STORE, 17)        \
                              PASS(19, LINK_LOAD) MAKE(20, MULTIPLY_CODE(ST), X_OF(20) * V(10))                        \
                                  MAKE(21, MULTIPLY_ADD_CODE(SVT), X_OF(21) * V(2) + V(20)) PASS(22, LINK_STORE)       \
                                      PASS(23, LINK_LOAD)                                                              \
                                          MAKE(24, UNARY_CODE(TEMPER_SQRT), __builtin_elementwise_sqrt(V(17)))         \
                                              MAKE(25, MULTIPLY_ADD_CODE(STS), X_OF(25) * V(24) + Y_OF(25))            \
                                                  MAKE(26, DIVIDE_CODE(VT), V(21) / V(25))                             \
                                                      MAKE(27, SUBTRACT_CODE(VT), X_AT(27) - V(26))                    \
                                                          MAKE(28, MULTIPLY_CODE(TS), V(27) * X_OF(28))                \
                                                              PUT(29, LINK_STORE, 28) MAKE(30, LINK_LOAD, X_AT(30))    \
                                                                  MAKE(31, UNARY_CODE(TEMPER_COPY), V(30))             \
                                                                      PUT(32, LINK_STORE, 31) PUT(33, LINK_RELEASE, 2) \
                                                                          PUT(34, LINK_RELEASE + 1, 10)                \
                                                                              PASS(35, LINK_END)

// m = b m + k g, w = s m + w
#define MOMENTUM(MAKE, PASS, PUT)                                                                             \
  MAKE(0, LINK_LOAD, GRADIENT_AT(0))                                                                          \
  MAKE(1, MULTIPLY_CODE(ST), X_OF(1) * V(0))                                                                  \
  MAKE(2, MULTIPLY_ADD_CODE(SVT), X_OF(2) * Y_AT(2) + V(1)) PASS(3, LINK_HOLD)                                \
      MAKE(4, MULTIPLY_ADD_CODE(STV), X_OF(4) * V(2) + Y_AT(4)) PUT(5, LINK_STORE, 4) PUT(6, LINK_RELEASE, 2) \
          PASS(7, LINK_END)

// w = s sign(b1 m + r1 g) + w, m = b2 m + r2 g
#define LION(MAKE, PASS, PUT)                                                                                         \
  MAKE(0, LINK_LOAD, GRADIENT_AT(0))                                                                                  \
  MAKE(1, MULTIPLY_CODE(ST), X_OF(1) * V(0))                                                                          \
  MAKE(2, MULTIPLY_ADD_CODE(SVT), X_OF(2) * Y_AT(2) + V(1)) MAKE(3, UNARY_CODE(TEMPER_SIGN),                          \
                                                                 V(2) > 0   ? (lanes)1                                \
                                                                 : V(2) < 0 ? (lanes) - 1                             \
                                                                            : V(2))                                   \
      MAKE(4, MULTIPLY_ADD_CODE(STV), X_OF(4) * V(3) + Y_AT(4)) PASS(5, LINK_HOLD) MAKE(6, LINK_LOAD, GRADIENT_AT(6)) \
          MAKE(7, MULTIPLY_CODE(ST), X_OF(7) * V(6)) MAKE(8, MULTIPLY_ADD_CODE(SVT), X_OF(8) * Y_AT(8) + V(7))        \
              PUT(9, LINK_STORE, 8) PUT(10, LINK_RELEASE, 4) PASS(11, LINK_END)

#define CODE_OF_MADE(k, code, value) code,
#define CODE_OF_PASSED(k, code) code,
#define CODE_OF_PUT(k, code, of) code,

#define OPERANDS(k, code, value)                         \
  const REAL *const x##k = l[k].x, *const y##k = l[k].y; \
  const lanes x_of_##k = *x##k, y_of_##k = *y##k;        \
  (void)x_of_##k, (void)y_of_##k;
#define PLACE(k, code, of) REAL *const x##k = l[k].x;
#define EACH_VECTOR _Pragma("clang loop unroll(full)") for (int n = 0; n < WIDE; ++n)
#define COMPUTE(k, code, value) \
  lanes v##k[WIDE];             \
  EACH_VECTOR v##k[n] = value;
#define WRITE(k, code, of) EACH_VECTOR lanes_store(x##k + i + n * LANES, V(of));
#define NO_LINK(...)

#define KNOWN_CHAIN(name, LINKS)                                                            \
  static const int32_t name##_codes[] = {LINKS(CODE_OF_MADE, CODE_OF_PASSED, CODE_OF_PUT)}; \
  static int64_t run_##name(const chain_link *l, REAL times, int64_t length) {              \
    const lanes scale = times;                                                              \
    LINKS(OPERANDS, NO_LINK, PLACE)                                                         \
    int64_t i = 0;                                                                          \
    for (; i + WIDE * LANES <= length; i += WIDE * LANES) {                                 \
      LINKS(COMPUTE, NO_LINK, NO_LINK)                                                      \
      LINKS(NO_LINK, NO_LINK, WRITE)                                                        \
    }                                                                                       \
    return i;                                                                               \
  }

KNOWN_CHAIN(adam, ADAM)
KNOWN_CHAIN(adamw, ADAMW)
KNOWN_CHAIN(adabelief, ADABELIEF)
KNOWN_CHAIN(adan, ADAN)
KNOWN_CHAIN(momentum, MOMENTUM)
KNOWN_CHAIN(lion, LION)

typedef int64_t known_loop(const chain_link *, REAL, int64_t);

// Link `to` reads, as its operand x or y, what link `from` stored: the value itself is used here. Unless it stays, it
// is in an array, it is not stored then. From 0: no more of them.
typedef struct same_memory {
  int8_t from, to;
  enum { AS_X, AS_Y, AS_X_STAYS } how;
} same_memory;

typedef struct known_chain {
  known_loop *run;
  const int32_t *codes;
  size_t bytes;
  int32_t gradient;  // the other link whose x is the gradient, or 0
  same_memory same[6];
} known_chain;

#define KNOWN(name, gradient, ...)                                           \
  {                                                                          \
    run_##name, name##_codes, sizeof name##_codes, gradient, { __VA_ARGS__ } \
  }
static const known_chain known_chains[] = {
    KNOWN(adam, 5, {4, 12, AS_X}),
    KNOWN(adamw, 5, {4, 12, AS_X}, {13, 16, AS_Y}),
    KNOWN(adabelief, 5, {4, 13, AS_X}),
    KNOWN(adan, 0, {8, 13, AS_X}, {12, 19, AS_X}, {4, 21, AS_Y}, {18, 23, AS_X_STAYS}, {22, 26, AS_X}),
    KNOWN(momentum, 0, {0}),
    KNOWN(lion, 6, {0}),
};

static bool is_known(const chain_link *links, int32_t count, const known_chain *known) {
  if ((size_t)count * sizeof(int32_t) != known->bytes) return false;
  for (int32_t n = 0; n < count; ++n)
    if (links[n].code != known->codes[n]) return false;
  for (const same_memory *s = known->same; s->from; ++s) {
    const chain_link *stored = &links[s->from], *read = &links[s->to];
    if (stored->x != (s->how == AS_Y ? read->y : read->x)) return false;
    if (s->how != AS_X_STAYS && stored->x_step != 0) return false;
  }
  return true;
}
