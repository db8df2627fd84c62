/* A matrix in four bits: its codes, its products, and a GGUF file.
 *
 *   cc quantize_matrix.c $(pkg-config --cflags --libs temper) -o quantize_matrix && ./quantize_matrix matrix.gguf */
#include <stdio.h>
#include <stdlib.h>
#include <temper.h>

static temper_error error;

static void check(int32_t status) {
  if (status) fprintf(stderr, "%s\n", error.message), exit(1);
}

int main(int count, char **arguments) {
  const int64_t sizes[] = {64, 256};
  temper_context *context;
  temper_tensor *weight;
  check(temper_context_create(&context, NULL, &error));
  check(temper_tensor_create(&weight, TEMPER_FLOAT32, 2, sizes, &error));
  float *values = temper_tensor_data(weight);
  for (int i = 0; i < 64 * 256; ++i) values[i] = (float)(i * 2654435761u % 2001) / 1000 - 1;

  /* Ten lines: */
  temper_quantizer *quantizer;
  temper_quantized *packed;
  const temper_param params[] = {temper_integer("bits", 4), temper_integer("group_size", 32)};
  check(temper_quantizer_create(&quantizer, context, "round_to_nearest", params, 2, &error));
  check(temper_quantizer_quantize(&packed, quantizer, weight, NULL, &error));
  temper_quantized_info info = {.struct_size = sizeof info};
  check(temper_quantized_get_info(&info, packed, &error));
  const temper_stored_tensor stored[] = {{.name = "weight", .quantized = packed}};
  check(temper_file_write(context, count > 1 ? arguments[1] : "matrix.gguf", stored, 1, NULL, 0, &error));
  printf("%d bytes became %d\n", 4 * 64 * 256, (int)info.byte_count);

  temper_quantized_free(packed), temper_quantizer_free(quantizer), temper_tensor_free(weight);
  temper_context_free(context);
  return info.byte_count < 4 * 64 * 256 / 6 ? 0 : 1;
}
