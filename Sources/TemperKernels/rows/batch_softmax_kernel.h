// Template over REAL: softmax.h, sums of softmax over rows. Few classes: many rows at a time, as in threshold_kernel.h.

static void few_classes(const temper_batch_softmax_job *job, int64_t begin, int64_t end) {
  const int64_t classes = job->classes;
  REAL z[FEW * TOGETHER] = {0}, parts[FEW * TOGETHER] = {0}, top[TOGETHER], sum[TOGETHER], scale[TOGETHER];
  for (int64_t row = begin; row < end; row += TOGETHER) {
    const int64_t rows = end - row < TOGETHER ? end - row : TOGETHER;
    to_columns(z, TOGETHER, (const REAL *)job->logits + row * classes, classes, rows, classes);
    for (int64_t c = 0; c < classes; ++c)
      for (int64_t r = rows; r < TOGETHER; ++r) z[c * TOGETHER + r] = 0;
    for (int r = 0; r < TOGETHER; ++r) {
      top[r] = z[r];
      sum[r] = 0;
    }
    for (int64_t c = 1; c < classes; ++c)
      for (int r = 0; r < TOGETHER; ++r) top[r] = LARGER(top[r], z[c * TOGETHER + r]);
    for (int64_t c = 0; c < classes; ++c)
#pragma clang loop vectorize(assume_safety)
      for (int r = 0; r < TOGETHER; ++r) sum[r] += z[c * TOGETHER + r] = exp_of(z[c * TOGETHER + r] - top[r]);
    for (int r = 0; r < TOGETHER; ++r) scale[r] = r < rows ? 1 / sum[r] : 0;
    for (int64_t c = 0; c < classes; ++c)
      for (int r = 0; r < TOGETHER; ++r) parts[c * TOGETHER + r] += z[c * TOGETHER + r] * scale[r];
    for (int64_t r = 0; r < rows; ++r) {
      ((REAL *)job->top)[row + r] = top[r];
      ((REAL *)job->log_sum)[row + r] = log_of(sum[r]);
    }
  }
  for (int64_t c = 0; c < classes; ++c) ((REAL *)job->sums)[c] = sum_of_row(parts + c * TOGETHER, TOGETHER);
}

void VARIANT(temper_batch_softmax)(const temper_batch_softmax_job *job, int64_t begin, int64_t end) {
  const int64_t classes = job->classes;
  if (classes <= FEW) {
    few_classes(job, begin, end);
    return;
  }
  REAL *sums = job->sums, *e = job->scratch;
  for (int64_t c = 0; c < classes; ++c) sums[c] = 0;
  for (int64_t row = begin; row < end; ++row) {
    const REAL *x = (const REAL *)job->logits + row * classes;
    const REAL top = max_of_row(x, classes), sum = exp_and_sum(x, top, e, classes, NULL), scale = 1 / sum;
    ((REAL *)job->top)[row] = top;
    ((REAL *)job->log_sum)[row] = log_of(sum);
#pragma clang loop vectorize(assume_safety)
    for (int64_t c = 0; c < classes; ++c) sums[c] += e[c] * scale;
  }
}
