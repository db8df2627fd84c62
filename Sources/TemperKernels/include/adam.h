// The Adam update in one pass over memory.
// Kingma and Ba, 2015, arXiv 1412.6980; decoupled weight decay: Loshchilov and Hutter, 2019, arXiv 1711.05101.
#ifndef TEMPER_ADAM_H
#define TEMPER_ADAM_H

#include <stdint.h>

#include "row_program.h"
#include "variant.h"

//   m = beta1 m + (1 - beta1) g              v = beta2 v + (1 - beta2) g^2
//   p = p - learning_rate (weight_decay p + (m / correction1) / (sqrt(v / correction2) + epsilon))
typedef struct temper_adam_job {
  temper_element element;  // F32 or F64, of all arrays
  temper_variant variant;
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  double correction1, correction2;  // 1 - beta1^t and 1 - beta2^t after t steps, this one included
  void *parameter;
  const void *gradient;
  void *m, *v;
} temper_adam_job;

// Updates the elements [begin, end).
void temper_adam(const temper_adam_job *job, int64_t begin, int64_t end);

#endif
