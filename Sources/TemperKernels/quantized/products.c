#include "kernels.h"
#include "quantized.h"

// A panel of decoded weights stays in the second-level cache.
enum { PANEL_ROWS = 128, PANEL_DEPTH = 768, ROW_GRAIN = 32, ALIGNMENT = 64 };

// Multiply-adds below which a second thread does not pay.
static const double SMALLEST_PIECE = 1 << 20;

static int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t maximum(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t round_up(int64_t a, int64_t multiple) { return divide_up(a, multiple) * multiple; }

int64_t temper_packed_row_bytes(int64_t columns, int32_t bits) {
  return divide_up(columns, TEMPER_PACKED_UNIT) * 4 * bits;
}

// --- decoding

static const packed_kernels *kernels_of(temper_variant variant) {
  switch (temper_variant_resolve(variant)) {
#if defined(__x86_64__)
    case TEMPER_VARIANT_AVX512:
      return &temper_packed_kernels_avx512;
    case TEMPER_VARIANT_AVX2:
      return &temper_packed_kernels_avx2;
#endif
    default:
      return &temper_packed_kernels_plain;
  }
}

// Groups that end inside a unit are decoded by the reference.
static bool groups_are_whole_units(const temper_packed_matrix *matrix) {
  return matrix->group_size >= matrix->columns || matrix->group_size % TEMPER_PACKED_UNIT == 0;
}

void temper_dequantize_row(const temper_packed_matrix *matrix, temper_variant variant, int64_t row,
                           int64_t column_begin, int64_t column_end, float *out) {
  if (groups_are_whole_units(matrix)) {
    kernels_of(variant)->dequantize[matrix->levels != NULL][matrix->bits - 1](matrix, row, column_begin, column_end,
                                                                              out);
  } else {
    temper_dequantize_row_reference(matrix, row, column_begin, column_end, out);
  }
}

temper_row_error temper_packed_row_error(const temper_packed_matrix *matrix, const float *weights, int64_t row) {
  enum { BLOCK = 32 * TEMPER_PACKED_UNIT };
  temper_row_error result = {0, 0, 0};
  float decoded[BLOCK];
  for (int64_t begin = 0; begin < matrix->columns; begin += BLOCK) {
    const int64_t end = minimum(matrix->columns, begin + BLOCK);
    temper_dequantize_row(matrix, TEMPER_VARIANT_BEST, row, begin, end, decoded);
    for (int64_t c = begin; c < end; c++) {
      const double weight = weights[row * matrix->columns + c], difference = decoded[c - begin] - weight;
      const double size = difference < 0 ? -difference : difference;
      result.squared_error += difference * difference;
      result.squared_weight += weight * weight;
      if (size > result.largest_error) result.largest_error = size;
    }
  }
  return result;
}

// --- products

// Elements from one row of a panel to the next: a few more than it decodes, so that rows do not share cache sets.
static int64_t panel_pitch(const temper_packed_product *product) {
  return round_up(minimum(product->matrix->columns, PANEL_DEPTH), 16) + 16;
}

// The product of some rows of X with a decoded panel: B is the panel transposed. It runs as one piece.
static temper_matmul_job panel_job(const temper_packed_product *product, int64_t m, int64_t n, int64_t k) {
  const bool wide = product->element == TEMPER_ELEMENT_F64;
  return (temper_matmul_job){
      .element = wide ? TEMPER_ELEMENT_F64 : TEMPER_ELEMENT_F32,
      .variant = product->variant,
      .alpha = 1,
      .m = m,
      .n = n,
      .k = k,
      .batch = 1,
      .a_row_stride = product->x_row_stride,
      .a_column_stride = 1,
      .b_row_stride = 1,
      .b_column_stride = panel_pitch(product),
      .c_row_stride = product->y_row_stride,
  };
}

static temper_matmul_plan panel_plan(const temper_matmul_job *job) {
  temper_matmul_plan plan = temper_matmul_plan_make(job);
  plan.row_pieces = plan.column_pieces = plan.depth_pieces = 1;
  plan.phase_count = 1;
  plan.piece_counts[0] = 1;
  return plan;
}

static size_t panel_bytes(const temper_packed_product *product, int64_t rows) {
  const size_t size = product->element == TEMPER_ELEMENT_F64 ? sizeof(double) : sizeof(float);
  return (size_t)round_up(rows * panel_pitch(product) * (int64_t)size, ALIGNMENT);
}

temper_packed_plan temper_packed_plan_make(const temper_packed_product *product) {
  const int64_t m = product->m, n = product->matrix->rows, k = product->matrix->columns;
  temper_packed_plan plan = {.variant = temper_variant_resolve(product->variant), .weight_rows = 1, .x_rows = 1};
  if (m == 0 || n == 0) return plan;
  plan.is_direct =
      m <= PACKED_MOST_INPUTS && product->element == TEMPER_ELEMENT_F32 && groups_are_whole_units(product->matrix);
  const double work = (double)m * (double)n * (double)k;
  const int64_t wanted = maximum(1, (int64_t)minimum(64, (int64_t)(work / SMALLEST_PIECE)));
  plan.weight_rows = minimum(round_up(divide_up(n, wanted), ROW_GRAIN), n);
  plan.x_rows = m;
  if (plan.is_direct) {
    plan.scratch_bytes = (size_t)(round_up(k, TEMPER_PACKED_UNIT) * (int64_t)sizeof(float));
  } else {
    plan.weight_rows = minimum(plan.weight_rows, PANEL_ROWS);
    // Every further cut of X decodes the panel once more.
    const int64_t cuts = maximum(1, minimum(wanted / divide_up(n, plan.weight_rows), m / 256));
    plan.x_rows = divide_up(m, cuts);
    const temper_matmul_job job = panel_job(product, plan.x_rows, plan.weight_rows, minimum(k, PANEL_DEPTH));
    plan.scratch_bytes = panel_bytes(product, plan.weight_rows) + panel_plan(&job).scratch_bytes;
  }
  plan.piece_count = divide_up(n, plan.weight_rows) * divide_up(m, plan.x_rows);
  return plan;
}

// Columns [begin, end) of some rows.
static void decode_panel(const temper_packed_product *product, int64_t row_begin, int64_t row_end, int64_t begin,
                         int64_t end, void *panel) {
  const bool wide = product->element == TEMPER_ELEMENT_F64;
  for (int64_t row = row_begin; row < row_end; row++) {
    const int64_t place = (row - row_begin) * panel_pitch(product);
    float narrow[PANEL_DEPTH];
    float *target = wide ? narrow : (float *)panel + place;
    temper_dequantize_row(product->matrix, product->variant, row, begin, end, target);
    if (wide) {
      for (int64_t c = 0; c < end - begin; c++) ((double *)panel)[place + c] = narrow[c];
    }
  }
}

static const void *element_at(const temper_packed_product *product, const void *base, int64_t index) {
  return product->element == TEMPER_ELEMENT_F64 ? (const void *)((const double *)base + index)
                                                : (const void *)((const float *)base + index);
}

void temper_packed_run_piece(const temper_packed_product *product, const temper_packed_plan *plan, int64_t piece,
                             void *scratch) {
  const temper_packed_matrix *matrix = product->matrix;
  const int64_t row_pieces = divide_up(matrix->rows, plan->weight_rows);
  const int64_t row_begin = piece % row_pieces * plan->weight_rows;
  const int64_t row_end = minimum(matrix->rows, row_begin + plan->weight_rows);
  if (plan->is_direct) {
    kernels_of(plan->variant)
        ->vector_products[matrix->levels != NULL][matrix->bits - 1](matrix, row_begin, row_end, product->m, product->x,
                                                                    product->x_row_stride, product->y,
                                                                    product->y_row_stride, scratch);
    return;
  }
  const int64_t x_begin = piece / row_pieces * plan->x_rows, x_end = minimum(product->m, x_begin + plan->x_rows);
  int64_t begin = 0;
  do {
    const int64_t end = minimum(matrix->columns, begin + PANEL_DEPTH);
    decode_panel(product, row_begin, row_end, begin, end, scratch);
    temper_matmul_job job = panel_job(product, x_end - x_begin, row_end - row_begin, end - begin);
    job.accumulate = begin > 0;
    job.a = element_at(product, product->x, x_begin * product->x_row_stride + begin);
    job.b = scratch;
    job.c = (void *)(uintptr_t)element_at(product, product->y, x_begin * product->y_row_stride + row_begin);
    const temper_matmul_plan job_plan = panel_plan(&job);
    temper_matmul_run(&job, &job_plan, NULL, (uint8_t *)scratch + panel_bytes(product, plan->weight_rows));
    begin = end;
  } while (begin < matrix->columns);
}
