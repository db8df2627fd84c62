// Philox4x32-10: a counter-based random number generator.
// Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
#ifndef TEMPER_PHILOX_H
#define TEMPER_PHILOX_H

#include <stdint.h>

typedef struct temper_philox_block {
  uint32_t word[4];
} temper_philox_block;

// The 128 random bits of a counter under a key. `counter_low` and `counter_high` are the words 0, 1 and 2, 3 of the
// counter as published, least significant first.
static inline __attribute__((always_inline)) temper_philox_block temper_philox(uint64_t counter_low,
                                                                               uint64_t counter_high, uint64_t key) {
  uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
  uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma clang loop unroll(full)
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = (uint64_t)0xD2511F53u * c0, product1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)product1;
    c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)product0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return (temper_philox_block){{c0, c1, c2, c3}};
}

#endif
