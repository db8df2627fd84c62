// Products of 8-bit integers of one instruction set. Included by the int8_kernels_*.c files, which define:
//   LANES                      32-bit integers in a vector: 4, 8 or 16
//   NAME(x)                    adds the variant's suffix
//   TILE_ROWS                  rows of the largest tile of sums that fits the registers
//   UNSIGNED, SIGNED           quads made ready for DOT, by AS_UNSIGNED(v) and AS_SIGNED(v)
//   DOT(sums, u, s)            sums + the dot products of the quads of u and s, exact
//   HALF_LANES, HALF_DOT(sums, u, s)   the same for vectors of at most 32 bytes
//   LOW_8, HIGH_8, LOW_16, HIGH_16 (a, b)   interleave the halves of each 16 bytes

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef uint32_t NAME(words) __attribute__((vector_size(4 * LANES)));
typedef uint32_t NAME(lane) __attribute__((vector_size(16)));
#define W NAME(words)
typedef W NAME(unaligned) __attribute__((aligned(1), may_alias));
typedef NAME(lane) NAME(unaligned_lane) __attribute__((aligned(4), may_alias));
typedef uint32_t NAME(half) __attribute__((vector_size(4 * HALF_LANES)));
typedef NAME(half) NAME(unaligned_half) __attribute__((aligned(1), may_alias));
typedef int32_t NAME(half_integers) __attribute__((vector_size(4 * HALF_LANES)));
typedef float NAME(half_floats) __attribute__((vector_size(4 * HALF_LANES)));
#define HALF NAME(half)
#define HALF_INTEGERS NAME(half_integers)
#define HALF_FLOATS NAME(half_floats)
#define HALF_UNALIGNED NAME(unaligned_half)
#define LOAD(p) (*(const NAME(unaligned) *)(p))
#define STORE(p, v) (*(NAME(unaligned) *)(p) = (v))
enum { BYTES = 4 * LANES };

INLINE W NAME(broadcast)(uint32_t x) { return x - (W){}; }

// Fewer than BYTES bytes, filled up with zeros.
INLINE W NAME(load_rest)(const uint8_t *p, int64_t count) {
  uint8_t bytes[BYTES] = {0};
  memcpy(bytes, p, (size_t)count);
  return LOAD(bytes);
}

// --- tiles

INLINE W NAME(broadcast_quad)(const uint8_t *p) {
  uint32_t quad;
  memcpy(&quad, p, sizeof quad);
  return NAME(broadcast)(quad);
}

INLINE void NAME(tile)(const int rows, int64_t quads, const uint8_t *a, int64_t a_row_stride, int64_t a_quad_stride,
                       const uint32_t *b, int32_t *c, int64_t c_row_stride, const int32_t *corrections,
                       bool accumulate) {
  W sums[TILE_ROWS][INT8_TILE_VECTORS];
#pragma unroll
  for (int i = 0; i < rows; i++) {
#pragma unroll
    for (int v = 0; v < INT8_TILE_VECTORS; v++) sums[i][v] = (W){};
  }
  // Three rows share a base pointer, so that x86 address modes reach them with few registers.
  const uint8_t *bases[(TILE_ROWS + 2) / 3];
#pragma unroll
  for (int i = 0; i < rows; i += 3) bases[i / 3] = a + i * a_row_stride;
  for (int64_t p = 0; p < quads; p++, b += INT8_TILE_VECTORS * LANES) {
    UNSIGNED columns[INT8_TILE_VECTORS];
#pragma unroll
    for (int v = 0; v < INT8_TILE_VECTORS; v++) columns[v] = AS_UNSIGNED(LOAD(b + v * LANES));
#pragma unroll
    for (int i = 0; i < rows; i++) {
      const SIGNED x = AS_SIGNED(NAME(broadcast_quad)(bases[i / 3] + i % 3 * a_row_stride));
#pragma unroll
      for (int v = 0; v < INT8_TILE_VECTORS; v++) sums[i][v] = DOT(sums[i][v], columns[v], x);
    }
#pragma unroll
    for (int i = 0; i < rows; i += 3) bases[i / 3] += a_quad_stride;
  }
#pragma unroll
  for (int i = 0; i < rows; i++) {
    const W correction = NAME(broadcast)((uint32_t)corrections[i]);
#pragma unroll
    for (int v = 0; v < INT8_TILE_VECTORS; v++) {
      NAME(unaligned) *place = (NAME(unaligned) *)(c + i * c_row_stride + v * LANES);
      const W sum = sums[i][v] - correction;
      *place = accumulate ? *place + sum : sum;
    }
  }
}

#define TILE(rows)                                                                                               \
  static void NAME(tile_##rows)(int64_t quads, const uint8_t *a, int64_t a_row_stride, int64_t a_quad_stride,    \
                                const uint32_t *b, int32_t *c, int64_t c_row_stride, const int32_t *corrections, \
                                bool accumulate) {                                                               \
    NAME(tile)(rows, quads, a, a_row_stride, a_quad_stride, b, c, c_row_stride, corrections, accumulate);        \
  }
TILE(1)
TILE(2)
#if TILE_ROWS >= 4
TILE(3)
TILE(4)
#endif
#if TILE_ROWS >= 12
TILE(5)
TILE(6)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
#endif

// --- packing

#include "../vectors/interleave.h"
#define TRANSPOSED W
#include "../vectors/transpose_template.h"

static void NAME(pack)(int64_t depth, int64_t width, int64_t pitch, const uint8_t *source, int64_t width_stride,
                       uint32_t flip, uint32_t *panels) {
  const int64_t quads = (depth + 3) / 4;
  for (int64_t panel = 0; panel < width; panel += pitch, panels += quads * pitch) {
    for (int64_t first = 0; first < pitch && panel + first < width; first += LANES) {
      const int64_t valid = width - panel - first;
      const uint8_t *rows = source + (panel + first) * width_stride;
      uint32_t *out = panels + first;
      for (int64_t p = 0; p < quads; p += LANES, rows += BYTES) {
        const int64_t rest = depth - 4 * p;
        W square[LANES];
#pragma unroll
        for (int i = 0; i < LANES; i++) {
          const uint8_t *place = rows + (i < valid ? i : 0) * width_stride;
          square[i] = (rest >= BYTES ? LOAD(place) : NAME(load_rest)(place, rest)) ^ flip;
        }
        NAME(transpose)(square);
        // A vector may reach into the next quad, which is stored after it.
        if (quads - p >= LANES) {
#pragma unroll
          for (int i = 0; i < LANES; i++, out += pitch) STORE(out, square[i]);
        } else {
          for (int64_t i = 0; i < quads - p; i++, out += pitch) STORE(out, square[i]);
        }
      }
    }
  }
}

// Four rows of BYTES columns to their quads: lane l of 16 bytes of quads[q] has those of columns 16 l + 4 q to + 3.
INLINE void NAME(quads_of)(const W rows[4], W quads[4]) {
  const W low_01 = LOW_8(rows[0], rows[1]), high_01 = HIGH_8(rows[0], rows[1]);
  const W low_23 = LOW_8(rows[2], rows[3]), high_23 = HIGH_8(rows[2], rows[3]);
  quads[0] = LOW_16(low_01, low_23);
  quads[1] = HIGH_16(low_01, low_23);
  quads[2] = LOW_16(high_01, high_23);
  quads[3] = HIGH_16(high_01, high_23);
}

INLINE void NAME(load_rows)(int64_t depth, int64_t width, const uint8_t *source, int64_t depth_stride, uint32_t flip,
                            W rows[4]) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const uint8_t *place = source + i * depth_stride;
    rows[i] = i >= depth ? (W){} : (width >= BYTES ? LOAD(place) : NAME(load_rest)(place, width)) ^ flip;
  }
}

static void NAME(interleave)(int64_t depth, int64_t width, const uint8_t *source, int64_t depth_stride, uint32_t flip,
                             uint32_t *panels) {
  enum { PITCH = INT8_TILE_VECTORS * LANES };
  const int64_t quads = (depth + 3) / 4;
  for (int64_t p = 0; p < quads; p++) {
    for (int64_t first = 0; first < width; first += BYTES) {
      W rows[4], mixed[4];
      NAME(load_rows)(depth - 4 * p, width - first, source + 4 * p * depth_stride + first, depth_stride, flip, rows);
      NAME(quads_of)(rows, mixed);
#pragma unroll
      for (int l = 0; l < LANES / 4; l++) {
#pragma unroll
        for (int q = 0; q < 4; q++) {
          const int64_t column = first + 16 * l + 4 * q;
          if (column < (width + PITCH - 1) / PITCH * PITCH) {
            *(NAME(unaligned_lane) *)(panels + column / PITCH * quads * PITCH + p * PITCH + column % PITCH) =
                ((NAME(lane) *)&mixed[q])[l];
          }
        }
      }
    }
  }
}

// --- few rows

// Sums of LANES vectors' lanes, side by side: each round adds the halves of two vectors, interleaved.
INLINE W NAME(add_lanes)(W vectors[LANES]) {
#pragma unroll
  for (int half = LANES / 2; half > 0; half /= 2) {
#pragma unroll
    for (int i = 0; i < half; i++) {
      vectors[i] = __builtin_shufflevector(vectors[i], vectors[i + half], INTERLEAVE_LOW) +
                   __builtin_shufflevector(vectors[i], vectors[i + half], INTERLEAVE_HIGH);
    }
  }
  return vectors[0];
}

INLINE void NAME(dots_of)(const int rows, const int columns, int64_t depth, const int8_t *x, int64_t x_stride,
                          const uint8_t *matrix, int64_t width_stride, uint32_t flip, const bool far, int32_t *sums,
                          int64_t sums_stride) {
  W dots[INT8_DOT_ROWS][INT8_DOT_COLUMNS] = {};
  for (int64_t p = 0; p < depth; p += BYTES) {
    UNSIGNED parts[INT8_DOT_COLUMNS];
#pragma unroll
    for (int j = 0; j < columns; j++) {
      const uint8_t *place = matrix + j * width_stride + p;
      // The processor sees no further than a page; the next columns lie behind it.
      if (far) __builtin_prefetch(place + columns * width_stride, 0, 2);
      parts[j] = AS_UNSIGNED((depth - p >= BYTES ? LOAD(place) : NAME(load_rest)(place, depth - p)) ^ flip);
    }
#pragma unroll
    for (int r = 0; r < rows; r++) {
      const SIGNED part = AS_SIGNED(LOAD(x + r * x_stride + p));
#pragma unroll
      for (int j = 0; j < columns; j++) dots[r][j] = DOT(dots[r][j], parts[j], part);
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int first = 0; first < columns; first += LANES) {
      W vectors[LANES] = {};
      for (int j = 0; j < LANES && first + j < columns; j++) vectors[j] = dots[r][first + j];
      int32_t lanes[LANES];
      STORE(lanes, NAME(add_lanes)(vectors));
      for (int j = 0; j < LANES && first + j < columns; j++) sums[r * sums_stride + first + j] = lanes[j];
    }
  }
}

static void NAME(dots)(int64_t rows, int64_t width, int64_t depth, const int8_t *x, int64_t x_stride,
                       const uint8_t *columns, int64_t width_stride, uint8_t flip, bool far, int32_t *sums,
                       int64_t sums_stride) {
  const uint32_t flips = flip * 0x01010101u;
  int64_t j = 0;
  for (; j < width; j += INT8_DOT_COLUMNS) {
    const uint8_t *matrix = columns + j * width_stride;
    const int count = width - j < INT8_DOT_COLUMNS ? (int)(width - j) : INT8_DOT_COLUMNS;
#define DOTS(r, c, far) NAME(dots_of)(r, c, depth, x, x_stride, matrix, width_stride, flips, far, sums + j, sums_stride)
    if (count == INT8_DOT_COLUMNS && rows == INT8_DOT_ROWS) {
      DOTS(INT8_DOT_ROWS, INT8_DOT_COLUMNS, false);
    } else if (count == INT8_DOT_COLUMNS && rows == 1 && far) {
      DOTS(1, INT8_DOT_COLUMNS, true);
    } else if (count == INT8_DOT_COLUMNS && rows == 1) {
      DOTS(1, INT8_DOT_COLUMNS, false);
    } else {
      for (int64_t r = 0; r < rows; r++) {
        for (int i = 0; i < count; i++) {
          NAME(dots_of)(1, 1, depth, x + r * x_stride, x_stride, matrix + i * width_stride, width_stride, flips, false,
                        sums + r * sums_stride + j + i, sums_stride);
        }
      }
    }
#undef DOTS
  }
}

// Quads of rows that are combined while their sums are in registers.
enum { COMBINED_QUADS = 4 };

// BYTES columns of sums, in the order of `quads_of`.
INLINE void NAME(combine_columns)(const int rows, int64_t depth, int64_t width, const int8_t *x, int64_t x_stride,
                                  const uint8_t *matrix, int64_t depth_stride, uint32_t flip, int32_t *sums,
                                  int64_t sums_stride) {
  W parts[INT8_DOT_ROWS][4];
#pragma unroll
  for (int r = 0; r < rows; r++) {
#pragma unroll
    for (int q = 0; q < 4; q++) parts[r][q] = LOAD(sums + r * sums_stride + q * LANES);
  }
  for (int64_t p = 0; p < depth; p += 4) {
    W four[4], mixed[4];
    NAME(load_rows)(depth - p, width, matrix + p * depth_stride, depth_stride, flip, four);
    NAME(quads_of)(four, mixed);
#pragma unroll
    for (int r = 0; r < rows; r++) {
      uint32_t quad;
      memcpy(&quad, x + r * x_stride + p, sizeof quad);
      const SIGNED factors = AS_SIGNED(NAME(broadcast)(quad));
#pragma unroll
      for (int q = 0; q < 4; q++) parts[r][q] = DOT(parts[r][q], AS_UNSIGNED(mixed[q]), factors);
    }
  }
#pragma unroll
  for (int r = 0; r < rows; r++) {
#pragma unroll
    for (int q = 0; q < 4; q++) STORE(sums + r * sums_stride + q * LANES, parts[r][q]);
  }
}

static void NAME(combine)(int64_t rows, int64_t width, int64_t depth, const int8_t *x, int64_t x_stride,
                          const uint8_t *matrix, int64_t depth_stride, uint8_t flip, int32_t *sums, int64_t sums_stride,
                          int32_t *scratch) {
  const uint32_t flips = flip * 0x01010101u;
  const int64_t pitch = (width + BYTES - 1) / BYTES * BYTES;
  memset(scratch, 0, (size_t)(rows * pitch) * sizeof(int32_t));
  for (int64_t p = 0; p < depth; p += 4 * COMBINED_QUADS) {
    const int64_t count = depth - p < 4 * COMBINED_QUADS ? depth - p : 4 * COMBINED_QUADS;
    for (int64_t j = 0; j < width; j += BYTES) {
      const uint8_t *corner = matrix + p * depth_stride + j;
#define COMBINE(rows, first)                                                                                       \
  NAME(combine_columns)(rows, count, width - j, x + (first) * x_stride + p, x_stride, corner, depth_stride, flips, \
                        scratch + (first) * pitch + j, pitch)
      if (rows == INT8_DOT_ROWS) {
        COMBINE(INT8_DOT_ROWS, 0);
      } else {
        for (int64_t r = 0; r < rows; r++) COMBINE(1, r);
      }
#undef COMBINE
    }
  }
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t j = 0; j < width; j++) {
      const int64_t block = j / BYTES * BYTES, l = j % BYTES / 16, q = j % 16 / 4;
      sums[r * sums_stride + j] = scratch[r * pitch + block + q * LANES + 4 * l + j % 4];
    }
  }
}

// Vectors of at most 32 bytes, so that a part of 32 columns fills one; the plain variant takes two halves.
INLINE void NAME(scaled_parts)(int64_t columns, const int64_t part_columns, const int8_t *x, const uint8_t *w,
                               const float *scales, const int32_t *addends, float *lanes) {
  enum { PARTS = INT8_SCALED_LANES / HALF_LANES, HALF_BYTES = 4 * HALF_LANES, STEP = PARTS * HALF_BYTES };
  HALF_FLOATS totals[PARTS];
  memcpy(totals, lanes, sizeof totals);
  for (int64_t begin = 0, part = 0; begin < columns; begin += part_columns, part++) {
    const int64_t end = begin + part_columns < columns ? begin + part_columns : columns;
    // Four sums side by side, so that none waits for the one before; integers add up in any order.
    HALF several[4][PARTS] = {};
    int64_t p = begin;
    for (; p + 4 * STEP <= end; p += 4 * STEP) {
#pragma unroll
      for (int v = 0; v < 4 * PARTS; v++) {
        const HALF_UNALIGNED *codes = (const HALF_UNALIGNED *)(w + p + v * HALF_BYTES);
        const HALF_UNALIGNED *factors = (const HALF_UNALIGNED *)(x + p + v * HALF_BYTES);
        several[v / PARTS][v % PARTS] = HALF_DOT(several[v / PARTS][v % PARTS], *codes, *factors);
      }
    }
    for (; p < end; p += STEP) {
#pragma unroll
      for (int v = 0; v < PARTS; v++) {
        const HALF_UNALIGNED *codes = (const HALF_UNALIGNED *)(w + p + v * HALF_BYTES);
        const HALF_UNALIGNED *factors = (const HALF_UNALIGNED *)(x + p + v * HALF_BYTES);
        several[0][v] = HALF_DOT(several[0][v], *codes, *factors);
      }
    }
    HALF sums[PARTS];
#pragma unroll
    for (int v = 0; v < PARTS; v++) sums[v] = several[0][v] + several[1][v] + several[2][v] + several[3][v];
    sums[0][0] += (uint32_t)addends[part];
    const HALF_FLOATS scale = scales[part] - (HALF_FLOATS){};
#pragma unroll
    for (int v = 0; v < PARTS; v++) totals[v] += scale * __builtin_convertvector((HALF_INTEGERS)sums[v], HALF_FLOATS);
  }
  memcpy(lanes, totals, sizeof totals);
}

static void NAME(scaled_dots)(int64_t columns, int64_t part_columns, const int8_t *x, const uint8_t *w,
                              const float *scales, const int32_t *addends, float *lanes) {
  // The usual sizes, unrolled.
  if (part_columns == 32) {
    NAME(scaled_parts)(columns, 32, x, w, scales, addends, lanes);
  } else if (part_columns == 64 && columns % 64 == 0) {
    NAME(scaled_parts)(columns, 64, x, w, scales, addends, lanes);
  } else if (part_columns == 128 && columns % 128 == 0) {
    NAME(scaled_parts)(columns, 128, x, w, scales, addends, lanes);
  } else {
    NAME(scaled_parts)(columns, part_columns, x, w, scales, addends, lanes);
  }
}

static int32_t NAME(sum)(int64_t depth, const int8_t *row) {
  W sums = {};
  const UNSIGNED ones = AS_UNSIGNED(NAME(broadcast)(0x01010101));
  for (int64_t p = 0; p < depth; p += BYTES) {
    const uint8_t *place = (const uint8_t *)row + p;
    sums = DOT(sums, ones, AS_SIGNED(depth - p >= BYTES ? LOAD(place) : NAME(load_rest)(place, depth - p)));
  }
  uint32_t sum = 0;
  for (int l = 0; l < LANES; l++) sum += sums[l];
  return (int32_t)sum;
}

const int8_kernels NAME(temper_int8_kernels) = {
    .lanes = LANES,
    .tile_rows = TILE_ROWS,
    .tiles =
        {
            NAME(tile_1),
            NAME(tile_2),
#if TILE_ROWS >= 4
            NAME(tile_3),
            NAME(tile_4),
#endif
#if TILE_ROWS >= 12
            NAME(tile_5),
            NAME(tile_6),
            NAME(tile_7),
            NAME(tile_8),
            NAME(tile_9),
            NAME(tile_10),
            NAME(tile_11),
            NAME(tile_12),
#endif
        },
    .pack = NAME(pack),
    .interleave = NAME(interleave),
    .dots = NAME(dots),
    .combine = NAME(combine),
    .scaled_dots = NAME(scaled_dots),
    .sum = NAME(sum),
};
