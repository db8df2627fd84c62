// Transposes LANES x LANES elements in vectors of type TRANSPOSED: each of the log2(LANES) rounds is a perfect shuffle of
// the rows.
INLINE void NAME(transpose)(TRANSPOSED rows[LANES]) {
#pragma unroll
  for (int round = 1; round < LANES; round *= 2) {
    TRANSPOSED shuffled[LANES];
#pragma unroll
    for (int i = 0; i < LANES / 2; i++) {
      shuffled[2 * i] = __builtin_shufflevector(rows[i], rows[i + LANES / 2], INTERLEAVE_LOW);
      shuffled[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + LANES / 2], INTERLEAVE_HIGH);
    }
#pragma unroll
    for (int i = 0; i < LANES; i++) rows[i] = shuffled[i];
  }
}
#undef TRANSPOSED
