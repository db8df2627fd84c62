// Template over REAL: the block being worked on, and where its values are.

typedef struct block {
  const temper_plan *plan;
  int64_t row, rows;        // first row and how many
  int64_t column, columns;  // first column and how many
  int64_t pitch;            // of a FULL register: between columns when transposed, between rows otherwise
  int64_t left;             // columns from here to the end of the range
  bool first;               // of the column blocks of a row
} block;

static inline bool is_transposed(const block *k) { return k->plan->shape.layout == TEMPER_LAYOUT_TRANSPOSED; }

static REAL *address(const block *k, temper_operand operand) {
  const temper_plan *plan = k->plan;
  if (operand.slot >= 0) {
    const temper_plan_slot *slot = &plan->slots[operand.slot];
    return (REAL *)slot->slot->base + temper_slot_offset(plan->program, slot, k->row) + k->column;
  }
  bool whole_row = plan->shape.layout == TEMPER_LAYOUT_COLUMN_BLOCKS &&
                   plan->program->registers[operand.reg] == TEMPER_REGISTER_CARRIED;
  return (REAL *)plan->registers[operand.reg] + (whole_row ? k->column : 0);
}

// A value per row, from a ROW register or an immediate.
typedef struct row_values {
  const REAL *values;
  int64_t step;
} row_values;

static row_values row_values_of(const block *k, temper_operand operand, const REAL *immediate) {
  if (operand.kind == TEMPER_OPERAND_IMMEDIATE) return (row_values){immediate, 0};
  return (row_values){address(k, operand), 1};
}

static inline lanes row_lanes(row_values values, int64_t row) {
  return values.step ? lanes_at(values.values + row) : (lanes)values.values[0];
}
