// Template over REAL: vectors.

// A vector register. Its width is part of the order of summation.
enum { LANES = VECTOR_BYTES / sizeof(REAL) };
typedef REAL lanes __attribute__((ext_vector_type(LANES)));

static inline lanes lanes_at(const REAL *p) {
  lanes v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

static inline void lanes_store(REAL *p, lanes v) { __builtin_memcpy(p, &v, sizeof v); }

// The lanes from `first` on of v, and `other` in those before.
static inline lanes lanes_from(int64_t first, lanes v, REAL other) {
  REAL index[LANES];
  for (int l = 0; l < LANES; ++l) index[l] = (REAL)l;
  return lanes_at(index) >= (lanes)(REAL)first ? v : (lanes)other;
}
