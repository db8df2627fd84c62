#include "int8_product.h"

#include <string.h>

#include "../cut.h"
#include "int8_kernels.h"

// A block of B (DEPTH_BLOCK x WIDTH_BLOCK bytes) stays in the second-level cache, a tile of A in the first.
enum { DEPTH_BLOCK = 2048, WIDTH_BLOCK = 384 };

// Products of so few rows of A read B once, where it is.
enum { FEW_ROWS = 8 };

// Bytes of B, or columns of it, worth a piece of their own there.
enum { FEW_ROWS_BYTES = 256 << 10, COMBINED_COLUMNS = 512, DOT_COLUMNS = 64 };

// Of B: more is not in the second-level cache from one product to the next.
enum { FAR_BYTES = 1 << 20 };

// Lines this far apart share a set of the first-level cache.
enum { CACHE_SET_PERIOD = 4096 };

// Pieces are multiples of it: tiles of so many rows or more take as long for a row as the largest.
enum { ROW_GRAIN = 4 };

enum { FLIP = 0x80, FLIPS = 0x80808080 };

enum way : int32_t { TILES, DOTS, COMBINE };

const int8_kernels *temper_int8_kernels(temper_variant wanted) {
#if defined(__x86_64__)
  const bool has_vnni = temper_variant_available(TEMPER_VARIANT_AVX512_VNNI);
  if (has_vnni && (wanted == TEMPER_VARIANT_BEST || wanted == TEMPER_VARIANT_AVX512_VNNI)) {
    return &temper_int8_kernels_vnni;
  }
#endif
  switch (temper_variant_resolve(wanted)) {
#if defined(__x86_64__)
    case TEMPER_VARIANT_AVX512:
      return &temper_int8_kernels_avx512;
    case TEMPER_VARIANT_AVX2:
      return &temper_int8_kernels_avx2;
#endif
    default:
      return &temper_int8_kernels_plain;
  }
}

// --- the plan

static int64_t tile_columns(const int8_kernels *kernels) { return INT8_TILE_VECTORS * kernels->lanes; }

// Cuts C with the least preparation: each column piece sums the rows of A once more, each row piece packs B, which
// takes about twice as long. By rows at least once: a line of the cache that two threads write to goes back and forth
// between them, and columns of different pieces share one in every row.
static void cut_output(temper_int8_plan *plan, int64_t m, int64_t n, int64_t wanted, int64_t most_rows,
                       int64_t most_columns) {
  double least = 0;
  for (int64_t rows = minimum(minimum(wanted, most_rows), 2); rows <= minimum(wanted, most_rows); rows++) {
    const int64_t columns = minimum(divide_up(wanted, rows), most_columns);
    if (rows * columns < minimum(wanted, most_rows * most_columns)) continue;
    const double cost = 2 * (double)rows * (double)n + (double)columns * (double)m;
    if (least == 0 || cost < least) {
      least = cost;
      plan->row_pieces = rows;
      plan->column_pieces = columns;
    }
  }
}

static int64_t padded_depth(int64_t k) { return round_up(k, ALIGNMENT); }

// Scratch memory of tiles: a tile of A, a block of B, a tile of C that is not full.
static int64_t a_bytes(const int8_kernels *kernels, int64_t depth) {
  return round_up(kernels->tile_rows * round_up(depth, 4), ALIGNMENT) + ALIGNMENT;
}
static int64_t b_bytes(const int8_kernels *kernels, int64_t depth, int64_t columns) {
  return round_up(round_up(minimum(columns, WIDTH_BLOCK), tile_columns(kernels)) * round_up(depth, 4), ALIGNMENT);
}

temper_int8_plan temper_int8_plan_make(const temper_int8_product *product, int64_t threads) {
  const int64_t m = product->m, n = product->n, k = product->k;
  temper_int8_plan plan = {.variant = product->variant, .row_pieces = 1, .column_pieces = 1};
  if (m == 0 || n == 0) return plan;
  const int8_kernels *kernels = temper_int8_kernels(plan.variant);
  if (m <= FEW_ROWS) {
    plan.way = product->b_row_stride == 1 ? DOTS : COMBINE;
    const int64_t least = plan.way == DOTS ? DOT_COLUMNS : COMBINED_COLUMNS;
    plan.column_pieces = maximum(1, minimum(32, (int64_t)((double)n * (double)k / FEW_ROWS_BYTES)));
    plan.column_pieces = minimum(plan.column_pieces, divide_up(n, least));
    const int64_t columns = round_up(divide_up(n, plan.column_pieces), least);
    plan.scratch_bytes = (size_t)(m * padded_depth(k) + (plan.way == COMBINE ? INT8_DOT_ROWS * columns * 4 : 0));
  } else {
    // Bytes are multiplied four times as fast as floats, and packed no faster.
    const int64_t wanted = threads == 1 ? 1 : even_pieces(wanted_pieces((double)m * (double)n * (double)k / 8));
    cut_output(&plan, m, n, wanted, maximum(1, m / (2 * kernels->tile_rows)),
               maximum(1, n / (2 * tile_columns(kernels))));
    const int64_t depth = minimum(k, DEPTH_BLOCK);
    plan.scratch_bytes = (size_t)(a_bytes(kernels, depth) + b_bytes(kernels, depth, n) +
                                  round_up(kernels->tile_rows * tile_columns(kernels) * 4, ALIGNMENT));
  }
  plan.piece_count = plan.row_pieces * plan.column_pieces;
  return plan;
}

// --- running

// A few rows: x is A filled up with zeros, B stays where it is.
static void multiply_few_rows(const int8_kernels *kernels, const temper_int8_product *product, int32_t way,
                              range columns, void *scratch) {
  const int64_t k = product->k, pitch = padded_depth(k), width = columns.end - columns.begin;
  int8_t *x = scratch;
  const uint8_t *b = (const uint8_t *)product->b + columns.begin * product->b_column_stride;
  for (int64_t i = 0; i < product->m; i++) {
    if (k > 0) memcpy(x + i * pitch, product->a + i * product->a_row_stride, (size_t)k);
    memset(x + i * pitch + k, 0, (size_t)(pitch - k));
  }
  for (int64_t i = 0; i < product->m; i += INT8_DOT_ROWS) {
    const int64_t rows = minimum(INT8_DOT_ROWS, product->m - i);
    int32_t *c = product->c + i * product->c_row_stride + columns.begin;
    if (way == DOTS) {
      kernels->dots(rows, width, k, x + i * pitch, pitch, b, product->b_column_stride, FLIP, product->n * k > FAR_BYTES,
                    c, product->c_row_stride);
    } else {
      kernels->combine(rows, width, k, x + i * pitch, pitch, b, product->b_row_stride, FLIP, c, product->c_row_stride,
                       (int32_t *)(void *)(x + product->m * pitch));
    }
    for (int64_t r = 0; r < rows; r++) {
      const uint32_t correction = 128u * (uint32_t)kernels->sum(k, x + (i + r) * pitch);
      for (int64_t j = 0; j < width; j++) {
        c[r * product->c_row_stride + j] = (int32_t)((uint32_t)c[r * product->c_row_stride + j] - correction);
      }
    }
  }
}

// Rows and columns of one block of k against one block of B.
static void multiply_block(const int8_kernels *kernels, const temper_int8_product *product, range rows, range columns,
                           range depth, void *scratch) {
  const int64_t pitch = tile_columns(kernels), width = columns.end - columns.begin, count = depth.end - depth.begin;
  const int64_t quads = divide_up(count, 4), row_count = rows.end - rows.begin;
  const bool accumulate = depth.begin > 0;
  // A's quads can stay in place while they are whole and their rows do not all fall on the same few cache sets.
  const bool packs_a = count % 4 != 0 || product->a_row_stride % CACHE_SET_PERIOD == 0;
  uint32_t *b = offset(scratch, a_bytes(kernels, minimum(product->k, DEPTH_BLOCK)), 1);
  int32_t *edge = offset(b, b_bytes(kernels, minimum(product->k, DEPTH_BLOCK), product->n), 1);
  const uint8_t *source =
      (const uint8_t *)product->b + depth.begin * product->b_row_stride + columns.begin * product->b_column_stride;
  if (product->b_row_stride == 1) {
    kernels->pack(count, width, pitch, source, product->b_column_stride, FLIPS, b);
  } else {
    kernels->interleave(count, width, source, product->b_row_stride, FLIPS, b);
  }
  const int64_t tiles = divide_up(row_count, kernels->tile_rows), tile_rows = divide_up(row_count, tiles);
  for (int64_t first = rows.begin; first < rows.end; first += tile_rows) {
    const int64_t height = minimum(tile_rows, rows.end - first);
    const int8_t *a_rows = product->a + first * product->a_row_stride + depth.begin;
    int32_t corrections[INT8_MAX_TILE_ROWS];
    for (int64_t i = 0; i < height; i++) {
      corrections[i] = (int32_t)(128u * (uint32_t)kernels->sum(count, a_rows + i * product->a_row_stride));
    }
    const uint8_t *a = (const uint8_t *)a_rows;
    int64_t a_row_stride = product->a_row_stride, a_quad_stride = 4;
    if (packs_a) {
      kernels->pack(count, height, height, a, a_row_stride, 0, scratch);
      a = scratch;
      a_row_stride = 4;
      a_quad_stride = 4 * height;
    }
    for (int64_t j = 0; j < width; j += pitch) {
      int32_t *c = product->c + first * product->c_row_stride + columns.begin + j;
      const uint32_t *panel = b + j * quads;
      if (width - j >= pitch) {
        kernels->tiles[height - 1](quads, a, a_row_stride, a_quad_stride, panel, c, product->c_row_stride, corrections,
                                   accumulate);
        continue;
      }
      kernels->tiles[height - 1](quads, a, a_row_stride, a_quad_stride, panel, edge, pitch, corrections, false);
      for (int64_t i = 0; i < height; i++) {
        for (int64_t l = 0; l < width - j; l++) {
          int32_t *place = c + i * product->c_row_stride + l;
          const uint32_t sum = (uint32_t)edge[i * pitch + l];
          *place = (int32_t)(accumulate ? (uint32_t)*place + sum : sum);
        }
      }
    }
  }
}

void temper_int8_run_piece(const temper_int8_product *product, const temper_int8_plan *plan, int64_t piece,
                           void *scratch) {
  const int8_kernels *kernels = temper_int8_kernels(plan->variant);
  const range rows = part_of(product->m, plan->row_pieces, piece / plan->column_pieces, ROW_GRAIN);
  const int64_t grain = plan->way == TILES ? tile_columns(kernels) : plan->way == DOTS ? DOT_COLUMNS : COMBINED_COLUMNS;
  const range columns = part_of(product->n, plan->column_pieces, piece % plan->column_pieces, grain);
  if (rows.begin == rows.end || columns.begin == columns.end) return;
  if (plan->way != TILES) {
    multiply_few_rows(kernels, product, plan->way, columns, scratch);
    return;
  }
  const int64_t width = columns.end - columns.begin, width_blocks = divide_up(width, WIDTH_BLOCK);
  const int64_t depth_blocks = maximum(1, divide_up(product->k, DEPTH_BLOCK));
  for (int64_t w = 0; w < width_blocks; w++) {
    const range part = part_of(width, width_blocks, w, tile_columns(kernels));
    const range block = {columns.begin + part.begin, columns.begin + part.end};
    if (block.begin == block.end) break;
    for (int64_t d = 0; d < depth_blocks; d++) {
      multiply_block(kernels, product, rows, block, part_of(product->k, depth_blocks, d, ALIGNMENT), scratch);
    }
  }
}
