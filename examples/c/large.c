/* Train on data larger than memory: from a .npy file that is mapped, and from a callback that makes each row when it is
 * asked for. Both give the same bits.
 *
 *   cc large.c $(pkg-config --cflags --libs temper) -lm -o large && ./large samples.npy */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <temper.h>

enum { SAMPLES = 2000, FEATURES = 16, CLASSES = 2 };

static temper_error error;

static void check(int32_t status) {
  if (status) fprintf(stderr, "%s\n", error.message), exit(1);
}

/* Sample `id`, whose class is whether it lies outside a ball. */
static int32_t make_row(int64_t id, float *row) {
  float square = 0;
  uint32_t random = (uint32_t)id * 2654435761u + 1;
  for (int i = 0; i < FEATURES; ++i) {
    random = random * 1664525 + 1013904223;
    row[i] = (float)(random >> 8) / (1 << 24) - 0.5f;
    square += row[i] * row[i];
  }
  return square > FEATURES / 12.0f;
}

/* Could as well read a data base. 0 goes on; a TEMPER_ERROR_*, with a sentence in said->message, ends the run. */
static int32_t read_rows(void *user, const int64_t *ids, uint64_t count, void *rows, temper_error *said) {
  (void)user, (void)said;
  for (uint64_t i = 0; i < count; ++i) make_row(ids[i], (float *)rows + i * FEATURES);
  return 0;
}

static double train(temper_context *context, temper_tensor *x, const temper_source *source, temper_tensor *y) {
  temper_model *model;
  temper_loss *loss;
  temper_optimizer *optimizer;
  temper_trainer *trainer;
  temper_tensor_map *history;
  temper_tensor *losses;
  const int64_t input[] = {FEATURES};
  check(temper_model_create(&model, context, "[{\"dense\": 64}, \"relu\", {\"dense\": 2}]", input, 1, 0, 1, &error));
  check(temper_loss_create(&loss, context, "cross_entropy", NULL, 0, &error));
  check(temper_optimizer_create(&optimizer, context, "adam", NULL, 0, &error));
  check(temper_trainer_create(&trainer, model, loss, optimizer, NULL, NULL, &error));
  const temper_samples samples = {.x = x, .y = y};
  const temper_fit_options fit = {.struct_size = sizeof fit, .epochs = 20, .source = source};
  check(temper_trainer_fit(trainer, &samples, &fit, &error));
  check(temper_trainer_history(&history, trainer, &error));
  check(temper_tensor_map_find(&losses, history, "training_loss", &error));
  const double last = ((double *)temper_tensor_data(losses))[19];
  temper_tensor_free(losses), temper_tensor_map_free(history), temper_trainer_free(trainer);
  temper_optimizer_free(optimizer), temper_loss_free(loss), temper_model_free(model);
  return last;
}

int main(int count, char **arguments) {
  const char *path = count > 1 ? arguments[1] : "samples.npy";
  temper_context *context;
  temper_tensor *x, *y;
  const int64_t row[] = {FEATURES}, samples[] = {SAMPLES};
  check(temper_context_create(&context, NULL, &error));
  check(temper_tensor_create(&y, TEMPER_INT32, 1, samples, &error));

  /* numpy.save, by hand: the magic, the length of the header, the header, padded to 64 bytes, the elements. */
  char header[128] = "\x93NUMPY\x01\x00\x76\x00";
  const int written = snprintf(header + 10, sizeof header - 10,
                               "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", SAMPLES, FEATURES);
  memset(header + 10 + written, ' ', sizeof header - 11 - (size_t)written);
  header[sizeof header - 1] = '\n';
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(header, sizeof header, 1, file) != 1) return perror(path), 1;
  for (int64_t id = 0; id < SAMPLES; ++id) {
    float values[FEATURES];
    ((int32_t *)temper_tensor_data(y))[id] = make_row(id, values);
    if (fwrite(values, sizeof values, 1, file) != 1) return perror(path), 1;
  }
  if (fclose(file)) return perror(path), 1;

  check(temper_tensor_open_npy(&x, path, &error));
  const temper_source source = {.struct_size = sizeof source, .dtype = TEMPER_FLOAT32, .count = SAMPLES, .sizes = row,
                                .rank = 1, .read = read_rows};
  const double mapped = train(context, x, NULL, y), called = train(context, NULL, &source, y);
  printf("loss %.6f from the file, %.6f from the callback\n", mapped, called);
  temper_tensor_free(x), temper_tensor_free(y), temper_context_free(context);
  return mapped != called || !(mapped < 0.65);
}
