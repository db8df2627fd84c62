// Matrix products of 8-bit integers: C = A B, A and B int8, C int32. Every sum is exact modulo 2^32, so all variants
// and any number of threads give the same bits; with k <= TEMPER_INT8_EXACT_DEPTH no sum can overflow.
//
// A plan cuts C into independent pieces; since every sum is exact, it may look at the number of threads too.
#ifndef TEMPER_INT8_PRODUCT_H
#define TEMPER_INT8_PRODUCT_H

#include <stddef.h>
#include <stdint.h>

#include "variant.h"

enum { TEMPER_INT8_EXACT_DEPTH = (1 << 17) - 1 };  // (-128)^2 times this fits an int32

// Strides are in elements. A and C have unit column stride; of B one stride is 1. C overlaps neither A nor B.
typedef struct temper_int8_product {
  temper_variant variant;
  int64_t m, n, k;  // A is (m, k), B is (k, n), C is (m, n); each may be 0
  const int8_t *a;
  int64_t a_row_stride;
  const int8_t *b;
  int64_t b_row_stride, b_column_stride;
  int32_t *c;
  int64_t c_row_stride;
} temper_int8_product;

typedef struct temper_int8_plan {
  int64_t piece_count;
  size_t scratch_bytes;  // memory of each thread, 64-byte aligned
  // How the pieces are cut; for `temper_int8_run_piece` alone.
  temper_variant variant;
  int32_t way;
  int64_t row_pieces, column_pieces;
} temper_int8_plan;

// Reads shapes and strides, not the pointers' targets.
temper_int8_plan temper_int8_plan_make(const temper_int8_product *product, int64_t threads);

void temper_int8_run_piece(const temper_int8_product *product, const temper_int8_plan *plan, int64_t piece,
                           void *scratch);

// The definition: three plain loops. For tests.
void temper_int8_product_reference(const temper_int8_product *product);

#endif
