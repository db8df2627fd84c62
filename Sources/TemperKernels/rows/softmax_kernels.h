// Template over REAL: softmax.h. Up to FEW classes, rows are taken apart into columns, so that every operation is one
// over many rows; beyond, one row at a time while it is in the cache.

enum { FEW = 32, TOGETHER = 64 };

static void scale_row(REAL *x, REAL factor, int64_t n) {
#pragma clang loop vectorize(assume_safety)
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// Two differences: the largest and the logarithm together would be rounded to the size of the largest.
static void shift_row(REAL *out, const REAL *x, REAL largest, REAL log_sum, int64_t n) {
#pragma clang loop vectorize(assume_safety)
  for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - largest) - log_sum;
}

// Of TOGETHER columns-wise rows: largest, and sum of e^(x - largest), whose terms replace x in `terms`.
static void columns_softmax(const REAL *x, REAL *terms, REAL *largest, REAL *sum, int64_t classes) {
  for (int r = 0; r < TOGETHER; r += LANES) {
    lanes m = lanes_at(x + r);
    for (int64_t c = 1; c < classes; ++c) m = LARGER(m, lanes_at(x + c * TOGETHER + r));
    lanes_store(largest + r, m);
  }
  for (int r = 0; r < TOGETHER; ++r) sum[r] = 0;
  for (int64_t c = 0; c < classes; ++c)
#pragma clang loop vectorize(assume_safety)
    for (int r = 0; r < TOGETHER; ++r) {
      const REAL e = exp_of(x[c * TOGETHER + r] - largest[r]);
      terms[c * TOGETHER + r] = e;
      sum[r] += e;
    }
}

static void few_to_rows(REAL *out, int64_t stride, const REAL *columns, int64_t rows, int64_t classes) {
  if (stride == classes) {
    to_rows(out, columns, TOGETHER, rows, classes);
    return;
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < classes; ++c) out[r * stride + c] = columns[c * TOGETHER + r];
}

void VARIANT(temper_softmax)(const temper_softmax_job *job, int64_t begin, int64_t end) {
  const int64_t classes = job->classes;
  REAL few[FEW * TOGETHER] = {0}, terms[FEW * TOGETHER], largest[TOGETHER], sum[TOGETHER];
  for (int64_t row = begin, rows; row < end; row += rows) {
    const REAL *x = (const REAL *)job->logits + row * job->row_stride;
    REAL *out = (REAL *)job->out + row * job->out_row_stride;
    rows = classes > FEW ? 1 : end - row < TOGETHER ? end - row : TOGETHER;
    if (classes > FEW) {
      const REAL shift = max_of_row(x, classes);
      if (job->logarithm)
        shift_row(out, x, shift, log_of(exp_sum(x, shift, classes)), classes);
      else
        scale_row(out, 1 / exp_and_sum(x, shift, out, classes), classes);
      continue;
    }
    to_columns(few, TOGETHER, x, job->row_stride, rows, classes);
    columns_softmax(few, terms, largest, sum, classes);
    if (job->logarithm)
      for (int r = 0; r < TOGETHER; ++r) sum[r] = log_of(sum[r]);
    else
      for (int r = 0; r < TOGETHER; ++r) sum[r] = 1 / sum[r];
    for (int64_t c = 0; c < classes; ++c)
      for (int r = 0; r < TOGETHER; ++r) {
        REAL *term = &terms[c * TOGETHER + r];
        *term = job->logarithm ? (few[c * TOGETHER + r] - largest[r]) - sum[r] : *term * sum[r];
      }
    few_to_rows(out, job->out_row_stride, terms, rows, classes);
  }
}

void VARIANT(temper_softmax_cross_entropy)(const temper_softmax_cross_entropy_job *job, int64_t begin, int64_t end) {
  const int64_t classes = job->classes;
  REAL few[FEW * TOGETHER] = {0}, terms[FEW * TOGETHER], largest[TOGETHER], sum[TOGETHER], factor[TOGETHER];
  for (int64_t row = begin, rows; row < end; row += rows) {
    const REAL *x = (const REAL *)job->logits + row * job->row_stride;
    const int32_t *target = job->targets + row;
    REAL *loss = (REAL *)job->loss + row;
    REAL *gradient = job->gradient ? (REAL *)job->gradient + row * job->gradient_row_stride : NULL;
    rows = classes > FEW ? 1 : end - row < TOGETHER ? end - row : TOGETHER;
    for (int64_t r = 0; r < rows; ++r) {
      const bool counts = target[r] >= 0 && target[r] < classes;
      factor[r] = !counts ? 0 : C(job->scale) * (job->row_scales ? ((const REAL *)job->row_scales)[row + r] : 1);
    }
    if (classes > FEW) {
      const bool counts = target[0] >= 0 && target[0] < classes;
      const REAL shift = max_of_row(x, classes);
      sum[0] = gradient ? exp_and_sum(x, shift, gradient, classes) : exp_sum(x, shift, classes);
      loss[0] = counts ? log_of(sum[0]) + (shift - x[target[0]]) : 0;
      if (gradient && counts) {
        scale_row(gradient, factor[0] / sum[0], classes);
        gradient[target[0]] -= factor[0];
      } else if (gradient) {
        for (int64_t c = 0; c < classes; ++c) gradient[c] = 0;
      }
      continue;
    }
    to_columns(few, TOGETHER, x, job->row_stride, rows, classes);
    columns_softmax(few, terms, largest, sum, classes);
    for (int64_t r = 0; r < rows; ++r) {
      const bool counts = target[r] >= 0 && target[r] < classes;
      loss[r] = counts ? few[target[r] * TOGETHER + r] : 0;
    }
    for (int64_t r = 0; r < rows; ++r) {
      const bool counts = (target[r] >= 0) & (target[r] < classes);
      const REAL value = log_of(sum[r]) + (largest[r] - loss[r]);
      loss[r] = counts ? value : 0;
    }
    if (!gradient) continue;
    for (int r = 0; r < TOGETHER; ++r) sum[r] = 1 / sum[r];
    for (int64_t r = rows; r < TOGETHER; ++r) factor[r] = 0;
    for (int64_t c = 0; c < classes; ++c)
      for (int r = 0; r < TOGETHER; ++r) terms[c * TOGETHER + r] *= factor[r] * sum[r];
    for (int64_t r = 0; r < rows; ++r) {
      const bool counts = target[r] >= 0 && target[r] < classes;
      if (counts)
        terms[target[r] * TOGETHER + r] -= factor[r];
      else
        for (int64_t c = 0; c < classes; ++c) terms[c * TOGETHER + r] = 0;
    }
    few_to_rows(gradient, job->gradient_row_stride, terms, rows, classes);
  }
}
