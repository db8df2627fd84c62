// The instruction-set specific parts of matrix products, as one table per variant and element type. Strides are in
// elements. The parts are generated from `matmul_kernels_template.h`.
#ifndef TEMPER_MATMUL_KERNELS_H
#define TEMPER_MATMUL_KERNELS_H

#include "matmul.h"

enum { MAX_TILE_ROWS = 12, MAX_TILE_VECTORS = 2 };

// What happens to a tile of C when its sum over a block of k is known:
// C = activation(alpha * sum + (accumulate ? C : 0) + bias).
typedef struct tile_finish {
  double alpha;
  const void *bias;  // of the tile's first column, or NULL
  bool accumulate;
  bool relu;
} tile_finish;

// C (rows x columns) from A (rows x k) and B (k x columns, unit column stride). Rows, and columns in whole vectors,
// are fixed by the function's place in the table; `last_columns` is the number of columns in the last vector, for the
// functions that take partial vectors.
typedef void tile_function(int64_t k, const void *a, int64_t a_row_stride, int64_t a_column_stride, const void *b,
                           int64_t b_row_stride, void *c, int64_t c_row_stride, const tile_finish *finish,
                           int64_t last_columns);

// Panels of `pitch` columns, one behind the other: element (p, i) of the source goes to
// panels[(i / pitch) * depth * pitch + p * pitch + i % pitch]; what the last panel lacks in width is filled with 0.
typedef void pack_function(int64_t depth, int64_t width, int64_t pitch, const void *source, int64_t depth_stride,
                           int64_t width_stride, void *panels);

// y[j * y_stride] = finish(sum over p of x[p] * matrix[p * depth_stride + j * width_stride]) for j < width; x is
// contiguous; one of the two strides is 1; bias_stride is 0 or 1.
typedef void vector_product_function(int64_t depth, int64_t width, const void *x, const void *matrix,
                                     int64_t depth_stride, int64_t width_stride, void *y, int64_t y_stride,
                                     const tile_finish *finish, int64_t bias_stride);

typedef struct matmul_kernels {
  int64_t lanes;      // elements in a vector
  int64_t tile_rows;  // rows of the largest tile; it is MAX_TILE_VECTORS vectors wide
  tile_function *tiles[2][MAX_TILE_VECTORS][MAX_TILE_ROWS];  // [is partial][vectors - 1][rows - 1]
  pack_function *pack;
  vector_product_function *vector_product;
} matmul_kernels;

extern const matmul_kernels temper_matmul_kernels_plain_f32, temper_matmul_kernels_plain_f64;
#if defined(__x86_64__)
extern const matmul_kernels temper_matmul_kernels_avx2_f32, temper_matmul_kernels_avx2_f64;
extern const matmul_kernels temper_matmul_kernels_avx512_f32, temper_matmul_kernels_avx512_f64;
#endif

const matmul_kernels *temper_matmul_kernels(temper_variant resolved, temper_element element);

#endif
