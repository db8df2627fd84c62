// Weights in the blocks of GGUF files (github.com/ggml-org/ggml, docs/gguf.md and ggml-common.h).
//
// A block is 1 to 256 neighbours of a row, in groups that share a scale and, in some types, an offset:
//   weight = scale · level − offset, every operation rounded to float32,
// so that decoding gives the same bits as the format's public package.
#ifndef TEMPER_GGUF_BLOCKS_H
#define TEMPER_GGUF_BLOCKS_H

#include <stdint.h>

typedef struct temper_gguf_type {
  int32_t number;      // in files
  const char *name;    // "Q4_0"
  int32_t block;       // weights of a block
  int32_t bytes;       // of a block
  int32_t group;       // weights that share a scale
  int32_t has_offsets; // whether a group has an offset beside its scale
  float largest;       // weights up to this size can be written
} temper_gguf_type;

#define TEMPER_GGUF_LARGEST_BLOCK 256

// The type of this number, NULL if there is none that is read and written.
const temper_gguf_type *temper_gguf_find(int32_t number);
// The types one after the other, then NULL.
const temper_gguf_type *temper_gguf_at(int32_t index);

// `blocks` blocks as floats. Any bytes are a valid block.
void temper_gguf_decode(const temper_gguf_type *type, const uint8_t *bytes, int64_t blocks, float *weights);

// The blocks of least squared error that a search finds, never worse than scales that just cover the group. Weights are
// finite and at most `largest`. `scales` and `offsets`: for each group what to try beside the search, or NULL.
void temper_gguf_encode(const temper_gguf_type *type, const float *weights, int64_t blocks, const float *scales,
                        const float *offsets, uint8_t *bytes);

// IEEE binary16 and back; to nearest, ties to even.
uint16_t temper_half_from_float(float value);
float temper_half_to_float(uint16_t bits);

#endif
