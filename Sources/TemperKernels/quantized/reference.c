#include "quantized.h"

int32_t temper_packed_code(const temper_packed_matrix *matrix, int64_t row, int64_t column) {
  const int bits = matrix->bits, place = (int)(column % TEMPER_PACKED_UNIT);
  const uint8_t *unit =
      matrix->codes + row * temper_packed_row_bytes(matrix->columns, bits) + column / TEMPER_PACKED_UNIT * 4 * bits;
  if (bits == 8) return unit[place];
  int code = 0, shift = 0;
  if (bits & 4) {
    code = unit[place % 16] >> (place / 16 * 4) & 15;
    unit += 16;
    shift = 4;
  }
  if (bits & 2) {
    code |= (unit[place / 4] >> (place % 4 * 2) & 3) << shift;
    unit += 8;
    shift += 2;
  }
  if (bits & 1) code |= (unit[place / 8] >> (place % 8) & 1) << shift;
  return code;
}

// w = scale * (level - zero)
void temper_dequantize_row_reference(const temper_packed_matrix *matrix, int64_t row, int64_t column_begin,
                                     int64_t column_end, float *out) {
  for (int64_t c = column_begin; c < column_end; c++) {
    const int code = temper_packed_code(matrix, row, c);
    const int64_t group = row * matrix->scale_row_stride + c / matrix->group_size;
    const float level = matrix->levels ? matrix->levels[code] : matrix->first_level + (float)code;
    const float zero = matrix->zeros ? (float)matrix->zeros[group] : 0;
    out[c - column_begin] = matrix->scales[group] * (level - zero);
  }
}

// Y = X W^T
void temper_packed_product_reference(const temper_packed_product *product) {
  const temper_packed_matrix *matrix = product->matrix;
  for (int64_t i = 0; i < product->m; i++) {
    for (int64_t row = 0; row < matrix->rows; row++) {
      long double sum = 0;
      for (int64_t begin = 0; begin < matrix->columns; begin += TEMPER_PACKED_UNIT) {
        const int64_t rest = matrix->columns - begin, count = rest < TEMPER_PACKED_UNIT ? rest : TEMPER_PACKED_UNIT;
        float weights[TEMPER_PACKED_UNIT];
        temper_dequantize_row_reference(matrix, row, begin, begin + count, weights);
        for (int64_t c = 0; c < count; c++) {
          const int64_t place = i * product->x_row_stride + begin + c;
          sum += (long double)weights[c] * (product->element == TEMPER_ELEMENT_F64
                                                ? ((const double *)product->x)[place]
                                                : (double)((const float *)product->x)[place]);
        }
      }
      const int64_t place = i * product->y_row_stride + row;
      if (product->element == TEMPER_ELEMENT_F64) {
        ((double *)product->y)[place] = (double)sum;
      } else {
        ((float *)product->y)[place] = (float)sum;
      }
    }
  }
}
