#include "int8_activations.h"

#include <math.h>
#include <string.h>

#include "../clones.h"
#include "../cut.h"
#include "../quantized/unpack.h"
#include "int8_kernels.h"

// Fewer rows of X than this are multiplied with each row of W as it is unpacked.
enum { FEW_ROWS = 8, ROW_GRAIN = 32, UNIT = TEMPER_PACKED_UNIT };

static bool groups_are_whole_units(const temper_packed_matrix *matrix) {
  return matrix->group_size >= matrix->columns || matrix->group_size % UNIT == 0;
}

int64_t temper_int8_part_columns(const temper_packed_matrix *matrix) {
  const int64_t group = matrix->group_size;
  if (group >= matrix->columns) return TEMPER_INT8_PART;
  if (group <= TEMPER_INT8_PART) return group;
  int64_t columns = TEMPER_INT8_PART;
  while (group % columns != 0) columns--;
  return columns;
}

static int64_t part_count(const temper_packed_matrix *matrix) {
  return divide_up(matrix->columns, temper_int8_part_columns(matrix));
}

int64_t temper_int8_pitch(int64_t columns) { return round_up(columns, ALIGNMENT); }

// --- rounding

TEMPER_CLONES static float largest_size(const float *x, int64_t count) {
  float sizes[16] = {0}, differences[16] = {0};
  int64_t c = 0;
  for (; c + 16 <= count; c += 16) {
    for (int l = 0; l < 16; l++) {
      const float size = fabsf(x[c + l]);
      sizes[l] = size > sizes[l] ? size : sizes[l];
      differences[l] += x[c + l] - x[c + l];  // NaN from the first infinity or NaN on
    }
  }
  for (; c < count; c++) {
    sizes[0] = fabsf(x[c]) > sizes[0] ? fabsf(x[c]) : sizes[0];
    differences[0] += x[c] - x[c];
  }
  float largest = 0, difference = 0;
  for (int l = 0; l < 16; l++) {
    largest = sizes[l] > largest ? sizes[l] : largest;
    difference += differences[l];
  }
  return largest + difference;
}

// The nearest whole number within +-127: adding and subtracting 1.5 * 2^23 rounds.
TEMPER_CLONES static void round_row(const float *x, int64_t count, float scale, int8_t *values) {
  const float rounder = 12582912;
  for (int64_t c = 0; c < count; c++) {
    float steps = x[c] / scale;
    steps = steps < -127 ? -127 : steps;
    steps = steps > 127 ? 127 : steps;
    values[c] = (int8_t)(int32_t)((steps + rounder) - rounder);
  }
}

TEMPER_CLONES static int32_t sum_of(const int8_t *values, int64_t count) {
  int32_t sum = 0;
  for (int64_t c = 0; c < count; c++) sum += values[c];
  return sum;
}

void temper_int8_round_rows(const temper_packed_matrix *matrix, const float *x, int64_t x_row_stride, int64_t row_begin,
                            int64_t row_end, const temper_int8_activations *activations) {
  const int64_t columns = matrix->columns, pitch = temper_int8_pitch(columns), parts = part_count(matrix);
  const int64_t part_columns = temper_int8_part_columns(matrix);
  for (int64_t row = row_begin; row < row_end; row++) {
    const float *from = x + row * x_row_stride;
    int8_t *values = activations->values + row * pitch;
    const float largest = largest_size(from, columns), scale = largest / 127;
    activations->scales[row] = largest == 0 ? 1 : scale < 0x1p-126f ? 0x1p-126f : scale;
    if (isnan(largest)) {
      activations->scales[row] = NAN;
      memset(values, 0, (size_t)pitch);
    } else {
      round_row(from, columns, activations->scales[row], values);
      memset(values + columns, 0, (size_t)(pitch - columns));
    }
    for (int64_t part = 0; part < parts; part++) {
      const int64_t begin = part * part_columns;
      activations->sums[row * parts + part] = sum_of(values + begin, minimum(part_columns, columns - begin));
    }
  }
}

// --- products

// Parts whose terms are gathered together.
enum { TERMS = 128 };

// What a part of a row of W adds to its integers and multiplies them with.
typedef struct part_terms {
  float scale;
  int32_t shift;
} part_terms;

static inline part_terms terms_of(const temper_packed_matrix *matrix, int64_t row, int64_t column) {
  const int64_t place = row * matrix->scale_row_stride + column / matrix->group_size;
  const int32_t zero = matrix->zeros ? matrix->zeros[place] : 0;
  return (part_terms){matrix->scales[place], (int32_t)matrix->first_level - zero};
}

// From one unpacked row to the next: a little more than they take, so that rows do not share cache sets.
static int64_t panel_pitch(int64_t columns) { return round_up(columns, ALIGNMENT) + ALIGNMENT; }

temper_int8_packed_plan temper_int8_packed_plan_make(const temper_int8_packed_product *product) {
  const temper_packed_matrix *matrix = product->matrix;
  const int64_t m = product->x->m, n = matrix->rows, k = matrix->columns;
  temper_int8_packed_plan plan = {.weight_rows = 1};
  if (m == 0 || n == 0) return plan;
  const int8_kernels *kernels = temper_int8_kernels(product->variant);
  const double work = (double)m * (double)n * (double)k / (m <= FEW_ROWS ? 1 : 4);
  const int64_t wanted = maximum(1, (int64_t)minimum(32, (int64_t)(work / SMALLEST_PIECE)));
  plan.weight_rows = minimum(round_up(divide_up(n, wanted), ROW_GRAIN), n);
  plan.piece_count = divide_up(n, plan.weight_rows);
  const int64_t part = minimum(temper_int8_part_columns(matrix), round_up(k, UNIT)), pitch = panel_pitch(part);
  if (m <= FEW_ROWS) {
    plan.scratch_bytes = (size_t)(INT8_DOT_COLUMNS * temper_int8_pitch(k));
  } else {
    const int64_t columns = INT8_TILE_VECTORS * kernels->lanes;
    // Unpacked rows of W, their panel, a tile of A, a tile of integers.
    plan.scratch_bytes = (size_t)(2 * columns * pitch + kernels->tile_rows * pitch + ALIGNMENT +
                                  round_up(kernels->tile_rows * columns * 4, ALIGNMENT));
  }
  return plan;
}

// The terms of parts that are the groups themselves.
TEMPER_CLONES static void gather_terms(const temper_packed_matrix *matrix, int64_t place, int64_t count,
                                       const int32_t *sums, float *scales, int32_t *addends) {
  const int32_t first_level = (int32_t)matrix->first_level;
  for (int64_t i = 0; i < count; i++) scales[i] = matrix->scales[place + i];
  for (int64_t i = 0; i < count; i++) {
    addends[i] = (first_level - (matrix->zeros ? matrix->zeros[place + i] : 0)) * sums[i];
  }
}

// Rows of W are unpacked, a few at a time, and multiplied with every row of X.
static void multiply_few_rows(const int8_kernels *kernels, const temper_int8_packed_product *product, int64_t row_begin,
                              int64_t row_end, uint8_t *loose) {
  const temper_packed_matrix *matrix = product->matrix;
  const int64_t columns = matrix->columns, pitch = temper_int8_pitch(columns), parts = part_count(matrix);
  const int64_t units = divide_up(columns, UNIT), row_bytes = temper_packed_row_bytes(columns, matrix->bits);
  const int64_t part_columns = temper_int8_part_columns(matrix);
  for (int64_t row = row_begin; row < row_end; row++) {
    temper_unpack_units(matrix->bits, units, matrix->codes + row * row_bytes, loose);
    for (int64_t i = 0; i < product->x->m; i++) {
      const int8_t *x = product->x->values + i * pitch;
      const int32_t *sums = product->x->sums + i * parts;
      float lanes[INT8_SCALED_LANES] = {0};
      for (int64_t first = 0; first < parts; first += TERMS) {
        const int64_t count = minimum(TERMS, parts - first), begin = first * part_columns;
        float scales[TERMS];
        int32_t addends[TERMS];
        if (part_columns == matrix->group_size) {
          gather_terms(matrix, row * matrix->scale_row_stride + first, count, sums + first, scales, addends);
        } else {
          for (int64_t part = 0; part < count; part++) {
            const part_terms terms = terms_of(matrix, row, begin + part * part_columns);
            scales[part] = terms.scale;
            addends[part] = terms.shift * sums[first + part];
          }
        }
        kernels->scaled_dots(round_up(minimum(count * part_columns, columns - begin), UNIT), part_columns, x + begin,
                             loose + begin, scales, addends, lanes);
      }
      float sum = 0;
      for (int l = 0; l < INT8_SCALED_LANES; l++) sum += lanes[l];
      product->y[i * product->y_row_stride + row] = product->x->scales[i] * sum;
    }
  }
}

// y (rows, width) = or += scales * (integers + shifts * sums of x), times x's scales at the end.
TEMPER_CLONES static void finish_tile(int64_t rows, int64_t width, const int32_t *tile, int64_t pitch,
                                      const float *scales, const int32_t *shifts, const int32_t *sums,
                                      int64_t sums_stride, const float *x_scales, bool accumulate, bool is_last,
                                      float *y, int64_t y_row_stride) {
  for (int64_t i = 0; i < rows; i++) {
    const int32_t sum = sums[i * sums_stride];
    const float factor = is_last ? x_scales[i] : 1;
    float *row = y + i * y_row_stride;
    for (int64_t j = 0; j < width; j++) {
      const float value = scales[j] * (float)(tile[i * pitch + j] + shifts[j] * sum);
      row[j] = (accumulate ? row[j] + value : value) * factor;
    }
  }
}

// As many rows of W as a tile is wide become a panel, part by part, and meet all of X.
static void multiply_panel(const int8_kernels *kernels, const temper_int8_packed_product *product, int64_t row_begin,
                           int64_t row_end, void *scratch) {
  const temper_packed_matrix *matrix = product->matrix;
  const int64_t columns = matrix->columns, x_pitch = temper_int8_pitch(columns), parts = part_count(matrix);
  const int64_t row_bytes = temper_packed_row_bytes(columns, matrix->bits), m = product->x->m;
  const int64_t part_columns = temper_int8_part_columns(matrix), width = INT8_TILE_VECTORS * kernels->lanes;
  const int64_t pitch = panel_pitch(minimum(part_columns, round_up(columns, UNIT)));
  uint8_t *loose = scratch;
  uint32_t *panel = offset(loose, width * pitch, 1);
  uint8_t *a_panel = offset(panel, width * pitch, 1);
  int32_t *tile = offset(a_panel, kernels->tile_rows * pitch + ALIGNMENT, 1);
  const int64_t tile_count = divide_up(m, kernels->tile_rows), tile_rows = divide_up(m, tile_count);
  const int32_t no_corrections[INT8_MAX_TILE_ROWS] = {0};
  const bool packs_x = x_pitch % 4096 == 0;
  for (int64_t part = 0; part < parts; part++) {
    const int64_t begin = part * part_columns, count = round_up(minimum(part_columns, columns - begin), UNIT);
    float scales[INT8_TILE_VECTORS * 16];
    int32_t shifts[INT8_TILE_VECTORS * 16];
    for (int64_t row = row_begin; row < row_end; row++) {
      temper_unpack_units(matrix->bits, count / UNIT, matrix->codes + row * row_bytes + begin / UNIT * 4 * matrix->bits,
                          loose + (row - row_begin) * pitch);
      const part_terms terms = terms_of(matrix, row, begin);
      scales[row - row_begin] = terms.scale;
      shifts[row - row_begin] = terms.shift;
    }
    kernels->pack(count, row_end - row_begin, width, loose, pitch, 0, panel);
    for (int64_t first = 0; first < m; first += tile_rows) {
      const int64_t height = minimum(tile_rows, m - first);
      const uint8_t *a = (const uint8_t *)product->x->values + first * x_pitch + begin;
      int64_t a_row_stride = x_pitch, a_quad_stride = 4;
      if (packs_x) {
        kernels->pack(count, height, height, a, x_pitch, 0, (uint32_t *)(void *)a_panel);
        a = a_panel;
        a_row_stride = 4;
        a_quad_stride = 4 * height;
      }
      kernels->tiles[height - 1](count / 4, a, a_row_stride, a_quad_stride, panel, tile, width, no_corrections, false);
      finish_tile(height, row_end - row_begin, tile, width, scales, shifts, product->x->sums + first * parts + part,
                  parts, product->x->scales + first, part > 0, part == parts - 1,
                  product->y + first * product->y_row_stride + row_begin, product->y_row_stride);
    }
  }
  if (parts > 0) return;
  // A sum of no terms is 0.
  for (int64_t i = 0; i < m; i++) {
    for (int64_t row = row_begin; row < row_end; row++) product->y[i * product->y_row_stride + row] = 0;
  }
}

void temper_int8_packed_run_piece(const temper_int8_packed_product *product, const temper_int8_packed_plan *plan,
                                  int64_t piece, void *scratch) {
  const int8_kernels *kernels = temper_int8_kernels(product->variant);
  const int64_t row_begin = piece * plan->weight_rows;
  const int64_t row_end = minimum(product->matrix->rows, row_begin + plan->weight_rows);
  if (!groups_are_whole_units(product->matrix)) {
    temper_int8_packed_reference(product, row_begin, row_end);
  } else if (product->x->m <= FEW_ROWS) {
    multiply_few_rows(kernels, product, row_begin, row_end, scratch);
  } else {
    const int64_t width = INT8_TILE_VECTORS * kernels->lanes;
    for (int64_t row = row_begin; row < row_end; row += width) {
      multiply_panel(kernels, product, row, minimum(row_end, row + width), scratch);
    }
  }
}

void temper_int8_packed_reference(const temper_int8_packed_product *product, int64_t row_begin, int64_t row_end) {
  const temper_packed_matrix *matrix = product->matrix;
  const int64_t columns = matrix->columns, part_columns = temper_int8_part_columns(matrix);
  for (int64_t i = 0; i < product->x->m; i++) {
    const int8_t *x = product->x->values + i * temper_int8_pitch(columns);
    for (int64_t row = row_begin; row < row_end; row++) {
      float total = 0;
      for (int64_t begin = 0; begin < columns; begin += part_columns) {
        const part_terms terms = terms_of(matrix, row, begin);
        int32_t sum = 0;
        for (int64_t c = begin; c < minimum(columns, begin + part_columns); c++) {
          sum += x[c] * (temper_packed_code(matrix, row, c) + terms.shift);
        }
        total += terms.scale * (float)sum;
      }
      product->y[i * product->y_row_stride + row] = product->x->scales[i] * total;
    }
  }
}
