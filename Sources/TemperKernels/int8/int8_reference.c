#include "int8_product.h"

// C = A B, modulo 2^32
void temper_int8_product_reference(const temper_int8_product *product) {
  for (int64_t i = 0; i < product->m; i++) {
    for (int64_t j = 0; j < product->n; j++) {
      uint32_t sum = 0;
      for (int64_t p = 0; p < product->k; p++) {
        const int32_t a = product->a[i * product->a_row_stride + p];
        const int32_t b = product->b[p * product->b_row_stride + j * product->b_column_stride];
        sum += (uint32_t)(a * b);
      }
      product->c[i * product->c_row_stride + j] = (int32_t)sum;
    }
  }
}
