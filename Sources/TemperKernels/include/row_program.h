// Row programs: fused element-wise work and row reductions, run block by block in the first-level cache.
//
// A program works on an iteration space of `rows` x `columns`. It is a list of vector instructions over registers:
//   FULL registers hold one value per (row, column) of the current block,
//   ROW  registers hold one value per row of the current block (inputs that do not vary along columns, reductions).
// Index inputs (int32, int64, uint8) are converted to the working type on load; a mask is 0 or 1.
//
// The interpreter chooses the block from `columns` alone, never from the number of rows or threads, so results do not
// depend on how rows are cut into pieces:
//   columns <= 32            many rows at a time, transposed: a FULL register is `columns` vectors of one lane per row
//   columns <= block size    several whole rows at a time
//   else                     one row at a time, in column blocks; the phases below are run one after the other, each
//                            over all column blocks of the row
//
// An output may be the memory of an input only as a whole: same base, element and strides. Instructions then see each
// other's effect in program order, row by row.
//
// Phases: an instruction that reads the result of a reduction over the row has a higher phase than the reduction.
// Instructions are sorted by phase. A FULL register that is read in a later phase than it is written is `carried`: it
// keeps all columns of the row, not only the current block. A ROW register always survives across phases.
#ifndef TEMPER_ROW_PROGRAM_H
#define TEMPER_ROW_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "variant.h"

typedef enum temper_opcode : uint16_t {
  // memory: `slot` names the input or output
  TEMPER_LOAD,   // dst = slot[row, column], converted to the working type
  TEMPER_STORE,  // slot[row, column] = a, converted from the working type (real, int32 by truncation)
  // sources
  TEMPER_FILL,      // dst = immediate
  TEMPER_COLUMN,    // dst (FULL) = index of the column
  TEMPER_ROW,       // dst (ROW) = index of the row
  TEMPER_UNIFORM,   // dst (FULL) = Philox4x32-10 uniform in [0, 1): key from `slot` as uint64[2] = {key, counter},
                    // element = row * columns + column + immediate; the same bits whatever the blocking
  // one operand
  TEMPER_COPY, TEMPER_NEGATE, TEMPER_ABS, TEMPER_SIGN, TEMPER_SQUARE, TEMPER_SQRT, TEMPER_RECIPROCAL,
  TEMPER_EXP, TEMPER_EXPM1, TEMPER_LOG, TEMPER_LOG1P, TEMPER_TANH, TEMPER_SIGMOID, TEMPER_SOFTPLUS, TEMPER_ERF,
  TEMPER_SIN, TEMPER_COS, TEMPER_FLOOR, TEMPER_CEIL, TEMPER_ROUND /* half to even */, TEMPER_NOT, TEMPER_IS_FINITE,
  TEMPER_LGAMMA, TEMPER_DIGAMMA, TEMPER_ATAN, TEMPER_ERFINV, TEMPER_NORMAL_CDF,
  // two operands; comparisons give 0 or 1 and are false for NaN (NOT_EQUAL: true)
  TEMPER_ADD, TEMPER_SUBTRACT, TEMPER_MULTIPLY, TEMPER_DIVIDE, TEMPER_POWER,
  TEMPER_MAXIMUM, TEMPER_MINIMUM /* NaN if either is NaN */, TEMPER_REMAINDER /* sign of the divisor, as in NumPy */,
  TEMPER_EQUAL, TEMPER_NOT_EQUAL, TEMPER_LESS, TEMPER_LESS_EQUAL, TEMPER_AND, TEMPER_OR,
  // three operands
  TEMPER_SELECT,        // a != 0 ? b : c; the branch not taken never leaks (no NaN * 0)
  TEMPER_MULTIPLY_ADD,  // a * b + c
  // along the row: FULL -> ROW; NaN propagates
  TEMPER_ROW_SUM, TEMPER_ROW_MAX, TEMPER_ROW_MIN, TEMPER_ROW_PRODUCT,
  TEMPER_ROW_ARGMAX, TEMPER_ROW_ARGMIN,  // the first of equals
  TEMPER_PICK,       // dst (ROW) = a (FULL) at column b (ROW index); 0 where the index is outside [0, columns)
  // along the row: ROW -> FULL
  TEMPER_PLACE,      // dst (FULL) = column == a (ROW index) ? b (ROW) : 0
  TEMPER_PLACE_ADD,  // dst (FULL) = a (FULL) + (column == b (ROW index) ? c (ROW) : 0)
  TEMPER_OPCODE_COUNT
} temper_opcode;

// A register, or the immediate of the instruction when `reg` is TEMPER_IMMEDIATE.
#define TEMPER_IMMEDIATE (-1)

typedef struct temper_instruction {
  temper_opcode op;
  uint16_t phase;
  int16_t dst;      // -1 for STORE
  int16_t a, b, c;  // registers, TEMPER_IMMEDIATE, or unused
  int16_t slot;     // LOAD, STORE, UNIFORM: index into the slots
  double immediate;
} temper_instruction;

enum { TEMPER_REGISTER_FULL = 0, TEMPER_REGISTER_ROW = 1, TEMPER_REGISTER_CARRIED = 2 };

typedef enum temper_element : uint8_t {
  TEMPER_ELEMENT_F32, TEMPER_ELEMENT_F64, TEMPER_ELEMENT_I32, TEMPER_ELEMENT_I64, TEMPER_ELEMENT_U8,
} temper_element;

enum { TEMPER_MAX_OUTER = 6, TEMPER_MAX_REGISTERS = 256, TEMPER_MAX_SLOTS = 256 };

// Where an input or output lies. Strides are in elements; 0 broadcasts. A row index is split over `outer_sizes`
// (last fastest), which all slots of a program share.
typedef struct temper_slot {
  void *base;
  temper_element element;
  int64_t column_stride;
  int64_t outer_strides[TEMPER_MAX_OUTER];
} temper_slot;

typedef struct temper_row_program {
  int64_t rows, columns;
  int32_t outer_rank;
  int64_t outer_sizes[TEMPER_MAX_OUTER];
  int32_t instruction_count, register_count, slot_count, phase_count;
  const temper_instruction *instructions;
  const uint8_t *registers;  // class of each register
  // Room in which `run` keeps what it decides before its first block, or NULL: of small programs that run again and again,
  // that is much of the time. All calls are then over whole rows, with the same slots and scratch, by one thread; with its
  // first byte 0, as it begins and after a slot has changed, it is decided anew.
  void *kept;
} temper_row_program;

// Bytes of scratch that one call of `run` needs (one per thread), for element size 4 or 8.
size_t temper_row_program_scratch(const temper_row_program *program, size_t element_size);

// Bytes of `kept`, 64-byte aligned.
size_t temper_row_program_kept(const temper_row_program *program);

// Runs the program on rows [row_begin, row_end) and columns [column_begin, column_end). The column range must be the
// whole row unless the program has no reduction, PICK or carried register. `scratch` is 64-byte aligned.
void temper_row_program_run_f32(const temper_row_program *program, const temper_slot *slots,
                                int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
                                void *scratch);
void temper_row_program_run_f64(const temper_row_program *program, const temper_slot *slots,
                                int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
                                void *scratch);

// Runs a program of one row, which computes element by element and draws no random numbers, on the arrays [begin, end)
// of many that lie apart: in array a, slot s lies at bases[a * slot_count + s] and has lengths[a] columns, at most
// program->columns. The same slots share memory in all arrays, and a slot with column stride 0 is the same in all. With
// more than 2,048 columns in the program, the way it goes is decided once for all arrays. What `slots` says of bases is not read.
void temper_row_program_sweep_f32(const temper_row_program *program, const temper_slot *slots, void *const *bases,
                                  const int64_t *lengths, int64_t begin, int64_t end, void *scratch);
void temper_row_program_sweep_f64(const temper_row_program *program, const temper_slot *slots, void *const *bases,
                                  const int64_t *lengths, int64_t begin, int64_t end, void *scratch);

// `run` on a given instruction set: for tests.
void temper_row_program_run_f32_variant(temper_variant variant, const temper_row_program *program,
                                   const temper_slot *slots, int64_t row_begin, int64_t row_end, int64_t column_begin,
                                   int64_t column_end, void *scratch);
void temper_row_program_run_f64_variant(temper_variant variant, const temper_row_program *program,
                                   const temper_slot *slots, int64_t row_begin, int64_t row_end, int64_t column_begin,
                                   int64_t column_end, void *scratch);

#endif
