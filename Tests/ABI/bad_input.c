/* Everything a caller can get wrong: each call gives a status and a sentence, and the process lives. */
#include <limits.h>
#include <unistd.h>

#include "check.h"

static temper_context *context;

static void handles(void) {
  temper_tensor *t = floats(2, 3), *none = (temper_tensor *)&error, *made = (temper_tensor *)&error;
  temper_tensor_info info = {.struct_size = sizeof info};
  int local = 7;
  OK(temper_tensor_get_info(&info, t, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_get_info(&info, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_get_info(&info, (temper_tensor *)context, &error));
  SAYS("temper_context");
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_get_info(&info, (temper_tensor *)&local, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_get_info(&info, (temper_tensor *)8, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_get_info(&info, (temper_tensor *)((char *)t + 1), &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_get_info(&info, (temper_tensor *)((char *)t + 4096), &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_get_info(&info, (temper_tensor *)UINTPTR_MAX, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_slice(&made, none, 0, 0, 1, &error));
  TRUE(made == NULL);
  STATUS(TEMPER_OK, temper_tensor_free(t));
  STATUS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_free(t));
  TRUE(strstr(temper_last_error()->message, "freed already") != NULL);
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_get_info(&info, t, &error));
  /* A freed handle stays known as such while thousands of others come and go. */
  for (int i = 0; i < 8000; ++i) STATUS(TEMPER_OK, temper_tensor_free(make(TEMPER_UINT8, 1, 1, 0)));
  STATUS(TEMPER_ERROR_INVALID_HANDLE, temper_tensor_free(t));
  STATUS(TEMPER_ERROR_INVALID_HANDLE, temper_model_free((temper_model *)context));
  STATUS(TEMPER_ERROR_INVALID_HANDLE, temper_context_free((temper_context *)&local));
  STATUS(TEMPER_OK, temper_tensor_free(NULL));
  STATUS(TEMPER_OK, temper_tensor_map_free(NULL));
  STATUS(TEMPER_OK, temper_loss_free(NULL));
  STATUS(TEMPER_OK, temper_op_free(NULL));
  STATUS(TEMPER_OK, temper_decoder_free(NULL));
  STATUS(TEMPER_OK, temper_metric_free(NULL));
  STATUS(TEMPER_OK, temper_procedure_free(NULL));
  STATUS(TEMPER_OK, temper_sampler_free(NULL));
  STATUS(TEMPER_OK, temper_generator_free(NULL));
  STATUS(TEMPER_OK, temper_detector_free(NULL));
  STATUS(TEMPER_OK, temper_calibrator_free(NULL));
  STATUS(TEMPER_OK, temper_optimizer_free(NULL));
  STATUS(TEMPER_OK, temper_schedule_free(NULL));
  STATUS(TEMPER_OK, temper_model_free(NULL));
  STATUS(TEMPER_OK, temper_trainer_free(NULL));
  STATUS(TEMPER_OK, temper_quantizer_free(NULL));
  STATUS(TEMPER_OK, temper_quantized_free(NULL));
  STATUS(TEMPER_OK, temper_file_free(NULL));
  STATUS(TEMPER_OK, temper_plugin_free(NULL));
  STATUS(TEMPER_OK, temper_context_free(NULL));
  TRUE(temper_tensor_data(NULL) == NULL);
  TRUE(temper_tensor_data((temper_tensor *)context) == NULL);
  TRUE(temper_get_api(0, NULL) == NULL);
}

/* NULL for every argument in turn; without an error struct too. */
static void nulls(void) {
  temper_tensor *t = floats(2, 3), *out = NULL;
  const int64_t sizes[] = {2, 3};
  uint64_t length;
  double number;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_context_create(NULL, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_context_threads(NULL, context, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_create(NULL, TEMPER_FLOAT32, 2, sizes, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_create(&out, TEMPER_FLOAT32, 2, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_borrow(&out, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_get_info(NULL, t, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_permute(&out, t, NULL, 2, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_from_dlpack(&out, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_to_dlpack(NULL, t, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_catalogue_count(NULL, context, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_catalogue_describe(NULL, 0, NULL, context, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_catalogue_describe(NULL, 7, &length, context, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_catalogue_find(NULL, 0, &length, context, NULL, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_create((temper_loss **)&out, context, NULL, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_create((temper_loss **)&out, context, "mse", NULL, 2, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_loss_create((temper_loss **)&out, NULL, "mse", NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_loss_evaluate(t, NULL, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_loss_value_and_grad(&number, NULL, 0, NULL, NULL, 0, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_op_evaluate(t, NULL, NULL, 0, -1, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_decoder_evaluate(t, NULL, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_metric_evaluate(t, NULL, NULL, 0, &error));
  temper_tensor_map *map = (temper_tensor_map *)&error;
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_sampler_resample(&map, NULL, NULL, 0, 0, &error));
  TRUE(map == NULL);
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_generator_generate(&map, (temper_generator *)t, NULL, 0, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_detector_fit(NULL, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_detector_score(&map, NULL, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_calibrator_save(NULL, "x", &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_model_gradient_norms(NULL, 0, NULL, t, NULL, t, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_optimizer_step(NULL, NULL, NULL, 0, NAN, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_schedule_value(&number, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_model_predict(t, NULL, t, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_model_save(NULL, "x", &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_model_load((temper_model **)&out, context, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_model_load((temper_model **)&out, context, "", &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT,
        temper_model_create((temper_model **)&out, context, NULL, sizes, 1, 0, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE,
        temper_trainer_create((temper_trainer **)&out, NULL, NULL, NULL, NULL, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_trainer_fit(NULL, NULL, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_trainer_save(NULL, "x", &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_quantizer_quantize((temper_quantized **)&out, NULL, t, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_quantized_matmul(t, NULL, t, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_plugin_load((temper_plugin **)&out, context, NULL, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_plugin_report(NULL, 0, &length, NULL, &error));
  STATUS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_create(NULL, 0, 0, NULL, NULL));
}

static void structs(void) {
  temper_context *out = NULL;
  struct {
    temper_context_options options;
    char beyond[64];
  } newer = {.options = {.struct_size = sizeof newer}};
  OK(temper_context_create(&out, &newer.options, &error));
  STATUS(TEMPER_OK, temper_context_free(out));
  newer.beyond[5] = 1;
  FAILS(TEMPER_ERROR_UNSUPPORTED, temper_context_create(&out, &newer.options, &error));
  SAYS("byte");
  newer.options.struct_size = 0;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_context_create(&out, &newer.options, &error));
  newer.options.struct_size = UINT32_MAX;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_context_create(&out, &newer.options, &error));
  /* An older caller's shorter struct: what it does not have has its default. */
  newer.options = (temper_context_options){.struct_size = 8, .threads = 1, .seed = 77};
  OK(temper_context_create(&out, &newer.options, &error));
  STATUS(TEMPER_OK, temper_context_free(out));
  const temper_context_options many = {.struct_size = sizeof many, .threads = 100000};
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_context_create(&out, &many, &error));
  const temper_context_options negative = {.struct_size = sizeof negative, .threads = INT_MIN};
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_context_create(&out, &negative, &error));
  const temper_context_options folders = {.struct_size = sizeof folders, .plugin_directory_count = 3};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_context_create(&out, &folders, &error));
  temper_tensor_info shorter = {.struct_size = 12}, wrong = {.struct_size = 3};
  temper_tensor *t = floats(2, 3);
  shorter.count = -5;
  OK(temper_tensor_get_info(&shorter, t, &error));
  TRUE(shorter.dtype == TEMPER_FLOAT32 && shorter.rank == 2 && shorter.count == -5 && shorter.struct_size == 12);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_get_info(&wrong, t, &error));
}

static void tensors(void) {
  temper_tensor *out = NULL, *t = floats(4, 5), *ints = make(TEMPER_INT32, 2, 4, 5);
  int64_t sizes[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_create(&out, 0, 1, sizes, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_create(&out, 99, 1, sizes, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_create(&out, -1, 1, sizes, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_create(&out, TEMPER_FLOAT32, 9, sizes, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_create(&out, TEMPER_FLOAT32, -1, sizes, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_create(&out, TEMPER_FLOAT32, INT_MAX, sizes, &error));
  const int64_t bad[][2] = {{-1, 2},        {INT64_MAX, 2},         {INT64_MAX, INT64_MAX},
                            {INT64_MIN, 1}, {1LL << 40, 1LL << 40}, {0, INT64_MAX}};
  for (int i = 0; i < 6; ++i)
    FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_create(&out, TEMPER_FLOAT64, 2, bad[i], &error));
  const int64_t huge[] = {1LL << 45};
  FAILS(TEMPER_ERROR_OUT_OF_MEMORY, temper_tensor_create(&out, TEMPER_FLOAT64, 1, huge, &error));

  float memory[20] = {0};
  const int64_t shape[] = {4, 5}, steps[] = {5, 1}, back[] = {-5, 1}, far[] = {INT64_MAX, 1}, low[] = {INT64_MIN, 1},
                repeat[] = {0, 1};
  temper_buffer buffer = {.struct_size = sizeof buffer,
                          .dtype = TEMPER_FLOAT32,
                          .rank = 2,
                          .data = memory,
                          .byte_length = sizeof memory,
                          .sizes = shape};
  OK(temper_tensor_borrow(&out, &buffer, &error));
  STATUS(TEMPER_OK, temper_tensor_free(out));
#define WITH(field, value, status)                               \
  do {                                                           \
    temper_buffer changed = buffer;                              \
    changed.field = value;                                       \
    FAILS(status, temper_tensor_borrow(&out, &changed, &error)); \
    TRUE(out == NULL);                                           \
  } while (0)
  WITH(dtype, 77, TEMPER_ERROR_INVALID_ARGUMENT);
  WITH(rank, 99, TEMPER_ERROR_INVALID_SHAPE);
  WITH(flags, 8, TEMPER_ERROR_UNSUPPORTED);
  WITH(data, NULL, TEMPER_ERROR_INVALID_ARGUMENT);
  WITH(byte_length, 79, TEMPER_ERROR_INVALID_SHAPE);
  WITH(byte_length, 0, TEMPER_ERROR_INVALID_SHAPE);
  WITH(byte_length, UINT64_MAX, TEMPER_ERROR_INVALID_SHAPE);
  WITH(byte_offset, 4, TEMPER_ERROR_INVALID_SHAPE);
  WITH(byte_offset, UINT64_MAX, TEMPER_ERROR_INVALID_SHAPE);
  WITH(sizes, NULL, TEMPER_ERROR_INVALID_ARGUMENT);
  WITH(strides, back, TEMPER_ERROR_INVALID_SHAPE);
  WITH(strides, far, TEMPER_ERROR_INVALID_SHAPE);
  WITH(strides, low, TEMPER_ERROR_INVALID_SHAPE);
  for (int i = 0; i < 6; ++i) WITH(sizes, bad[i], TEMPER_ERROR_INVALID_SHAPE);
  buffer.strides = steps;
  buffer.flags = TEMPER_BUFFER_READ_ONLY;
  OK(temper_tensor_borrow(&out, &buffer, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_assign(out, t, &error));
  SAYS("read-only");
  buffer.flags = 0, buffer.strides = repeat;
  OK(temper_tensor_borrow(&out, &buffer, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_assign(out, t, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_assign(floats(5, 4), t, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_assign(t, t, &error));
  SAYS("overlap");

  const int64_t starts[][2] = {{-1, 1}, {0, 5},         {4, 1},        {INT64_MAX, INT64_MAX},
                               {0, -1}, {INT64_MIN, 1}, {1, INT64_MAX}};
  for (int i = 0; i < 7; ++i)
    FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_tensor_slice(&out, t, 0, starts[i][0], starts[i][1], &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_tensor_slice(&out, t, 2, 0, 1, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_tensor_slice(&out, t, -3, 0, 1, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_tensor_slice(&out, t, INT_MIN, 0, 1, &error));
  const int64_t seven[] = {7}, minus[] = {-20};
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_reshape(&out, t, 1, seven, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_reshape(&out, t, 1, minus, &error));
  const int32_t twice[] = {0, 0}, outside[] = {0, 7};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_permute(&out, t, twice, 2, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_permute(&out, t, outside, 2, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_permute(&out, t, twice, 1, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_permute(&out, t, twice, -4, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_copy(&out, ints, 42, &error));
}

static void array_methods(void) {
  temper_sampler *sampler = NULL;
  temper_generator *generator = NULL;
  temper_detector *detector = NULL;
  temper_tensor_map *map = NULL;
  temper_tensor *reals = floats(2, 3);
  const temper_named_tensor x = {"x", reals}, y = {"y", reals}, twice[] = {x, x};
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_sampler_create(&sampler, context, "k_means", NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_sampler_create(NULL, context, "smote", NULL, 0, &error));
  OK(temper_sampler_create(&sampler, context, "random_oversampler", NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_sampler_resample(NULL, sampler, &x, 1, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_sampler_resample(&map, sampler, NULL, 0, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_sampler_resample(&map, sampler, NULL, 3, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_sampler_resample(&map, sampler, twice, 2, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_TYPE, temper_sampler_indices(&map, sampler, &y, 1, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_sampler_state(NULL, sampler, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_sampler_save(sampler, NULL, &error));
  OK(temper_generator_create(&generator, context, "symmetric_noise", NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_TYPE, temper_generator_generate(&map, generator, &y, 1, 0, &error));
  OK(temper_detector_create(&detector, context, "nearest_neighbours", NULL, 0, &error));
  ((float *)temper_tensor_data(reals))[4] = NAN;
  FAILS(TEMPER_ERROR_NOT_FINITE, temper_detector_fit(detector, &x, 1, &error));
  SAYS("element 4");
  STATUS(TEMPER_OK, temper_sampler_free(sampler));
  STATUS(TEMPER_ERROR_INVALID_HANDLE, temper_sampler_free(sampler));
  STATUS(TEMPER_OK, temper_generator_free(generator));
  STATUS(TEMPER_OK, temper_detector_free(detector));
  STATUS(TEMPER_OK, temper_tensor_free(reals));
}

static void methods(void) {
  temper_loss *loss = NULL;
  temper_op *op = NULL;
  temper_decoder *decoder = NULL;
  temper_metric *metric = NULL;
  uint64_t count, length;
  char small[4];
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_loss_create(&loss, context, "cross_entopy", NULL, 0, &error));
  SAYS("cross_entropy");
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_loss_create(&loss, context, "adam", NULL, 0, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_loss_create(&loss, context, "", NULL, 0, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_op_create(&op, context, "cross_entropy", NULL, 0, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_op_create(&op, context, "top_n_sigma", NULL, 0, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_decoder_create(&decoder, context, "softmax", NULL, 0, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_metric_create(&metric, context, "softmax", NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_create(&loss, context, "\xff\xfe", NULL, 0, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_catalogue_count(&count, context, "spell", &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_catalogue_name(NULL, 0, &length, context, NULL, UINT64_MAX, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_catalogue_describe(small, sizeof small, &length, context, NULL, 1, &error));
  TRUE(length > 1000);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_catalogue_describe(NULL, 0, &length, context, NULL, 9, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_catalogue_describe(NULL, 0, &length, context, "nothing", 0, &error));

  const struct {
    temper_param param;
    int32_t status;
  } wrong[] = {{temper_real("q", 1.5), TEMPER_ERROR_OUT_OF_RANGE},
               {temper_real("q", NAN), TEMPER_ERROR_OUT_OF_RANGE},
               {temper_real("q", INFINITY), TEMPER_ERROR_OUT_OF_RANGE},
               {temper_text("q", "x"), TEMPER_ERROR_OUT_OF_RANGE},
               {temper_text("q", NULL), TEMPER_ERROR_INVALID_ARGUMENT},
               {temper_none("q"), TEMPER_ERROR_OUT_OF_RANGE},
               {temper_boolean("q", 5), TEMPER_ERROR_OUT_OF_RANGE},
               {temper_integer("q", INT64_MIN), TEMPER_ERROR_OUT_OF_RANGE},
               {temper_real("nope", 1), TEMPER_ERROR_UNKNOWN_NAME},
               {temper_real(NULL, 1), TEMPER_ERROR_INVALID_ARGUMENT},
               {temper_real("\xc3\x28", 1), TEMPER_ERROR_INVALID_ARGUMENT},
               {{"q", 17, 0, 0, 0, 0}, TEMPER_ERROR_INVALID_ARGUMENT}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i)
    FAILS(wrong[i].status, temper_loss_create(&loss, context, "generalized_cross_entropy", &wrong[i].param, 1, &error));
  const temper_param twice[] = {temper_real("q", 0.5), temper_real("q", 0.5)};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT,
        temper_loss_create(&loss, context, "generalized_cross_entropy", twice, 2, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_loss_create(&loss, context, "mse", twice, UINT64_MAX, &error));
}

static void losses(void) {
  temper_loss *loss = NULL;
  temper_tensor *x = floats(3, 4), *y = make(TEMPER_INT64, 1, 3, 0), *values = make(TEMPER_FLOAT32, 1, 3, 0),
                *gradient = floats(3, 4);
  int64_t *labels = temper_tensor_data(y), count;
  double value;
  fill(x, 1);
  OK(temper_loss_create(&loss, context, "cross_entropy", NULL, 0, &error));
  temper_named_tensor inputs[] = {{"logits", x}, {"targets", y}, {"class_weights", values}};
  temper_named_tensor gradients[] = {{"logits", gradient}, {"logits", gradient}};
  OK(temper_loss_evaluate(values, loss, inputs, 2, &error));

  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_evaluate(values, loss, inputs, 1, &error));
  SAYS("targets");
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_evaluate(values, loss, NULL, 2, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_loss_evaluate(values, loss, inputs, UINT64_MAX, &error));
  inputs[1].name = "labels";
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_loss_evaluate(values, loss, inputs, 2, &error));
  inputs[1].name = "logits";
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_evaluate(values, loss, inputs, 2, &error));
  inputs[1].name = NULL;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_evaluate(values, loss, inputs, 2, &error));
  inputs[1] = (temper_named_tensor){"targets", NULL};
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_loss_evaluate(values, loss, inputs, 2, &error));
  inputs[1].tensor = (temper_tensor *)context;
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_loss_evaluate(values, loss, inputs, 2, &error));
  inputs[1].tensor = make(TEMPER_INT64, 1, 4, 0);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_loss_evaluate(values, loss, inputs, 2, &error));
  inputs[1].tensor = make(TEMPER_FLOAT32, 1, 3, 0);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_loss_evaluate(values, loss, inputs, 2, &error));
  inputs[1].tensor = y;
  inputs[0].tensor = floats(0, 4), inputs[1].tensor = make(TEMPER_INT64, 1, 0, 0);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_loss_evaluate(values, loss, inputs, 2, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_loss_value_count(&count, loss, inputs, 2, &error));
  inputs[0].tensor = floats(3, 0), inputs[1].tensor = y;
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_loss_evaluate(values, loss, inputs, 2, &error));
  inputs[0].tensor = x;
  const int64_t outside[] = {4, -1, INT64_MAX, INT64_MIN, 1LL << 32};
  for (int i = 0; i < 5; ++i) {
    labels[1] = outside[i];
    FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_loss_evaluate(values, loss, inputs, 2, &error));
    SAYS("element 1");
  }
  labels[1] = 1;
  FAILS(TEMPER_ERROR_INVALID_SHAPE,
        temper_loss_evaluate(x, loss, (temper_named_tensor[]){{"logits", floats(3, 4)}, {"targets", y}}, 2, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_evaluate(x, loss, inputs, 2, &error));
  SAYS("overlap");
  FAILS(TEMPER_ERROR_INVALID_TYPE, temper_loss_evaluate(make(TEMPER_INT32, 1, 3, 0), loss, inputs, 2, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_loss_evaluate(make(TEMPER_FLOAT32, 1, 4, 0), loss, inputs, 2, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_value_and_grad(&value, gradients, 2, loss, inputs, 2, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_value_and_grad(&value, gradients, 1, loss, inputs, 2, 7, &error));
  gradients[0].name = "targets";
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_loss_value_and_grad(&value, gradients, 1, loss, inputs, 2, 0, &error));
  gradients[0] = (temper_named_tensor){"logits", x};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_value_and_grad(&value, gradients, 1, loss, inputs, 2, 0, &error));
  gradients[0].tensor = floats(4, 3);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_loss_value_and_grad(&value, gradients, 1, loss, inputs, 2, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_hessian_product(gradients, NULL, 1, loss, inputs, 2, 0, &error));
  /* What does not compose. */
  temper_loss *made = NULL;
  temper_op *sums = NULL, *clip = NULL;
  temper_schedule *schedule = NULL;
  OK(temper_op_create(&sums, context, "boltzmann_operator", NULL, 0, &error));
  OK(temper_op_create(&clip, context, "logit_clip", NULL, 0, &error));
  OK(temper_schedule_create(&schedule, context, "constant", (temper_param[]){temper_real("learning_rate", 3)}, 1, &error));
  temper_loss_term terms[] = {{NULL, NAN, loss}, {"", 1, loss}, {NULL, 1, NULL}};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_sum(&made, terms, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_sum(&made, NULL, 1, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_loss_sum(&made, terms, UINT64_MAX, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_loss_sum(&made, terms, 1, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_sum(&made, terms + 1, 1, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_loss_sum(&made, terms + 2, 1, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_through(&made, loss, "logits", sums, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_through(&made, loss, "targets", clip, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_loss_through(&made, loss, "logit", clip, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_loss_through(&made, loss, "logits", (temper_op *)loss, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_loss_schedule(&made, loss, "warmth", schedule, 0, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_loss_schedule(&made, loss, "label_smoothing", schedule, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_schedule(&made, loss, "label_smoothing", schedule, 2, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_loss_schedule(&made, loss, "label_smoothing", NULL, 0, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_loss_at(&made, loss, -1, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_loss_describe(NULL, 0, NULL, loss, 7, &error));
  TRUE(made == NULL);
  /* NaN in, NaN out: a loss is a function; the trainer is where it is an error. */
  float_data(x)[0] = NAN;
  OK(temper_loss_evaluate(values, loss, inputs, 2, &error));
  TRUE(isnan(float_data(values)[0]) && isfinite(float_data(values)[1]));
}

static void operators(void) {
  temper_op *op = NULL;
  temper_tensor *x = floats(3, 4), *y = floats(3, 4);
  int32_t rank;
  int64_t sizes[8];
  OK(temper_op_create(&op, context, "sparsemax", NULL, 0, &error));
  temper_named_tensor inputs[] = {{"x", x}}, gradients[] = {{"x", floats(3, 4)}};
  OK(temper_op_evaluate(y, op, inputs, 1, -1, &error));
  const int32_t axes[] = {2, -3, INT_MAX, INT_MIN};
  for (int i = 0; i < 4; ++i) {
    FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_op_evaluate(y, op, inputs, 1, axes[i], &error));
    FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_op_result_shape(&rank, sizes, op, inputs, 1, axes[i], &error));
    FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_op_vjp(gradients, 1, op, inputs, 1, y, axes[i], &error));
  }
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_op_result_shape(NULL, sizes, op, inputs, 1, -1, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_op_result_shape(&rank, NULL, op, inputs, 1, -1, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_op_evaluate(floats(4, 3), op, inputs, 1, -1, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_op_vjp(gradients, 1, op, inputs, 1, floats(4, 3), -1, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_op_vjp(gradients, 1, op, inputs, 1, NULL, -1, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_op_evaluate(x, op, inputs, 1, -1, &error));
  inputs[0].tensor = make(TEMPER_FLOAT32, 0, 0, 0);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_op_evaluate(y, op, inputs, 1, -1, &error));
}

static void optimizers(void) {
  temper_optimizer *optimizer = NULL;
  temper_schedule *schedule = NULL;
  temper_tensor *p = floats(2, 2), *g = floats(2, 2), *list[] = {p, p}, *gradients[] = {g, g}, *part = NULL;
  temper_tensor_map *map = NULL;
  const char *name;
  double value;
  OK(temper_optimizer_create(&optimizer, context, "adam", NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_step(optimizer, list, gradients, 2, NAN, &error));
  SAYS("overlap");
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_step(optimizer, list, list, 1, NAN, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_step(optimizer, NULL, gradients, 1, NAN, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_optimizer_step(optimizer, list, gradients, UINT64_MAX, NAN, &error));
  FAILS(TEMPER_ERROR_NOT_FINITE, temper_optimizer_step(optimizer, list, gradients, 1, INFINITY, &error));
  gradients[0] = floats(2, 3);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_optimizer_step(optimizer, list, gradients, 1, NAN, &error));
  gradients[0] = make(TEMPER_INT32, 2, 2, 2);
  FAILS(TEMPER_ERROR_INVALID_TYPE, temper_optimizer_step(optimizer, list, gradients, 1, NAN, &error));
  gradients[0] = g;
  OK(temper_optimizer_step(optimizer, list, gradients, 1, NAN, &error));
  list[0] = floats(2, 3), gradients[0] = floats(2, 3);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_optimizer_step(optimizer, list, gradients, 1, NAN, &error));
  list[0] = p, list[1] = floats(1, 1), gradients[0] = g, gradients[1] = floats(1, 1);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_step(optimizer, list, gradients, 2, NAN, &error));
  OK(temper_optimizer_get_state(&map, optimizer, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_tensor_map_get(&name, &part, map, 99, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_tensor_map_find(&part, map, "0.nope", &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_set_state(optimizer, NULL, 0, &error));
  const temper_named_tensor wrong[] = {{"step", make(TEMPER_INT64, 0, 0, 0)}, {"0.nope", p}};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_optimizer_set_state(optimizer, wrong, 2, &error));
  OK(temper_schedule_create(&schedule, context, "cosine", NULL, 0, &error));
  const double steps[] = {-1, NAN, INFINITY, -INFINITY};
  for (int i = 0; i < 4; ++i)
    FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_schedule_value(&value, schedule, steps[i], &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_schedule_value(NULL, schedule, 0, &error));
}

static void write_file(const char *path, const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, 1, size, file) != size || fclose(file)) perror(path), exit(2);
}

static void models(const char *folder) {
  temper_model *model = NULL;
  const int64_t four[] = {4}, none[] = {0}, minus[] = {-4}, huge[] = {INT64_MAX};
  const char *descriptions[] = {"",
                                "[",
                                "{}",
                                "[{\"dense\": -1}]",
                                "[{\"dense\": 0}]",
                                "[{\"dense\": 1e99}]",
                                "[{\"dense\": \"x\"}]",
                                "[{\"nothing\": 1}]",
                                "[17]",
                                "[{\"dense\": 4, \"relu\": 1}]",
                                "[{\"dense\": {\"size\": 4, \"typo\": 1}}]",
                                "[{\"dense\": 9223372036854775807}]",
                                "[\"relu\" \"relu\"]",
                                "[null]",
                                "[{\"dense\": {}}]"};
  for (size_t i = 0; i < sizeof descriptions / sizeof *descriptions; ++i) {
    TRUE(temper_model_create(&model, context, descriptions[i], four, 1, 0, 0, &error) != TEMPER_OK);
    TRUE(model == NULL && check_is_sentence(error.message));
  }
  char *deep = malloc(200001);
  memset(deep, '[', 200000), deep[200000] = 0;
  TRUE(temper_model_create(&model, context, deep, four, 1, 0, 0, &error) != TEMPER_OK);
  free(deep);
  const char *good = "[{\"dense\": 8}, \"relu\", {\"dense\": 3}]";
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_create(&model, context, good, none, 1, 0, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_create(&model, context, good, minus, 1, 0, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_create(&model, context, good, huge, 1, 0, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_TYPE, temper_model_create(&model, context, good, four, 1, TEMPER_INT32, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_model_create(&model, context, good, four, 1, 55, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_create(&model, context, good, four, 99, 0, 0, &error));
  OK(temper_model_create(&model, context, good, four, 1, 0, 0, &error));

  temper_tensor *x = floats(5, 4), *y = floats(5, 3);
  int32_t rank;
  int64_t sizes[8];
  OK(temper_model_predict(y, model, x, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_predict(y, model, floats(5, 3), NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_predict(floats(5, 4), model, x, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_model_predict(x, model, x, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_model_predict(y, model, x, floats(5, 4), &error));
  temper_named_tensor slopes[] = {{"x", floats(5, 4)}};
  OK(temper_model_vjp(slopes, 1, model, x, NULL, y, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_vjp(slopes, 1, model, x, NULL, floats(5, 4), &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_vjp(slopes, 1, model, floats(0, 4), NULL, floats(0, 3), &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_model_vjp(slopes, 1, model, x, NULL, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_model_vjp(slopes, 1, model, x, x, y, &error));
  slopes[0].tensor = x;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_model_vjp(slopes, 1, model, x, NULL, y, &error));
  slopes[0] = (temper_named_tensor){"7.weight", floats(5, 4)};
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_model_vjp(slopes, 1, model, x, NULL, y, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_result_shape(&rank, sizes, model, -1, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_model_result_shape(&rank, sizes, model, INT64_MAX, &error));
  OK(temper_model_predict(floats(0, 3), model, floats(0, 4), NULL, &error));

  char path[512], other[512];
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  snprintf(other, sizeof other, "%s/hostile.safetensors", folder);
  OK(temper_model_save(model, path, &error));
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_model_save(model, "/nowhere/at/all.safetensors", &error));
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_model_save(model, folder, &error));
  temper_model *loaded = NULL;
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_model_load(&loaded, context, "/nowhere/at/all.safetensors", &error));
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_model_load(&loaded, context, folder, &error));
  /* Truncated anywhere; one byte changed in the header: an error, or a model, but no crash. */
  FILE *file = fopen(path, "rb");
  static unsigned char bytes[1 << 16];
  const size_t size = file ? fread(bytes, 1, sizeof bytes, file) : 0;
  if (file) fclose(file);
  TRUE(size > 200);
  for (size_t cut = 0; cut < size; cut += cut < 300 ? 23 : 101) {
    write_file(other, bytes, cut);
    FAILS(TEMPER_ERROR_MALFORMED_FILE, temper_model_load(&loaded, context, other, &error));
    TRUE(loaded == NULL);
  }
  int refused = 0;
  for (size_t at = 0; at < 400 && at < size; at += 7) {
    const unsigned char kept = bytes[at];
    bytes[at] ^= 0x15;
    write_file(other, bytes, size);
    const int32_t status = temper_model_load(&loaded, context, other, &error);
    refused += status != TEMPER_OK;
    TRUE(status == TEMPER_OK || check_is_sentence(error.message));
    temper_model_free(loaded);
    bytes[at] = kept;
  }
  TRUE(refused > 20);
  const char *lies[] = {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807],\"data_offsets\":[0,4]}}",
                        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,18446744073709551615]}}",
                        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,-4]}}",
                        "{\"__metadata__\":{\"temper.model\":\"{\\\"version\\\":1,\\\"layers\\\":[{\\\"dense\\\":"
                        "1000000000000}],\\\"input\\\":[1000000000],"
                        "\\\"dtype\\\":\\\"float32\\\"}\"}}"};
  for (int i = 0; i < 4; ++i) {
    const uint64_t length = strlen(lies[i]);
    memcpy(bytes, &length, 8), memcpy(bytes + 8, lies[i], length);
    write_file(other, bytes, 8 + length);
    TRUE(temper_model_load(&loaded, context, other, &error) != TEMPER_OK && check_is_sentence(error.message));
  }
  unlink(path), unlink(other);
}

static int32_t stop(void *user, const temper_progress *progress) { return progress->epoch > 0 ? *(int32_t *)user : 0; }

/* A callback that begins the same training again, and then gives its trainer back: the first is an error, the second is
 * fine, and training goes on. */
static int32_t meddle(void *user, const temper_progress *progress) {
  temper_trainer **trainer = user;
  const temper_samples none = {.name = "none"};
  static int done;
  if (!progress->is_epoch_end || done++) return 0;
  FAILS(TEMPER_ERROR_WRONG_STATE, temper_trainer_fit(*trainer, &none, NULL, &error));
  FAILS(TEMPER_ERROR_WRONG_STATE, temper_trainer_resume(*trainer, "x", &error));
  STATUS(TEMPER_OK, temper_trainer_free(*trainer));
  return 0;
}

static void procedures(temper_model *model, temper_loss *loss, temper_optimizer *optimizer) {
  temper_procedure *one = NULL, *two = NULL, *both = (temper_procedure *)1;
  const temper_param rate = {"forget_rate", TEMPER_PARAM_REAL, .real = 2};
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_procedure_create(&one, context, "adam", NULL, 0, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_procedure_create(&one, context, "co_teaching", &rate, 1, &error));
  OK(temper_procedure_create(&one, context, "co_teaching", NULL, 0, &error));
  OK(temper_procedure_create(&two, context, "small_loss", NULL, 0, &error));
  temper_procedure *const pair[] = {one, two};
  FAILS(TEMPER_ERROR_UNSUPPORTED, temper_procedure_combine(&both, pair, 2, &error));
  TRUE(both == NULL);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_procedure_combine(&both, NULL, 0, &error));
  OK(temper_procedure_combine(&both, pair, 1, &error));
  const temper_trainer_options options = {.struct_size = sizeof options, .procedure = both};
  temper_trainer *trainer = NULL;
  OK(temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  temper_procedure_free(one), temper_procedure_free(two), temper_procedure_free(both);
  temper_trainer_info info = {.struct_size = sizeof info};
  OK(temper_trainer_get_info(&info, trainer, &error));
  TRUE(info.network_count == 2);
  temper_model *network = NULL;
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_trainer_network(&network, trainer, 2, &error));
  OK(temper_trainer_network(&network, trainer, 1, &error));
  temper_tensor_map *state = NULL;
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_trainer_state(&state, (temper_trainer *)network, &error));
  OK(temper_trainer_state(&state, trainer, &error));
  temper_tensor_map_free(state), temper_trainer_free(trainer), temper_model_free(network);
}

static void trainers(const char *folder) {
  temper_model *model = NULL;
  temper_loss *loss = NULL, *regression = NULL;
  temper_optimizer *optimizer = NULL;
  temper_trainer *trainer = NULL;
  const int64_t four[] = {4};
  OK(temper_model_create(&model, context, "[{\"dense\": 3}]", four, 1, 0, 0, &error));
  OK(temper_loss_create(&loss, context, "cross_entropy", NULL, 0, &error));
  OK(temper_loss_create(&regression, context, "mse", NULL, 0, &error));
  OK(temper_optimizer_create(&optimizer, context, "sgd", NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_trainer_create(&trainer, model, NULL, optimizer, NULL, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE,
        temper_trainer_create(&trainer, model, (temper_loss *)optimizer, optimizer, NULL, NULL, &error));
  temper_trainer_options options = {.struct_size = sizeof options, .batch_size = -5};
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  options = (temper_trainer_options){.struct_size = sizeof options, .clip_norm = -1};
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  options = (temper_trainer_options){.struct_size = sizeof options, .clip_value = NAN};
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  options = (temper_trainer_options){.struct_size = sizeof options, .drop_last = 3};
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  options = (temper_trainer_options){.struct_size = sizeof options, .procedure = (temper_procedure *)loss};
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  options = (temper_trainer_options){.struct_size = sizeof options, .peer_count = 3};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  options = (temper_trainer_options){.struct_size = sizeof options, .peers = &model, .peer_count = 1};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  procedures(model, loss, optimizer);
  options = (temper_trainer_options){.struct_size = sizeof options, .batch_size = 4};
  OK(temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));

  temper_tensor *x = floats(10, 4), *y = make(TEMPER_INT32, 1, 10, 0);
  fill(x, 3);
  temper_samples data = {.x = x, .y = y};
  temper_measurement result;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_trainer_fit(trainer, NULL, NULL, &error));
  data.x = NULL;
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_trainer_fit(trainer, &data, NULL, &error));
  data.x = floats(9, 4);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_trainer_fit(trainer, &data, NULL, &error));
  data.x = floats(10, 5);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_trainer_fit(trainer, &data, NULL, &error));
  data.x = floats(0, 4), data.y = make(TEMPER_INT32, 1, 0, 0);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_trainer_fit(trainer, &data, NULL, &error));
  data.x = x, data.y = NULL;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_trainer_fit(trainer, &data, NULL, &error));
  data.y = y;
  ((int32_t *)temper_tensor_data(y))[7] = 3;
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_trainer_fit(trainer, &data, NULL, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_trainer_evaluate(&result, trainer, &data, &error));
  ((int32_t *)temper_tensor_data(y))[7] = 2;
  float_data(x)[5] = NAN;
  FAILS(TEMPER_ERROR_NOT_FINITE, temper_trainer_fit(trainer, &data, NULL, &error));
  SAYS("sample 1");
  float_data(x)[5] = INFINITY;
  FAILS(TEMPER_ERROR_NOT_FINITE, temper_trainer_fit(trainer, &data, NULL, &error));
  float_data(x)[5] = 0.5f;
  temper_named_tensor extra = {"nonsense", y};
  data.inputs = &extra, data.input_count = 1;
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_trainer_fit(trainer, &data, NULL, &error));
  data.inputs = NULL;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_trainer_fit(trainer, &data, NULL, &error));
  data.input_count = 0;

  temper_samples test = {.name = NULL, .x = x, .y = y};
#define FIT(status, ...)                                                     \
  do {                                                                       \
    const temper_fit_options fit = {.struct_size = sizeof fit, __VA_ARGS__}; \
    FAILS(status, temper_trainer_fit(trainer, &data, &fit, &error));         \
  } while (0)
  FIT(TEMPER_ERROR_OUT_OF_RANGE, .epochs = -1);
  FIT(TEMPER_ERROR_INVALID_ARGUMENT, .patience = 3);
  FIT(TEMPER_ERROR_INVALID_ARGUMENT, .monitor = 9);
  FIT(TEMPER_ERROR_INVALID_ARGUMENT, .monitor = TEMPER_MONITOR_VALIDATION_LOSS);
  FIT(TEMPER_ERROR_OUT_OF_RANGE, .monitor = TEMPER_MONITOR_TRAINING_LOSS, .patience = -3);
  FIT(TEMPER_ERROR_OUT_OF_RANGE, .monitor = TEMPER_MONITOR_TRAINING_LOSS, .minimum_delta = NAN);
  FIT(TEMPER_ERROR_INVALID_ARGUMENT, .tests = &test, .test_count = 1);
  test.name = "validation";
  FIT(TEMPER_ERROR_INVALID_ARGUMENT, .tests = &test, .test_count = 1);
  FIT(TEMPER_ERROR_INVALID_ARGUMENT, .tests = NULL, .test_count = 1);
  FIT(TEMPER_ERROR_OUT_OF_RANGE, .tests = &test, .test_count = UINT64_MAX);
  FIT(TEMPER_ERROR_UNSUPPORTED, .reserved = 1);
  FIT(TEMPER_ERROR_INPUT_OUTPUT, .checkpoint_path = "/nowhere/at/all");
  int32_t answer = 1;
  FIT(TEMPER_ERROR_CANCELLED, .progress = stop, .progress_user = &answer, .epochs = 9);
  answer = 77;
  FIT(TEMPER_ERROR_INVALID_ARGUMENT, .progress = stop, .progress_user = &answer, .epochs = 9);

  char path[512];
  snprintf(path, sizeof path, "%s/not-a-checkpoint", folder);
  write_file(path, "hello", 5);
  FAILS(TEMPER_ERROR_MALFORMED_FILE, temper_trainer_resume(trainer, path, &error));
  OK(temper_model_save(model, path, &error));
  FAILS(TEMPER_ERROR_MALFORMED_FILE, temper_trainer_resume(trainer, path, &error));
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_trainer_resume(trainer, "/nowhere/at/all", &error));
  OK(temper_trainer_save(trainer, path, &error));
  temper_trainer *other = NULL;
  OK(temper_trainer_create(&other, model, regression, optimizer, NULL, &options, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_trainer_resume(other, path, &error));
  temper_tensor *wrong = make(TEMPER_INT32, 2, 10, 3);
  data.y = wrong;
  TRUE(temper_trainer_fit(other, &data, NULL, &error) == TEMPER_OK || check_is_sentence(error.message));
  data.y = y;
  const temper_fit_options meddling = {
      .struct_size = sizeof meddling, .epochs = 30, .progress = meddle, .progress_user = &trainer};
  memset(&error, 0, sizeof error);
  STATUS(TEMPER_OK, temper_trainer_fit(trainer, &data, &meddling, NULL));
  STATUS(TEMPER_ERROR_INVALID_HANDLE, temper_trainer_free(trainer));
  unlink(path);
}

/* Files of tensors: what is written, and what is asked of one that is open. */
static void files(const char *folder) {
  char path[512], text[64];
  uint64_t length = 0;
  temper_file *file = NULL;
  temper_tensor *weight = floats(4, 32), *got = NULL;
  snprintf(path, sizeof path, "%s/weights.gguf", folder);
  temper_stored_tensor stored = {.name = "weight", .tensor = weight, .type = "Q4_0"};
  temper_param metadata[] = {temper_text("by", "test"), temper_integer("count", 3)};
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_file_write(NULL, path, &stored, 1, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_file_write(context, NULL, &stored, 1, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_file_write(context, path, NULL, 1, NULL, 0, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_file_write(context, path, &stored, UINT64_MAX, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_file_write(context, "/nowhere/at/all.gguf", &stored, 1, NULL, 0, &error));
  stored.type = "Q99";
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_file_write(context, path, &stored, 1, NULL, 0, &error));
  stored.type = "Q4_K";
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_file_write(context, path, &stored, 1, NULL, 0, &error));
  stored.type = "Q4_0", stored.tensor = NULL;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_file_write(context, path, &stored, 1, NULL, 0, &error));
  stored.tensor = weight, stored.quantized = (temper_quantized *)weight;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_file_write(context, path, &stored, 1, NULL, 0, &error));
  stored.tensor = NULL;
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_file_write(context, path, &stored, 1, NULL, 0, &error));
  stored.tensor = weight, stored.quantized = NULL, stored.name = NULL;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_file_write(context, path, &stored, 1, NULL, 0, &error));
  stored.name = "weight";
  OK(temper_file_write(context, path, &stored, 1, metadata, 2, &error));

  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_file_open(&file, context, "/nowhere/at/all", &error));
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_file_open(&file, context, folder, &error));
  TRUE(file == NULL);
  OK(temper_file_open(&file, context, path, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_file_describe(text, sizeof text, &length, file, TEMPER_FORMAT_JSON, &error));
  TRUE(length > sizeof text);
  OK(temper_file_describe(text, sizeof text, &length, file, TEMPER_FORMAT_TEXT, &error));
  TRUE(strstr(text, "weight  Q4_0") != NULL);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_file_describe(text, sizeof text, &length, file, 9, &error));
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_file_tensor(&got, file, "wait", &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_model_fill(NULL, file, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_model_fill((temper_model *)file, file, NULL, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_file_tensor(&got, file, NULL, &error));
  OK(temper_file_tensor(&got, file, "weight", &error));
  STATUS(TEMPER_OK, temper_tensor_free(got));
  STATUS(TEMPER_OK, temper_file_free(file));
  STATUS(TEMPER_ERROR_INVALID_HANDLE, temper_file_free(file));
  STATUS(TEMPER_OK, temper_tensor_free(weight));
}

static void quantizers(void) {
  temper_quantizer *quantizer = NULL;
  temper_quantized *packed = NULL;
  const int64_t bits[] = {0, -1, 9, 64, INT64_MAX, INT64_MIN};
  for (int i = 0; i < 6; ++i) {
    const temper_param param = temper_integer("bits", bits[i]);
    FAILS(TEMPER_ERROR_OUT_OF_RANGE,
          temper_quantizer_create(&quantizer, context, "round_to_nearest", &param, 1, &error));
  }
  FAILS(TEMPER_ERROR_UNKNOWN_NAME, temper_quantizer_create(&quantizer, context, "round_to_furthest", NULL, 0, &error));
  OK(temper_quantizer_create(&quantizer, context, "round_to_nearest", NULL, 0, &error));
  temper_tensor *weight = floats(6, 8);
  fill(weight, 2);
  FAILS(TEMPER_ERROR_INVALID_SHAPE,
        temper_quantizer_quantize(&packed, quantizer, make(TEMPER_FLOAT32, 1, 8, 0), NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_TYPE,
        temper_quantizer_quantize(&packed, quantizer, make(TEMPER_INT32, 2, 6, 8), NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_quantizer_quantize(&packed, quantizer, weight, floats(5, 7), &error));
  float_data(weight)[3] = NAN;
  FAILS(TEMPER_ERROR_NOT_FINITE, temper_quantizer_quantize(&packed, quantizer, weight, NULL, &error));
  float_data(weight)[3] = 0;
  OK(temper_quantizer_quantize(&packed, quantizer, weight, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_quantized_dequantize(floats(8, 6), packed, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_quantized_matmul(floats(2, 6), packed, floats(2, 7), &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_quantized_matmul(floats(2, 5), packed, floats(2, 8), &error));
  FAILS(TEMPER_ERROR_INVALID_TYPE, temper_quantized_matmul(make(TEMPER_INT32, 2, 2, 6), packed, floats(2, 8), &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_quantized_matmul_int8(floats(2, 5), packed, floats(2, 8), &error));
  FAILS(TEMPER_ERROR_INVALID_TYPE,
        temper_quantized_matmul_int8(floats(2, 6), packed, make(TEMPER_INT32, 2, 2, 8), &error));
  temper_quantizer *tables = NULL;
  temper_quantized *coded = NULL;
  OK(temper_quantizer_create(&tables, context, "nf4", NULL, 0, &error));
  OK(temper_quantizer_quantize(&coded, tables, weight, NULL, &error));
  FAILS(TEMPER_ERROR_UNSUPPORTED, temper_quantized_matmul_int8(floats(2, 6), coded, floats(2, 8), &error));
  temper_quantized_free(coded), temper_quantizer_free(tables);
  temper_tensor *bytes = make(TEMPER_INT8, 2, 3, 4), *sums = make(TEMPER_INT32, 2, 3, 3);
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_matmul_int8(sums, context, bytes, bytes, &error));
  FAILS(TEMPER_ERROR_INVALID_TYPE, temper_tensor_matmul_int8(sums, context, bytes, floats(4, 3), &error));
  FAILS(TEMPER_ERROR_INVALID_TYPE, temper_tensor_matmul_int8(floats(3, 3), context, bytes, make(TEMPER_INT8, 2, 4, 3),
                                                             &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_tensor_matmul_int8(sums, context, make(TEMPER_INT8, 1, 4, 0), bytes, &error));
  FAILS(TEMPER_ERROR_OUT_OF_RANGE, temper_tensor_matmul_int8(make(TEMPER_INT32, 2, 1, 1), context,
                                                             make(TEMPER_INT8, 2, 1, 131072),
                                                             make(TEMPER_INT8, 2, 131072, 1), &error));
  temper_model *model = NULL, *twice = NULL, *out = NULL;
  const int64_t four[] = {4};
  OK(temper_model_create(&model, context, "[{\"dense\": 3}]", four, 1, 0, 0, &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE, temper_quantizer_quantize_model(&out, quantizer, model, floats(5, 3), &error));
  OK(temper_quantizer_quantize_model(&twice, quantizer, model, NULL, &error));
  FAILS(TEMPER_ERROR_WRONG_STATE, temper_quantizer_quantize_model(&out, quantizer, twice, NULL, &error));
  temper_loss *loss = NULL;
  temper_optimizer *optimizer = NULL;
  temper_trainer *trainer = NULL;
  OK(temper_loss_create(&loss, context, "cross_entropy", NULL, 0, &error));
  OK(temper_optimizer_create(&optimizer, context, "sgd", NULL, 0, &error));
  FAILS(TEMPER_ERROR_UNSUPPORTED, temper_trainer_create(&trainer, twice, loss, optimizer, NULL, NULL, &error));
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  const temper_context_options options = {.struct_size = sizeof options, .threads = 2};
  OK(temper_context_create(&context, &options, &error));
  handles(), nulls(), structs(), tensors(), methods(), array_methods(), losses(), operators(), optimizers();
  models(arguments[1]), trainers(arguments[1]), files(arguments[1]), quantizers();
  return check_result("bad_input");
}
