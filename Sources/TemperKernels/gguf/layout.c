#include "layout.h"

#include <stddef.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

// 4-bit levels that lie denser around zero.
static const int8_t nonlinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// Twice the E2M1 floats 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
static const int8_t e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

#define HALF_LARGEST 65504.0f
#define FLOAT_LARGEST 0x1.fffffep127f
#define BFLOAT_LARGEST 0x1.fep127f

static const gguf_layout layouts[] = {
  {{0, "F32", 1, 4, 1, 0, FLOAT_LARGEST}, .scaling = GGUF_FLOAT},
  {{1, "F16", 1, 2, 1, 0, HALF_LARGEST}, .scaling = GGUF_FLOAT},
  {{30, "BF16", 1, 2, 1, 0, BFLOAT_LARGEST}, .scaling = GGUF_FLOAT},
  {{2, "Q4_0", 32, 18, 32, 0, 7 * HALF_LARGEST}, GGUF_HALF, 0, -1, -1, {{2, 4, 0, 16}}, -8, -8, 7, NULL, 12, 0.6f},
  {{3, "Q4_1", 32, 20, 32, 1, HALF_LARGEST}, GGUF_HALF, 0, 2, -1, {{4, 4, 0, 16}}, 0, 0, 15, NULL, 12, 0.6f},
  {{6, "Q5_0", 32, 22, 32, 0, 15 * HALF_LARGEST}, GGUF_HALF, 0, -1, -1, {{6, 4, 0, 16}, {2, 1, 4, 1}}, -16, -16, 15,
   NULL, 10, 0.75f},
  {{7, "Q5_1", 32, 24, 32, 1, HALF_LARGEST}, GGUF_HALF, 0, 2, -1, {{8, 4, 0, 16}, {4, 1, 4, 1}}, 0, 0, 31, NULL, 10,
   0.75f},
  {{8, "Q8_0", 32, 34, 32, 0, 127 * HALF_LARGEST}, GGUF_HALF, 0, -1, -1, {{2, 8, 0, 32}}, -128, -127, 127, NULL, 3,
   0.97f},
  {{10, "Q2_K", 256, 84, 16, 1, HALF_LARGEST}, GGUF_NIBBLES, 80, 82, 0, {{16, 2, 0, 32}}, 0, 0, 3, NULL, 12, 0.4f},
  {{11, "Q3_K", 256, 110, 16, 0, HALF_LARGEST}, GGUF_SIX_BITS, 108, -1, 96, {{32, 2, 0, 32}, {0, 1, 2, 32}}, -4, -4, 3,
   NULL, 12, 0.5f},
  {{12, "Q4_K", 256, 144, 32, 1, HALF_LARGEST}, GGUF_SIX_BIT_PAIRS, 0, 2, 4, {{16, 4, 0, 32}}, 0, 0, 15, NULL, 12,
   0.6f},
  {{13, "Q5_K", 256, 176, 32, 1, HALF_LARGEST}, GGUF_SIX_BIT_PAIRS, 0, 2, 4, {{48, 4, 0, 32}, {16, 1, 4, 32}}, 0, 0, 31,
   NULL, 10, 0.75f},
  {{14, "Q6_K", 256, 210, 16, 0, HALF_LARGEST}, GGUF_BYTES, 208, -1, 192, {{0, 4, 0, 64}, {128, 2, 4, 32}}, -32, -32,
   31, NULL, 6, 0.85f},
  {{20, "IQ4_NL", 32, 18, 32, 0, 113 * HALF_LARGEST}, GGUF_HALF, 0, -1, -1, {{2, 4, 0, 16}}, 0, -127, 113, nonlinear,
   14, 0.6f},
  {{23, "IQ4_XS", 256, 136, 32, 0, HALF_LARGEST}, GGUF_SPLIT, 0, -1, 2, {{8, 4, 0, 16}}, 0, -127, 113, nonlinear, 14,
   0.6f},
  {{34, "TQ1_0", 256, 54, 256, 0, HALF_LARGEST}, GGUF_HALF, 52, -1, -1, {{0}}, -1, -1, 1, NULL, 16, 0.2f},
  {{35, "TQ2_0", 256, 66, 256, 0, HALF_LARGEST}, GGUF_HALF, 64, -1, -1, {{0, 2, 0, 32}}, -1, -1, 1, NULL, 16, 0.2f},
  {{39, "MXFP4", 32, 17, 32, 0, 0x1p127f}, GGUF_POWER, -1, -1, 0, {{1, 4, 0, 16}}, 0, -12, 12, e2m1, 0, 0},
  {{40, "NVFP4", 64, 36, 16, 0, 6 * 448.0f}, GGUF_E4M3, -1, -1, 0, {{4, 4, 0, 8}}, 0, -12, 12, e2m1, 0, 0},
};

const temper_gguf_type *temper_gguf_at(int32_t index) {
  return index >= 0 && index < (int32_t)(sizeof layouts / sizeof *layouts) ? &layouts[index].type : NULL;
}

const temper_gguf_type *temper_gguf_find(int32_t number) {
  const temper_gguf_type *type;
  for (int32_t index = 0; (type = temper_gguf_at(index)) && type->number != number; index++) {}
  return type;
}

// The type is the layout's first member.
const gguf_layout *gguf_layout_of(const temper_gguf_type *type) { return (const gguf_layout *)type; }

float temper_half_to_float(uint16_t bits) {
  uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3FF, word;
  if (exponent == 0) {
    float value = (float)fraction * 0x1p-24f;
    return sign ? -value : value;
  }
  word = sign | (exponent == 31 ? 0x7F800000 | fraction << 13 : (exponent + 112) << 23 | fraction << 13);
  float value;
  memcpy(&value, &word, 4);
  return value;
}

uint16_t temper_half_from_float(float value) {
  uint32_t word;
  memcpy(&word, &value, 4);
  uint16_t sign = (uint16_t)(word >> 16 & 0x8000);
  uint32_t size = word & 0x7FFFFFFF;
  if (size > 0x7F800000) return sign | 0x7E00;  // NaN
  if (size >= 0x477FF000) return sign | 0x7C00; // rounds to 65536 or more
  if (size < 0x38800000) {                      // below 2^-14: multiples of 2^-24; adding 0.5 rounds to them
    float shifted;
    memcpy(&shifted, &size, 4);
    shifted += 0.5f;
    memcpy(&size, &shifted, 4);
    return sign | (uint16_t)(size - 0x3F000000);
  }
  size += 0xFFF + (size >> 13 & 1);
  return sign | (uint16_t)((size - 0x38000000) >> 13);
}

static float half_at(const uint8_t *bytes, int offset) {
  return temper_half_to_float((uint16_t)(bytes[offset] | bytes[offset + 1] << 8));
}

static void put_half(float value, uint8_t *bytes, int offset) {
  uint16_t bits = temper_half_from_float(value);
  bytes[offset] = (uint8_t)bits;
  bytes[offset + 1] = (uint8_t)(bits >> 8);
}

// Half of 2^(e − 127), as the levels of E2M1 are doubled.
static float power(int e) {
  uint32_t word = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
  float value;
  memcpy(&value, &word, 4);
  return value;
}

// Half of an E4M3 float without sign.
static float e4m3(int code) {
  int exponent = code >> 3 & 15, fraction = code & 7;
  if (code == 0 || code == 0x7F) return 0;
  float value = exponent == 0 ? (float)fraction * 0x1p-9f : (1 + (float)fraction / 8) * (float)(1 << exponent) * 0x1p-7f;
  return value * 0.5f;
}

float gguf_scale(const gguf_layout *layout, const gguf_block *block, int group) {
  switch (layout->scaling) {
  case GGUF_FLOAT: return 1;
  case GGUF_HALF: return block->d;
  case GGUF_POWER: return power(block->scale[0]);
  case GGUF_E4M3: return e4m3(block->scale[group]);
  default: return block->d * (float)block->scale[group];
  }
}

float gguf_offset(const gguf_layout *layout, const gguf_block *block, int group) {
  if (!layout->type.has_offsets) return 0;
  return layout->scaling == GGUF_HALF ? -block->dmin : block->dmin * (float)block->offset[group];
}

static const uint8_t powers_of_three[5] = {81, 27, 9, 3, 1};

// Five base-3 digits in a byte, as the fraction n / 243 in 256ths, rounded up; digit s of a byte is `chunk` weights after
// digit s − 1. 32 bytes of the first 160 weights, 16 of the next 80, 4 with four digits of the last 16.
static void each_ternary_byte(void (*body)(uint8_t *byte, uint8_t *codes, int step, int digits), uint8_t *bytes,
                              uint8_t *codes) {
  for (int j = 0; j < 32; j++) body(bytes + j, codes + j, 32, 5);
  for (int j = 0; j < 16; j++) body(bytes + 32 + j, codes + 160 + j, 16, 5);
  for (int j = 0; j < 4; j++) body(bytes + 48 + j, codes + 240 + j, 4, 4);
}

static void pack_ternary(uint8_t *byte, uint8_t *codes, int step, int digits) {
  int number = 0;
  for (int s = 0; s < digits; s++) number += codes[s * step] * powers_of_three[s];
  *byte = (uint8_t)((number * 256 + 242) / 243);
}

static void unpack_ternary(uint8_t *byte, uint8_t *codes, int step, int digits) {
  uint8_t rest = *byte;
  for (int s = 0; s < digits; s++) {
    codes[s * step] = (uint8_t)(rest * 3 >> 8);
    rest = (uint8_t)(rest * 3);
  }
}

static int is_ternary(const gguf_layout *layout) { return layout->planes[0].width == 0; }
static int code_flip(const gguf_layout *layout) { return layout->planes[0].width == 8 ? 0x80 : 0; }

static void unpack_codes(const gguf_layout *layout, const uint8_t *bytes, uint8_t *codes) {
  if (is_ternary(layout)) {
    uint8_t digits[52];
    memcpy(digits, bytes, sizeof digits);
    each_ternary_byte(unpack_ternary, digits, codes);
    return;
  }
  memset(codes, 0, (size_t)layout->type.block);
  for (int p = 0; p < 2 && layout->planes[p].width; p++) {
    gguf_plane plane = layout->planes[p];
    int fields = 8 / plane.width, mask = (1 << plane.width) - 1, span = plane.chunk * fields;
    for (int first = 0, at = plane.offset; first < layout->type.block; first += span, at += plane.chunk)
      for (int s = 0; s < fields; s++)
        for (int j = 0; j < plane.chunk; j++)
          codes[first + s * plane.chunk + j] |=
            (uint8_t)(((bytes[at + j] ^ code_flip(layout)) >> s * plane.width & mask) << plane.shift);
  }
}

static void pack_codes(const gguf_layout *layout, const uint8_t *codes, uint8_t *bytes) {
  if (is_ternary(layout)) {
    uint8_t copy[TEMPER_GGUF_LARGEST_BLOCK];
    memcpy(copy, codes, sizeof copy);
    each_ternary_byte(pack_ternary, bytes, copy);
    return;
  }
  for (int p = 0; p < 2 && layout->planes[p].width; p++) {
    gguf_plane plane = layout->planes[p];
    int fields = 8 / plane.width, mask = (1 << plane.width) - 1, span = plane.chunk * fields;
    for (int first = 0, at = plane.offset; first < layout->type.block; first += span, at += plane.chunk)
      for (int s = 0; s < fields; s++)
        for (int j = 0; j < plane.chunk; j++)
          bytes[at + j] |= (uint8_t)((((codes[first + s * plane.chunk + j] >> plane.shift) & mask) << s * plane.width) ^
                                     code_flip(layout));
  }
}

void gguf_unpack(const gguf_layout *layout, const uint8_t *bytes, gguf_block *block) {
  const uint8_t *s = bytes + layout->scales;
  block->d = layout->d < 0 ? 0 : half_at(bytes, layout->d);
  block->dmin = layout->dmin < 0 ? 0 : half_at(bytes, layout->dmin);
  switch (layout->scaling) {
  case GGUF_FLOAT: return;
  case GGUF_HALF: break;
  case GGUF_NIBBLES:
    for (int g = 0; g < 16; g++) {
      block->scale[g] = s[g] & 15;
      block->offset[g] = s[g] >> 4;
    }
    break;
  case GGUF_SIX_BITS:
    for (int g = 0; g < 16; g++)
      block->scale[g] = (int16_t)(((s[g & 7] >> (g < 8 ? 0 : 4) & 15) | (s[8 + (g & 3)] >> 2 * (g / 4) & 3) << 4) - 32);
    break;
  case GGUF_SIX_BIT_PAIRS:
    for (int j = 0; j < 4; j++) {
      block->scale[j] = s[j] & 63;
      block->offset[j] = s[4 + j] & 63;
      block->scale[4 + j] = (int16_t)((s[8 + j] & 15) | (s[j] >> 6) << 4);
      block->offset[4 + j] = (int16_t)(s[8 + j] >> 4 | (s[4 + j] >> 6) << 4);
    }
    break;
  case GGUF_BYTES:
    for (int g = 0; g < 16; g++) block->scale[g] = (int8_t)s[g];
    break;
  case GGUF_SPLIT: {
    int high = s[0] | s[1] << 8;
    for (int g = 0; g < 8; g++)
      block->scale[g] = (int16_t)(((s[2 + g / 2] >> 4 * (g & 1) & 15) | (high >> 2 * g & 3) << 4) - 32);
    break;
  }
  case GGUF_POWER: block->scale[0] = s[0]; break;
  case GGUF_E4M3:
    for (int g = 0; g < 4; g++) block->scale[g] = s[g];
    break;
  }
  unpack_codes(layout, bytes, block->code);
}

void gguf_pack(const gguf_layout *layout, const gguf_block *block, uint8_t *bytes) {
  uint8_t *s = bytes + layout->scales;
  memset(bytes, 0, (size_t)layout->type.bytes);
  if (layout->d >= 0) put_half(block->d, bytes, layout->d);
  if (layout->dmin >= 0) put_half(block->dmin, bytes, layout->dmin);
  switch (layout->scaling) {
  case GGUF_FLOAT: return;
  case GGUF_HALF: break;
  case GGUF_NIBBLES:
    for (int g = 0; g < 16; g++) s[g] = (uint8_t)(block->scale[g] | block->offset[g] << 4);
    break;
  case GGUF_SIX_BITS:
    for (int g = 0; g < 16; g++) {
      int scale = block->scale[g] + 32;
      s[g & 7] |= (uint8_t)((scale & 15) << (g < 8 ? 0 : 4));
      s[8 + (g & 3)] |= (uint8_t)(scale >> 4 << 2 * (g / 4));
    }
    break;
  case GGUF_SIX_BIT_PAIRS:
    for (int j = 0; j < 4; j++) {
      s[j] = (uint8_t)(block->scale[j] | block->scale[4 + j] >> 4 << 6);
      s[4 + j] = (uint8_t)(block->offset[j] | block->offset[4 + j] >> 4 << 6);
      s[8 + j] = (uint8_t)((block->scale[4 + j] & 15) | (block->offset[4 + j] & 15) << 4);
    }
    break;
  case GGUF_BYTES:
    for (int g = 0; g < 16; g++) s[g] = (uint8_t)block->scale[g];
    break;
  case GGUF_SPLIT:
    for (int g = 0; g < 8; g++) {
      int scale = block->scale[g] + 32;
      s[2 + g / 2] |= (uint8_t)((scale & 15) << 4 * (g & 1));
      s[g / 4] |= (uint8_t)(scale >> 4 << 2 * (g & 3));
    }
    break;
  case GGUF_POWER: s[0] = (uint8_t)block->scale[0]; break;
  case GGUF_E4M3:
    for (int g = 0; g < 4; g++) s[g] = (uint8_t)block->scale[g];
    break;
  }
  pack_codes(layout, block->code, bytes);
}

void temper_gguf_decode(const temper_gguf_type *type, const uint8_t *bytes, int64_t blocks, float *weights) {
  const gguf_layout *layout = gguf_layout_of(type);
  if (layout->scaling == GGUF_FLOAT) {
    for (int64_t i = 0; i < blocks; i++) {
      if (type->bytes == 4) {
        memcpy(weights + i, bytes + 4 * i, 4);
      } else if (type->number == 1) {
        weights[i] = half_at(bytes + 2 * i, 0);
      } else {
        uint32_t word = (uint32_t)bytes[2 * i] << 16 | (uint32_t)bytes[2 * i + 1] << 24;
        memcpy(weights + i, &word, 4);
      }
    }
    return;
  }
  gguf_block block;
  for (int64_t i = 0; i < blocks; i++, bytes += type->bytes, weights += type->block) {
    gguf_unpack(layout, bytes, &block);
    for (int first = 0; first < type->block; first += type->group) {
      float scale = gguf_scale(layout, &block, first / type->group);
      float offset = gguf_offset(layout, &block, first / type->group);
      for (int e = first; e < first + type->group; e++) {
        float product = scale * gguf_level(layout, block.code[e]);
        weights[e] = product - offset;
      }
    }
  }
}
