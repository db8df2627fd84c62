// Template over REAL: softmax and log_softmax of long rows whose result is larger than the caches.
//
// The interpreter's three passes over a row wait for memory in turns with computing. Here a row is written while the
// exponentials of the next one are computed, past the caches, and the one after that is on its way. The operations and
// their order are the interpreter's, and so are the bits.

// Of a row that is finished: what can be moved line by line, once the ends that share their lines with other rows are
// done.
static moved whole_lines(moved row, int64_t columns) {
  const int64_t before = (int64_t)(-(uintptr_t)row.out % 64 / sizeof(REAL)), head = before < columns ? before : columns;
  const int64_t tail = head + (columns - head) / LINE_ELEMENTS * LINE_ELEMENTS;
  for (int64_t i = 0; i < columns; i = i + 1 < head || i >= tail ? i + 1 : tail)
    if (i < head || i >= tail)
      row.out[i] = row.differs ? row.source[i] - row.factor - row.offset : row.source[i] * row.factor;
  row.source += head;
  row.out += head;
  row.left = tail - head;
  return row;
}

static void run_streamed_softmax(const temper_row_program *program, const temper_slot *slots,
                                 temper_streamed_softmax kind, int64_t row_begin, int64_t row_end, void *scratch) {
  const temper_slot *from = &slots[kind.x], *to = &slots[kind.out];
  const int64_t columns = program->columns, block = temper_block_shape_of(columns).columns;
  REAL *now = scratch, *before = (REAL *)((char *)scratch + temper_streamed_row_bytes(program, sizeof(REAL)));
  moved row_before = {.left = 0};
  for (int64_t row = row_begin; row < row_end; ++row) {
    const REAL *x = (const REAL *)from->base + row * from->outer_strides[0];
    REAL *out = (REAL *)to->base + row * to->outer_strides[0];
    if (row > row_begin) {  // a store that waits for memory holds up those after it
      __builtin_prefetch(row_before.out, 1, 3);
      __builtin_prefetch(row_before.out + columns - 1, 1, 3);
    }
    REAL largest = 0;
    for (int64_t column = 0; column < columns; column += block) {
      const REAL value = max_of_row(x + column, block < columns - column ? block : columns - column);
      largest = column == 0 ? value : LARGER(largest, value);
    }
    if (row > row_begin) row_before = whole_lines(row_before, columns);
    row_before.next = row + 1 < row_end ? x + from->outer_strides[0] : NULL;
    double sum = 0;
    for (int64_t column = 0; column < columns; column += block) {
      const int64_t n = block < columns - column ? block : columns - column;
      const REAL part = exp_and_sum(x + column, largest, kind.is_log ? now : now + column, n, &row_before);
      sum = column == 0 ? part : sum + part;
    }
    while (row_before.left > 0) move_line(&row_before);
    const REAL total = (REAL)sum;
    row_before = (moved){.source = kind.is_log ? x : now, .out = out, .differs = kind.is_log};
    row_before.factor = kind.is_log ? largest : 1 / total;
    row_before.offset = kind.is_log ? log_of(total) : 0;
    REAL *const other = now;
    now = before, before = other;
  }
  if (row_end > row_begin) row_before = whole_lines(row_before, columns);
  while (row_before.left > 0) move_line(&row_before);
#if defined(__x86_64__)
  __builtin_ia32_sfence();  // other threads may now be told of what went past the caches
#endif
}
