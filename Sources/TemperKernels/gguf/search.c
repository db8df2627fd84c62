// Blocks of small squared error: for each group scale and offset are searched among ranges that cover it in part, each
// refined by least squares over the levels that it gives; then the whole numbers and halves that the block stores them
// as are adjusted to each other.
#include <math.h>
#include <string.h>

#include "../clones.h"
#include "layout.h"

#pragma STDC FP_CONTRACT OFF

// Largest whole numbers beside d and dmin.
typedef struct {
  int low, high, offset;
} whole_range;

static whole_range ranges_of(gguf_scaling scaling) {
  switch (scaling) {
  case GGUF_NIBBLES: return (whole_range){0, 15, 15};
  case GGUF_SIX_BIT_PAIRS: return (whole_range){0, 63, 63};
  case GGUF_BYTES: return (whole_range){-128, 127, 0};
  case GGUF_SIX_BITS:
  case GGUF_SPLIT: return (whole_range){-32, 31, 0};
  default: return (whole_range){0, 0, 0};
  }
}

static float as_half(float value) {
  float rounded = temper_half_to_float(temper_half_from_float(value));
  return isfinite(rounded) ? rounded : copysignf(65504.0f, value);
}

// A group with what its levels sum up to.
typedef struct {
  const float *x;
  int count;
} group;

// Sums of a group go in lanes, whose order is the same for every width of vectors; groups are whole multiples of them.
#define LANES 8

static double sum_of_lanes(const double *lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

// The nearest code for each value of a group, and its level. A scale of 0 gives the level nearest to 0. What wider
// vectors make faster are this loop and the two after it: they alone have variants.
TEMPER_CLONES static void nearest_codes(const gguf_layout *layout, group group, float scale, float offset,
                                        uint8_t *codes, float *levels) {
  float inverse = scale == 0 ? 0 : 1 / scale;
  if (!isfinite(inverse)) inverse = 0;
  if (layout->table) {
    int is_in_order = layout->table[0] < layout->table[15];
    for (int i = 0; i < group.count; i += LANES) {
      float wanted[LANES], least[LANES];
      int32_t best[LANES] = {0};
      for (int j = 0; j < LANES; j++) {
        wanted[j] = (group.x[i + j] + offset) * inverse;
        least[j] = INFINITY;
      }
      for (int code = is_in_order; code < 16; code++) {
        float level = (float)layout->table[code];
        if (is_in_order) {
          // The code is the number of midpoints below.
          float middle = ((float)layout->table[code - 1] + level) * 0.5f;
          for (int j = 0; j < LANES; j++) best[j] += wanted[j] > middle;
        } else {
          for (int j = 0; j < LANES; j++) {
            float distance = fabsf(wanted[j] - level);
            best[j] = distance < least[j] ? code : best[j];
            least[j] = distance < least[j] ? distance : least[j];
          }
        }
      }
      for (int j = 0; j < LANES; j++) {
        codes[i + j] = (uint8_t)best[j];
        levels[i + j] = (float)layout->table[best[j]];
      }
    }
    return;
  }
  float low = layout->low, high = layout->high;
  for (int i = 0; i < group.count; i++) {
    float level = (group.x[i] + offset) * inverse;
    level = level < low ? low : level > high ? high : level;
    // Adding 1.5 · 2^23 rounds to a whole number, ties to even.
    level = (level + 12582912.0f) - 12582912.0f;
    levels[i] = level;
    codes[i] = (uint8_t)((int)level - layout->base);
  }
}

TEMPER_CLONES static double squared_error(group group, float scale, float offset, const float *levels) {
  double lanes[LANES] = {0};
  for (int i = 0; i < group.count; i += LANES) {
    for (int j = 0; j < LANES; j++) {
      float product = scale * levels[i + j];
      double difference = (double)group.x[i + j] - (double)(product - offset);
      lanes[j] += difference * difference;
    }
  }
  return sum_of_lanes(lanes);
}

// Scale and offset of least squared error for these levels; an offset is at least `least_offset`.
TEMPER_CLONES static void least_squares(const gguf_layout *layout, group group, const float *levels, float least_offset,
                                        float *scale, float *offset) {
  double lanes[4][LANES] = {{0}}, n = group.count;
  for (int i = 0; i < group.count; i += LANES) {
    for (int j = 0; j < LANES; j++) {
      double level = (double)levels[i + j], x = (double)group.x[i + j];
      lanes[0][j] += level;
      lanes[1][j] += level * level;
      lanes[2][j] += x;
      lanes[3][j] += level * x;
    }
  }
  double l1 = sum_of_lanes(lanes[0]), l2 = sum_of_lanes(lanes[1]), x1 = sum_of_lanes(lanes[2]);
  double lx = sum_of_lanes(lanes[3]);
  if (layout->type.has_offsets) {
    double determinant = n * l2 - l1 * l1;
    double a = determinant > 0 ? (n * lx - l1 * x1) / determinant : 0, b = (a * l1 - x1) / n;
    if (determinant > 0 && b >= (double)least_offset) {
      *scale = (float)a;
      *offset = (float)b;
      return;
    }
    *offset = 0;
  }
  if (l2 > 0) *scale = (float)(lx / l2);
}

typedef struct {
  float scale, offset;
  double error;
} fit;

// Keeps scale and offset where they are better than what there is; as they are stored where nothing else scales them.
// `levels`: what they give.
static void try_fit(const gguf_layout *layout, group group, float scale, float offset, float *levels, fit *best) {
  uint8_t codes[TEMPER_GGUF_LARGEST_BLOCK];
  if (layout->scaling == GGUF_HALF) {
    scale = as_half(scale);
    offset = as_half(offset);
  }
  nearest_codes(layout, group, scale, offset, codes, levels);
  double error = squared_error(group, scale, offset, levels);
  if (error < best->error) *best = (fit){scale, offset, error};
}

static fit fit_group(const gguf_layout *layout, group group, const float *hint_scale, const float *hint_offset) {
  float levels[TEMPER_GGUF_LARGEST_BLOCK], low = INFINITY, high = -INFINITY, extreme = 0;
  for (int i = 0; i < group.count; i++) {
    low = fminf(low, group.x[i]);
    high = fmaxf(high, group.x[i]);
    if (fabsf(group.x[i]) > fabsf(extreme)) extreme = group.x[i];
  }
  fit best = {0, 0, INFINITY};
  int has_offsets = layout->type.has_offsets;
  // Beside halves of either sign, offsets are whole multiples of one number: they are all of one sign.
  float least_offset = layout->scaling == GGUF_HALF ? -INFINITY : 0;
  if (has_offsets && low > -least_offset) low = 0;
  if (hint_scale) try_fit(layout, group, *hint_scale, hint_offset ? *hint_offset : 0, levels, &best);
  try_fit(layout, group, 0, has_offsets ? -low : 0, levels, &best);
  for (int i = 0; i < layout->factors && best.error > 0; i++) {
    float part = 1 - (1 - layout->reach) * (float)i / (float)layout->factors;
    for (int side = 0; side < 2; side++) {
      float end = side ? layout->high : layout->low, scale, offset = 0;
      if (has_offsets) {
        // The range cut at one of its ends, or at both.
        float span = (high - low) * part;
        scale = span / layout->high;
        offset = side ? -low : span - high;
        if (side && i == 0) continue;
        if (offset < least_offset) offset = 0;
      } else {
        if (side && layout->low == -layout->high) continue;
        scale = extreme * part / end;
      }
      try_fit(layout, group, scale, offset, levels, &best);
      least_squares(layout, group, levels, least_offset, &scale, &offset);
      try_fit(layout, group, scale, offset, levels, &best);
    }
  }
  return best;
}

// The codes of one group, and their error, under the scales that the block holds.
static double code_group(const gguf_layout *layout, const float *weights, int g, gguf_block *block) {
  int count = layout->type.group;
  group group = {weights + g * count, count};
  float scale = gguf_scale(layout, block, g), offset = gguf_offset(layout, block, g);
  float levels[TEMPER_GGUF_LARGEST_BLOCK];
  nearest_codes(layout, group, scale, offset, block->code + g * count, levels);
  return squared_error(group, scale, offset, levels);
}

static int clamped(float value, int low, int high) {
  return value < (float)low ? low : value > (float)high ? high : (int)rintf(value);
}

// d and dmin of least squared error for the codes and whole numbers that there are.
static void refit_halves(const gguf_layout *layout, const float *weights, gguf_block *block) {
  double uu = 0, uv = 0, vv = 0, ux = 0, vx = 0;
  for (int e = 0; e < layout->type.block; e++) {
    int g = e / layout->type.group;
    double u = (double)block->scale[g] * (double)gguf_level(layout, block->code[e]);
    double v = layout->type.has_offsets ? (double)block->offset[g] : 0, x = (double)weights[e];
    uu += u * u;
    uv += u * v;
    vv += v * v;
    ux += u * x;
    vx += v * x;
  }
  double determinant = uu * vv - uv * uv;
  if (determinant > 1e-9 * uu * vv) {
    double d = (ux * vv - vx * uv) / determinant, dmin = (ux * uv - vx * uu) / determinant;
    if (dmin >= 0) {
      block->d = as_half((float)d);
      block->dmin = as_half((float)dmin);
      return;
    }
  }
  if (uu > 0) block->d = as_half((float)((ux + uv * (double)block->dmin) / uu));
}

static double code_block(const gguf_layout *layout, const float *weights, gguf_block *block) {
  double error = 0;
  for (int g = 0; g < layout->type.block / layout->type.group; g++) error += code_group(layout, weights, g, block);
  return error;
}

// The whole numbers around those of a group; the best of them.
static void adjust_group(const gguf_layout *layout, const float *weights, int g, gguf_block *block) {
  whole_range range = ranges_of(layout->scaling);
  int scale = block->scale[g], offset = block->offset[g], best_scale = scale, best_offset = offset;
  double least = code_group(layout, weights, g, block);
  for (int s = -1; s <= 1 && least > 0; s++) {
    for (int o = range.offset ? -1 : 0; o <= (range.offset ? 1 : 0); o++) {
      if (scale + s < range.low || scale + s > range.high || offset + o < 0 || offset + o > range.offset) continue;
      block->scale[g] = (int16_t)(scale + s);
      block->offset[g] = (int16_t)(offset + o);
      double error = code_group(layout, weights, g, block);
      if (error < least) {
        least = error;
        best_scale = scale + s;
        best_offset = offset + o;
      }
    }
  }
  block->scale[g] = (int16_t)best_scale;
  block->offset[g] = (int16_t)best_offset;
  code_group(layout, weights, g, block);
}

// Scales and offsets as whole multiples of d and dmin.
static void encode_super_block(const gguf_layout *layout, const float *weights, const float *scales,
                               const float *offsets, gguf_block *block) {
  whole_range range = ranges_of(layout->scaling);
  int groups = layout->type.block / layout->type.group;
  fit fits[16];
  float extreme = 0, furthest = 0;
  for (int g = 0; g < groups; g++) {
    group group = {weights + g * layout->type.group, layout->type.group};
    fits[g] = fit_group(layout, group, scales ? scales + g : 0, offsets ? offsets + g : 0);
    if (fabsf(fits[g].scale) > fabsf(extreme)) extreme = fits[g].scale;
    furthest = fmaxf(furthest, fits[g].offset);
  }
  int end = range.low < 0 ? range.low : range.high;
  block->d = as_half(extreme / (float)end);
  block->dmin = range.offset ? as_half(furthest / (float)range.offset) : 0;
  for (int g = 0; g < groups; g++) {
    block->scale[g] = (int16_t)(block->d == 0 ? 0 : clamped(fits[g].scale / block->d, range.low, range.high));
    block->offset[g] = (int16_t)(block->dmin == 0 ? 0 : clamped(fits[g].offset / block->dmin, 0, range.offset));
  }
  double least = code_block(layout, weights, block);
  for (int round = 0; round < 2 && least > 0; round++) {
    for (int g = 0; g < groups; g++) adjust_group(layout, weights, g, block);
    gguf_block refit = *block;
    least = code_block(layout, weights, block);
    refit_halves(layout, weights, &refit);
    double error = code_block(layout, weights, &refit);
    if (error < least) {
      least = error;
      *block = refit;
    }
  }
}

// Scales that are one of few: those around the one that just covers the group.
static void encode_listed_scales(const gguf_layout *layout, const float *weights, gguf_block *block) {
  int is_power = layout->scaling == GGUF_POWER, last = is_power ? 254 : 0x7E;
  for (int g = 0; g < layout->type.block / layout->type.group; g++) {
    const float *x = weights + g * layout->type.group;
    float largest = 0;
    for (int i = 0; i < layout->type.group; i++) largest = fmaxf(largest, fabsf(x[i]));
    // The smallest scale whose largest level reaches.
    int covering = 0;
    for (block->scale[g] = 0; covering < last && gguf_scale(layout, block, g) * layout->high < largest; covering++)
      block->scale[g] = (int16_t)(covering + 1);
    int best = covering;
    double least = INFINITY;
    for (int code = covering - (is_power ? 2 : 6); code <= covering + 1; code++) {
      if (code < 0 || code > last) continue;
      block->scale[g] = (int16_t)code;
      double error = code_group(layout, x - g * layout->type.group, g, block);
      if (error < least) {
        least = error;
        best = code;
      }
    }
    block->scale[g] = (int16_t)best;
    code_group(layout, weights, g, block);
  }
}

static void encode_blocks(const gguf_layout *layout, const float *weights, int64_t blocks, const float *scales,
                          const float *offsets, uint8_t *bytes) {
  gguf_block block;
  memset(&block, 0, sizeof block);
  int groups = layout->type.block / layout->type.group;
  for (int64_t i = 0; i < blocks; i++) {
    const float *x = weights + i * layout->type.block, *s = scales ? scales + i * groups : 0;
    const float *o = offsets ? offsets + i * groups : 0;
    if (layout->scaling == GGUF_HALF) {
      group group = {x, layout->type.block};
      fit best = fit_group(layout, group, s, o);
      block.d = best.scale;
      block.dmin = -best.offset;
      code_group(layout, x, 0, &block);
    } else if (layout->scaling == GGUF_POWER || layout->scaling == GGUF_E4M3) {
      encode_listed_scales(layout, x, &block);
    } else {
      encode_super_block(layout, x, s, o, &block);
    }
    gguf_pack(layout, &block, bytes + i * layout->type.bytes);
  }
}

void temper_gguf_encode(const temper_gguf_type *type, const float *weights, int64_t blocks, const float *scales,
                        const float *offsets, uint8_t *bytes) {
  const gguf_layout *layout = gguf_layout_of(type);
  if (layout->scaling != GGUF_FLOAT) {
    encode_blocks(layout, weights, blocks, scales, offsets, bytes);
    return;
  }
  for (int64_t i = 0; i < blocks; i++) {
    uint32_t word;
    memcpy(&word, weights + i, 4);
    if (type->bytes == 4) {
      memcpy(bytes + 4 * i, &word, 4);
      continue;
    }
    // bfloat16: the upper half, to nearest, ties to even; the NaNs stay NaNs.
    if (type->number == 1) word = (uint32_t)temper_half_from_float(weights[i]) << 16;
    else word = (word & 0x7FFFFFFF) > 0x7F800000 ? word | 0x400000 : word + 0x7FFF + (word >> 16 & 1);
    bytes[2 * i] = (uint8_t)(word >> 16);
    bytes[2 * i + 1] = (uint8_t)(word >> 24);
  }
}
