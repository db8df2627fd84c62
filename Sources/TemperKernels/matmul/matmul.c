#include "../cut.h"
#include "matmul_kernels.h"

// A block of k, in bytes of its elements, and a block of B's columns: such a block of B (576 KB) stays in the
// second-level cache, a row tile of A (18 KB) in the first.
enum { DEPTH_BLOCK_BYTES = 2048, WIDTH_BLOCK = 384 };

// Row tiles of A that are packed together when rows of A run along memory.
enum { TILES_PACKED_TOGETHER = 8 };

// B is read in place while its rows span no more than this, or few tiles of rows use it.
enum { DIRECT_B_BYTES = 64 << 10, MOST_DIRECT_TILES = 4 };

// Lines this far apart share a set of the first-level cache.
enum { CACHE_SET_PERIOD = 4096 };

// A part of k that is worth a partial C of its own.
enum { SMALLEST_DEPTH_PIECE = 512 };

// Products with a vector: bytes of the matrix worth a piece.
enum { VECTOR_PIECE_BYTES = 512 << 10 };

// --- instruction sets

const matmul_kernels *temper_matmul_kernels(temper_variant resolved, temper_element element) {
  const bool wide = element == TEMPER_ELEMENT_F64;
  switch (resolved) {
#if defined(__x86_64__)
  case TEMPER_VARIANT_AVX512:
    return wide ? &temper_matmul_kernels_avx512_f64 : &temper_matmul_kernels_avx512_f32;
  case TEMPER_VARIANT_AVX2:
    return wide ? &temper_matmul_kernels_avx2_f64 : &temper_matmul_kernels_avx2_f32;
#endif
  default:
    return wide ? &temper_matmul_kernels_plain_f64 : &temper_matmul_kernels_plain_f32;
  }
}

// --- the plan

// A product with one row or one column: y = x * matrix. The matrix is read once, so memory sets the speed.
typedef struct vector_product {
  int64_t depth, width;
  const void *x;
  int64_t x_stride;
  const void *matrix;
  int64_t depth_stride, width_stride;
  void *y;
  int64_t y_stride, bias_stride;
} vector_product;

static vector_product vector_product_of(const temper_matmul_job *job, int64_t batch_index) {
  const int64_t size = element_size(job->element);
  const void *a = offset(job->a, batch_index * job->a_batch_stride, size);
  const void *b = offset(job->b, batch_index * job->b_batch_stride, size);
  void *c = offset(job->c, batch_index * job->c_batch_stride, size);
  if (job->m == 1) {
    return (vector_product){.depth = job->k,
                            .width = job->n,
                            .x = a,
                            .x_stride = job->a_column_stride,
                            .matrix = b,
                            .depth_stride = job->b_row_stride,
                            .width_stride = job->b_column_stride,
                            .y = c,
                            .y_stride = 1,
                            .bias_stride = 1};
  }
  return (vector_product){.depth = job->k,
                          .width = job->m,
                          .x = b,
                          .x_stride = job->b_row_stride,
                          .matrix = a,
                          .depth_stride = job->a_column_stride,
                          .width_stride = job->a_row_stride,
                          .y = c,
                          .y_stride = job->c_row_stride,
                          .bias_stride = 0};
}

// Cuts C into row_pieces x column_pieces >= wanted with the least packing: each column piece packs A once more, each
// row piece B.
static void cut_output(temper_matmul_plan *plan, int64_t m, int64_t n, int64_t wanted, int64_t most_rows,
                       int64_t most_columns) {
  double least = 0;
  for (int64_t rows = 1; rows <= minimum(wanted, most_rows); rows++) {
    int64_t columns = minimum(divide_up(wanted, rows), most_columns);
    if (rows * columns < minimum(wanted, most_rows * most_columns)) continue;
    double cost = (double)rows * (double)n + (double)columns * (double)m;
    if (least == 0 || cost < least) {
      least = cost;
      plan->row_pieces = rows;
      plan->column_pieces = columns;
    }
  }
}

static int64_t packed_a_bytes(const matmul_kernels *kernels, int64_t tiles_together, int64_t depth, int64_t size) {
  return round_up(kernels->tile_rows * tiles_together * depth * size, ALIGNMENT);
}

temper_matmul_plan temper_matmul_plan_make(const temper_matmul_job *job) {
  const int64_t m = job->m, n = job->n, k = job->k, size = element_size(job->element);
  temper_matmul_plan plan = {
      .variant = temper_variant_resolve(job->variant),
      .products_per_piece = 1,
      .row_pieces = 1,
      .column_pieces = 1,
      .depth_pieces = 1,
  };
  if (m == 0 || n == 0 || job->batch == 0) return plan;
  const matmul_kernels *kernels = temper_matmul_kernels(plan.variant, job->element);
  const int64_t panel_columns = MAX_TILE_VECTORS * kernels->lanes;
  const double work = (double)m * (double)n * (double)k;
  const double total = work * (double)job->batch;
  int64_t wanted = wanted_pieces(total);
  if (wanted < job->batch) plan.products_per_piece = divide_up(job->batch, wanted);
  wanted = maximum(1, wanted / job->batch);

  if (m == 1 || n == 1) {
    const vector_product product = vector_product_of(job, 0);
    plan.is_vector_product = product.depth_stride == 1 || (product.width_stride == 1 && product.width > panel_columns);
    if (plan.is_vector_product) {
      plan.column_pieces = maximum(1, minimum(32, (int64_t)(work * (double)size) / VECTOR_PIECE_BYTES));
      plan.column_pieces = minimum(plan.column_pieces, divide_up(product.width, product.width_stride == 1 ? 1024 : 64));
      if (product.x_stride != 1) plan.scratch_bytes = (size_t)round_up(k * size, ALIGNMENT);
    }
  }
  if (!plan.is_vector_product) {
    const int64_t most_rows = maximum(1, m / (2 * kernels->tile_rows));
    const int64_t most_columns = maximum(1, n / (2 * panel_columns));
    if (wanted > most_rows * most_columns && job->batch == 1 && k >= 4 * SMALLEST_DEPTH_PIECE) {
      plan.depth_pieces = minimum(wanted, k / SMALLEST_DEPTH_PIECE);
      plan.workspace_bytes = (size_t)round_up(plan.depth_pieces * m * n * size, ALIGNMENT);
    } else {
      cut_output(&plan, m, n, wanted, most_rows, most_columns);
    }
    const int64_t depth = minimum(k, DEPTH_BLOCK_BYTES / size);
    const int64_t width = round_up(minimum(n, WIDTH_BLOCK), panel_columns);
    const int64_t tiles_together = job->a_row_stride == 1 ? TILES_PACKED_TOGETHER : 1;
    plan.scratch_bytes =
        (size_t)(packed_a_bytes(kernels, tiles_together, depth, size) + round_up(width * depth * size, ALIGNMENT));
  }
  const int64_t tile_count = divide_up(m, kernels->tile_rows);
  if (!plan.is_vector_product && job->batch == 1 && plan.row_pieces * plan.column_pieces * plan.depth_pieces == 1 &&
      n <= 2 * panel_columns && job->b_column_stride == 1 && k * size <= DEPTH_BLOCK_BYTES &&
      (tile_count <= MOST_DIRECT_TILES ||
       (tile_count <= 2 * MOST_DIRECT_TILES && k * job->b_row_stride * size <= DIRECT_B_BYTES))) {
    plan.narrow_tile_rows = divide_up(m, tile_count);
  }
  plan.phase_count = plan.depth_pieces > 1 ? 2 : 1;
  plan.piece_counts[0] =
      divide_up(job->batch, plan.products_per_piece) * plan.row_pieces * plan.column_pieces * plan.depth_pieces;
  if (plan.depth_pieces > 1) plan.piece_counts[1] = 1;
  return plan;
}

// --- running

// What a block of C is computed from: the operands at the block's corner.
typedef struct block {
  int64_t rows, columns, depth, size;
  const void *a;
  int64_t a_row_stride, a_column_stride;
  const void *b;
  int64_t b_row_stride, b_column_stride;
  void *c;
  int64_t c_row_stride;
} block;

// One block of k against up to a block's width of columns.
static void multiply_depth_block(const matmul_kernels *kernels, const block *block, const tile_finish *finish,
                                 void *scratch) {
  const int64_t size = block->size, lanes = kernels->lanes, panel_columns = MAX_TILE_VECTORS * lanes;
  const int64_t tile_count = block->rows <= kernels->tile_rows ? 1 : divide_up(block->rows, kernels->tile_rows);
  const int64_t tile_rows = tile_count == 1 ? block->rows : divide_up(block->rows, tile_count);

  // Packing pays for panels that are used often. A can stay in place while a tile's rows run along memory and do not
  // all fall on the same few cache sets; B can where its rows run along memory.
  const bool packs_a = block->a_column_stride != 1
                           ? block->columns > 4 * panel_columns
                           : block->columns > 2 * panel_columns && block->a_row_stride * size % CACHE_SET_PERIOD == 0;
  const bool packs_b =
      block->b_column_stride != 1 ||
      (tile_count > MOST_DIRECT_TILES && block->depth * block->b_row_stride * size > DIRECT_B_BYTES);
  const int64_t tiles_together = packs_a && block->a_row_stride == 1 ? TILES_PACKED_TOGETHER : 1;
  void *a_panels = scratch;
  void *b_panels = packs_a ? offset(scratch, packed_a_bytes(kernels, tiles_together, block->depth, size), 1) : scratch;
  if (packs_b) {
    kernels->pack(block->depth, block->columns, panel_columns, block->b, block->b_row_stride, block->b_column_stride,
                  b_panels);
  }
  const int64_t b_row_stride = packs_b ? panel_columns : block->b_row_stride;
  const int64_t b_panel_stride = packs_b ? block->depth * panel_columns : panel_columns;

  for (int64_t tile = 0; tile < tile_count; tile++) {
    const int64_t first_row = tile * tile_rows, rows = minimum(tile_rows, block->rows - first_row);
    const void *a = offset(block->a, first_row * block->a_row_stride, size);
    int64_t a_row_stride = block->a_row_stride, a_column_stride = block->a_column_stride;
    if (packs_a) {
      const int64_t index = tile % tiles_together;
      if (index == 0) {
        kernels->pack(block->depth, minimum(tiles_together * tile_rows, block->rows - first_row), tile_rows, a,
                      a_column_stride, a_row_stride, a_panels);
      }
      a = offset(a_panels, index * block->depth * tile_rows, size);
      a_row_stride = 1;
      a_column_stride = tile_rows;
    }
    const void *b = packs_b ? b_panels : block->b;
    tile_finish tile_end = *finish;
    for (int64_t j = 0; j < block->columns; j += panel_columns) {
      const int64_t width = minimum(panel_columns, block->columns - j);
      const int64_t last_columns = width > lanes ? width - lanes : width;
      if (finish->bias) tile_end.bias = offset(finish->bias, j, size);
      kernels->tiles[last_columns < lanes][width > lanes][rows - 1](
          block->depth, a, a_row_stride, a_column_stride, b, b_row_stride,
          offset(block->c, first_row * block->c_row_stride + j, size), block->c_row_stride, &tile_end, last_columns);
      b = offset(b, b_panel_stride, size);
    }
  }
}

static void multiply_block(const matmul_kernels *kernels, const block *whole, const tile_finish *finish,
                           void *scratch) {
  const int64_t size = whole->size;
  const int64_t depth_bytes = whole->depth * size;
  if (depth_bytes <= DEPTH_BLOCK_BYTES && whole->columns <= WIDTH_BLOCK) {
    multiply_depth_block(kernels, whole, finish, scratch);
    return;
  }
  const int64_t depth_blocks = maximum(1, divide_up(depth_bytes, DEPTH_BLOCK_BYTES));
  const int64_t width_blocks = divide_up(whole->columns, WIDTH_BLOCK);
  for (int64_t w = 0; w < width_blocks; w++) {
    const range columns = part_of(whole->columns, width_blocks, w, MAX_TILE_VECTORS * kernels->lanes);
    for (int64_t d = 0; d < depth_blocks; d++) {
      const range depth = part_of(whole->depth, depth_blocks, d, 1);
      const bool is_first = d == 0, is_last = d == depth_blocks - 1;
      block part = *whole;
      part.columns = columns.end - columns.begin;
      part.depth = depth.end - depth.begin;
      part.a = offset(whole->a, depth.begin * whole->a_column_stride, size);
      part.b = offset(whole->b, depth.begin * whole->b_row_stride + columns.begin * whole->b_column_stride, size);
      part.c = offset(whole->c, columns.begin, size);
      const tile_finish part_finish = {
          .alpha = finish->alpha,
          .accumulate = finish->accumulate || !is_first,
          .bias = is_last && finish->bias ? offset(finish->bias, columns.begin, size) : NULL,
          .relu = is_last && finish->relu,
      };
      multiply_depth_block(kernels, &part, &part_finish, scratch);
    }
  }
}

static tile_finish finish_of(const temper_matmul_job *job) {
  return (tile_finish){job->alpha, job->bias, job->accumulate, job->activation == TEMPER_ACTIVATION_RELU};
}

static void run_vector_piece(const temper_matmul_job *job, const temper_matmul_plan *plan, int64_t batch_index,
                             int64_t piece, void *scratch) {
  const int64_t size = element_size(job->element);
  const matmul_kernels *kernels = temper_matmul_kernels(plan->variant, job->element);
  const vector_product product = vector_product_of(job, batch_index);
  const range columns = part_of(product.width, plan->column_pieces, piece, 64);
  const void *x = product.x;
  if (product.x_stride != 1) {
    kernels->pack(product.depth, 1, 1, x, product.x_stride, 0, scratch);
    x = scratch;
  }
  tile_finish finish = finish_of(job);
  if (finish.bias) finish.bias = offset(finish.bias, columns.begin * product.bias_stride, size);
  kernels->vector_product(product.depth, columns.end - columns.begin, x,
                          offset(product.matrix, columns.begin * product.width_stride, size), product.depth_stride,
                          product.width_stride, offset(product.y, columns.begin * product.y_stride, size),
                          product.y_stride, &finish, product.bias_stride);
}

static void run_tile_piece(const temper_matmul_job *job, const temper_matmul_plan *plan, int64_t batch_index,
                           int64_t piece, void *workspace, void *scratch) {
  const int64_t size = element_size(job->element);
  const matmul_kernels *kernels = temper_matmul_kernels(plan->variant, job->element);
  block block = {
      .rows = job->m,
      .columns = job->n,
      .depth = job->k,
      .size = size,
      .a = offset(job->a, batch_index * job->a_batch_stride, size),
      .a_row_stride = job->a_row_stride,
      .a_column_stride = job->a_column_stride,
      .b = offset(job->b, batch_index * job->b_batch_stride, size),
      .b_row_stride = job->b_row_stride,
      .b_column_stride = job->b_column_stride,
      .c = offset(job->c, batch_index * job->c_batch_stride, size),
      .c_row_stride = job->c_row_stride,
  };
  tile_finish finish = finish_of(job);
  if (plan->depth_pieces > 1) {
    const range depth = part_of(job->k, plan->depth_pieces, piece, 1);
    block.depth = depth.end - depth.begin;
    block.a = offset(block.a, depth.begin * job->a_column_stride, size);
    block.b = offset(block.b, depth.begin * job->b_row_stride, size);
    block.c = offset(workspace, piece * job->m * job->n, size);
    block.c_row_stride = job->n;
    finish = (tile_finish){.alpha = 1};
  } else if (plan->row_pieces * plan->column_pieces > 1) {
    const range rows = part_of(job->m, plan->row_pieces, piece / plan->column_pieces, kernels->tile_rows);
    const range columns =
        part_of(job->n, plan->column_pieces, piece % plan->column_pieces, MAX_TILE_VECTORS * kernels->lanes);
    if (rows.begin == rows.end || columns.begin == columns.end) return;
    block.rows = rows.end - rows.begin;
    block.columns = columns.end - columns.begin;
    block.a = offset(block.a, rows.begin * job->a_row_stride, size);
    block.b = offset(block.b, columns.begin * job->b_column_stride, size);
    block.c = offset(block.c, rows.begin * job->c_row_stride + columns.begin, size);
    if (finish.bias) finish.bias = offset(finish.bias, columns.begin, size);
  }
  multiply_block(kernels, &block, &finish, scratch);
}

#define ADD_PARTS(E, suffix)                                                             \
  static void add_parts_##suffix(const temper_matmul_job *job, int64_t parts, E *sums) { \
    const int64_t count = job->m * job->n;                                               \
    const E *bias = job->bias;                                                           \
    for (int64_t part = 1; part < parts; part++) {                                       \
      for (int64_t i = 0; i < count; i++) sums[i] += sums[part * count + i];             \
    }                                                                                    \
    for (int64_t i = 0; i < job->m; i++) {                                               \
      E *c = (E *)job->c + i * job->c_row_stride;                                        \
      for (int64_t j = 0; j < job->n; j++) {                                             \
        E value = sums[i * job->n + j] * (E)job->alpha;                                  \
        if (job->accumulate) value += c[j];                                              \
        if (bias) value += bias[j];                                                      \
        if (job->activation == TEMPER_ACTIVATION_RELU && value < 0) value = 0;           \
        c[j] = value;                                                                    \
      }                                                                                  \
    }                                                                                    \
  }

ADD_PARTS(float, f32)
ADD_PARTS(double, f64)

// A C that is at most two tiles wide and a few tall: what `multiply_depth_block` would do, without deciding it anew each
// time.
static void run_narrow(const temper_matmul_job *job, const temper_matmul_plan *plan) {
  const matmul_kernels *kernels = temper_matmul_kernels(plan->variant, job->element);
  const int64_t size = element_size(job->element), lanes = kernels->lanes, panel_columns = MAX_TILE_VECTORS * lanes;
  tile_finish finish = finish_of(job);
  for (int64_t row = 0; row < job->m; row += plan->narrow_tile_rows) {
    const int64_t rows = minimum(plan->narrow_tile_rows, job->m - row);
    const void *a = offset(job->a, row * job->a_row_stride, size);
    void *c = offset(job->c, row * job->c_row_stride, size);
    for (int64_t j = 0; j < job->n; j += panel_columns) {
      const int64_t width = minimum(panel_columns, job->n - j);
      const int64_t last_columns = width > lanes ? width - lanes : width;
      if (job->bias) finish.bias = offset(job->bias, j, size);
      kernels->tiles[last_columns < lanes][width > lanes][rows - 1](
          job->k, a, job->a_row_stride, job->a_column_stride, offset(job->b, j, size), job->b_row_stride,
          offset(c, j, size), job->c_row_stride, &finish, last_columns);
    }
  }
}

void temper_matmul_run_piece(const temper_matmul_job *job, const temper_matmul_plan *plan, int32_t phase, int64_t piece,
                             void *workspace, void *scratch) {
  if (plan->narrow_tile_rows > 0) {
    run_narrow(job, plan);
    return;
  }
  if (phase == 1) {
    if (job->element == TEMPER_ELEMENT_F64) {
      add_parts_f64(job, plan->depth_pieces, workspace);
    } else {
      add_parts_f32(job, plan->depth_pieces, workspace);
    }
    return;
  }
  const int64_t pieces = plan->row_pieces * plan->column_pieces * plan->depth_pieces;
  int64_t first = 0;
  if (job->batch > 1) {
    first = piece / pieces * plan->products_per_piece;
    piece %= pieces;
  }
  const int64_t last = minimum(job->batch, first + plan->products_per_piece);
  for (int64_t index = first; index < last; index++) {
    if (plan->is_vector_product) {
      run_vector_piece(job, plan, index, piece, scratch);
    } else {
      run_tile_piece(job, plan, index, piece, workspace, scratch);
    }
  }
}

void temper_matmul_run(const temper_matmul_job *job, const temper_matmul_plan *plan, void *workspace, void *scratch) {
  for (int32_t phase = 0; phase < plan->phase_count; phase++) {
    for (int64_t piece = 0; piece < plan->piece_counts[phase]; piece++) {
      temper_matmul_run_piece(job, plan, phase, piece, workspace, scratch);
    }
  }
}
