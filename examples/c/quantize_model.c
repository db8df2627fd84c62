/* A saved model in four bits, as safetensors (loaded by Temper) and as GGUF.
 *
 *   cc quantize_model.c $(pkg-config --cflags --libs temper) -o quantize_model
 *   ./quantize_model model.safetensors small.safetensors small.gguf */
#include <stdio.h>
#include <stdlib.h>
#include <temper.h>

static temper_error error;

static void check(int32_t status) {
  if (status) fprintf(stderr, "%s\n", error.message), exit(1);
}

int main(int count, char **arguments) {
  if (count != 4) return fprintf(stderr, "usage: quantize_model MODEL SMALL.safetensors SMALL.gguf\n"), 2;
  temper_context *context;
  temper_model *model, *small;
  temper_quantizer *quantizer;
  const temper_param params[] = {temper_integer("bits", 4), temper_boolean("symmetric", 0)};
  temper_model_info before = {.struct_size = sizeof before}, after = {.struct_size = sizeof after};
  check(temper_context_create(&context, NULL, &error));
  check(temper_model_load(&model, context, arguments[1], &error));
  check(temper_quantizer_create(&quantizer, context, "round_to_nearest", params, 2, &error));
  check(temper_quantizer_quantize_model(&small, quantizer, model, NULL, &error));
  check(temper_model_save(small, arguments[2], &error));
  check(temper_model_save(small, arguments[3], &error));
  check(temper_model_get_info(&before, model, &error));
  check(temper_model_get_info(&after, small, &error));
  printf("%d bytes became %d\n", (int)before.parameter_bytes, (int)after.parameter_bytes);
  temper_model_free(small), temper_model_free(model), temper_quantizer_free(quantizer);
  temper_context_free(context);
  return 0;
}
