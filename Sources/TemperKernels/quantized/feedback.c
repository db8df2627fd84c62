#include <string.h>

#include "matmul.h"
#include "rounding.h"

enum { BLOCK = 128 };

// Targets (rows, BLOCK) += errors of all earlier columns times their factors.
static temper_matmul_job earlier_columns(const temper_feedback *feedback, int64_t row_begin, int64_t row_end,
                                         int64_t begin, int64_t end, float *targets) {
  const int64_t n = feedback->columns;
  return (temper_matmul_job){
      .element = TEMPER_ELEMENT_F32,
      .variant = TEMPER_VARIANT_BEST,
      .accumulate = true,
      .alpha = 1,
      .m = row_end - row_begin,
      .n = end - begin,
      .k = begin,
      .batch = 1,
      .a = feedback->errors + row_begin * n,
      .a_row_stride = n,
      .a_column_stride = 1,
      .b = feedback->factors + begin,
      .b_row_stride = n,
      .b_column_stride = 1,
      .c = targets,
      .c_row_stride = BLOCK,
  };
}

static temper_matmul_plan one_piece(const temper_matmul_job *job) {
  temper_matmul_plan plan = temper_matmul_plan_make(job);
  plan.row_pieces = plan.column_pieces = plan.depth_pieces = 1;
  plan.phase_count = 1;
  plan.piece_counts[0] = 1;
  return plan;
}

static size_t targets_bytes(int64_t rows) { return (size_t)rows * BLOCK * sizeof(float); }

size_t temper_feedback_scratch(const temper_feedback *feedback, int64_t rows) {
  const int64_t n = feedback->columns;
  // A last block of one column is a product with a vector, which needs other memory.
  const temper_matmul_job wide = earlier_columns(feedback, 0, rows, n, n + BLOCK, NULL);
  const temper_matmul_job narrow = earlier_columns(feedback, 0, rows, n, n + 1, NULL);
  const size_t bytes = one_piece(&wide).scratch_bytes, other = one_piece(&narrow).scratch_bytes;
  return targets_bytes(rows) + (bytes > other ? bytes : other);
}

// One row of a block, column by column; what a column misses its target's level by moves the targets after it.
CLONES static void round_in_block(const temper_feedback *feedback, int64_t row, int64_t begin, int64_t end,
                                  float *targets) {
  const temper_levels *levels = feedback->levels;
  const int64_t n = feedback->columns;
  for (int64_t c = begin; c < end; c++) {
    const int64_t place = row * feedback->scale_row_stride + feedback->groups[c];
    const float scale = feedback->scales[place];
    const float zero = feedback->zeros ? (float)feedback->zeros[place] : 0;
    float level;
    if (levels->count > 0) {
      const int index = thresholds_below(levels->thresholds, levels->count - 1, targets[c - begin] / scale + zero);
      level = levels->levels[index] - zero;
      feedback->codes[row * n + c] = levels->codes[index];
    } else {
      const float shift = zero - levels->first_level;
      level = whole_steps(targets[c - begin], scale, (float)levels->lowest_code - shift,
                          (float)levels->highest_code - shift);
      feedback->codes[row * n + c] = (uint8_t)(int32_t)(level + shift);
    }
    const float error = feedback->weights[row * n + c] - scale * level;
    feedback->errors[row * n + c] = error;
    const float *factors = feedback->factors + c * n;
    for (int64_t later = c + 1; later < end; later++) targets[later - begin] += error * factors[later];
  }
}

void temper_feedback_rows(const temper_feedback *feedback, int64_t row_begin, int64_t row_end, void *scratch) {
  const int64_t n = feedback->columns;
  float *targets = scratch;
  void *product_scratch = (uint8_t *)scratch + targets_bytes(row_end - row_begin);
  for (int64_t begin = 0; begin < n; begin += BLOCK) {
    const int64_t end = n - begin < BLOCK ? n : begin + BLOCK;
    for (int64_t row = row_begin; row < row_end; row++) {
      memcpy(targets + (row - row_begin) * BLOCK, feedback->weights + row * n + begin,
             (size_t)(end - begin) * sizeof(float));
    }
    if (begin > 0) {
      const temper_matmul_job job = earlier_columns(feedback, row_begin, row_end, begin, end, targets);
      const temper_matmul_plan plan = one_piece(&job);
      temper_matmul_run(&job, &plan, NULL, product_scratch);
    }
    for (int64_t row = row_begin; row < row_end; row++) {
      round_in_block(feedback, row, begin, end, targets + (row - row_begin) * BLOCK);
    }
  }
}
