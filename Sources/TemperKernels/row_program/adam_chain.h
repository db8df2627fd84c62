// Template over REAL: the chain that Adam's rule becomes, as one loop. It is long, and its root and quotient take turns
// on one unit: here the next elements' memory is read meanwhile. The operations and so the bits are those of the links.

#define ADAM_MOMENTS                                                                                             \
  LINK_LOAD, LINK_CODE(TEMPER_MULTIPLY, TEMPER_FORM(1, 1, 0)),                     /* t = r1 g          */       \
      LINK_CODE(TEMPER_MULTIPLY_ADD, TEMPER_FORM(2, 1, 0)), LINK_HOLD, LINK_STORE, /* m = b1 m + t      */       \
      LINK_LOAD, LINK_CODE(TEMPER_SQUARE, 0), LINK_CODE(TEMPER_MULTIPLY, TEMPER_FORM(1, 1, 0)), /* t = r2 g^2 */ \
      LINK_CODE(TEMPER_MULTIPLY_ADD, TEMPER_FORM(2, 1, 0)), LINK_HOLD + 1,             /* v = b2 v + t      */   \
      LINK_CODE(TEMPER_SQRT, 0), LINK_CODE(TEMPER_MULTIPLY_ADD, TEMPER_FORM(1, 1, 1)), /* d = c sqrt(v) + e */   \
      LINK_CODE(TEMPER_DIVIDE, TEMPER_FORM(1, 0, 0))                                   /* q = m / d         */
#define ADAM_END LINK_STORE, LINK_RELEASE, LINK_RELEASE + 1, LINK_END

static const int32_t adam_codes[] = {
    ADAM_MOMENTS,
    LINK_CODE(TEMPER_MULTIPLY_ADD, TEMPER_FORM(1, 1, 0)),
    ADAM_END,  // w = s q + w
};
static const int32_t adamw_codes[] = {
    ADAM_MOMENTS,
    LINK_STORE,
    LINK_LOAD,
    LINK_CODE(TEMPER_MULTIPLY, TEMPER_FORM(1, 1, 0)),  // t = k w
    LINK_CODE(TEMPER_MULTIPLY_ADD, TEMPER_FORM(2, 1, 0)),
    ADAM_END,  // w = s q + t
};

static bool are_links(const chain_link *links, int32_t count, const int32_t *codes, size_t code_count) {
  if ((size_t)count != code_count) return false;
  for (int32_t n = 0; n < count; ++n)
    if (links[n].code != codes[n]) return false;
  return links[0].x == links[5].x;  // one gradient
}

static bool is_adam(const chain_link *links, int32_t count) {
  return are_links(links, count, adam_codes, sizeof adam_codes / sizeof *adam_codes);
}
static bool is_adamw(const chain_link *links, int32_t count) {
  return are_links(links, count, adamw_codes, sizeof adamw_codes / sizeof *adamw_codes);
}

static inline __attribute__((always_inline)) int64_t run_adam_loop(const chain_link *l, int64_t length, bool decays) {
  const REAL *gradient = l[0].x;
  const lanes rest1 = l[1].x[0], beta1 = l[2].x[0], rest2 = l[7].x[0], beta2 = l[8].x[0];
  const chain_link *last = &l[decays ? 16 : 13];  // makes the parameter; what is stored follows
  const lanes root = l[11].x[0], epsilon = l[11].y[0], size = last->x[0], keep = decays ? l[15].x[0] : 1;
  REAL *first = l[2].y, *second = l[8].y, *parameter = decays ? l[14].x : last->y;
  REAL *new_parameter = last[1].x, *new_first = last[2].x, *new_second = last[3].x;
  int64_t i = 0;
  for (; i + LANES <= length; i += LANES) {
    const lanes g = lanes_at(gradient + i), w = lanes_at(parameter + i);
    const lanes grown1 = rest1 * g;
    const lanes m = beta1 * lanes_at(first + i) + grown1;
    const lanes squared = g * g;
    const lanes grown2 = rest2 * squared;
    const lanes v = beta2 * lanes_at(second + i) + grown2;
    const lanes deviation = __builtin_elementwise_sqrt(v);
    const lanes scale = root * deviation + epsilon;
    const lanes quotient = m / scale;
    const lanes kept = decays ? keep * w : w;
    const lanes moved = size * quotient + kept;
    lanes_store(new_first + i, m);
    lanes_store(new_second + i, v);
    lanes_store(new_parameter + i, moved);
  }
  return i;
}

static int64_t run_adam(const chain_link *links, int64_t length) { return run_adam_loop(links, length, false); }
static int64_t run_adamw(const chain_link *links, int64_t length) { return run_adam_loop(links, length, true); }
