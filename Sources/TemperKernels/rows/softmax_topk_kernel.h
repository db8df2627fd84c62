// Template over REAL: softmax.h, the k largest of each row. A chunk is read while it is in the cache: its largest entry,
// its share of the sum, and, if it has one above the least of the k, its entries.

enum { TOP_CHUNK = 1024 };

void VARIANT(temper_softmax_topk)(const temper_softmax_topk_job *job, int64_t begin, int64_t end) {
  const int64_t k = job->k;
  for (int64_t row = begin; row < end; ++row) {
    const REAL *x = (const REAL *)job->logits + row * job->row_stride;
    REAL *top = (REAL *)job->out + row * k, *positions = (REAL *)job->positions + row * k;
    REAL largest = -C(INFINITY), sum = 0, broken = 0;
    int64_t held = 0;
    for (int64_t start = 0; start < job->classes; start += TOP_CHUNK) {
      const int64_t n = job->classes - start < TOP_CHUNK ? job->classes - start : TOP_CHUNK;
      const REAL here = max_of_row(x + start, n);
      if (here != here) broken = here;
      if (here > largest) {
        sum *= exp_of(largest - here);
        largest = here;
      }
      if (largest > -C(INFINITY)) sum += exp_sum(x + start, largest, n);
      if (held == k && here <= top[k - 1]) continue;
      for (int64_t i = start; i < start + n; ++i) {
        const REAL value = x[i] == x[i] ? x[i] : -C(INFINITY);
        if (held == k && !(value > top[k - 1])) continue;
        int64_t at = held < k ? held++ : k - 1;
        for (; at > 0 && top[at - 1] < value; --at) {  // equals keep their order
          top[at] = top[at - 1];
          positions[at] = positions[at - 1];
        }
        top[at] = value;
        positions[at] = (REAL)i;
      }
    }
    for (int64_t j = 0; j < k; ++j) top[j] = exp_of(top[j] - largest) / sum + broken;
  }
}
