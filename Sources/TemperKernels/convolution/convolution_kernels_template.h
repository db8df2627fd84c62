// Convolutions of one instruction set and element type, in the terms of vectors/vectors.h.

// The parts of a vector in memory.
typedef E NAME(half) __attribute__((vector_size(LANES / 2 * sizeof(E)), aligned(sizeof(E)), may_alias));
#define LOAD_HALF(p) (*(const NAME(half) *)(p))
#if LANES >= 4
typedef E NAME(quarter) __attribute__((vector_size(LANES / 4 * sizeof(E)), aligned(sizeof(E)), may_alias));
#define LOAD_QUARTER(p) (*(const NAME(quarter) *)(p))
#endif

// A vector whose segments begin segment_step further than its lanes would: segment s is at s * (lanes + step).
INLINE V NAME(load_segments)(const int segments, const E *p, int64_t segment_step) {
#if LANES >= 4
  if (segments == 4) {
    const int64_t next = LANES / 4 + segment_step;
    const NAME(half) low = __builtin_shufflevector(LOAD_QUARTER(p), LOAD_QUARTER(p + next), HALF_LANES);
    const NAME(half) high = __builtin_shufflevector(LOAD_QUARTER(p + 2 * next), LOAD_QUARTER(p + 3 * next), HALF_LANES);
    return (V)__builtin_shufflevector(low, high, ALL_LANES);
  }
#endif
  if (segments == 2) {
    return (V)__builtin_shufflevector(LOAD_HALF(p), LOAD_HALF(p + LANES / 2 + segment_step), ALL_LANES);
  }
  return LOAD(p);
}

INLINE void NAME(strip)(const int segments, const int rows, const int vectors, int64_t taps, const E *filters,
                        const E *planes, const int64_t *offsets, layout layout, E *out, int64_t out_stride) {
  V sums[TILE_ROWS][MAX_SINGLE_VECTORS];
#pragma unroll
  for (int i = 0; i < rows; i++) {
#pragma unroll
    for (int v = 0; v < vectors; v++) sums[i][v] = (V){};
  }
  for (int64_t t = 0; t < taps; t++) {
    const E *row = planes + offsets[t];
    V columns[MAX_SINGLE_VECTORS];
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      columns[v] = NAME(load_segments)(segments, row + v * layout.vector_step, layout.segment_step);
    }
#pragma unroll
    for (int i = 0; i < rows; i++) {
      const V filter = NAME(broadcast)(filters[i]);
#pragma unroll
      for (int v = 0; v < vectors; v++) sums[i][v] += filter * columns[v];
    }
    filters += rows;
  }
#pragma unroll
  for (int i = 0; i < rows; i++) {
#pragma unroll
    for (int v = 0; v < vectors; v++) STORE(out + i * out_stride + v * LANES, sums[i][v]);
  }
}

#define STRIP(segments, rows, vectors)                                                                           \
  static void NAME(strip_##segments##_##rows##_##vectors)(int64_t taps, const void *filters, const void *planes, \
                                                          const int64_t *offsets, layout layout, void *sums,     \
                                                          int64_t sums_stride) {                                 \
    NAME(strip)(segments, rows, vectors, taps, filters, planes, offsets, layout, sums, sums_stride);             \
  }
#define STRIPS(rows) \
  STRIP(1, rows, 1) STRIP(1, rows, 2) STRIP(2, rows, 1) STRIP(2, rows, 2) STRIP(4, rows, 1) STRIP(4, rows, 2)
STRIPS(1)
STRIPS(2) STRIPS(3) STRIPS(4)
#if TILE_ROWS >= 6
    STRIPS(5) STRIPS(6)
#endif
#if TILE_ROWS >= 12
        STRIPS(7) STRIPS(8) STRIPS(9) STRIPS(10) STRIPS(11) STRIPS(12)
#endif
            STRIP(1, 1, 4) STRIP(1, 1, 8)

                static void NAME(scatter)(int64_t rows, const void *sums, int64_t sums_stride, const run *runs,
                                          int64_t run_count, void *output, int64_t channel_stride,
                                          int64_t column_stride, const void *bias, bool relu) {
  for (int64_t i = 0; i < rows; i++) {
    const E row_bias = bias ? ((const E *)bias)[i] : 0;
    const V added = NAME(broadcast)(row_bias);
    for (int64_t index = 0; index < run_count; index++) {
      const E *from = (const E *)sums + i * sums_stride + runs[index].from;
      E *to = (E *)output + i * channel_stride + runs[index].to;
      const int64_t length = runs[index].length;
      if (column_stride != 1) {
        for (int64_t j = 0; j < length; j++)
          to[j * column_stride] = from[j];  // only in gradients, which end as they are
        continue;
      }
      for (int64_t j = 0; j < length; j += LANES) {
        const MASK mask = MASK_OF(length - j < LANES ? length - j : LANES);
        V value = LOAD_PARTIAL(from + j, mask);
        if (bias) value += added;
        if (relu) value = NAME(relu)(value);
        STORE_PARTIAL(to + j, mask, value);
      }
    }
  }
}

INLINE void NAME(dot)(const int segments, const int rows, const int columns, int64_t images, int64_t lines,
                      int64_t length, const E *left, int64_t left_stride, int64_t left_image, const E *right,
                      const int64_t *offsets, int64_t right_image, int64_t right_line, int64_t segment_step, E *out,
                      int64_t out_stride) {
  V sums[DOT_ROWS][DOT_COLUMNS];
#pragma unroll
  for (int i = 0; i < rows; i++) {
#pragma unroll
    for (int t = 0; t < columns; t++) sums[i][t] = (V){};
  }
  const E *taps[DOT_COLUMNS];
#pragma unroll
  for (int t = 0; t < columns; t++) taps[t] = right + offsets[t];
  for (int64_t g = 0; g < images; g++) {
    const E *image = left + g * left_image;
    int64_t line_begin = g * right_image;
    for (int64_t l = 0; l < lines; l++, line_begin += right_line, image += length) {
      for (int64_t f = 0; f < length; f += LANES) {
        V factors[DOT_ROWS];
#pragma unroll
        for (int i = 0; i < rows; i++) factors[i] = LOAD(image + i * left_stride + f);
#pragma unroll
        for (int t = 0; t < columns; t++) {
          const V column = NAME(load_segments)(segments, taps[t] + line_begin + f, segment_step);
#pragma unroll
          for (int i = 0; i < rows; i++) sums[i][t] += factors[i] * column;
        }
      }
    }
  }
  // Each round adds the halves of two vectors, interleaved, as in the matrix-vector products.
#pragma unroll
  for (int i = 0; i < rows; i++) {
    // Where a vector has fewer lanes than there are columns, in two turns.
#pragma unroll
    for (int turn = 0; turn < columns; turn += LANES) {
      V partial[LANES];
#pragma unroll
      for (int t = 0; t < LANES; t++) partial[t] = turn + t < columns ? sums[i][turn + t] : (V){};
#pragma unroll
      for (int half = LANES / 2; half > 0; half /= 2) {
#pragma unroll
        for (int t = 0; t < half; t++) {
          partial[t] = __builtin_shufflevector(partial[t], partial[t + half], INTERLEAVE_LOW) +
                       __builtin_shufflevector(partial[t], partial[t + half], INTERLEAVE_HIGH);
        }
      }
      const MASK mask = MASK_OF(columns - turn < LANES ? columns - turn : LANES);
      E *place = out + i * out_stride + turn;
      STORE_PARTIAL(place, mask, LOAD_PARTIAL(place, mask) + partial[0]);
    }
  }
}

#define DOT(name, segments, rows, columns)                                                                   \
  static void NAME(dot_##name##_##segments)(int64_t images, int64_t lines, int64_t length, const void *left, \
                                            int64_t left_stride, int64_t left_image, const void *right,      \
                                            const int64_t *offsets, int64_t right_image, int64_t right_line, \
                                            int64_t segment_step, void *sums, int64_t sums_stride) {         \
    NAME(dot)(segments, rows, columns, images, lines, length, left, left_stride, left_image, right, offsets, \
              right_image, right_line, segment_step, sums, sums_stride);                                     \
  }
#define DOTS(segments)                 \
  DOT(1_1, segments, 1, 1)             \
  DOT(1_3, segments, 1, 3)             \
  DOT(1_all, segments, 1, DOT_COLUMNS) \
  DOT(all_1, segments, DOT_ROWS, 1)    \
  DOT(all_3, segments, DOT_ROWS, 3)    \
  DOT(all_all, segments, DOT_ROWS, DOT_COLUMNS)
DOTS(1)
DOTS(2)
DOTS(4)

static void NAME(fill)(const void *source, int64_t height, int64_t width, int64_t first_row, int64_t row_step,
                       int64_t first_column, int64_t column_step, int64_t rows, int64_t pitch, void *plane) {
  // The columns of the plane that lie inside the source.
  int64_t begin = first_column >= 0 ? 0 : (-first_column + column_step - 1) / column_step;
  int64_t end = first_column >= width ? 0 : (width - first_column + column_step - 1) / column_step;
  if (end > pitch) end = pitch;
  memset(plane, 0, (size_t)(rows * pitch) * sizeof(E));
  const int64_t count = end - begin;
  for (int64_t i = 0; i < rows; i++) {
    const int64_t row = first_row + i * row_step;
    if (row < 0 || row >= height) continue;
    const E *from = (const E *)source + row * width + first_column + begin * column_step;
    E *to = (E *)plane + i * pitch + begin;
    for (int64_t j = 0; j < count; j += LANES) {
      const MASK mask = MASK_OF(count - j < LANES ? count - j : LANES);
      if (column_step == 1) {
        STORE_PARTIAL(to + j, mask, LOAD_PARTIAL(from + j, mask));
      } else if (column_step == 2 && j + LANES < count) {
        STORE(to + j, __builtin_shufflevector(LOAD(from + 2 * j), LOAD(from + 2 * j + LANES), EVEN_LANES));
      } else {
        for (int64_t k = j; k < j + LANES && k < count; k++) to[k] = from[k * column_step];
      }
    }
  }
}

#define AT(rows, v, s) NAME(strip_##s##_##rows##_##v)
#if TILE_ROWS >= 12
#define STRIP_LIST(v, s)                                                           \
  {AT(1, v, s), AT(2, v, s), AT(3, v, s), AT(4, v, s),  AT(5, v, s),  AT(6, v, s), \
   AT(7, v, s), AT(8, v, s), AT(9, v, s), AT(10, v, s), AT(11, v, s), AT(12, v, s)}
#elif TILE_ROWS >= 6
#define STRIP_LIST(v, s) {AT(1, v, s), AT(2, v, s), AT(3, v, s), AT(4, v, s), AT(5, v, s), AT(6, v, s)}
#else
#define STRIP_LIST(v, s) {AT(1, v, s), AT(2, v, s), AT(3, v, s), AT(4, v, s)}
#endif
#define DOT_LIST(s)                                                   \
  {                                                                   \
    {NAME(dot_1_1_##s), NAME(dot_1_3_##s), NAME(dot_1_all_##s)}, {    \
      NAME(dot_all_1_##s), NAME(dot_all_3_##s), NAME(dot_all_all_##s) \
    }                                                                 \
  }

const convolution_kernels NAME(temper_convolution_kernels) = {
    .lanes = LANES,
    .strip_rows = TILE_ROWS,
    .dot_rows = DOT_ROWS,
    .dot_columns = DOT_COLUMNS,
    .strips = {{STRIP_LIST(1, 1), STRIP_LIST(2, 1)},
               {STRIP_LIST(1, 2), STRIP_LIST(2, 2)},
               {STRIP_LIST(1, 4), STRIP_LIST(2, 4)}},
    .singles = {AT(1, 1, 1), AT(1, 2, 1), AT(1, 4, 1), AT(1, 8, 1)},
    .dots = {DOT_LIST(1), DOT_LIST(2), DOT_LIST(4)},
    .scatter = NAME(scatter),
    .fill = NAME(fill),
};

#undef STRIP
#undef STRIPS
#undef DOT
#undef DOTS
#undef DOT_LIST
#undef AT
#undef STRIP_LIST
#undef LOAD_HALF
#undef LOAD_QUARTER
