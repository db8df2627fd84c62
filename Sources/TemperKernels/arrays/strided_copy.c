#include "../include/strided_copy.h"

#include <stdbool.h>
#include <string.h>

#include "../clones.h"

typedef struct dimension {
  int64_t size, dst, src;
} dimension;

enum { TILE = 16 };

// dst[y * y_dst + x * x_dst] = src[y * y_src + x * x_src], x in the inner loop; in tiles where neither order suits
// both.
#define PLANE(T, name)                                                                                           \
  TEMPER_CLONES static void name(T *dst, const T *src, dimension y, dimension x) {                               \
    if (x.dst == 1 && x.src == 1) {                                                                              \
      for (int64_t j = 0; j < y.size; ++j) memcpy(dst + j * y.dst, src + j * y.src, (size_t)x.size * sizeof(T)); \
    } else if (x.dst == 1 && x.src == 0) {                                                                       \
      for (int64_t j = 0; j < y.size; ++j)                                                                       \
        TEMPER_VECTORISED for (int64_t i = 0; i < x.size; ++i) dst[j * y.dst + i] = src[j * y.src];              \
    } else {                                                                                                     \
      for (int64_t j0 = 0; j0 < y.size; j0 += TILE)                                                              \
        for (int64_t i0 = 0; i0 < x.size; i0 += TILE) {                                                          \
          const int64_t j1 = j0 + TILE < y.size ? j0 + TILE : y.size;                                            \
          const int64_t i1 = i0 + TILE < x.size ? i0 + TILE : x.size;                                            \
          for (int64_t j = j0; j < j1; ++j)                                                                      \
            for (int64_t i = i0; i < i1; ++i) dst[j * y.dst + i * x.dst] = src[j * y.src + i * x.src];           \
        }                                                                                                        \
    }                                                                                                            \
  }

PLANE(uint8_t, plane_8)
PLANE(uint32_t, plane_32)
PLANE(uint64_t, plane_64)

static int64_t magnitude(int64_t x) { return x < 0 ? -x : x; }

static void swap(dimension *a, dimension *b) {
  const dimension t = *a;
  *a = *b;
  *b = t;
}

void temper_strided_copy(const temper_strided_copy_job *job, int64_t begin, int64_t end) {
  const int64_t size = (int64_t)job->element_size;
  char *dst = (char *)job->dst + begin * job->dst_strides[0] * size;
  const char *src = (const char *)job->src + begin * job->src_strides[0] * size;

  // Drop dimensions of size 1 and order the rest by their stride in dst, nearest last.
  dimension dims[TEMPER_COPY_MAX_RANK + 2];
  int rank = 0;
  for (int d = 0; d < job->rank; ++d) {
    const dimension next = {d == 0 ? end - begin : job->sizes[d], job->dst_strides[d], job->src_strides[d]};
    if (next.size <= 0) return;
    if (next.size == 1) continue;
    dims[rank++] = next;
    for (int e = rank - 1; e > 0 && magnitude(dims[e - 1].dst) < magnitude(dims[e].dst); --e)
      swap(&dims[e - 1], &dims[e]);
  }
  while (rank < 2) {
    for (int e = rank; e > 0; --e) dims[e] = dims[e - 1];
    dims[0] = (dimension){1, 0, 0};
    ++rank;
  }
  // Join neighbours that run on in both.
  for (int d = rank - 2; d >= 0 && rank > 2; --d)
    if (dims[d].dst == dims[d + 1].size * dims[d + 1].dst && dims[d].src == dims[d + 1].size * dims[d + 1].src) {
      dims[d + 1].size *= dims[d].size;
      for (int e = d; e + 1 < rank; ++e) dims[e] = dims[e + 1];
      --rank;
    }
  // The plane is made of the dimension nearest in dst and, unless that is also nearest in src, the one nearest there.
  int partner = rank - 2;
  if (dims[rank - 1].src != 1)
    for (int d = 0; d < rank - 1; ++d)
      if (dims[d].src != 0 && (dims[partner].src == 0 || magnitude(dims[d].src) < magnitude(dims[partner].src)))
        partner = d;
  for (int d = partner; d < rank - 2; ++d) swap(&dims[d], &dims[d + 1]);

  const dimension y = dims[rank - 2], x = dims[rank - 1];
  int64_t index[TEMPER_COPY_MAX_RANK] = {0};
  for (;;) {
    if (size == 1)
      plane_8((uint8_t *)dst, (const uint8_t *)src, y, x);
    else if (size == 4)
      plane_32((uint32_t *)dst, (const uint32_t *)src, y, x);
    else
      plane_64((uint64_t *)dst, (const uint64_t *)src, y, x);
    int d = rank - 3;
    for (; d >= 0; --d) {
      dst += dims[d].dst * size, src += dims[d].src * size;
      if (++index[d] < dims[d].size) break;
      dst -= index[d] * dims[d].dst * size, src -= index[d] * dims[d].src * size;
      index[d] = 0;
    }
    if (d < 0) return;
  }
}
