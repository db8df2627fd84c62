// The kernels of one instruction set. Included by the kernels_*.c files, which define:
//   LANES                 floats in a vector: 4, 8 or 16
//   ROWS                  rows of weights that a product with one row of X works on together
//   MANY_INPUTS, ROWS_OF_MANY   rows of X, and of weights, of a product with several rows of X
//   NAME(x)               adds the variant's suffix
//   WHERE_SET(word, value)   value in the lanes whose bit is set, else 0; where there is an instruction for it
//   TABLE, LOAD_TABLE(p), LOOK_UP(table, codes)   16 floats in registers; only the low 4 bits of a code count
// and, where one shift makes vectors of 4-bit codes (of 16 lanes):
//   NIBBLES(p)            the codes of 8 bytes, in an order of their own
//   SHUFFLE(order, a, b)  the floats of a and b in the order of 16 indices

#include <string.h>

#define INLINE static inline __attribute__((always_inline))
enum { UNIT = TEMPER_PACKED_UNIT, PARTS = UNIT / LANES, LINE = 64 };

typedef float NAME(floats) __attribute__((vector_size(4 * LANES)));
typedef int32_t NAME(integers) __attribute__((vector_size(4 * LANES)));
typedef uint8_t NAME(bytes) __attribute__((vector_size(LANES)));
#define V NAME(floats)
#define I NAME(integers)

// Vectors in memory, at no more than their element's alignment.
typedef V NAME(unaligned) __attribute__((aligned(4), may_alias));
typedef NAME(bytes) NAME(unaligned_bytes) __attribute__((aligned(1), may_alias));
#define LOAD(p) (*(const NAME(unaligned) *)(p))
#define STORE(p, v) (*(NAME(unaligned) *)(p) = (v))

INLINE V NAME(broadcast)(float x) { return x - (V){}; }

INLINE I NAME(lane_numbers)(void) {
  I numbers;
#pragma unroll
  for (int i = 0; i < LANES; i++) numbers[i] = i;
  return numbers;
}

INLINE I NAME(load_bytes)(const uint8_t *p) {
  return __builtin_convertvector(*(const NAME(unaligned_bytes) *)p, I);
}

// A plane of `width` = 1 or 2 bits a column: the bits of this part's columns, spread over the lanes, times 2^shift.
INLINE I NAME(spread)(const int width, const uint8_t *plane, const int part, const int shift) {
  const int bits = width * LANES, first = part * bits;
  uint32_t word = 0;
  memcpy(&word, plane + first / 8, bits <= 8 ? 1 : (size_t)bits / 8);
#ifdef WHERE_SET
  if (width == 1) return WHERE_SET(word, 1 << shift);
#endif
  const I all = (int32_t)(word >> (first % 8)) - (I){};
  return ((all >> (NAME(lane_numbers)() * width)) & ((1 << width) - 1)) << shift;
}

// The codes of columns [part * LANES, part * LANES + LANES) of a unit. Bits above the low 4 are junk unless `exact`.
INLINE I NAME(codes)(const int bits, const bool exact, const uint8_t *unit, const int part) {
  if (bits == 8) return NAME(load_bytes)(unit + part * LANES);
  I codes = {};
  int shift = 0;
  if (bits & 4) {
    const int column = part * LANES;
    codes = NAME(load_bytes)(unit + column % 16) >> (column / 16 * 4);
    if (exact || bits > 4) codes &= 15;
    unit += 16;
    shift = 4;
  }
  if (bits & 2) {
    codes |= NAME(spread)(2, unit, part, shift);
    unit += 8;
    shift += 2;
  }
  if (bits & 1) codes |= NAME(spread)(1, unit, part, shift);
  return codes;
}

// What turns the codes of a group into weights: up to 4 bits a table of 16 weights, beyond that a scale and a shift.
typedef struct NAME(group) {
  TABLE table;
  V scale, shift;
  const float *levels;
} NAME(group);

INLINE NAME(group) NAME(group_of)(const int bits, const bool coded, const temper_packed_matrix *matrix,
                                  const float *levels, int64_t row, int64_t index) {
  const int64_t place = row * matrix->scale_row_stride + index;
  const float scale = matrix->scales[place];
  const float zero = matrix->zeros ? (float)matrix->zeros[place] : 0;
  NAME(group) group;
  if (bits <= 4) {
    float weights[16];
#pragma unroll
    for (int i = 0; i < 16; i += LANES) {
      STORE(weights + i, NAME(broadcast)(scale) * (LOAD(levels + i) - NAME(broadcast)(zero)));
    }
    group.table = LOAD_TABLE(weights);
  } else {
    group.scale = NAME(broadcast)(scale);
    // Whole numbers of this size add exactly, so the order does not matter.
    group.shift = NAME(broadcast)((coded ? 0 : matrix->first_level) - zero);
    group.levels = levels;
  }
  return group;
}

INLINE V NAME(weights)(const int bits, const bool coded, const uint8_t *unit, const int part,
                       const NAME(group) *group) {
  if (bits <= 4) return LOOK_UP(group->table, NAME(codes)(bits, false, unit, part));
  const I codes = NAME(codes)(bits, true, unit, part);
  V levels;
  if (coded) {
#pragma unroll
    for (int i = 0; i < LANES; i++) levels[i] = group->levels[codes[i]];
  } else {
    levels = __builtin_convertvector(codes, V);
  }
  return group->scale * (levels + group->shift);
}

// The levels of codes of up to 4 bits as a table of 16.
INLINE const float *NAME(levels_of)(const int bits, const bool coded, const temper_packed_matrix *matrix,
                                    float small[16]) {
  if (bits > 4) return matrix->levels;
  for (int i = 0; i < 16; i++) {
    const int code = i & ((1 << bits) - 1);
    small[i] = coded ? matrix->levels[code] : matrix->first_level + (float)code;
  }
  return small;
}

INLINE int64_t NAME(units_of_group)(const temper_packed_matrix *matrix) {
  const int64_t units = (matrix->columns + UNIT - 1) / UNIT;
  return matrix->group_size >= matrix->columns ? units : matrix->group_size / UNIT;
}

INLINE float NAME(sum_of_lanes)(float lanes[UNIT]) {
#pragma unroll
  for (int step = UNIT / 2; step > 0; step /= 2) {
#pragma unroll
    for (int l = 0; l < step; l++) lanes[l] += lanes[l + step];
  }
  return lanes[0];
}

// `rows` rows of weights with `inputs` rows of X. `last_x` are the units of X that columns do not fill.
INLINE void NAME(product_rows)(const int bits, const bool coded, const int rows, const int inputs,
                               const temper_packed_matrix *matrix, const float *levels, int64_t row, const float *x,
                               int64_t x_row_stride, const float *last_x, float *y, int64_t y_row_stride) {
  V sums[MANY_INPUTS][ROWS][PARTS];
  NAME(group) groups[ROWS];
  const uint8_t *codes[ROWS];
  const int64_t row_bytes = temper_packed_row_bytes(matrix->columns, bits);
#pragma unroll
  for (int r = 0; r < rows; r++) {
    codes[r] = matrix->codes + (row + r) * row_bytes;
#pragma unroll
    for (int i = 0; i < inputs; i++) {
#pragma unroll
      for (int p = 0; p < PARTS; p++) sums[i][r][p] = (V){};
    }
  }
  const int64_t units = (matrix->columns + UNIT - 1) / UNIT, whole_units = matrix->columns / UNIT;
  const int64_t units_of_group = NAME(units_of_group)(matrix);
  for (int64_t unit = 0, index = 0; unit < units; index++) {
#pragma unroll
    for (int r = 0; r < rows; r++) groups[r] = NAME(group_of)(bits, coded, matrix, levels, row + r, index);
    const int64_t end = unit + units_of_group < units ? unit + units_of_group : units;
    for (; unit < end; unit++) {
      const float *from = unit < whole_units ? x + unit * UNIT : last_x;
      const int64_t stride = unit < whole_units ? x_row_stride : UNIT;
      // The processor sees no further than a page; the next rows lie behind it.
      if (rows > 1 && inputs == 1 && unit * 4 * bits % LINE < 4 * bits) {
#pragma unroll
        for (int r = 0; r < rows; r++) __builtin_prefetch(codes[r] + rows * row_bytes + unit * 4 * bits, 0, 2);
      }
#pragma unroll
      for (int p = 0; p < PARTS; p++) {
        V parts[MANY_INPUTS];
#pragma unroll
        for (int i = 0; i < inputs; i++) parts[i] = LOAD(from + i * stride + p * LANES);
#pragma unroll
        for (int r = 0; r < rows; r++) {
          const V weights = NAME(weights)(bits, coded, codes[r] + unit * 4 * bits, p, &groups[r]);
#pragma unroll
          for (int i = 0; i < inputs; i++) sums[i][r][p] += parts[i] * weights;
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < rows; r++) {
#pragma unroll
    for (int i = 0; i < inputs; i++) {
      float lanes[UNIT];
#pragma unroll
      for (int p = 0; p < PARTS; p++) STORE(lanes + p * LANES, sums[i][r][p]);
      y[i * y_row_stride + row + r] = NAME(sum_of_lanes)(lanes);
    }
  }
}

#ifdef NIBBLES
// Columns of a unit in the order in which NIBBLES gives them: those of its first 8 bytes, then those of its last. Byte
// b has columns b and 16 + b; lanes alternate between the two words of 4 bytes. And the way back.
static const int32_t column_of_nibble[UNIT] = {0, 4,  16, 20, 1, 5,  17, 21, 2,  6,  18, 22, 3,  7,  19, 23,
                                               8, 12, 24, 28, 9, 13, 25, 29, 10, 14, 26, 30, 11, 15, 27, 31};
static const int32_t nibble_of_column[UNIT] = {0, 4, 8,  12, 1, 5, 9,  13, 16, 20, 24, 28, 17, 21, 25, 29,
                                               2, 6, 10, 14, 3, 7, 11, 15, 18, 22, 26, 30, 19, 23, 27, 31};

// A row of X in that order, filled up with zeros.
static void NAME(order_inputs)(int64_t columns, const float *x, const float *last_x, float *ordered) {
  for (int64_t column = 0; column < columns; column += UNIT) {
    const float *from = columns - column < UNIT ? last_x : x + column;
    const V low = LOAD(from), high = LOAD(from + LANES);
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
      STORE(ordered + column + p * LANES, SHUFFLE(column_of_nibble + p * LANES, low, high));
    }
  }
}

enum { UNITS_OF_LINE = 4 };  // units of 4 bits in a line of the cache

INLINE void NAME(add_nibbles)(const uint8_t *const codes[ROWS], int64_t unit, const float *ordered,
                              const NAME(group) groups[ROWS], V sums[ROWS][PARTS]) {
#pragma unroll
  for (int p = 0; p < PARTS; p++) {
    const V part = LOAD(ordered + unit * UNIT + p * LANES);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      sums[r][p] += part * LOOK_UP(groups[r].table, NIBBLES(codes[r] + unit * 16 + p * 8));
    }
  }
}

// `product_rows` for ROWS rows of 4-bit codes and one row of X in that order: the sums are the same, in other lanes.
INLINE void NAME(nibble_rows)(const bool coded, const temper_packed_matrix *matrix, const float *levels, int64_t row,
                              const float *ordered, float *y) {
  V sums[ROWS][PARTS];
  NAME(group) groups[ROWS];
  const uint8_t *codes[ROWS];
  const int64_t row_bytes = temper_packed_row_bytes(matrix->columns, 4);
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    codes[r] = matrix->codes + (row + r) * row_bytes;
#pragma unroll
    for (int p = 0; p < PARTS; p++) sums[r][p] = (V){};
  }
  const int64_t units = (matrix->columns + UNIT - 1) / UNIT, units_of_group = NAME(units_of_group)(matrix);
  for (int64_t unit = 0, index = 0; unit < units; index++) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) groups[r] = NAME(group_of)(4, coded, matrix, levels, row + r, index);
    const int64_t end = unit + units_of_group < units ? unit + units_of_group : units;
    while (unit < end) {
      if (unit % UNITS_OF_LINE == 0) {
        // The processor sees no further than a page; the next rows lie behind it.
#pragma unroll
        for (int r = 0; r < ROWS; r++) __builtin_prefetch(codes[r] + ROWS * row_bytes + unit * 16, 0, 2);
        if (unit + UNITS_OF_LINE <= end) {
#pragma unroll
          for (int u = 0; u < UNITS_OF_LINE; u++) NAME(add_nibbles)(codes, unit + u, ordered, groups, sums);
          unit += UNITS_OF_LINE;
          continue;
        }
      }
      NAME(add_nibbles)(codes, unit++, ordered, groups, sums);
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    float lanes[UNIT];
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
      STORE(lanes + p * LANES, SHUFFLE(nibble_of_column + p * LANES, sums[r][0], sums[r][1]));
    }
    y[row + r] = NAME(sum_of_lanes)(lanes);
  }
}
#endif

INLINE void NAME(vector_products)(const int bits, const bool coded, const temper_packed_matrix *matrix,
                                  int64_t row_begin, int64_t row_end, int64_t inputs, const float *x,
                                  int64_t x_row_stride, float *y, int64_t y_row_stride, float *ordered) {
  float small[16], last_x[PACKED_MOST_INPUTS][UNIT] = {};
  const float *levels = NAME(levels_of)(bits, coded, matrix, small);
  const int64_t rest = matrix->columns % UNIT;
  for (int64_t i = 0; rest > 0 && i < inputs; i++) {
    memcpy(last_x[i], x + i * x_row_stride + matrix->columns - rest, (size_t)rest * sizeof(float));
  }
#define PRODUCT(rows, count)                                                                                      \
  NAME(product_rows)(bits, coded, rows, count, matrix, levels, row, x + i * x_row_stride, x_row_stride, last_x[i], \
                     y + i * y_row_stride, y_row_stride)
  const int64_t many = MANY_INPUTS > 1 ? inputs / MANY_INPUTS * MANY_INPUTS : 0;
  // Rows from which on there are too few to go together, with several inputs and with one.
  const int64_t rest_of_many = row_end - (row_end - row_begin) % ROWS_OF_MANY;
  const int64_t rest_of_one = row_end - (row_end - row_begin) % ROWS;
  for (int64_t row = row_begin; many > 0 && row < rest_of_many; row += ROWS_OF_MANY) {
    for (int64_t i = 0; i < many; i += MANY_INPUTS) PRODUCT(ROWS_OF_MANY, MANY_INPUTS);
  }
#ifdef NIBBLES
  for (int64_t i = many; bits == 4 && i < inputs; i++) {
    NAME(order_inputs)(matrix->columns, x + i * x_row_stride, last_x[i], ordered);
    for (int64_t row = row_begin; row < rest_of_one; row += ROWS) {
      NAME(nibble_rows)(coded, matrix, levels, row, ordered, y + i * y_row_stride);
    }
  }
  const bool is_done = bits == 4;
#else
  (void)ordered;
  const bool is_done = false;
#endif
  for (int64_t row = row_begin; !is_done && many < inputs && row < rest_of_one; row += ROWS) {
    for (int64_t i = many; i < inputs; i++) PRODUCT(ROWS, 1);
  }
  for (int64_t i = 0; i < inputs; i++) {
    for (int64_t row = i < many ? rest_of_many : rest_of_one; row < row_end; row++) PRODUCT(1, 1);
  }
#undef PRODUCT
}

INLINE void NAME(dequantize)(const int bits, const bool coded, const temper_packed_matrix *matrix, int64_t row,
                             int64_t column_begin, int64_t column_end, float *out) {
  float small[16];
  const float *levels = NAME(levels_of)(bits, coded, matrix, small);
  const uint8_t *codes = matrix->codes + row * temper_packed_row_bytes(matrix->columns, bits);
  const int64_t units_of_group = NAME(units_of_group)(matrix);
  int64_t column = column_begin;
  while (column < column_end) {
    const int64_t index = column / UNIT / units_of_group;
    const NAME(group) group = NAME(group_of)(bits, coded, matrix, levels, row, index);
    const int64_t group_end = (index + 1) * units_of_group * UNIT;
    const int64_t end = group_end < column_end ? group_end : column_end;
    for (; column < end; column += UNIT) {
      const uint8_t *unit = codes + column / UNIT * 4 * bits;
      float last[UNIT];
      const int64_t count = column_end - column;
      float *place = count < UNIT ? last : out + (column - column_begin);
#pragma unroll
      for (int p = 0; p < PARTS; p++) STORE(place + p * LANES, NAME(weights)(bits, coded, unit, p, &group));
      if (count < UNIT) memcpy(out + (column - column_begin), last, (size_t)count * sizeof(float));
    }
  }
}

#define KERNELS(bits, coded)                                                                                          \
  static void NAME(vector_products_##bits##_##coded)(                                                                 \
      const temper_packed_matrix *matrix, int64_t row_begin, int64_t row_end, int64_t inputs, const float *x,         \
      int64_t x_row_stride, float *y, int64_t y_row_stride, float *ordered) {                                         \
    NAME(vector_products)(bits, coded, matrix, row_begin, row_end, inputs, x, x_row_stride, y, y_row_stride, ordered); \
  }                                                                                                                   \
  static void NAME(dequantize_##bits##_##coded)(const temper_packed_matrix *matrix, int64_t row,                      \
                                                int64_t column_begin, int64_t column_end, float *out) {               \
    NAME(dequantize)(bits, coded, matrix, row, column_begin, column_end, out);                                        \
  }
#define ALL_BITS(coded)                                                                                               \
  KERNELS(1, coded) KERNELS(2, coded) KERNELS(3, coded) KERNELS(4, coded)                                             \
  KERNELS(5, coded) KERNELS(6, coded) KERNELS(7, coded) KERNELS(8, coded)
ALL_BITS(0)
ALL_BITS(1)

#define LIST(kernel, coded)                                                                                           \
  {NAME(kernel##_1_##coded), NAME(kernel##_2_##coded), NAME(kernel##_3_##coded), NAME(kernel##_4_##coded),            \
   NAME(kernel##_5_##coded), NAME(kernel##_6_##coded), NAME(kernel##_7_##coded), NAME(kernel##_8_##coded)}

const packed_kernels NAME(temper_packed_kernels) = {
    .vector_products = {LIST(vector_products, 0), LIST(vector_products, 1)},
    .dequantize = {LIST(dequantize, 0), LIST(dequantize, 1)},
};
