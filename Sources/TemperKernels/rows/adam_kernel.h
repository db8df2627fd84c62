// Template over REAL: adam.h.

void VARIANT(temper_adam)(const temper_adam_job *job, int64_t begin, int64_t end) {
  REAL *parameter = job->parameter, *first = job->m, *second = job->v;
  const REAL *gradient = job->gradient;
  const REAL beta1 = C(job->beta1), beta2 = C(job->beta2), rest1 = C(1 - job->beta1), rest2 = C(1 - job->beta2);
  const REAL keep = C(1 - job->learning_rate * job->weight_decay);
  // learning_rate (m / correction1) / (sqrt(v / correction2) + epsilon), the constants drawn together
  const REAL rate = C(job->learning_rate / job->correction1), root = C(1 / sqrt(job->correction2));
  const REAL epsilon = C(job->epsilon);
#pragma clang loop vectorize(assume_safety)
  for (int64_t i = begin; i < end; ++i) {
    const REAL g = gradient[i];
    const REAL m = beta1 * first[i] + rest1 * g;
    const REAL v = beta2 * second[i] + rest2 * (g * g);
    first[i] = m;
    second[i] = v;
    parameter[i] = keep * parameter[i] - rate * m / (square_root_of(v) * root + epsilon);
  }
}
