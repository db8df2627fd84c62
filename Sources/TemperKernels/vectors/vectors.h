// What the kernel templates are written in. A file VARIANT_TYPE.h beside this one defines, for one instruction set and
// element type:
//   E, LANES                      element type, elements in a vector
//   V                             the vector type
//   NAME(x)                       adds the variant's and type's suffix
//   TILE_ROWS                     rows of the largest tile of sums that fits the registers, with two vectors a row
//   DOT_ROWS, DOT_COLUMNS         the same where each sum is a vector of partial sums
//   MASK, MASK_OF(n)              what selects the first n lanes
//   LOAD_PARTIAL(p, mask), STORE_PARTIAL(p, mask, v)   touch only the selected lanes; the others load as 0
//   EVEN_LANES                                         lane order a0 a2 a4 ... b0 b2 b4 ...
// and then includes this file. `end_vectors.h` takes the definitions back.

// A vector in memory, at no more than its element's alignment.
typedef V NAME(unaligned) __attribute__((aligned(sizeof(E)), may_alias));

#define LOAD(p) (*(const NAME(unaligned) *)(p))
#define STORE(p, v) (*(NAME(unaligned) *)(p) = (v))
#include "interleave.h"
#define INLINE static inline __attribute__((always_inline))

INLINE V NAME(broadcast)(E x) { return x - (V){}; }

// max(x, 0), and NaN where x is NaN.
INLINE V NAME(relu)(V x) {
  __typeof__(x < 0) negative = x < 0;
  return (V)((__typeof__(negative))x & ~negative);
}
