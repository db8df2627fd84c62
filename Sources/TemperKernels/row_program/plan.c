#include "plan.h"

static int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

enum { BLOCK_GRAIN = 64 };  // columns of a block are a multiple of this, so that most vectors are whole

temper_block_shape temper_block_shape_of(int64_t columns) {
  if (columns <= TEMPER_TRANSPOSED_COLUMNS) {
    int64_t rows = TEMPER_BLOCK_ELEMENTS / (columns > 0 ? columns : 1) / TEMPER_ROW_LANES * TEMPER_ROW_LANES;
    return (temper_block_shape){TEMPER_LAYOUT_TRANSPOSED, rows, columns};
  }
  if (columns <= TEMPER_BLOCK_ELEMENTS)
    return (temper_block_shape){TEMPER_LAYOUT_WHOLE_ROWS, TEMPER_BLOCK_ELEMENTS / columns, columns};
  const int64_t blocks = (columns + TEMPER_BLOCK_ELEMENTS - 1) / TEMPER_BLOCK_ELEMENTS;
  return (temper_block_shape){TEMPER_LAYOUT_COLUMN_BLOCKS, 1, round_up((columns + blocks - 1) / blocks, BLOCK_GRAIN)};
}

// Storage that starts at the same place of every page would make a store wait for unrelated loads and crowd few cache
// sets: a little space between the registers avoids both.
enum { SCRATCH_ALIGNMENT = 64, REGISTER_GAP = 192 };

static size_t register_bytes(const temper_row_program *program, temper_block_shape shape, int reg,
                             size_t element_size) {
  int64_t elements = shape.rows * shape.columns;
  if (program->registers[reg] == TEMPER_REGISTER_ROW)
    elements = shape.rows;
  else if (program->registers[reg] == TEMPER_REGISTER_CARRIED && shape.layout == TEMPER_LAYOUT_COLUMN_BLOCKS)
    elements = program->columns;
  return (size_t)round_up(elements * (int64_t)element_size, SCRATCH_ALIGNMENT) + REGISTER_GAP;
}

static size_t array_bytes(int32_t count, size_t size) {
  return (size_t)round_up(count * (int64_t)size, SCRATCH_ALIGNMENT);
}

// Of all but the registers' storage.
static size_t arrays_bytes(const temper_row_program *program) {
  return array_bytes(program->instruction_count, sizeof(temper_step)) +
         array_bytes(program->slot_count, sizeof(temper_plan_slot)) +
         array_bytes(program->register_count, sizeof(void *));
}

typedef struct kept_plan {
  bool ready;
  temper_plan plan;
} kept_plan;

size_t temper_row_program_kept(const temper_row_program *program) {
  return array_bytes(1, sizeof(kept_plan)) + arrays_bytes(program);
}

size_t temper_row_program_scratch(const temper_row_program *program, size_t element_size) {
  temper_block_shape shape = temper_block_shape_of(program->columns);
  size_t bytes = arrays_bytes(program);
  for (int reg = 0; reg < program->register_count; ++reg) bytes += register_bytes(program, shape, reg, element_size);
  bytes += (size_t)round_up(shape.rows * shape.columns * (int64_t)element_size, SCRATCH_ALIGNMENT);
  const size_t streamed = temper_streamed_softmax_scratch(program, element_size);
  return streamed > bytes ? streamed : bytes;
}

static temper_plan_slot plan_slot(const temper_row_program *program, const temper_slot *slot) {
  temper_plan_slot result = {.slot = slot, .row_stride = 0, .even = true, .first_phase = -1};
  int64_t span = 1;  // rows below this dimension
  for (int d = program->outer_rank - 1; d >= 0; --d) {
    if (program->outer_sizes[d] == 1) continue;
    if (span == 1)
      result.row_stride = slot->outer_strides[d];
    else if (slot->outer_strides[d] != span * result.row_stride)
      result.even = false;
    span *= program->outer_sizes[d];
  }
  return result;
}

// How many of a, b, c an instruction reads.
static int operand_count(temper_opcode op) {
  if (op == TEMPER_STORE) return 1;
  if (op < TEMPER_COPY) return 0;
  if (op == TEMPER_SELECT || op == TEMPER_MULTIPLY_ADD || op == TEMPER_PLACE_ADD) return 3;
  bool two = (op >= TEMPER_ADD && op <= TEMPER_OR) || op == TEMPER_PICK || op == TEMPER_PLACE;
  return two ? 2 : 1;
}

static bool reads(const temper_instruction *instruction, int16_t reg) {
  int count = operand_count(instruction->op);
  return (count > 0 && instruction->a == reg) || (count > 1 && instruction->b == reg) ||
         (count > 2 && instruction->c == reg);
}

static temper_operand operand_of(const temper_row_program *program, const int16_t *bound, int16_t reg) {
  if (reg < 0) return (temper_operand){reg, -1, TEMPER_OPERAND_IMMEDIATE};
  bool row = program->registers[reg] == TEMPER_REGISTER_ROW;
  return (temper_operand){reg, bound[reg], row ? TEMPER_OPERAND_ROW : TEMPER_OPERAND_FULL};
}

// Whether a block of the slot looks in memory just as a FULL register does.
static bool looks_like_register(const temper_plan *plan, int slot, int16_t reg, int64_t width, size_t element_size) {
  const temper_plan_slot *s = &plan->slots[slot];
  temper_element element = element_size == 4 ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64;
  return plan->shape.layout != TEMPER_LAYOUT_TRANSPOSED && plan->program->registers[reg] != TEMPER_REGISTER_ROW &&
         s->slot->element == element && (s->slot->column_stride == 1 || width == 1) &&
         (plan->shape.rows == 1 || (s->even && s->row_stride == width));
}

// A loaded register can stay in the slot's memory unless something stores there while the register is still read.
static bool load_needs_no_copy(const temper_plan *plan, int load) {
  const temper_instruction *code = plan->program->instructions;
  const void *base = plan->slots[code[load].slot].slot->base;
  bool stored = false;
  for (int i = load + 1; i < plan->program->instruction_count; ++i) {
    if (stored && reads(&code[i], code[load].dst)) return false;
    if (code[i].dst == code[load].dst) return true;
    stored |= code[i].op == TEMPER_STORE && plan->slots[code[i].slot].slot->base == base;
  }
  return true;
}

// The last instruction that reads the value that `producer` writes to its register.
static int last_reader(const temper_row_program *program, int producer) {
  const temper_instruction *code = program->instructions;
  int last = producer;
  for (int i = producer + 1; i < program->instruction_count; ++i) {
    if (reads(&code[i], code[producer].dst)) last = i;
    if (code[i].dst == code[producer].dst) break;
  }
  return last;
}

// Whether values made by instructions that are planned already are kept in this memory.
static bool is_home(const temper_plan *plan, int instruction, const void *base) {
  const int16_t slot = plan->steps[instruction].dst.slot;
  return slot >= 0 && plan->slots[slot].slot->base == base;
}

static bool moves(const temper_plan *plan, int instruction, temper_opcode op, const void *base) {
  const temper_instruction *i = &plan->program->instructions[instruction];
  return i->op == op && plan->slots[i->slot].slot->base == base;
}

// Whether the value made by an instruction is stored where it is kept.
static bool is_stored_at_home(const temper_plan *plan, int instruction) {
  const temper_instruction *code = plan->program->instructions;
  for (int i = instruction + 1; i < plan->program->instruction_count; ++i) {
    if (code[i].op == TEMPER_STORE && code[i].a == code[instruction].dst && plan->steps[i].idle) return true;
    if (code[i].dst == code[instruction].dst) return false;
  }
  return false;
}

// Whether the memory can hold a value from instruction `from` to `to`, which may read it and what was there before in
// the same place only: nothing else in between is kept there, loaded, stored, or read in it because it was loaded from
// it. What is kept there on the way to something else gives way to `a_whole_row`.
static bool memory_is_free(const temper_plan *plan, int from, int to, const void *base, bool a_whole_row) {
  const temper_instruction *code = plan->program->instructions;
  for (int i = from + 1; i < to; ++i) {
    if (is_home(plan, i, base) && !(a_whole_row && !is_stored_at_home(plan, i))) return false;
    if (moves(plan, i, TEMPER_LOAD, base) || moves(plan, i, TEMPER_STORE, base)) return false;
  }
  for (int load = 0; load < from; ++load) {
    if (!moves(plan, load, TEMPER_LOAD, base)) continue;
    for (int i = load + 1; i <= to; ++i) {
      if (i > from && reads(&code[i], code[load].dst)) return false;
      if (code[i].dst == code[load].dst) break;
    }
  }
  return true;
}

// The slot in whose memory a value is best computed, or -1: because it is stored there, or because the value made from
// it element by element is. That saves a copy, and has memory written while there is something to compute.
static int home_of(temper_plan *plan, int producer, int64_t width, size_t element_size) {
  const temper_instruction *code = plan->program->instructions;
  const int16_t reg = code[producer].dst;
  const int last = last_reader(plan->program, producer);
  for (int store = producer + 1; store <= last; ++store) {
    if (code[store].op != TEMPER_STORE || code[store].a != reg) continue;
    if (!looks_like_register(plan, code[store].slot, reg, width, element_size)) continue;
    const void *base = plan->slots[code[store].slot].slot->base;
    bool kept = memory_is_free(plan, producer, store, base, false);
    for (int i = store + 1; i < last; ++i) kept &= !is_home(plan, i, base) && !moves(plan, i, TEMPER_STORE, base);
    if (!kept) continue;
    plan->steps[store].idle = true;
    return code[store].slot;
  }
  const bool elementwise = code[last].op >= TEMPER_COPY && code[last].op <= TEMPER_MULTIPLY_ADD;
  const bool placing = code[last].op == TEMPER_PLACE_ADD && code[last].a == reg;
  const int16_t slot = plan->steps[last].dst.slot;
  if (last == producer || !(elementwise || placing) || slot < 0) return -1;
  if (plan->program->registers[reg] == TEMPER_REGISTER_ROW) return -1;
  const void *base = plan->slots[slot].slot->base;
  // The first of the values that are kept for a whole row: the others have the first-level cache to themselves.
  const bool a_whole_row =
      plan->shape.layout == TEMPER_LAYOUT_COLUMN_BLOCKS && plan->program->registers[reg] == TEMPER_REGISTER_CARRIED;
  if (!memory_is_free(plan, producer, last, base, a_whole_row)) return -1;
  for (int i = producer + 1; i < last; ++i)
    if (is_home(plan, i, base)) plan->steps[i].dst.slot = -1;
  return slot;
}

// Below this, loops over whole blocks of rows are faster than one over each row.
enum { JOINED_COLUMNS = 256 };

// Joins a SUBTRACT before and a ROW_SUM after an EXP to it, and a SIGMOID to the SOFTPLUS of the same.
static void join_exponentials(temper_plan *plan) {
  const temper_row_program *program = plan->program;
  const temper_instruction *code = program->instructions;
  const bool short_rows = plan->shape.layout == TEMPER_LAYOUT_WHOLE_ROWS && program->columns < JOINED_COLUMNS;
  for (int i = 0; i < program->instruction_count; ++i) {
    temper_step *step = &plan->steps[i];
    step->difference = step->sum = step->sigmoid = NULL;
    temper_step *after = i + 1 < program->instruction_count ? &plan->steps[i + 1] : NULL;
    if (after && code[i].op == TEMPER_SOFTPLUS && code[i + 1].op == TEMPER_SIGMOID && code[i + 1].a == code[i].a &&
        code[i + 1].phase == code[i].phase && code[i].dst != code[i].a && step->dst.kind == TEMPER_OPERAND_FULL &&
        step->a.kind == TEMPER_OPERAND_FULL) {
      step->sigmoid = after;
      after->idle = true;
    }
    if (short_rows || program->columns == 0 || code[i].op != TEMPER_EXP || step->dst.kind != TEMPER_OPERAND_FULL ||
        step->a.kind != TEMPER_OPERAND_FULL)
      continue;
    temper_step *before = i > 0 ? &plan->steps[i - 1] : NULL;
    if (before && code[i - 1].op == TEMPER_SUBTRACT && code[i - 1].dst == code[i].a &&
        code[i - 1].phase == code[i].phase && before->a.kind == TEMPER_OPERAND_FULL &&
        before->b.kind == TEMPER_OPERAND_ROW && last_reader(program, i - 1) == i) {
      step->difference = before;
      before->idle = true;
    }
    for (int s = i + 1; s < program->instruction_count && code[s].phase == code[i].phase; ++s) {
      if (code[s].op == TEMPER_ROW_SUM && code[s].a == code[i].dst) {
        step->sum = &plan->steps[s];
        plan->steps[s].idle = true;
      }
      if (step->sum || code[s].dst == code[i].dst) break;
    }
  }
}

// How many operands read each value; the value of a register is the one made last.
static void count_reads(temper_plan *plan) {
  const temper_row_program *program = plan->program;
  int32_t maker[TEMPER_MAX_REGISTERS];
  for (int i = 0; i < program->instruction_count; ++i) {
    const temper_instruction *instruction = &program->instructions[i];
    const int16_t operands[3] = {instruction->a, instruction->b, instruction->c};
    const bool stays = instruction->op == TEMPER_STORE && plan->steps[i].idle;
    for (int o = operand_count(instruction->op) - 1; o >= 0; --o) {
      if (operands[o] < 0) continue;
      temper_step *made = &plan->steps[maker[operands[o]]];
      made->stored |= stays;
      made->reads += !stays;
    }
    plan->steps[i].stored = false;
    plan->steps[i].reads = 0;
    if (instruction->dst >= 0) maker[instruction->dst] = i;
  }
}

static bool has_links(temper_opcode op) {
  switch (op) {
    case TEMPER_COPY:
    case TEMPER_NEGATE:
    case TEMPER_ABS:
    case TEMPER_SIGN:
    case TEMPER_SQUARE:
    case TEMPER_SQRT:
    case TEMPER_RECIPROCAL:
    case TEMPER_NOT:
    case TEMPER_ADD:
    case TEMPER_SUBTRACT:
    case TEMPER_MULTIPLY:
    case TEMPER_DIVIDE:
    case TEMPER_MAXIMUM:
    case TEMPER_MINIMUM:
    case TEMPER_EQUAL:
    case TEMPER_NOT_EQUAL:
    case TEMPER_LESS:
    case TEMPER_LESS_EQUAL:
    case TEMPER_AND:
    case TEMPER_OR:
    case TEMPER_SELECT:
    case TEMPER_MULTIPLY_ADD:
      return true;
    default:
      return false;
  }
}

// Segments of a chain that are shorter than this are not worth it.
enum { CHAINED_SEGMENT = 128 };

static bool can_chain(const temper_step *step, bool long_segments) {
  const int all = (1 << operand_count(step->instruction->op)) - 1;
  return has_links(step->instruction->op) && !step->idle && step->dst.kind == TEMPER_OPERAND_FULL &&
         (step->scalars & all) != all && (long_segments || !step->segmented);
}

// Which operand of `step` is the value of `before` (makers[r]: what made the value of register r), or else a vector to
// be loaded.
static void choose_tile(temper_step *const *makers, const temper_step *before, temper_step *step) {
  const temper_instruction *instruction = step->instruction;
  const int16_t operands[3] = {instruction->a, instruction->b, instruction->c};
  const int count = operand_count(instruction->op);
  step->tile = 0;
  while (step->scalars >> step->tile & 1) ++step->tile;
  step->loads_tile = true;
  for (int o = 0; before && o < count; ++o)
    if (operands[o] >= 0 && makers[operands[o]] == before) {
      step->tile = (uint8_t)o;
      step->loads_tile = false;
      break;
    }
  const int first = step->tile == 0 ? 1 : 0, second = step->tile == 2 ? 1 : 2;
  step->form = (uint8_t)TEMPER_FORM(step->tile, first < count && (step->scalars >> first & 1),
                                    second < count && (step->scalars >> second & 1));
}

// The maker of the operand of a ROW_SUM, if that is in the chain from `head` on and has no sum yet.
static temper_step *summed(temper_step *const *makers, temper_step *head, const temper_step *step) {
  if (step->instruction->op != TEMPER_ROW_SUM || step->idle || step->a.kind != TEMPER_OPERAND_FULL) return NULL;
  temper_step *maker = makers[step->instruction->a];
  return maker >= head && maker->chained && !maker->sum && maker->instruction->phase == step->instruction->phase ? maker
                                                                                                                 : NULL;
}

// Ends a chain: what its last step needs to know, and which values are read elsewhere than in the next link.
static void end_chain(temper_step *head, temper_step *last, int count) {
  last->chain_head = head;
  if (count == 1 && !last->sum) last->chained = false;
  for (temper_step *step = head, *before = NULL; step <= last; ++step) {
    if (!step->chained) continue;
    step->kept = step->reads > 0;
    if (before && !step->loads_tile) before->kept = before->reads > 1;
    before = step;
  }
}

// Links neighbouring element-wise steps. Between them may be steps that do nothing or make values per row, and sums.
static void make_chains(temper_plan *plan) {
  const temper_row_program *program = plan->program;
  const temper_block_shape shape = plan->shape;
  const int64_t segment = shape.layout == TEMPER_LAYOUT_TRANSPOSED ? shape.rows : shape.columns;
  count_reads(plan);
  temper_step *makers[TEMPER_MAX_REGISTERS];
  temper_step *head = NULL, *last = NULL;
  int count = 0, sums = 0, chains = 0;
  bool others = false;
  for (int i = 0; i <= program->instruction_count; ++i) {
    temper_step *step = i < program->instruction_count ? &plan->steps[i] : NULL;
    const bool joins = step && can_chain(step, segment >= CHAINED_SEGMENT);
    if (step && last && sums < TEMPER_CHAIN_SUMS && shape.layout != TEMPER_LAYOUT_TRANSPOSED &&
        segment >= CHAINED_SEGMENT) {
      temper_step *maker = summed(makers, head, step);
      if (maker) {
        maker->sum = step;
        --maker->reads;
        step->idle = true;
        last->segmented_chain = others = true;
        ++sums;
      }
    }
    const bool passes = step && !joins && (step->idle || (step->once && step->instruction->op != TEMPER_STORE));
    if (!passes && last &&
        (!joins || count == TEMPER_CHAIN_STEPS || step->instruction->phase != last->instruction->phase)) {
      end_chain(head, last, count);
      others |= !last->chained;
      ++chains;
      last = NULL;
    }
    if (!joins) {
      others |= step && !passes;
      if (step && step->instruction->dst >= 0) makers[step->instruction->dst] = step;
      continue;
    }
    choose_tile(makers, last, step);
    makers[step->instruction->dst] = step;
    step->chained = true;
    step->segmented_chain = step->segmented || (last && last->segmented_chain);
    if (!last) {
      head = step;
      count = sums = 0;
    }
    last = step;
    ++count;
  }
  plan->one_chain = shape.layout == TEMPER_LAYOUT_COLUMN_BLOCKS && program->rows == 1 && chains == 1 && !others;
}

// Notes in which phase the columns of each slot are read or written first; of slots with the same memory one is noted.
static void find_first_phases(temper_plan *plan) {
  const temper_row_program *program = plan->program;
  for (int i = 0; i < program->instruction_count; ++i) {
    const temper_instruction *instruction = &program->instructions[i];
    const temper_step *step = &plan->steps[i];
    const bool loads = instruction->op == TEMPER_LOAD, stores = instruction->op == TEMPER_STORE && !step->idle;
    const int16_t slot = loads || stores ? instruction->slot : step->dst.slot;
    if (slot < 0 || (stores ? step->a.kind : step->dst.kind) != TEMPER_OPERAND_FULL) continue;
    if (plan->slots[slot].slot->column_stride != 1) continue;
    bool known = false;
    for (int other = 0; other < program->slot_count; ++other)
      known |= plan->slots[other].first_phase >= 0 && plan->slots[other].slot->base == plan->slots[slot].slot->base;
    if (!known) plan->slots[slot].first_phase = instruction->phase;
  }
}

static void decide(temper_plan *plan, const temper_row_program *program, const temper_slot *slots, int64_t column_begin,
                   int64_t column_end, size_t element_size, char *arrays, char *storage) {
  char *next = arrays;
  plan->program = program;
  plan->shape = temper_block_shape_of(program->columns);
  plan->steps = (temper_step *)next;
  next += array_bytes(program->instruction_count, sizeof(temper_step));
  plan->slots = (temper_plan_slot *)next;
  next += array_bytes(program->slot_count, sizeof(temper_plan_slot));
  plan->registers = (void **)next;
  next = storage;
  for (int reg = 0; reg < program->register_count; ++reg) {
    plan->registers[reg] = next;
    next += register_bytes(program, plan->shape, reg, element_size);
  }
  plan->staging = next;
  for (int slot = 0; slot < program->slot_count; ++slot) plan->slots[slot] = plan_slot(program, &slots[slot]);

  int64_t width = column_end - column_begin;
  int16_t bound[TEMPER_MAX_REGISTERS];  // the slot whose memory a register's present value is in, or -1
  for (int reg = 0; reg < program->register_count; ++reg) bound[reg] = -1;
  for (int i = 0; i < program->instruction_count; ++i) {
    plan->steps[i].idle = plan->steps[i].chained = false;
    plan->steps[i].chain_head = NULL;
    plan->steps[i].dst = (temper_operand){-1, -1, TEMPER_OPERAND_IMMEDIATE};
  }
  for (int i = program->instruction_count - 1; i >= 0; --i)
    if (program->instructions[i].dst >= 0 && program->instructions[i].op != TEMPER_LOAD)
      plan->steps[i].dst.slot = (int16_t)home_of(plan, i, width, element_size);
  for (int i = 0; i < program->instruction_count; ++i) {
    const temper_instruction *instruction = &program->instructions[i];
    temper_step *step = &plan->steps[i];
    step->instruction = instruction;
    int count = operand_count(instruction->op);
    step->a = operand_of(program, bound, count > 0 ? instruction->a : TEMPER_IMMEDIATE);
    step->b = operand_of(program, bound, count > 1 ? instruction->b : TEMPER_IMMEDIATE);
    step->c = operand_of(program, bound, count > 2 ? instruction->c : TEMPER_IMMEDIATE);
    step->once = instruction->op == TEMPER_STORE && step->a.kind != TEMPER_OPERAND_FULL &&
                 plan->slots[instruction->slot].slot->column_stride == 0;
    step->state = 0;
    step->scalars = 0;
    step->segmented = false;
    // Where the columns are cut, values per row are stored with the first piece.
    if (step->once && column_begin > 0) step->idle = true;
    if (instruction->dst < 0) continue;

    if (instruction->op == TEMPER_LOAD) {
      bool stays = looks_like_register(plan, instruction->slot, instruction->dst, width, element_size) &&
                   load_needs_no_copy(plan, i);
      step->idle = stays;
      bound[instruction->dst] = stays ? instruction->slot : -1;
    } else {
      bound[instruction->dst] = step->dst.slot;
    }
    step->dst = operand_of(program, bound, instruction->dst);
    bool reduction = instruction->op >= TEMPER_ROW_SUM && instruction->op <= TEMPER_PICK;
    step->once = step->dst.kind == TEMPER_OPERAND_ROW && !reduction;

    temper_operand_kind scalar = TEMPER_OPERAND_IMMEDIATE;
    if (step->dst.kind == TEMPER_OPERAND_FULL && plan->shape.layout != TEMPER_LAYOUT_TRANSPOSED)
      scalar = TEMPER_OPERAND_ROW;
    step->scalars = (uint8_t)((step->a.kind <= scalar) | (step->b.kind <= scalar) << 1 | (step->c.kind <= scalar) << 2);
    step->segmented = step->dst.kind == TEMPER_OPERAND_FULL &&
                      (step->a.kind == TEMPER_OPERAND_ROW || step->b.kind == TEMPER_OPERAND_ROW ||
                       step->c.kind == TEMPER_OPERAND_ROW);
  }
  join_exponentials(plan);
  make_chains(plan);
  find_first_phases(plan);
}

void temper_row_program_plan(temper_plan *plan, const temper_row_program *program, const temper_slot *slots,
                             int64_t column_begin, int64_t column_end, size_t element_size, void *scratch) {
  decide(plan, program, slots, column_begin, column_end, element_size, scratch,
         (char *)scratch + arrays_bytes(program));
}

temper_plan *temper_row_program_kept_plan(const temper_row_program *program, const temper_slot *slots,
                                          size_t element_size, void *scratch) {
  kept_plan *kept = program->kept;
  if (!kept->ready)
    decide(&kept->plan, program, slots, 0, program->columns, element_size,
           (char *)program->kept + array_bytes(1, sizeof(kept_plan)), scratch);
  kept->ready = true;
  return &kept->plan;
}
