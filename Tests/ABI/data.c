/* Samples that are not in memory: .npy files and callbacks, right and wrong; and the automatic mode's call. */
#include <unistd.h>

#include "check.h"

static temper_context *context;
static const char *folder;

static const char *write_bytes(const char *name, const void *bytes, size_t count) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  TRUE(file && fwrite(bytes, 1, count, file) == count && fclose(file) == 0);
  return path;
}

/* A .npy file of version 1.0 with this header and `data` bytes of elements 0, 1, 2, ... */
static const char *npy(const char *header, size_t data) {
  static unsigned char bytes[70000];
  const size_t length = strlen(header);
  memcpy(bytes, "\x93NUMPY\x01\x00", 8);
  bytes[8] = (unsigned char)length, bytes[9] = (unsigned char)(length >> 8);
  memcpy(bytes + 10, header, length);
  for (size_t i = 0; i < data / 4; ++i) {
    const float value = (float)i;
    memcpy(bytes + 10 + length + 4 * i, &value, 4);
  }
  return write_bytes("array.npy", bytes, 10 + length + data);
}

static void npy_files(void) {
  temper_tensor *t = NULL;
  OK(temper_tensor_open_npy(&t, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", 24), &error));
  temper_tensor_info info = {.struct_size = sizeof info};
  OK(temper_tensor_get_info(&info, t, &error));
  TRUE(info.dtype == TEMPER_FLOAT32 && info.rank == 2 && info.sizes[0] == 2 && info.sizes[1] == 3);
  TRUE(info.flags == (TEMPER_TENSOR_READ_ONLY | TEMPER_TENSOR_DENSE));
  float last;
  memcpy(&last, (char *)info.data + 20, 4); /* a header of odd length leaves the elements unaligned */
  TRUE(last == 5);
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_assign(t, floats(2, 3), &error));
  STATUS(TEMPER_OK, temper_tensor_free(t));
  /* Keys in another order, double quotes, no last comma; Fortran's order. */
  OK(temper_tensor_open_npy(&t, npy("{\"shape\":(2,3),\"fortran_order\":True,\"descr\":\"<f4\"}", 24), &error));
  OK(temper_tensor_get_info(&info, t, &error));
  TRUE(info.strides[0] == 1 && info.strides[1] == 2 && info.flags == TEMPER_TENSOR_READ_ONLY);
  STATUS(TEMPER_OK, temper_tensor_free(t));
  OK(temper_tensor_open_npy(&t, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4), &error));
  STATUS(TEMPER_OK, temper_tensor_free(t));
  OK(temper_tensor_open_npy(&t, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", 0), &error));
  STATUS(TEMPER_OK, temper_tensor_free(t));

  static const char *const damaged[] = {
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }",        /* too few elements */
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",        /* too many */
      "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (6), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': 6, }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3,, }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } more",
      "{'descr': '<f4', 'fortran_order': False, }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'shape': (2, 3)}",
      "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}",
      "{'descr': <f4, 'fortran_order': False, 'shape': (2, 3)}",
      "{'descr': '<f4",
      "{'shape': (99999999999999999999, 3)",
      "{'shape': (2, 3",
      "{",
      "",
      "__import__('os').abort()",
  };
  for (size_t i = 0; i < sizeof damaged / sizeof *damaged; ++i)
    FAILS(TEMPER_ERROR_MALFORMED_FILE, temper_tensor_open_npy(&t, npy(damaged[i], 24), &error));
  TRUE(t == NULL);
  FAILS(TEMPER_ERROR_INVALID_SHAPE,
        temper_tensor_open_npy(
            &t, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 999999999), }", 24), &error));
  FAILS(TEMPER_ERROR_INVALID_SHAPE,
        temper_tensor_open_npy(
            &t, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,6), }", 24), &error));
  for (const char *const *type = (const char *const[]){">f4", "<f2", "|O8", "<c8", "<U3", NULL}; *type; ++type) {
    char header[128];
    snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (6,), }", *type);
    FAILS(TEMPER_ERROR_UNSUPPORTED, temper_tensor_open_npy(&t, npy(header, 24), &error));
    SAYS(*type);
  }
  FAILS(TEMPER_ERROR_MALFORMED_FILE, temper_tensor_open_npy(&t, write_bytes("a.npy", "\x93NUMPY\x01", 7), &error));
  FAILS(TEMPER_ERROR_MALFORMED_FILE, temper_tensor_open_npy(&t, write_bytes("a.npy", "", 0), &error));
  FAILS(TEMPER_ERROR_MALFORMED_FILE, temper_tensor_open_npy(&t, write_bytes("a.npy", "PK\3\4 an archive", 15), &error));
  FAILS(TEMPER_ERROR_UNSUPPORTED,
        temper_tensor_open_npy(&t, write_bytes("a.npy", "\x93NUMPY\x09\x00\x02\x00{}", 12), &error));
  FAILS(TEMPER_ERROR_MALFORMED_FILE,
        temper_tensor_open_npy(&t, write_bytes("a.npy", "\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14), &error));
  FAILS(TEMPER_ERROR_MALFORMED_FILE,
        temper_tensor_open_npy(&t, write_bytes("a.npy", "\x93NUMPY\x02\x00\x00\x00", 10), &error));
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_tensor_open_npy(&t, "/nowhere/at/all.npy", &error));
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_tensor_open_npy(&t, folder, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_open_npy(&t, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_tensor_open_npy(NULL, npy("{}", 0), &error));
}

enum { SAMPLES = 50, FEATURES = 4, CLASSES = 3 };
static float table[SAMPLES * FEATURES];

/* What the callback does, beside reading the table. */
typedef struct {
  int64_t calls, rows;
  int64_t refused; /* this sample is not to be had */
  int32_t status;
  const char *message;
  float poison; /* what sample `refused` becomes instead, if not 0 */
} Reader;

static int32_t read_rows(void *user, const int64_t *ids, uint64_t count, void *rows, temper_error *said) {
  Reader *reader = user;
  ++reader->calls, reader->rows += (int64_t)count;
  for (uint64_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= SAMPLES) abort();
    memcpy((float *)rows + i * FEATURES, table + ids[i] * FEATURES, sizeof(float[FEATURES]));
    if (ids[i] != reader->refused) continue;
    if (reader->poison != 0) {
      ((float *)rows)[i * FEATURES + 2] = reader->poison;
    } else {
      if (reader->message) snprintf(said->message, sizeof said->message, "%s", reader->message);
      return reader->status;
    }
  }
  return 0;
}

static temper_trainer *new_trainer(temper_model **model) {
  temper_loss *loss = NULL;
  temper_optimizer *optimizer = NULL;
  temper_trainer *trainer = NULL;
  const int64_t input[] = {FEATURES};
  OK(temper_model_create(model, context, "[{\"dense\": 8}, \"relu\", {\"dense\": 3}]", input, 1, 0, 7, &error));
  OK(temper_loss_create(&loss, context, "early_learning_regularization", NULL, 0, &error)); /* keeps rows by sample */
  OK(temper_optimizer_create(&optimizer, context, "adam", NULL, 0, &error));
  const temper_trainer_options options = {.struct_size = sizeof options, .batch_size = 16, .seed = 3};
  OK(temper_trainer_create(&trainer, *model, loss, optimizer, NULL, &options, &error));
  STATUS(TEMPER_OK, temper_loss_free(loss));
  STATUS(TEMPER_OK, temper_optimizer_free(optimizer));
  return trainer;
}

/* The weights of the first layer, for the comparison of bits. */
static void weights(temper_model *model, float *values) {
  temper_tensor_map *map = NULL;
  temper_tensor *weight = NULL;
  OK(temper_model_parameters(&map, model, &error));
  OK(temper_tensor_map_find(&weight, map, "0.weight", &error));
  memcpy(values, temper_tensor_data(weight), sizeof(float[8 * FEATURES]));
  temper_tensor_free(weight), temper_tensor_map_free(map);
}

static void sources(void) {
  temper_tensor *x = floats(SAMPLES, FEATURES), *y = make(TEMPER_INT32, 1, SAMPLES, 0);
  for (int i = 0; i < SAMPLES * FEATURES; ++i) table[i] = (float)((i * 7919) % 101) / 50 - 1;
  memcpy(temper_tensor_data(x), table, sizeof table);
  for (int i = 0; i < SAMPLES; ++i) ((int32_t *)temper_tensor_data(y))[i] = i % CLASSES;

  float expected[8 * FEATURES], got[8 * FEATURES];
  temper_model *model = NULL;
  temper_trainer *trainer = new_trainer(&model);
  temper_fit_options fit = {.struct_size = sizeof fit, .epochs = 3};
  const temper_samples whole = {.x = x, .y = y};
  OK(temper_trainer_fit(trainer, &whole, &fit, &error));
  weights(model, expected);
  temper_trainer_free(trainer), temper_model_free(model);

  const int64_t sizes[] = {FEATURES};
  Reader reader = {.refused = -1};
  temper_source source = {.struct_size = sizeof source, .dtype = TEMPER_FLOAT32, .count = SAMPLES, .sizes = sizes,
                          .rank = 1, .read = read_rows, .user = &reader};
  temper_samples data = {.y = y};
  fit.source = &source;
  trainer = new_trainer(&model);
  OK(temper_trainer_fit(trainer, &data, &fit, &error));
  TRUE(reader.calls == 3 * 4 && reader.rows == 3 * SAMPLES);
  weights(model, got);
  TRUE(!memcmp(expected, got, sizeof got));
  temper_trainer_free(trainer), temper_model_free(model);

  /* A mapped file of the same. */
  static char header[256];
  snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", SAMPLES, FEATURES);
  const char *path = npy(header, sizeof table);
  FILE *file = fopen(path, "r+b");
  TRUE(file && fseek(file, (long)(10 + strlen(header)), SEEK_SET) == 0);
  TRUE(fwrite(table, sizeof table, 1, file) == 1 && fclose(file) == 0);
  temper_tensor *mapped = NULL;
  OK(temper_tensor_open_npy(&mapped, path, &error));
  trainer = new_trainer(&model);
  const temper_samples from_file = {.x = mapped, .y = y};
  const temper_fit_options three = {.struct_size = sizeof three, .epochs = 3};
  OK(temper_trainer_fit(trainer, &from_file, &three, &error));
  weights(model, got);
  TRUE(!memcmp(expected, got, sizeof got));
  STATUS(TEMPER_OK, temper_tensor_free(mapped));
  temper_trainer_free(trainer), temper_model_free(model);

  /* A source that fails in the midst of an epoch: nothing of the step is done, and the run goes on to the same bits. */
  trainer = new_trainer(&model);
  reader = (Reader){.refused = 17, .status = TEMPER_ERROR_INPUT_OUTPUT, .message = "The disk is gone."};
  FAILS(TEMPER_ERROR_INPUT_OUTPUT, temper_trainer_fit(trainer, &data, &fit, &error));
  SAYS("The disk is gone.");
  reader.message = NULL, reader.status = 12345;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_trainer_fit(trainer, &data, &fit, &error));
  SAYS("12345");
  reader.status = TEMPER_ERROR_CANCELLED;
  FAILS(TEMPER_ERROR_CANCELLED, temper_trainer_fit(trainer, &data, &fit, &error));
  reader.poison = NAN;
  FAILS(TEMPER_ERROR_NOT_FINITE, temper_trainer_fit(trainer, &data, &fit, &error));
  SAYS("sample 17, element 2");
  reader.refused = -1;
  OK(temper_trainer_fit(trainer, &data, &fit, &error));
  weights(model, got);
  TRUE(!memcmp(expected, got, sizeof got));

  temper_source bad = source;
#define BAD(expected_status, ...)                                                   \
  do {                                                                              \
    bad = source;                                                                   \
    __VA_ARGS__;                                                                    \
    const temper_fit_options o = {.struct_size = sizeof o, .source = &bad};         \
    FAILS(expected_status, temper_trainer_fit(trainer, &data, &o, &error));         \
  } while (0)
  BAD(TEMPER_ERROR_INVALID_ARGUMENT, bad.struct_size = 0);
  BAD(TEMPER_ERROR_INVALID_ARGUMENT, bad.dtype = 99);
  BAD(TEMPER_ERROR_INVALID_ARGUMENT, bad.read = NULL);
  BAD(TEMPER_ERROR_INVALID_ARGUMENT, bad.sizes = NULL);
  BAD(TEMPER_ERROR_INVALID_SHAPE, bad.rank = -1);
  BAD(TEMPER_ERROR_INVALID_SHAPE, bad.rank = 9);
  BAD(TEMPER_ERROR_INVALID_SHAPE, bad.rank = 0);
  BAD(TEMPER_ERROR_OUT_OF_RANGE, bad.count = -1);
  BAD(TEMPER_ERROR_INVALID_SHAPE, bad.count = 0);
  BAD(TEMPER_ERROR_INVALID_SHAPE, bad.count = INT64_MAX);
  BAD(TEMPER_ERROR_INVALID_SHAPE, bad.count = SAMPLES + 1);
  BAD(TEMPER_ERROR_UNSUPPORTED, bad.reserved = 1);
  data.x = x;
  BAD(TEMPER_ERROR_INVALID_ARGUMENT, (void)0);
  SAYS("twice");
  fit.source = &source;
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_trainer_fit(trainer, NULL, &fit, &error));
  temper_trainer_free(trainer), temper_model_free(model);
  temper_tensor_free(x), temper_tensor_free(y);
}

static int32_t stop_at_once(void *user, double done, const char *what) {
  (void)done;
  return what && *what ? *(int32_t *)user : 77;
}

static void automatic(void) {
  temper_model *model = (temper_model *)&error;
  temper_tensor_map *details = (temper_tensor_map *)&error;
  temper_robust_report report = {.struct_size = sizeof report};
  temper_tensor *x = floats(40, 2), *y = make(TEMPER_INT32, 1, 40, 0);
  for (int i = 0; i < 40; ++i) {
    float_data(x)[2 * i] = (float)(i % 2) + (float)i / 100, float_data(x)[2 * i + 1] = (float)(i % 7);
    ((int32_t *)temper_tensor_data(y))[i] = i % 2;
  }
#define FIT(status, x, y, classes, options)                                                                        \
  do {                                                                                                             \
    model = (temper_model *)&error, details = (temper_tensor_map *)&error;                                         \
    FAILS(status, temper_robust_fit(&model, &report, &details, context, x, y, classes, options, &error));          \
    TRUE(model == NULL && details == NULL);                                                                        \
  } while (0)
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_robust_fit(NULL, NULL, NULL, context, x, y, 2, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE, temper_robust_fit(&model, NULL, NULL, NULL, x, y, 2, NULL, &error));
  FAILS(TEMPER_ERROR_INVALID_HANDLE,
        temper_robust_fit(&model, NULL, NULL, (temper_context *)x, x, y, 2, NULL, &error));
  FIT(TEMPER_ERROR_INVALID_HANDLE, NULL, y, 2, NULL);
  FIT(TEMPER_ERROR_INVALID_HANDLE, x, NULL, 2, NULL);
  FIT(TEMPER_ERROR_INVALID_HANDLE, (temper_tensor *)context, y, 2, NULL);
  FIT(TEMPER_ERROR_INVALID_TYPE, make(TEMPER_INT32, 2, 40, 2), y, 2, NULL);
  FIT(TEMPER_ERROR_INVALID_SHAPE, floats(0, 2), y, 2, NULL);
  FIT(TEMPER_ERROR_INVALID_SHAPE, floats(40, 0), y, 2, NULL);
  FIT(TEMPER_ERROR_INVALID_SHAPE, floats(39, 2), y, 2, NULL);
  FIT(TEMPER_ERROR_INVALID_SHAPE, x, make(TEMPER_INT32, 2, 40, 1), 2, NULL);
  FIT(TEMPER_ERROR_INVALID_TYPE, x, make(TEMPER_FLOAT32, 1, 40, 0), 2, NULL);
  FIT(TEMPER_ERROR_INVALID_ARGUMENT, x, y, 1, NULL);
  FIT(TEMPER_ERROR_OUT_OF_RANGE, x, y, -1, NULL);
  ((int32_t *)temper_tensor_data(y))[3] = 2;
  FIT(TEMPER_ERROR_OUT_OF_RANGE, x, y, 2, NULL);
  ((int32_t *)temper_tensor_data(y))[3] = 1;
  float_data(x)[5] = INFINITY;
  FIT(TEMPER_ERROR_NOT_FINITE, x, y, 2, NULL);
  float_data(x)[5] = 0;

  int32_t answer = 1;
  temper_robust_options options;
#define OPTION(status, ...)                                                                  \
  do {                                                                                       \
    options = (temper_robust_options){.struct_size = sizeof options, .epochs = 2, __VA_ARGS__}; \
    FIT(status, x, y, 2, &options);                                                          \
  } while (0)
  options = (temper_robust_options){.struct_size = 0};
  FIT(TEMPER_ERROR_INVALID_ARGUMENT, x, y, 2, &options);
  OPTION(TEMPER_ERROR_OUT_OF_RANGE, .folds = 1);
  OPTION(TEMPER_ERROR_OUT_OF_RANGE, .hidden = -1);
  OPTION(TEMPER_ERROR_OUT_OF_RANGE, .batch_size = -1);
  OPTION(TEMPER_ERROR_OUT_OF_RANGE, .threads = 257);
  OPTION(TEMPER_ERROR_INVALID_ARGUMENT, .balanced = 3);
  OPTION(TEMPER_ERROR_UNSUPPORTED, .reserved = 1);
  OPTION(TEMPER_ERROR_CANCELLED, .progress = stop_at_once, .progress_user = &answer);
  answer = 5;
  OPTION(TEMPER_ERROR_INVALID_ARGUMENT, .progress = stop_at_once, .progress_user = &answer);
  temper_robust_report small = {.struct_size = 1};
  options = (temper_robust_options){.struct_size = sizeof options, .epochs = 2, .folds = 2, .hidden = 4};
  FAILS(TEMPER_ERROR_INVALID_ARGUMENT, temper_robust_fit(&model, &small, &details, context, x, y, 2, &options, &error));
  TRUE(model == NULL && details == NULL);

  /* Everything but the model is optional; the model outlives the context's handle. */
  OK(temper_robust_fit(&model, NULL, NULL, context, x, y, 2, &options, &error));
  STATUS(TEMPER_OK, temper_model_free(model));
  OK(temper_robust_fit(&model, &report, &details, context, x, y, 2, &options, &error));
  TRUE(report.class_count == 2 && report.sample_count == 40 && report.feature_count == 2 && report.text[0]);
  temper_tensor *suspicion = NULL;
  OK(temper_tensor_map_find(&suspicion, details, "suspicion", &error));
  temper_tensor_free(suspicion), temper_tensor_map_free(details), temper_model_free(model);
  temper_tensor_free(x), temper_tensor_free(y);
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  folder = arguments[1];
  const temper_context_options options = {.struct_size = sizeof options, .threads = 2};
  OK(temper_context_create(&context, &options, &error));
  npy_files(), sources(), automatic();
  STATUS(TEMPER_OK, temper_context_free(context));
  return check_result("data");
}
