#include <string.h>

#include "rounding.h"

enum { UNIT = TEMPER_PACKED_UNIT, LANES = 16 };

typedef struct value_range {
  float minimum, maximum;
  bool is_finite;
} value_range;

CLONES static value_range range_of(const float *values, int64_t count) {
  float low[LANES], high[LANES], differences[LANES] = {0};
  for (int l = 0; l < LANES; l++) low[l] = high[l] = values[0];
  int64_t c = 0;
  for (; c + LANES <= count; c += LANES) {
    for (int l = 0; l < LANES; l++) {
      const float value = values[c + l];
      low[l] = value < low[l] ? value : low[l];
      high[l] = value > high[l] ? value : high[l];
      differences[l] += value - value;  // NaN from the first infinity or NaN on
    }
  }
  for (; c < count; c++) {
    low[0] = values[c] < low[0] ? values[c] : low[0];
    high[0] = values[c] > high[0] ? values[c] : high[0];
    differences[0] += values[c] - values[c];
  }
  value_range range = {low[0], high[0], true};
  for (int l = 0; l < LANES; l++) {
    if (low[l] < range.minimum) range.minimum = low[l];
    if (high[l] > range.maximum) range.maximum = high[l];
    if (!(differences[l] == 0)) range.is_finite = false;
  }
  return range;
}

bool temper_group_ranges(const float *weights, int64_t columns, int64_t group_size, int64_t row_begin, int64_t row_end,
                         float *minima, float *maxima) {
  const int64_t groups = (columns + group_size - 1) / group_size;
  for (int64_t row = row_begin; row < row_end; row++) {
    for (int64_t g = 0; g < groups; g++) {
      const int64_t begin = g * group_size, rest = columns - begin;
      const value_range range = range_of(weights + row * columns + begin, rest < group_size ? rest : group_size);
      if (!range.is_finite) return false;
      minima[row * groups + g] = range.minimum;
      maxima[row * groups + g] = range.maximum;
    }
  }
  return true;
}

CLONES void temper_round_values(const temper_levels *levels, const float *values, int64_t count, float scale,
                                float zero, uint8_t *loose) {
  if (levels->count > 0) {
    for (int64_t i = 0; i < count; i++) {
      loose[i] = levels->codes[thresholds_below(levels->thresholds, levels->count - 1, values[i] / scale + zero)];
    }
  } else {
    const float shift = zero - levels->first_level;
    const float lowest = (float)levels->lowest_code - shift, highest = (float)levels->highest_code - shift;
    for (int64_t i = 0; i < count; i++) {
      loose[i] = (uint8_t)(int32_t)(whole_steps(values[i], scale, lowest, highest) + shift);
    }
  }
}

CLONES double temper_rounding_error(const temper_levels *levels, const float *values, int64_t count, float scale,
                                    float zero) {
  double sums[8] = {0};
  const float shift = zero - levels->first_level;
  const float lowest = (float)levels->lowest_code - shift, highest = (float)levels->highest_code - shift;
  int64_t i = 0;
  if (levels->count == 0) {
    for (; i + 8 <= count; i += 8) {
      for (int l = 0; l < 8; l++) {
        const float value = values[i + l];
        const double difference = (double)value - (double)(scale * whole_steps(value, scale, lowest, highest));
        sums[l] += difference * difference;
      }
    }
  }
  for (; i < count; i++) {
    float level = whole_steps(values[i], scale, lowest, highest);
    if (levels->count > 0) {
      const float *thresholds = levels->thresholds;
      level = levels->levels[thresholds_below(thresholds, levels->count - 1, values[i] / scale + zero)] - zero;
    }
    const double difference = (double)values[i] - (double)(scale * level);
    sums[0] += difference * difference;
  }
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// Two variants: with AVX2 the compiler makes 64 KB of it.
#if defined(__x86_64__)
__attribute__((target_clones("arch=x86-64-v4", "default")))
#endif
static void pack_units(int bits, int64_t units, const uint8_t *loose, uint8_t *out) {
  for (int64_t u = 0; u < units; u++, loose += UNIT) {
    if (bits == 8) {
      memcpy(out, loose, UNIT);
      out += UNIT;
      continue;
    }
    int shift = 0;
    if (bits & 4) {
      for (int i = 0; i < 16; i++) out[i] = (uint8_t)((loose[i] & 15) | loose[16 + i] << 4);
      out += 16;
      shift = 4;
    }
    if (bits & 2) {
      for (int i = 0; i < 8; i++) {
        int byte = 0;
        for (int j = 0; j < 4; j++) byte |= (loose[4 * i + j] >> shift & 3) << (2 * j);
        out[i] = (uint8_t)byte;
      }
      out += 8;
      shift += 2;
    }
    if (bits & 1) {
      for (int i = 0; i < 4; i++) {
        int byte = 0;
        for (int j = 0; j < 8; j++) byte |= (loose[8 * i + j] >> shift & 1) << j;
        out[i] = (uint8_t)byte;
      }
      out += 4;
    }
  }
}

static void pack_row(int64_t columns, int bits, const uint8_t *loose, uint8_t *out) {
  const int64_t whole = columns / UNIT, rest = columns % UNIT;
  pack_units(bits, whole, loose, out);
  if (rest > 0) {
    uint8_t last[UNIT] = {0};
    memcpy(last, loose + whole * UNIT, (size_t)rest);
    pack_units(bits, 1, last, out + whole * 4 * bits);
  }
}

void temper_pack_rows(int64_t columns, int32_t bits, const uint8_t *loose, int64_t row_begin, int64_t row_end,
                      uint8_t *codes) {
  const int64_t row_bytes = temper_packed_row_bytes(columns, bits);
  for (int64_t row = row_begin; row < row_end; row++) {
    pack_row(columns, bits, loose + row * columns, codes + row * row_bytes);
  }
}

void temper_encode_rows(const temper_packed_matrix *matrix, const temper_levels *levels, const float *weights,
                        int64_t row_begin, int64_t row_end, uint8_t *codes) {
  enum { BLOCK = 32 * UNIT };
  const int64_t columns = matrix->columns, row_bytes = temper_packed_row_bytes(columns, matrix->bits);
  uint8_t loose[BLOCK];
  for (int64_t row = row_begin; row < row_end; row++) {
    for (int64_t begin = 0; begin < columns; begin += BLOCK) {
      const int64_t end = columns - begin < BLOCK ? columns : begin + BLOCK;
      for (int64_t c = begin; c < end;) {
        const int64_t group = c / matrix->group_size, group_end = (group + 1) * matrix->group_size;
        const int64_t stop = group_end < end ? group_end : end, place = row * matrix->scale_row_stride + group;
        const float zero = matrix->zeros ? (float)matrix->zeros[place] : 0;
        temper_round_values(levels, weights + row * columns + c, stop - c, matrix->scales[place], zero,
                            loose + (c - begin));
        c = stop;
      }
      pack_row(end - begin, matrix->bits, loose, codes + row * row_bytes + begin / UNIT * 4 * matrix->bits);
    }
  }
}
