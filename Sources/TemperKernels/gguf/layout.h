// How the blocks of each type lie in memory: a table, and the two functions that all types share.
#ifndef TEMPER_GGUF_LAYOUT_H
#define TEMPER_GGUF_LAYOUT_H

#include "../include/gguf_blocks.h"

// Bits [shift, shift + width) of the codes. A byte holds 8 / width of them, which are `chunk` weights apart: weight
// e = (q · 8 / width + s) · chunk + j is in byte q · chunk + j from bit s · width on.
typedef struct {
  int16_t offset;
  int8_t width, shift;
  int16_t chunk;
} gguf_plane;

// How a block holds the scales of its groups.
typedef enum {
  GGUF_FLOAT,         // no blocks: float32, float16, bfloat16
  GGUF_HALF,          // one float16, and one for the offset, with its sign turned
  GGUF_NIBBLES,       // d · (low 4 bits), dmin · (high 4 bits) of a byte for each group
  GGUF_SIX_BITS,      // d · (6 bits − 32), sixteen groups in twelve bytes
  GGUF_SIX_BIT_PAIRS, // d · 6 bits, dmin · 6 bits, eight groups in twelve bytes
  GGUF_BYTES,         // d · int8
  GGUF_SPLIT,         // d · (6 bits − 32), eight groups: 4 low bits in bytes, 2 high ones in a word
  GGUF_POWER,         // a power of two, its exponent in a byte
  GGUF_E4M3,          // an 8-bit float for each group
} gguf_scaling;

typedef struct {
  temper_gguf_type type;
  gguf_scaling scaling;
  int16_t d, dmin, scales; // offsets in bytes
  gguf_plane planes[2];
  int16_t base;         // the level of code 0, where levels are whole
  int16_t low, high;    // the levels that are written
  const int8_t *table;  // sixteen levels, where they are not whole numbers in order
  int8_t factors;       // ranges that the search tries,
  float reach;          // down to this part of the whole
} gguf_layout;

// What a block says, taken apart.
typedef struct {
  float d, dmin;
  int16_t scale[16], offset[16]; // the whole numbers beside d and dmin
  uint8_t code[TEMPER_GGUF_LARGEST_BLOCK];
} gguf_block;

const gguf_layout *gguf_layout_of(const temper_gguf_type *type);
void gguf_unpack(const gguf_layout *layout, const uint8_t *bytes, gguf_block *block);
void gguf_pack(const gguf_layout *layout, const gguf_block *block, uint8_t *bytes);
// Scale and offset of a group.
float gguf_scale(const gguf_layout *layout, const gguf_block *block, int group);
float gguf_offset(const gguf_layout *layout, const gguf_block *block, int group);

static inline float gguf_level(const gguf_layout *layout, int code) {
  return layout->table ? (float)layout->table[code & 15] : (float)(code + layout->base);
}

#endif
