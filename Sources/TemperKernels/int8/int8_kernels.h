// The instruction-set specific parts of products of 8-bit integers, generated from `int8_kernels_template.h`.
//
// The machine multiplies unsigned with signed bytes: four neighbours at a time, summed into 32 bits. So B enters as
// b + 128 (its bits with the sign bit flipped), which adds 128 times the sum of A's row to every element of that row.
// A "quad" is four consecutive k of one row or column.
#ifndef TEMPER_INT8_KERNELS_H
#define TEMPER_INT8_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "variant.h"

enum { INT8_MAX_TILE_ROWS = 12, INT8_TILE_VECTORS = 2, INT8_DOT_ROWS = 4, INT8_DOT_COLUMNS = 4 };

// C (rows x 2 vectors) = or += A B - corrections of the rows. Quads of A are at a + row * a_row_stride + quad *
// a_quad_stride, in bytes; B is a panel. Rows are fixed by the function's place in the table.
typedef void int8_tile_function(int64_t quads, const uint8_t *a, int64_t a_row_stride, int64_t a_quad_stride,
                                const uint32_t *b, int32_t *c, int64_t c_row_stride, const int32_t *corrections,
                                bool accumulate);

// Quads of `width` rows or columns that run along memory: quad (p, i) goes to
// panels[i / pitch * quads * pitch + p * pitch + i % pitch]; the last quad is filled up with bytes 0, the last panel
// with anything. All bits of `flip` are flipped. A pitch is whole vectors, or it is less than one and the only panel's:
// up to a vector is then written behind the panel.
typedef void int8_pack_function(int64_t depth, int64_t width, int64_t pitch, const uint8_t *source,
                                int64_t width_stride, uint32_t flip, uint32_t *panels);

// The same where the width runs along memory; the pitch is that of a tile.
typedef void int8_interleave_function(int64_t depth, int64_t width, const uint8_t *source, int64_t depth_stride,
                                      uint32_t flip, uint32_t *panels);

// sums[r * sums_stride + j] = dot product of row r of x and column j, for a few rows. Rows of x are 64-byte aligned and
// filled up with zeros to whole 64 bytes. Columns that are `far` are in no near cache.
typedef void int8_dots_function(int64_t rows, int64_t width, int64_t depth, const int8_t *x, int64_t x_stride,
                                const uint8_t *columns, int64_t width_stride, uint8_t flip, bool far, int32_t *sums,
                                int64_t sums_stride);

// sums (rows, width) = x times `depth` rows of a matrix, for a few rows of x; depth is at most that of x.
typedef void int8_combine_function(int64_t rows, int64_t width, int64_t depth, const int8_t *x, int64_t x_stride,
                                   const uint8_t *matrix, int64_t depth_stride, uint8_t flip, int32_t *sums,
                                   int64_t sums_stride, int32_t *scratch);

// lanes += sum over parts of scales[part] * (addends[part] + dot product of the part of x and w), the integers summed
// in vector lanes. Columns and those of a part are multiples of 32.
enum { INT8_SCALED_LANES = 8 };
typedef void int8_scaled_dots_function(int64_t columns, int64_t part_columns, const int8_t *x, const uint8_t *w,
                                       const float *scales, const int32_t *addends, float *lanes);

// The sum of a row.
typedef int32_t int8_sum_function(int64_t depth, const int8_t *row);

typedef struct int8_kernels {
  int64_t lanes;      // sums in a vector
  int64_t tile_rows;  // rows of the largest tile
  int8_tile_function *tiles[INT8_MAX_TILE_ROWS];
  int8_pack_function *pack;
  int8_interleave_function *interleave;
  int8_dots_function *dots;
  int8_combine_function *combine;
  int8_scaled_dots_function *scaled_dots;
  int8_sum_function *sum;
} int8_kernels;

extern const int8_kernels temper_int8_kernels_plain;
#if defined(__x86_64__)
extern const int8_kernels temper_int8_kernels_avx2, temper_int8_kernels_avx512, temper_int8_kernels_vnni;
#endif

const int8_kernels *temper_int8_kernels(temper_variant wanted);

#endif
