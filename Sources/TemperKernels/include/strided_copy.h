// Copies between layouts: transposes, slices, broadcasts.
#ifndef TEMPER_STRIDED_COPY_H
#define TEMPER_STRIDED_COPY_H

#include <stddef.h>
#include <stdint.h>

enum { TEMPER_COPY_MAX_RANK = 6 };

// dst[index . dst_strides] = src[index . src_strides] for every index below `sizes`. Strides are in elements and may be
// anything in src (0 broadcasts); dst and src do not overlap.
typedef struct temper_strided_copy_job {
  size_t element_size;  // 1, 4 or 8
  int32_t rank;         // at least 1
  int64_t sizes[TEMPER_COPY_MAX_RANK];
  int64_t dst_strides[TEMPER_COPY_MAX_RANK], src_strides[TEMPER_COPY_MAX_RANK];
  void *dst;
  const void *src;
} temper_strided_copy_job;

// Does the part of the copy whose first index is in [begin, end).
void temper_strided_copy(const temper_strided_copy_job *job, int64_t begin, int64_t end);

#endif
