// Template over REAL: LOAD, STORE and the instructions that make values from indices.

#define FOR_ELEMENT(element, STATEMENT)      \
  switch (element) {                         \
    case TEMPER_ELEMENT_F32:                 \
      STATEMENT(float, real_value) break;    \
    case TEMPER_ELEMENT_F64:                 \
      STATEMENT(double, real_value) break;   \
    case TEMPER_ELEMENT_I32:                 \
      STATEMENT(int32_t, int32_value) break; \
    case TEMPER_ELEMENT_I64:                 \
      STATEMENT(int64_t, int64_value) break; \
    case TEMPER_ELEMENT_U8:                  \
      STATEMENT(uint8_t, uint8_value) break; \
  }

// Conversions to integers truncate; what does not fit becomes the nearest bound, NaN becomes 0.
static inline REAL real_value(REAL x) { return x; }
#define INTEGER_VALUE(T, name, low, above, high)                  \
  static inline T name(REAL x) {                                  \
    REAL inside = ((x >= (REAL)low) & (x < (REAL)above)) ? x : 0; \
    T value = (T)inside;                                          \
    value = x >= (REAL)above ? high : value;                      \
    return x < (REAL)low ? low : value;                           \
  }
INTEGER_VALUE(int32_t, int32_value, INT32_MIN, 0x1p31, INT32_MAX)
INTEGER_VALUE(int64_t, int64_value, INT64_MIN, 0x1p63, INT64_MAX)
INTEGER_VALUE(uint8_t, uint8_value, 0, 256, UINT8_MAX)

static bool is_working_type(temper_element element) {
  return element == (SINGLE ? TEMPER_ELEMENT_F32 : TEMPER_ELEMENT_F64);
}

// --- load and store

// dst[column * dst_column + row * dst_row] = source[column * source_column + row * source_row], along the shorter way
// of the registers in the inner loop.
#define MOVE(D, dst, dst_column, dst_row, S, source, source_column, source_row, convert)                    \
  if ((dst_column) == 1 && (source_column) == 1 && columns > 1) {                                           \
    for (int64_t r = 0; r < rows; ++r) {                                                                    \
      D *to = dst + r * (dst_row);                                                                          \
      const S *from = source + r * (source_row);                                                            \
      _Pragma("clang loop vectorize(assume_safety)") for (int64_t c = 0; c < columns; ++c) to[c] =          \
          (D)convert(from[c]);                                                                              \
    }                                                                                                       \
  } else if (((dst_column) == 1 && columns > 1) || rows == 1) {                                             \
    for (int64_t r = 0; r < rows; ++r)                                                                      \
      for (int64_t c = 0; c < columns; ++c)                                                                 \
        dst[r * (dst_row) + c * (dst_column)] = (D)convert(source[r * (source_row) + c * (source_column)]); \
  } else {                                                                                                  \
    for (int64_t c = 0; c < columns; ++c)                                                                   \
      for (int64_t r = 0; r < rows; ++r)                                                                    \
        dst[r * (dst_row) + c * (dst_column)] = (D)convert(source[r * (source_row) + c * (source_column)]); \
  }

static void load(const block *k, const temper_step *step) {
  const temper_row_program *program = k->plan->program;
  const temper_plan_slot *slot = &k->plan->slots[step->instruction->slot];
  const int64_t source_row = temper_slot_step(program, slot), source_column = slot->slot->column_stride;
  const bool row_only = step->dst.kind == TEMPER_OPERAND_ROW;
  const int64_t columns = row_only ? 1 : k->columns;
  const int64_t dst_column = is_transposed(k) ? k->pitch : 1;
  const int64_t dst_row = row_only || is_transposed(k) ? 1 : k->pitch;
  REAL *dst = address(k, step->dst);
  for (int64_t done = 0, rows; done < k->rows; done += rows, dst += rows * dst_row) {
    rows = temper_slot_run(program, slot, k->row + done, k->rows - done);
    const int64_t offset =
        temper_slot_offset(program, slot, k->row + done) + (row_only ? 0 : k->column * source_column);
    if (dst_column > 1 && source_column == 1 && !row_only && is_working_type(slot->slot->element)) {
      to_columns(dst, dst_column, (const REAL *)slot->slot->base + offset, source_row, rows, columns);
      continue;
    }
#define LOAD_AS(T, convert)                                                            \
  {                                                                                    \
    const T *source = (const T *)slot->slot->base + offset;                            \
    MOVE(REAL, dst, dst_column, dst_row, T, source, source_column, source_row, (REAL)) \
  }
    FOR_ELEMENT(slot->slot->element, LOAD_AS)
  }
}

static void store(const block *k, const temper_step *step) {
  const temper_row_program *program = k->plan->program;
  const temper_plan_slot *slot = &k->plan->slots[step->instruction->slot];
  const int64_t dst_row = temper_slot_step(program, slot), dst_column = slot->slot->column_stride;
  const REAL immediate = (REAL)step->instruction->immediate;
  const bool full = step->a.kind == TEMPER_OPERAND_FULL;
  const int64_t columns = !full && dst_column == 0 ? 1 : k->columns;
  const REAL *source = step->a.kind == TEMPER_OPERAND_IMMEDIATE ? &immediate : address(k, step->a);
  const int64_t source_column = !full ? 0 : is_transposed(k) ? k->pitch : 1;
  const int64_t source_row = step->a.kind == TEMPER_OPERAND_IMMEDIATE ? 0 : !full || is_transposed(k) ? 1 : k->pitch;
  for (int64_t done = 0, rows; done < k->rows; done += rows, source += rows * source_row) {
    rows = temper_slot_run(program, slot, k->row + done, k->rows - done);
    const int64_t offset = temper_slot_offset(program, slot, k->row + done) + k->column * dst_column;
    if (source_column > 1 && dst_column == 1 && dst_row == columns && is_working_type(slot->slot->element)) {
      to_rows((REAL *)slot->slot->base + offset, source, source_column, rows, columns);
      continue;
    }
#define STORE_AS(T, convert)                                                            \
  {                                                                                     \
    T *dst = (T *)slot->slot->base + offset;                                            \
    MOVE(T, dst, dst_column, dst_row, REAL, source, source_column, source_row, convert) \
  }
    FOR_ELEMENT(slot->slot->element, STORE_AS)
  }
}

// dst = index of the column
static void column_index(const block *k, const temper_step *step) {
  REAL *dst = address(k, step->dst);
  if (is_transposed(k)) {
    for (int64_t c = 0; c < k->columns; ++c, dst += k->pitch)
      for (int64_t r = 0; r < k->pitch; ++r) dst[r] = (REAL)(k->column + c);
  } else {
    for (int64_t r = 0; r < k->rows; ++r, dst += k->pitch)
      for (int64_t c = 0; c < k->columns; ++c) dst[c] = (REAL)(k->column + c);
  }
}

// dst = index of the row
static void row_index(const block *k, const temper_step *step) {
  REAL *dst = address(k, step->dst);
  for (int64_t r = 0; r < k->rows; ++r) dst[r] = (REAL)(k->row + r);
}

// dst = uniform in [0, 1), element by element in row order
static void uniform(const block *k, const temper_step *step) {
  const int64_t all_columns = k->plan->program->columns;
  const uint64_t *key = k->plan->slots[step->instruction->slot].slot->base;
  uint64_t first = (uint64_t)(k->row * all_columns + k->column) + (uint64_t)(int64_t)step->instruction->immediate;
  REAL *dst = address(k, step->dst), *by_row = is_transposed(k) ? k->plan->staging : dst;
  // Whole rows follow each other.
  const bool whole = k->columns == all_columns;
  const int64_t count = whole ? k->rows * k->columns : k->columns;
  for (int64_t r = 0; r < (whole ? 1 : k->rows); ++r, first += (uint64_t)all_columns)
    philox_uniform(by_row + r * k->columns, first, count, key[0], key[1]);
  if (is_transposed(k)) to_columns(dst, k->pitch, by_row, k->columns, k->rows, k->columns);
}

// dst = column == a ? b : 0
static void place(const block *k, const temper_step *step) {
  const REAL immediate = (REAL)step->instruction->immediate;
  const row_values index = row_values_of(k, step->a, &immediate), value = row_values_of(k, step->b, &immediate);
  REAL *dst = address(k, step->dst);
  if (is_transposed(k)) {
    for (int64_t c = 0; c < k->columns; ++c, dst += k->pitch)
      for (int64_t r = 0; r < k->pitch; r += LANES)
        lanes_store(dst + r, row_lanes(index, r) == (lanes)(REAL)(k->column + c) ? row_lanes(value, r) : (lanes)0);
    return;
  }
  for (int64_t r = 0; r < k->rows; ++r, dst += k->pitch) {
    for (int64_t c = 0; c < k->columns; ++c) dst[c] = 0;
    const REAL at = index.values[r * index.step] - (REAL)k->column;
    if (at >= 0 && at < (REAL)k->columns && at == (REAL)(int64_t)at) dst[(int64_t)at] = value.values[r * value.step];
  }
}

// dst = a + (column == b ? c : 0)
static void place_add(const block *k, const temper_step *step) {
  const REAL immediate = (REAL)step->instruction->immediate;
  const row_values index = row_values_of(k, step->b, &immediate), value = row_values_of(k, step->c, &immediate);
  const REAL *a = address(k, step->a);
  REAL *dst = address(k, step->dst);
  if (is_transposed(k)) {
    for (int64_t c = 0; c < k->columns; ++c, dst += k->pitch, a += k->pitch)
      for (int64_t r = 0; r < k->pitch; r += LANES) {
        const lanes x = lanes_at(a + r);
        lanes_store(dst + r, row_lanes(index, r) == (lanes)(REAL)(k->column + c) ? x + row_lanes(value, r) : x);
      }
    return;
  }
  for (int64_t r = 0; r < k->rows; ++r, dst += k->pitch, a += k->pitch) {
    if (dst != a) __builtin_memcpy(dst, a, (size_t)k->columns * sizeof(REAL));
    const REAL at = index.values[r * index.step] - (REAL)k->column;
    if (at >= 0 && at < (REAL)k->columns && at == (REAL)(int64_t)at) dst[(int64_t)at] += value.values[r * value.step];
  }
}
