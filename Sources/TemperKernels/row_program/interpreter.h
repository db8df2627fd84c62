// Template over REAL: the interpreter.

// One column of a transposed block: dst = e^(x - shift), sum += dst.
static void exp_of_column(const REAL *x, row_values shift, REAL *dst, REAL *sum, bool first, int64_t n) {
  if (shift.step == 0) {
#pragma clang loop vectorize(assume_safety)
    for (int64_t r = 0; r < n; ++r) dst[r] = exp_of(x[r]);
  } else {
#pragma clang loop vectorize(assume_safety)
    for (int64_t r = 0; r < n; ++r) dst[r] = exp_of(x[r] - shift.values[r]);
  }
  if (!sum) return;
#pragma clang loop vectorize(assume_safety)
  for (int64_t r = 0; r < n; ++r) sum[r] = first ? dst[r] : sum[r] + dst[r];
}

// EXP joined with the difference that makes its operand or the sum of its result.
static void run_exponential(const block *k, temper_step *step) {
  static const REAL zero = 0;
  const REAL *x = address(k, step->difference ? step->difference->a : step->a);
  const row_values shift = step->difference ? row_values_of(k, step->difference->b, &zero) : (row_values){&zero, 0};
  REAL *dst = address(k, step->dst), *sum = step->sum ? address(k, step->sum->dst) : NULL;
  if (!is_transposed(k)) {
    for (int64_t r = 0; r < k->rows; ++r) {
      const int64_t place = r * k->pitch;
      const REAL value = exp_and_sum(x + place, shift.values[r * shift.step], dst + place, k->columns, NULL);
      if (sum) sum[r] = (REAL)(step->state = k->first ? value : step->state + value);
    }
    return;
  }
  for (int64_t c = 0; c < k->columns; ++c)
    exp_of_column(x + c * k->pitch, shift, dst + c * k->pitch, sum, c == 0, k->pitch);
}

static void run_softplus_and_sigmoid(const block *k, const temper_step *step) {
  const loop l = loop_of(k, step, NULL, false);
  REAL *slope = address(k, step->sigmoid->dst);
#pragma clang loop vectorize(assume_safety) interleave_count(4)
  for (int64_t i = 0; i < l.length; ++i) {
    const REAL x = l.a[i];
    const softplus_and_slope both = softplus_and_slope_of(x);
    l.dst[i] = both.value;
    slope[i] = both.slope;
  }
}

static void run_step(const block *k, temper_step *step) {
  if (step->chained) {
    if (step->chain_head) run_chain(k, step);
    return;
  }
  switch (step->instruction->op) {
    case TEMPER_EXP:
      step->difference || step->sum ? run_exponential(k, step) : run_element_loop(k, step);
      break;
    case TEMPER_SOFTPLUS:
      step->sigmoid ? run_softplus_and_sigmoid(k, step) : run_element_loop(k, step);
      break;
    case TEMPER_LOAD:
      load(k, step);
      break;
    case TEMPER_STORE:
      store(k, step);
      break;
    case TEMPER_COLUMN:
      column_index(k, step);
      break;
    case TEMPER_ROW:
      row_index(k, step);
      break;
    case TEMPER_UNIFORM:
      uniform(k, step);
      break;
    case TEMPER_ROW_SUM:
      row_sum(k, step);
      break;
    case TEMPER_ROW_MAX:
      row_max(k, step);
      break;
    case TEMPER_ROW_MIN:
      row_min(k, step);
      break;
    case TEMPER_ROW_PRODUCT:
      row_product(k, step);
      break;
    case TEMPER_ROW_ARGMAX:
      row_argmax(k, step);
      break;
    case TEMPER_ROW_ARGMIN:
      row_argmin(k, step);
      break;
    case TEMPER_PICK:
      pick(k, step);
      break;
    case TEMPER_PLACE:
      place(k, step);
      break;
    case TEMPER_PLACE_ADD:
      place_add(k, step);
      break;
    default:
      run_element_loop(k, step);
  }
}

// The memory that comes into the cache with the next column block, asked for while this one is computed: its first pass
// over that memory would otherwise wait, and the others keep memory waiting. A chain of one row makes one pass only.
typedef struct streams {
  const char *from[16], *to[16];
  int32_t count;
} streams;

static size_t element_bytes(temper_element element) {
  return element == TEMPER_ELEMENT_U8 ? 1 : element == TEMPER_ELEMENT_F64 || element == TEMPER_ELEMENT_I64 ? 8 : 4;
}

// What a phase reads or writes first, in one column block of one row.
static void find_streams(streams *ahead, const temper_plan *plan, int32_t phase, int64_t row, int64_t column,
                         int64_t columns) {
  const temper_row_program *program = plan->program;
  for (int32_t s = 0; s < program->slot_count && ahead->count < 16; ++s) {
    const temper_plan_slot *slot = &plan->slots[s];
    if (slot->first_phase != phase) continue;
    if (program->rows > 1 && slot->even && slot->row_stride == 0) continue;  // the same for all rows: it is there
    const size_t bytes = element_bytes(slot->slot->element);
    const char *base = slot->slot->base;
    ahead->from[ahead->count] = base + (size_t)(temper_slot_offset(program, slot, row) + column) * bytes;
    ahead->to[ahead->count] = ahead->from[ahead->count] + (size_t)columns * bytes;
    ++ahead->count;
  }
}

// Part `part` of `parts` of each.
static void ask_for(const streams *ahead, int32_t part, int32_t parts) {
  enum { LINE = 64 };
  for (int32_t s = 0; s < ahead->count; ++s) {
    const int64_t lines = (ahead->to[s] - ahead->from[s] + LINE - 1) / LINE;
    const int64_t from = lines * part / parts, to = lines * (part + 1) / parts;
    for (int64_t line = from; line < to; ++line) __builtin_prefetch(ahead->from[s] + line * LINE, 0, 2);
  }
}

// What of a row first comes from memory, in all its phases, at most: the row before it is to stay beside it in the
// second-level cache.
enum { ROW_AHEAD_BYTES = 192 << 10 };

static bool fits_ahead(const temper_plan *plan, int64_t width) {
  size_t bytes = 0;
  for (int32_t s = 0; s < plan->program->slot_count; ++s)
    if (plan->slots[s].first_phase >= 0) bytes += (size_t)width * element_bytes(plan->slots[s].slot->element);
  return bytes <= ROW_AHEAD_BYTES;
}

// Steps that go over the columns.
static int32_t loops_of(const temper_plan *plan) {
  int32_t loops = 0;
  for (int32_t i = 0; i < plan->program->instruction_count; ++i) {
    const temper_step *step = &plan->steps[i];
    loops += !step->idle && !step->once && (!step->chained || step->chain_head);
  }
  return loops;
}

static void run_blocks(temper_plan *plan, int64_t row_begin, int64_t row_end, int64_t column_begin,
                       int64_t column_end) {
  const temper_row_program *program = plan->program;
  const int64_t width = column_end - column_begin;
  const int64_t block_columns = plan->shape.columns < width ? plan->shape.columns : width;
  const bool asks = plan->shape.layout == TEMPER_LAYOUT_COLUMN_BLOCKS && !plan->one_chain;
  // Of short rows that are gone over more than once the whole next one is asked for, a part before each loop; of others
  // the next block.
  const bool whole_rows = asks && program->phase_count > 1 && fits_ahead(plan, width);
  const int32_t parts = whole_rows ? loops_of(plan) * (int32_t)((width + block_columns - 1) / block_columns) : 0;
  for (int64_t row = row_begin, rows; row < row_end; row += rows) {
    rows = plan->shape.rows < row_end - row ? plan->shape.rows : row_end - row;
    streams next_row = {.count = 0};
    int32_t part = 0;
    if (whole_rows && row + rows < row_end)
      for (int32_t phase = 0; phase < program->phase_count; ++phase)
        find_streams(&next_row, plan, phase, row + rows, column_begin, width);
    // Only column blocks come one after the other: phase by phase.
    for (int32_t begin = 0, end; begin < program->instruction_count; begin = end) {
      end = program->instruction_count;
      if (block_columns < width)
        for (end = begin + 1; end < program->instruction_count; ++end)
          if (program->instructions[end].phase != program->instructions[begin].phase) break;
      int64_t column = column_begin;
      do {
        const int64_t columns = block_columns < column_end - column ? block_columns : column_end - column;
        const int64_t lanes_of_rows = (rows + TEMPER_ROW_LANES - 1) / TEMPER_ROW_LANES * TEMPER_ROW_LANES;
        const block k = {.plan = plan,
                         .row = row,
                         .rows = rows,
                         .column = column,
                         .columns = columns,
                         .pitch = plan->shape.layout == TEMPER_LAYOUT_TRANSPOSED ? lanes_of_rows : columns,
                         .left = column_end - column,
                         .first = column == column_begin};
        const int64_t next = plan->one_chain ? column_end : column + columns;
        streams ahead = {.count = 0};
        const bool same_phase = next < column_end, same_row = same_phase || end < program->instruction_count;
        const int64_t then = same_phase ? next : column_begin, left = column_end - then;
        int32_t loops = 0;
        for (int32_t i = begin; i < end; ++i) loops += !plan->steps[i].idle;
        // One loop: the processor sees its memory come by itself, and what it does is not held up.
        if (asks && !(whole_rows && (!same_row || row > row_begin)) && loops > 1 && (same_row || row + rows < row_end))
          find_streams(&ahead, plan,
                       program->instructions[same_phase ? begin
                                             : same_row ? end
                                                        : 0]
                           .phase,
                       same_row ? row : row + rows, then, block_columns < left ? block_columns : left);
        for (int32_t i = begin; i < end; ++i) {
          temper_step *step = &plan->steps[i];
          if (ahead.count > 0) ask_for(&ahead, i - begin, end - begin);
          if (next_row.count > 0 && !step->idle && !step->once && (!step->chained || step->chain_head)) {
            ask_for(&next_row, part, parts);
            ++part;
          }
          if (!step->idle && (k.first || !step->once)) run_step(&k, step);
        }
        column = next;
      } while (column < column_end);
    }
  }
}

void VARIANT(temper_row_program_run)(const temper_row_program *program, const temper_slot *slots, int64_t row_begin,
                                     int64_t row_end, int64_t column_begin, int64_t column_end, void *scratch) {
  temper_streamed_softmax streamed;
  if (temper_is_streamed_softmax(&streamed, program, slots, sizeof(REAL))) {
    run_streamed_softmax(program, slots, streamed, row_begin, row_end, scratch);
    return;
  }
  if (program->kept) {
    run_blocks(temper_row_program_kept_plan(program, slots, sizeof(REAL), scratch), row_begin, row_end, column_begin,
               column_end);
    return;
  }
  temper_plan plan;
  temper_row_program_plan(&plan, program, slots, column_begin, column_end, sizeof(REAL), scratch);
  run_blocks(&plan, row_begin, row_end, column_begin, column_end);
}
