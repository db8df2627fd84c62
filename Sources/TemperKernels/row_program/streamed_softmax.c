#include "plan.h"

// A result larger than this goes past the caches, which could not keep it.
enum { STREAMED_BYTES = 32 << 20 };
// Two rows of exponentials, one of operands, and one to come are to stay in the second-level cache.
enum { STREAMED_ROW_BYTES = 256 << 10 };

size_t temper_streamed_row_bytes(const temper_row_program *program, size_t element_size) {
  enum { LINE = 64, GAP = 192 };  // as between registers
  return ((size_t)program->columns * element_size + LINE - 1) / LINE * LINE + GAP;
}

// An instruction and the ones that make its operands, by number in the program.
typedef struct expected {
  temper_opcode op;
  int8_t a, b;
} expected;

enum { NONE = -1 };

static const expected softmax[] = {
    {TEMPER_LOAD, NONE, NONE},    {TEMPER_ROW_MAX, 0, NONE}, {TEMPER_LOAD, NONE, NONE},
    {TEMPER_SUBTRACT, 2, 1},      {TEMPER_EXP, 3, NONE},     {TEMPER_ROW_SUM, 4, NONE},
    {TEMPER_RECIPROCAL, 5, NONE}, {TEMPER_MULTIPLY, 4, 6},   {TEMPER_STORE, 7, NONE},
};
static const expected log_softmax[] = {
    {TEMPER_LOAD, NONE, NONE}, {TEMPER_ROW_MAX, 0, NONE}, {TEMPER_LOAD, NONE, NONE}, {TEMPER_SUBTRACT, 2, 1},
    {TEMPER_EXP, 3, NONE},     {TEMPER_ROW_SUM, 4, NONE}, {TEMPER_LOG, 5, NONE},     {TEMPER_LOAD, NONE, NONE},
    {TEMPER_SUBTRACT, 7, 1},   {TEMPER_SUBTRACT, 8, 6},   {TEMPER_STORE, 9, NONE},
};

static int maker_of(const temper_row_program *program, int reader, int16_t reg) {
  int maker = reader - 1;
  while (maker >= 0 && program->instructions[maker].dst != reg) --maker;
  return maker;
}

static bool is_program(const temper_row_program *program, const expected *all, int count) {
  if (program->instruction_count != count) return false;
  for (int i = 0; i < count; ++i) {
    const temper_instruction *instruction = &program->instructions[i];
    if (instruction->op != all[i].op) return false;
    if (all[i].a != NONE && (instruction->a < 0 || maker_of(program, i, instruction->a) != all[i].a)) return false;
    if (all[i].b != NONE && (instruction->b < 0 || maker_of(program, i, instruction->b) != all[i].b)) return false;
  }
  return true;
}

enum { SOFTMAX_COUNT = sizeof softmax / sizeof *softmax, LOG_SOFTMAX_COUNT = sizeof log_softmax / sizeof *log_softmax };

// Whether the shape and the instructions are those of one that may be streamed.
static bool may_stream(const temper_row_program *program, size_t element_size) {
  const int64_t row_bytes = program->columns * (int64_t)element_size;
  return temper_block_shape_of(program->columns).layout == TEMPER_LAYOUT_COLUMN_BLOCKS && program->outer_rank == 1 &&
         row_bytes <= STREAMED_ROW_BYTES && program->rows >= STREAMED_BYTES / row_bytes &&
         (is_program(program, softmax, SOFTMAX_COUNT) || is_program(program, log_softmax, LOG_SOFTMAX_COUNT));
}

size_t temper_streamed_softmax_scratch(const temper_row_program *program, size_t element_size) {
  return may_stream(program, element_size) ? 2 * temper_streamed_row_bytes(program, element_size) : 0;
}

bool temper_is_streamed_softmax(temper_streamed_softmax *found, const temper_row_program *program,
                                const temper_slot *slots, size_t element_size) {
  if (!may_stream(program, element_size)) return false;
  const temper_instruction *code = program->instructions;
  const int count = program->instruction_count;
  *found = (temper_streamed_softmax){code[0].slot, code[count - 1].slot, count == LOG_SOFTMAX_COUNT};
  for (int i = 0; i < count; ++i)
    if (code[i].op == TEMPER_LOAD && code[i].slot != found->x) return false;
  const temper_slot *x = &slots[found->x], *out = &slots[found->out];
  const temper_element element = element_size == 4 ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64;
  return x->element == element && out->element == element && x->column_stride == 1 && out->column_stride == 1 &&
         x->base != out->base;
}
