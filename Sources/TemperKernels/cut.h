// How work is cut into pieces: by shape alone.
#ifndef TEMPER_CUT_H
#define TEMPER_CUT_H

#include <stddef.h>
#include <stdint.h>

#include "row_program.h"

// Multiply-adds below which a second thread does not pay (about 16 us of one core).
static const double SMALLEST_PIECE = 1 << 20;

// Of workspace, scratch, and the parts of them, in bytes.
enum { ALIGNMENT = 64 };

static inline int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t maximum(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t multiple) { return divide_up(a, multiple) * multiple; }

static inline int64_t element_size(temper_element element) { return element == TEMPER_ELEMENT_F64 ? 8 : 4; }

static inline void *offset(const void *base, int64_t elements, int64_t size) {
  return (void *)((uintptr_t)base + (uintptr_t)(elements * size));
}

// Part `index` of `count` parts of 0 ..< length, each but the last a multiple of `grain`.
typedef struct range {
  int64_t begin, end;
} range;

static inline range part_of(int64_t length, int64_t count, int64_t index, int64_t grain) {
  if (count == 1) return (range){0, length};
  int64_t size = round_up(divide_up(length, count), grain);
  return (range){minimum(length, index * size), minimum(length, (index + 1) * size)};
}

// Enough pieces to balance many threads, but not so many that packing A and B for each becomes the work.
static inline int64_t wanted_pieces(double work) {
  const double smallest = work / SMALLEST_PIECE;
  if (smallest < 4) return maximum(1, (int64_t)smallest);
  int64_t edge = 1;  // grows with the linear size: 4 + the cube root
  while ((double)((edge + 1) * (edge + 1) * (edge + 1)) <= smallest) edge++;
  return 4 + edge;
}

// The same as a multiple of four: equal pieces then end together on two or four threads.
static inline int64_t even_pieces(int64_t wanted) { return wanted < 4 ? wanted : (wanted + 1) / 4 * 4; }

#endif
