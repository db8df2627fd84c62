// What one call of the interpreter decides before its first block: the shape of a block, where each register lives,
// and which loads and stores need no copy. Nothing here depends on the element type beyond its size.
#ifndef TEMPER_ROW_PROGRAM_PLAN_H
#define TEMPER_ROW_PROGRAM_PLAN_H

#include "../include/row_program.h"

typedef enum temper_layout : uint8_t {
  TEMPER_LAYOUT_TRANSPOSED,     // FULL: one vector of row lanes after the other, one for each column
  TEMPER_LAYOUT_WHOLE_ROWS,     // FULL: row after row
  TEMPER_LAYOUT_COLUMN_BLOCKS,  // FULL: a piece of one row
} temper_layout;

enum {
  TEMPER_TRANSPOSED_COLUMNS = 32,  // at most this many columns: transposed
  TEMPER_BLOCK_ELEMENTS = 2048,    // of a FULL register, about
  TEMPER_ROW_LANES = 16,           // transposed rows are padded to a multiple of this, so that vectors are whole
};

typedef struct temper_block_shape {
  temper_layout layout;
  int64_t rows, columns;  // of the largest block
} temper_block_shape;

// From `columns` alone, so that results do not depend on how rows are cut.
temper_block_shape temper_block_shape_of(int64_t columns);

typedef enum temper_operand_kind : uint8_t {
  TEMPER_OPERAND_IMMEDIATE,
  TEMPER_OPERAND_ROW,
  TEMPER_OPERAND_FULL
} temper_operand_kind;

// Where a value is: in a register's own storage, or, when `slot` is not negative, in the memory of that slot.
typedef struct temper_operand {
  int16_t reg, slot;
  temper_operand_kind kind;
} temper_operand;

typedef struct temper_step temper_step;
struct temper_step {
  const temper_instruction *instruction;
  temper_operand dst, a, b, c;
  uint8_t scalars;  // bit 0, 1, 2: a, b, c is one value for a whole segment
  bool segmented;   // operands of different kinds: one loop for each row or column instead of one for the block
  bool once;        // has a value per row only: runs in the first column block of a row
  bool idle;        // a LOAD or STORE whose register is the slot's memory, or what another step does along
  double state;     // ARGMAX and ARGMIN: the extreme value so far, over column blocks; sums: their value
  // EXP: the SUBTRACT of a ROW that makes its operand, if only this reads it; the ROW_SUM of its result. The heart of
  // every softmax is one loop then, which has arithmetic to do while it waits for memory. Chained: the ROW_SUM alike.
  const temper_step *difference, *sum;
  const temper_step *sigmoid;  // SOFTPLUS: the SIGMOID of the same after it, which shares its exponential
  // Element-wise steps that run as one chain (chain_links.h), when its last one is reached.
  temper_step *chain_head;  // on the last one
  bool chained, segmented_chain;
  bool loads_tile;  // operand `tile` comes from memory, not from the step before
  bool stored;      // the value is in its slot's memory to stay
  bool kept;        // the value is read beyond the next step
  uint8_t tile, form;
  int32_t reads;  // how many operands read the value, other than idle stores
};

enum {
  TEMPER_CHAIN_STEPS = 48,
  TEMPER_CHAIN_FORMS = 12,
  TEMPER_CHAIN_SUMS = 3,  // of as many values a chain adds up the elements
};
// Operand `tile` is in vector registers; of the two others, in order, this says which are one value for all elements.
#define TEMPER_FORM(tile, first_is_scalar, second_is_scalar) (4 * (tile) + 2 * (first_is_scalar) + (second_is_scalar))

typedef struct temper_plan_slot {
  const temper_slot *slot;
  int64_t row_stride;  // when all rows are evenly spaced
  bool even;
  int32_t first_phase;  // in which columns of its memory are read or written first, or -1
} temper_plan_slot;

typedef struct temper_plan {
  const temper_row_program *program;
  temper_block_shape shape;
  temper_step *steps;
  temper_plan_slot *slots;
  void **registers;  // own storage of each register
  bool one_chain;    // of a single row, and nothing else to do for its blocks
  void *staging;     // one block, row after row: for values made in row order in transposed layout
} temper_plan;

// Lays the plan out in `scratch`.
void temper_row_program_plan(temper_plan *plan, const temper_row_program *program, const temper_slot *slots,
                             int64_t column_begin, int64_t column_end, size_t element_size, void *scratch);

// The plan in program->kept, laid out there if it is not yet; registers are in `scratch`.
temper_plan *temper_row_program_kept_plan(const temper_row_program *program, const temper_slot *slots,
                                          size_t element_size, void *scratch);

// softmax or log_softmax that streamed_softmax.h runs: numbers of slots.
typedef struct temper_streamed_softmax {
  int16_t x, out;
  bool is_log;
} temper_streamed_softmax;

bool temper_is_streamed_softmax(temper_streamed_softmax *found, const temper_row_program *program,
                                const temper_slot *slots, size_t element_size);

// Bytes of scratch for it, 0 where the program is another; and of one of its two rows.
size_t temper_streamed_softmax_scratch(const temper_row_program *program, size_t element_size);
size_t temper_streamed_row_bytes(const temper_row_program *program, size_t element_size);

// Elements from the base of a slot to (row, column 0).
static inline int64_t temper_slot_offset(const temper_row_program *program, const temper_plan_slot *slot, int64_t row) {
  if (slot->even) return row * slot->row_stride;
  int64_t offset = 0;
  for (int d = program->outer_rank - 1; d >= 0; --d) {
    offset += row % program->outer_sizes[d] * slot->slot->outer_strides[d];
    row /= program->outer_sizes[d];
  }
  return offset;
}

// How many rows from `row` on, at most `limit`, are `temper_slot_step` apart.
static inline int64_t temper_slot_run(const temper_row_program *program, const temper_plan_slot *slot, int64_t row,
                                      int64_t limit) {
  if (slot->even) return limit;
  int64_t last = program->outer_sizes[program->outer_rank - 1];
  int64_t left = last - row % last;
  return left < limit ? left : limit;
}

static inline int64_t temper_slot_step(const temper_row_program *program, const temper_plan_slot *slot) {
  return slot->even ? slot->row_stride : slot->slot->outer_strides[program->outer_rank - 1];
}

#endif
