// Matrix products of one instruction set and element type, in the terms of vectors/vectors.h.

// `rows`, `vectors` and `partial` are constants, so that the sums live in registers.
INLINE void NAME(tile)(const int rows, const int vectors, const bool partial, int64_t k, const E *a,
                       int64_t a_row_stride, int64_t a_column_stride, const E *b, int64_t b_row_stride, E *c,
                       int64_t c_row_stride, const tile_finish *finish, int64_t last_columns) {
  const MASK mask = MASK_OF(partial ? last_columns : LANES);
  V sums[TILE_ROWS][MAX_TILE_VECTORS];
#pragma unroll
  for (int i = 0; i < rows; i++) {
#pragma unroll
    for (int v = 0; v < vectors; v++) sums[i][v] = (V){};
  }
  // Three rows share a base pointer, so that x86 address modes reach them with few registers.
  const E *bases[(TILE_ROWS + 2) / 3];
#pragma unroll
  for (int i = 0; i < rows; i += 3) bases[i / 3] = a + i * a_row_stride;
  for (int64_t p = 0; p < k; p++) {
    V columns[MAX_TILE_VECTORS];
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      columns[v] = partial && v == vectors - 1 ? LOAD_PARTIAL(b + v * LANES, mask) : LOAD(b + v * LANES);
    }
#pragma unroll
    for (int i = 0; i < rows; i++) {
      V x = NAME(broadcast)(bases[i / 3][i % 3 * a_row_stride]);
#pragma unroll
      for (int v = 0; v < vectors; v++) sums[i][v] += x * columns[v];
    }
#pragma unroll
    for (int i = 0; i < rows; i += 3) bases[i / 3] += a_column_stride;
    b += b_row_stride;
  }
  if (finish->alpha != 1) {
    const V alpha = NAME(broadcast)((E)finish->alpha);
#pragma unroll
    for (int i = 0; i < rows; i++) {
#pragma unroll
      for (int v = 0; v < vectors; v++) sums[i][v] *= alpha;
    }
  }
  const E *bias = finish->bias;
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    const bool masked = partial && v == vectors - 1;
    V column_bias = {};
    if (bias) column_bias = masked ? LOAD_PARTIAL(bias + v * LANES, mask) : LOAD(bias + v * LANES);
#pragma unroll
    for (int i = 0; i < rows; i++) {
      E *place = c + i * c_row_stride + v * LANES;
      V value = sums[i][v];
      if (finish->accumulate) value += masked ? LOAD_PARTIAL(place, mask) : LOAD(place);
      if (bias) value += column_bias;
      if (finish->relu) value = NAME(relu)(value);
      if (masked) {
        STORE_PARTIAL(place, mask, value);
      } else {
        STORE(place, value);
      }
    }
  }
}

#define TILE(rows, vectors, partial)                                                                                  \
  static void NAME(tile_##rows##_##vectors##_##partial)(                                                              \
      int64_t k, const void *a, int64_t a_row_stride, int64_t a_column_stride, const void *b, int64_t b_row_stride,   \
      void *c, int64_t c_row_stride, const tile_finish *finish, int64_t last_columns) {                               \
    NAME(tile)(rows, vectors, partial, k, a, a_row_stride, a_column_stride, b, b_row_stride, c, c_row_stride, finish, \
               last_columns);                                                                                         \
  }
#define TILES(rows) TILE(rows, 1, 0) TILE(rows, 1, 1) TILE(rows, 2, 0) TILE(rows, 2, 1)
TILES(1)
TILES(2)
TILES(3) TILES(4)
#if TILE_ROWS >= 6
    TILES(5) TILES(6)
#endif
#if TILE_ROWS >= 12
        TILES(7) TILES(8) TILES(9) TILES(10) TILES(11) TILES(12)
#endif

#define TRANSPOSED V
#include "../vectors/transpose_template.h"

// Panels whose width runs along memory: copies rows, each into all panels, so that memory is read in order.
static void NAME(pack_rows)(int64_t depth, int64_t width, int64_t pitch, const E *source, int64_t depth_stride,
                            E *panels) {
  const int64_t whole = width / pitch, rest = width - whole * pitch;
  const MASK pitch_mask = MASK_OF(pitch % LANES), rest_mask = MASK_OF(rest % LANES);
  for (int64_t p = 0; p < depth; p++, source += depth_stride) {
    const E *from = source;
    E *to = panels + p * pitch;
    for (int64_t panel = 0; panel < whole; panel++, from += pitch, to += depth * pitch) {
      int64_t i = 0;
      for (; i + LANES <= pitch; i += LANES) STORE(to + i, LOAD(from + i));
      if (i < pitch) STORE_PARTIAL(to + i, pitch_mask, LOAD_PARTIAL(from + i, pitch_mask));
    }
    if (rest > 0) {
      int64_t i = 0;
      for (; i + LANES <= rest; i += LANES) STORE(to + i, LOAD(from + i));
      if (i < rest) {
        STORE_PARTIAL(to + i, rest_mask, LOAD_PARTIAL(from + i, rest_mask));
        i = rest;
      }
      for (; i < pitch; i++) to[i] = 0;
    }
  }
}

// A panel whose depth runs along memory: transposes squares of LANES x LANES.
static void NAME(pack_transposed)(int64_t depth, int64_t width, int64_t pitch, const E *source, int64_t width_stride,
                                  E *panel) {
  for (int64_t p = 0; p < depth; p += LANES) {
    const int64_t count = depth - p < LANES ? depth - p : LANES;
    const MASK mask = MASK_OF(count);
    for (int64_t first = 0; first < pitch; first += LANES) {
      V square[LANES];
#pragma unroll
      for (int i = 0; i < LANES; i++) {
        const E *place = source + p + (first + i) * width_stride;
        square[i] = first + i >= width ? (V){} : count == LANES ? LOAD(place) : LOAD_PARTIAL(place, mask);
      }
      NAME(transpose)(square);
      E *out = panel + p * pitch + first;
      const MASK fits = MASK_OF(pitch - first < LANES ? pitch - first : LANES);
      if (count == LANES && pitch - first >= LANES) {
#pragma unroll
        for (int i = 0; i < LANES; i++) STORE(out + i * pitch, square[i]);
      } else {
#pragma unroll
        for (int i = 0; i < LANES; i++) {
          if (i < count) STORE_PARTIAL(out + i * pitch, fits, square[i]);
        }
      }
    }
  }
}

static void NAME(pack)(int64_t depth, int64_t width, int64_t pitch, const void *source, int64_t depth_stride,
                       int64_t width_stride, void *panels) {
  if (width_stride == 1) {
    NAME(pack_rows)(depth, width, pitch, source, depth_stride, panels);
    return;
  }
  const E *from = source;
  E *to = panels;
  for (int64_t first = 0; first < width; first += pitch, from += pitch * width_stride, to += depth * pitch) {
    const int64_t count = width - first < pitch ? width - first : pitch;
    if (depth_stride == 1) {
      NAME(pack_transposed)(depth, count, pitch, from, width_stride, to);
      continue;
    }
    for (int64_t p = 0; p < depth; p++) {
      for (int64_t i = 0; i < count; i++) to[p * pitch + i] = from[p * depth_stride + i * width_stride];
      for (int64_t i = count; i < pitch; i++) to[p * pitch + i] = 0;
    }
  }
}

// Dot products of x with `columns` columns that run along memory, each left as LANES partial sums.
INLINE void NAME(partial_dots)(const int columns, int64_t depth, const E *x, const E *matrix, int64_t width_stride,
                               V *dots) {
  V even[4] = {}, odd[4] = {};
  int64_t p = 0;
  for (; p + 2 * LANES <= depth; p += 2 * LANES) {
#pragma unroll
    for (int j = 0; j < columns; j++) {
      even[j] += LOAD(x + p) * LOAD(matrix + j * width_stride + p);
      odd[j] += LOAD(x + p + LANES) * LOAD(matrix + j * width_stride + p + LANES);
    }
  }
  for (; p < depth; p += LANES) {
    const MASK mask = MASK_OF(depth - p < LANES ? depth - p : LANES);
    V part = LOAD_PARTIAL(x + p, mask);
#pragma unroll
    for (int j = 0; j < columns; j++) even[j] += part * LOAD_PARTIAL(matrix + j * width_stride + p, mask);
  }
#pragma unroll
  for (int j = 0; j < columns; j++) dots[j] = even[j] + odd[j];
}

// Dot products with columns that run along memory; the partial sums of LANES of them are added up side by side.
static void NAME(dot_columns)(int64_t depth, int64_t width, const E *x, const E *matrix, int64_t width_stride,
                              E *sums) {
  for (int64_t first = 0; first < width; first += LANES) {
    const int64_t count = width - first < LANES ? width - first : LANES;
    const E *columns = matrix + first * width_stride;
    V dots[LANES] = {};
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) NAME(partial_dots)(4, depth, x, columns + j * width_stride, width_stride, dots + j);
    for (; j < count; j++) NAME(partial_dots)(1, depth, x, columns + j * width_stride, width_stride, dots + j);
    // Each round adds the halves of two vectors, interleaved: half as many vectors hold half as many partial sums.
#pragma unroll
    for (int half = LANES / 2; half > 0; half /= 2) {
#pragma unroll
      for (int i = 0; i < half; i++) {
        dots[i] = __builtin_shufflevector(dots[i], dots[i + half], INTERLEAVE_LOW) +
                  __builtin_shufflevector(dots[i], dots[i + half], INTERLEAVE_HIGH);
      }
    }
    STORE_PARTIAL(sums + first, MASK_OF(count), dots[0]);
  }
}

// The next `vectors` vectors of columns; the sums stay in registers.
INLINE void NAME(combine_vectors)(const int vectors, const bool partial, int64_t depth, const E *x, const E *matrix,
                                  int64_t depth_stride, E *sums, MASK mask) {
  V part[8] = {};
  for (int64_t p = 0; p < depth; p++, matrix += depth_stride) {
    const V factor = NAME(broadcast)(x[p]);
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      part[v] += factor * (partial ? LOAD_PARTIAL(matrix + v * LANES, mask) : LOAD(matrix + v * LANES));
    }
  }
#pragma unroll
  for (int v = 0; v < vectors; v++) STORE_PARTIAL(sums + v * LANES, partial ? mask : MASK_OF(LANES), part[v]);
}

// Combines `depth` rows of a matrix in the caches.
static void NAME(combine_columns)(int64_t depth, int64_t width, const E *x, const E *matrix, int64_t depth_stride,
                                  E *sums) {
  const MASK all = MASK_OF(LANES);
  int64_t j = 0;
  for (; j + 8 * LANES <= width; j += 8 * LANES) {
    NAME(combine_vectors)(8, false, depth, x, matrix + j, depth_stride, sums + j, all);
  }
  for (; j + 4 * LANES <= width; j += 4 * LANES) {
    NAME(combine_vectors)(4, false, depth, x, matrix + j, depth_stride, sums + j, all);
  }
  for (; j < width; j += LANES) {
    const MASK mask = MASK_OF(width - j < LANES ? width - j : LANES);
    NAME(combine_vectors)(1, true, depth, x, matrix + j, depth_stride, sums + j, mask);
  }
}

// Combines rows of a matrix in memory: streams eight rows at a time through sums in the first-level cache.
static void NAME(combine_rows)(int64_t depth, int64_t width, const E *x, const E *matrix, int64_t depth_stride,
                               E *sums) {
  for (int64_t j = 0; j < width; j++) sums[j] = 0;
  int64_t p = 0;
  for (; p + 8 <= depth; p += 8) {
    const E *rows = matrix + p * depth_stride;
    for (int64_t j = 0; j < width; j++) {
      E sum = sums[j];
#pragma unroll
      for (int r = 0; r < 8; r++) sum += x[p + r] * rows[r * depth_stride + j];
      sums[j] = sum;
    }
  }
  for (; p < depth; p++) {
    for (int64_t j = 0; j < width; j++) sums[j] += x[p] * matrix[p * depth_stride + j];
  }
}

// y = finish(sums)
static void NAME(finish_vector)(int64_t width, const E *sums, E *y, int64_t y_stride, const tile_finish *finish,
                                const E *bias, int64_t bias_stride) {
  const E alpha = (E)finish->alpha;
  if (y_stride == 1 && !finish->accumulate && !bias && !finish->relu) {
    for (int64_t j = 0; j < width; j++) y[j] = sums[j] * alpha;
    return;
  }
  for (int64_t j = 0; j < width; j++) {
    E value = sums[j] * alpha;
    if (finish->accumulate) value += y[j * y_stride];
    if (bias) value += bias[j * bias_stride];
    y[j * y_stride] = finish->relu && value < 0 ? 0 : value;
  }
}

static void NAME(vector_product)(int64_t depth, int64_t width, const void *x, const void *matrix, int64_t depth_stride,
                                 int64_t width_stride, void *y, int64_t y_stride, const tile_finish *finish,
                                 int64_t bias_stride) {
  enum { SUMS = 4096 / sizeof(E), CACHED = (256 << 10) / sizeof(E) };
  const E *columns = matrix;
  const E *bias = finish->bias;
  E sums[SUMS];
  for (int64_t first = 0; first < width; first += SUMS) {
    const int64_t count = width - first < SUMS ? width - first : SUMS;
    const E *corner = columns + first * width_stride;
    if (width_stride != 1) {
      NAME(dot_columns)(depth, count, x, corner, width_stride, sums);
    } else if (depth * width <= CACHED) {
      NAME(combine_columns)(depth, count, x, corner, depth_stride, sums);
    } else {
      NAME(combine_rows)(depth, count, x, corner, depth_stride, sums);
    }
    NAME(finish_vector)(count, sums, (E *)y + first * y_stride, y_stride, finish,
                        bias ? bias + first * bias_stride : NULL, bias_stride);
  }
}

#define AT(rows, v, p) NAME(tile_##rows##_##v##_##p)
#if TILE_ROWS >= 12
#define TILE_LIST(v, p)                                                            \
  {AT(1, v, p), AT(2, v, p), AT(3, v, p), AT(4, v, p),  AT(5, v, p),  AT(6, v, p), \
   AT(7, v, p), AT(8, v, p), AT(9, v, p), AT(10, v, p), AT(11, v, p), AT(12, v, p)}
#elif TILE_ROWS >= 6
#define TILE_LIST(v, p) {AT(1, v, p), AT(2, v, p), AT(3, v, p), AT(4, v, p), AT(5, v, p), AT(6, v, p)}
#else
#define TILE_LIST(v, p) {AT(1, v, p), AT(2, v, p), AT(3, v, p), AT(4, v, p)}
#endif

const matmul_kernels NAME(temper_matmul_kernels) = {
    .lanes = LANES,
    .tile_rows = TILE_ROWS,
    .tiles = {{TILE_LIST(1, 0), TILE_LIST(2, 0)}, {TILE_LIST(1, 1), TILE_LIST(2, 1)}},
    .pack = NAME(pack),
    .vector_product = NAME(vector_product),
};

#undef TILE
#undef TILES
#undef AT
#undef TILE_LIST
