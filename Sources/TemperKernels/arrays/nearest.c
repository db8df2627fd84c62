#include "../include/nearest.h"

#include "../clones.h"

enum { group = 32 };

static void insert(double value, int32_t id, double *best, int32_t *ids, int64_t k) {
  int64_t at = k - 1;
  for (; at > 0 && value < best[at - 1]; --at) best[at] = best[at - 1], ids[at] = ids[at - 1];
  best[at] = value, ids[at] = id;
}

// Groups are searched as a whole first, in vectors: after the first few, most hold nothing that is near enough.
TEMPER_CLONES
void temper_nearest_update(const double *products, const double *norms, int64_t count, int64_t base, double *best,
                           int32_t *ids, int64_t k) {
  double values[group];
  for (int64_t start = 0; start < count; start += group) {
    const int64_t length = count - start < group ? count - start : group;
    const double limit = best[k - 1];
    int64_t near = 0;
    for (int64_t i = 0; i < length; ++i) {
      values[i] = products[start + i] + norms[start + i];
      near += values[i] < limit;
    }
    if (!near) continue;
    for (int64_t i = 0; i < length; ++i)
      if (values[i] < best[k - 1]) insert(values[i], (int32_t)(base + start + i), best, ids, k);
  }
}
