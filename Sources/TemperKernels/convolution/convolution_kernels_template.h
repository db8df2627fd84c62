// Convolutions of one instruction set and element type, in the terms of vectors/vectors.h.

INLINE void NAME(strip)(const int rows, const int vectors, int64_t taps, const E *filters, const E *planes,
                        const int64_t *offsets, bool accumulate, E *out, int64_t out_stride) {
  V sums[TILE_ROWS][MAX_SINGLE_VECTORS];
#pragma unroll
  for (int i = 0; i < rows; i++) {
#pragma unroll
    for (int v = 0; v < vectors; v++) sums[i][v] = accumulate ? LOAD(out + i * out_stride + v * LANES) : (V){};
  }
  for (int64_t t = 0; t < taps; t++) {
    const E *row = planes + offsets[t];
    V columns[MAX_SINGLE_VECTORS];
#pragma unroll
    for (int v = 0; v < vectors; v++) columns[v] = LOAD(row + v * LANES);
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

#define STRIP(rows, vectors)                                                                        \
  static void NAME(strip_##rows##_##vectors)(int64_t taps, const void *filters, const void *planes, \
                                             const int64_t *offsets, bool accumulate, void *sums,   \
                                             int64_t sums_stride) {                                 \
    NAME(strip)(rows, vectors, taps, filters, planes, offsets, accumulate, sums, sums_stride);      \
  }
#define STRIPS(rows) STRIP(rows, 1) STRIP(rows, 2)
STRIPS(1)
STRIPS(2)
STRIPS(3) STRIPS(4)
#if TILE_ROWS >= 6
    STRIPS(5) STRIPS(6)
#endif
#if TILE_ROWS >= 12
        STRIPS(7) STRIPS(8) STRIPS(9) STRIPS(10) STRIPS(11) STRIPS(12)
#endif
            STRIP(1, 4) STRIP(1, 8)

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

// sums[i][t] in the lanes of out[(i * columns + t) / LANES]: each round adds the halves of two vectors, interleaved, so
// that half as many vectors hold half as many partial sums each.
INLINE void NAME(add_lanes)(const int count, const V *sums, V *out) {
#pragma unroll
  for (int first = 0; first < count; first += LANES) {
    V partial[LANES];
#pragma unroll
    for (int t = 0; t < LANES; t++) partial[t] = first + t < count ? sums[first + t] : (V){};
#pragma unroll
    for (int half = LANES / 2; half > 0; half /= 2) {
#pragma unroll
      for (int t = 0; t < half; t++) {
        partial[t] = __builtin_shufflevector(partial[t], partial[t + half], INTERLEAVE_LOW) +
                     __builtin_shufflevector(partial[t], partial[t + half], INTERLEAVE_HIGH);
      }
    }
    out[first / LANES] = partial[0];
  }
}

INLINE void NAME(dot)(const int rows, const int columns, int64_t images, int64_t length, const E *left,
                      int64_t left_stride, int64_t left_image, const E *right, const int64_t *offsets,
                      int64_t right_image, E *out, int64_t out_stride) {
  V sums[DOT_ROWS * DOT_COLUMNS];
#pragma unroll
  for (int i = 0; i < rows * columns; i++) sums[i] = (V){};
  const E *taps[DOT_COLUMNS];
#pragma unroll
  for (int t = 0; t < columns; t++) taps[t] = right + offsets[t];
  for (int64_t g = 0; g < images; g++) {
    for (int64_t f = 0; f < length; f += LANES) {
      V factors[DOT_ROWS];
#pragma unroll
      for (int i = 0; i < rows; i++) factors[i] = LOAD(left + i * left_stride + f);
#pragma unroll
      for (int t = 0; t < columns; t++) {
        const V column = LOAD(taps[t] + f);
#pragma unroll
        for (int i = 0; i < rows; i++) sums[i * columns + t] += factors[i] * column;
      }
    }
    left += left_image;
#pragma unroll
    for (int t = 0; t < columns; t++) taps[t] += right_image;
  }
  V totals[(DOT_ROWS * DOT_COLUMNS + LANES - 1) / LANES];
  NAME(add_lanes)(rows * columns, sums, totals);
  const E *total = (const E *)totals;
#pragma unroll
  for (int i = 0; i < rows; i++) {
#pragma unroll
    for (int t = 0; t < columns; t++) out[i * out_stride + t] += total[i * columns + t];
  }
}

#define DOT(name, rows, columns)                                                                                   \
  static void NAME(dot_##name)(int64_t images, int64_t length, const void *left, int64_t left_stride,              \
                               int64_t left_image, const void *right, const int64_t *offsets, int64_t right_image, \
                               void *sums, int64_t sums_stride) {                                                  \
    NAME(dot)(rows, columns, images, length, left, left_stride, left_image, right, offsets, right_image, sums,     \
              sums_stride);                                                                                        \
  }
DOT(1_1, 1, 1)
DOT(1_3, 1, 3)
DOT(1_all, 1, DOT_COLUMNS)
DOT(all_1, DOT_ROWS, 1)
DOT(all_3, DOT_ROWS, 3)
DOT(all_all, DOT_ROWS, DOT_COLUMNS)

// to[j] = from[2 * j]
INLINE void NAME(copy_even)(int64_t count, const E *from, E *to) {
  for (int64_t j = 0; j < count; j += LANES) {
    const int64_t rest = 2 * (count - j) - 1, above = rest - LANES;
    const V low = LOAD_PARTIAL(from + 2 * j, MASK_OF(rest < LANES ? rest : LANES));
    const V high = LOAD_PARTIAL(from + 2 * j + LANES, MASK_OF(above < 0 ? 0 : above < LANES ? above : LANES));
    const V even = __builtin_shufflevector(low, high, EVEN_LANES);
    STORE_PARTIAL(to + j, MASK_OF(count - j < LANES ? count - j : LANES), even);
  }
}

static void NAME(fill)(const void *source, int64_t height, int64_t width, int64_t first_row, int64_t row_step,
                       int64_t first_column, int64_t column_step, int64_t rows, int64_t pitch, void *plane) {
  // The columns of the plane that lie inside the source.
  int64_t begin = first_column >= 0 ? 0 : (-first_column + column_step - 1) / column_step;
  int64_t end = first_column >= width ? 0 : (width - first_column + column_step - 1) / column_step;
  if (end > pitch) end = pitch;
  memset(plane, 0, (size_t)(rows * pitch) * sizeof(E));
  if (begin >= end) return;
  const int64_t count = end - begin, whole = count - count % LANES;
  const MASK rest = MASK_OF(count % LANES);
  for (int64_t i = 0; i < rows; i++) {
    const int64_t row = first_row + i * row_step;
    if (row < 0 || row >= height) continue;
    const E *from = (const E *)source + row * width + first_column + begin * column_step;
    E *to = (E *)plane + i * pitch + begin;
    if (column_step == 1) {
      for (int64_t j = 0; j < whole; j += LANES) STORE(to + j, LOAD(from + j));
      if (whole < count) STORE_PARTIAL(to + whole, rest, LOAD_PARTIAL(from + whole, rest));
    } else if (column_step == 2) {
      NAME(copy_even)(count, from, to);
    } else {
      for (int64_t j = 0; j < count; j++) to[j] = from[j * column_step];
    }
  }
}

#define AT(rows, v) NAME(strip_##rows##_##v)
#if TILE_ROWS >= 12
#define STRIP_LIST(v)                                            \
  {AT(1, v), AT(2, v), AT(3, v), AT(4, v),  AT(5, v),  AT(6, v), \
   AT(7, v), AT(8, v), AT(9, v), AT(10, v), AT(11, v), AT(12, v)}
#elif TILE_ROWS >= 6
#define STRIP_LIST(v) {AT(1, v), AT(2, v), AT(3, v), AT(4, v), AT(5, v), AT(6, v)}
#else
#define STRIP_LIST(v) {AT(1, v), AT(2, v), AT(3, v), AT(4, v)}
#endif

const convolution_kernels NAME(temper_convolution_kernels) = {
    .lanes = LANES,
    .strip_rows = TILE_ROWS,
    .dot_rows = DOT_ROWS,
    .dot_columns = DOT_COLUMNS,
    .strips = {STRIP_LIST(1), STRIP_LIST(2)},
    .singles = {AT(1, 1), AT(1, 2), AT(1, 4), AT(1, 8)},
    .dots = {{NAME(dot_1_1), NAME(dot_1_3), NAME(dot_1_all)}, {NAME(dot_all_1), NAME(dot_all_3), NAME(dot_all_all)}},
    .scatter = NAME(scatter),
    .fill = NAME(fill),
};

#undef STRIP
#undef STRIPS
#undef DOT
#undef AT
#undef STRIP_LIST
