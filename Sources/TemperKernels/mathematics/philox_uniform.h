// Template over REAL: uniform numbers in [0, 1) from Philox. Element e takes word e % 4 of the block with counter
// {e / 4, counter}: its upper 24 bits for float, all 32 for double. A double has 21 more bits from the same word of the
// block with the top bit of `counter` flipped, so that float and double draw the same numbers but for rounding.

enum { PHILOX_BLOCKS = 64 };

static void philox_uniform(REAL *dst, uint64_t first, int64_t count, uint64_t key, uint64_t counter) {
  REAL values[4 * PHILOX_BLOCKS];
  while (count > 0) {
    const uint64_t block = first / 4;
    const int64_t skip = (int64_t)(first % 4);
    const int64_t blocks = (skip + count + 3) / 4 < PHILOX_BLOCKS ? (skip + count + 3) / 4 : PHILOX_BLOCKS;
    for (int64_t b = 0; b < blocks; ++b) {
      const temper_philox_block high = temper_philox(block + (uint64_t)b, counter, key);
#pragma clang loop unroll(full)
      for (int w = 0; w < 4; ++w)
        if (sizeof(REAL) == 4) values[4 * b + w] = (REAL)(int32_t)(high.word[w] >> 8) * (REAL)0x1p-24;
      if (sizeof(REAL) == 8) {
        const temper_philox_block low = temper_philox(block + (uint64_t)b, counter ^ 1ull << 63, key);
#pragma clang loop unroll(full)
        for (int w = 0; w < 4; ++w) {
          const uint64_t bits = (uint64_t)high.word[w] << 21 | low.word[w] >> 11;
          values[4 * b + w] = (REAL)(int64_t)bits * (REAL)0x1p-53;
        }
      }
    }
    const int64_t taken = 4 * blocks - skip < count ? 4 * blocks - skip : count;
    __builtin_memcpy(dst, values + skip, (size_t)taken * sizeof(REAL));
    dst += taken;
    first += (uint64_t)taken;
    count -= taken;
  }
}
