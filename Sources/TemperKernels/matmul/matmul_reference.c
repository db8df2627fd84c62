#include "matmul.h"

static double element_at(const void *base, temper_element element, int64_t index) {
  return element == TEMPER_ELEMENT_F64 ? ((const double *)base)[index] : (double)((const float *)base)[index];
}

// C = activation(alpha * A B + beta * C + bias)
void temper_matmul_reference(const temper_matmul_job *job) {
  for (int64_t batch = 0; batch < job->batch; batch++) {
    for (int64_t i = 0; i < job->m; i++) {
      for (int64_t j = 0; j < job->n; j++) {
        long double sum = 0;
        for (int64_t p = 0; p < job->k; p++) {
          int64_t a = batch * job->a_batch_stride + i * job->a_row_stride + p * job->a_column_stride;
          int64_t b = batch * job->b_batch_stride + p * job->b_row_stride + j * job->b_column_stride;
          sum += (long double)element_at(job->a, job->element, a) * element_at(job->b, job->element, b);
        }
        int64_t c = batch * job->c_batch_stride + i * job->c_row_stride + j;
        double value = job->alpha * (double)sum;
        if (job->accumulate) value += element_at(job->c, job->element, c);
        if (job->bias) value += element_at(job->bias, job->element, j);
        if (job->activation == TEMPER_ACTIVATION_RELU && value < 0) value = 0;
        if (job->element == TEMPER_ELEMENT_F64) {
          ((double *)job->c)[c] = value;
        } else {
          ((float *)job->c)[c] = (float)value;
        }
      }
    }
  }
}
