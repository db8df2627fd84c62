/* Learn digits from labels of which 40% are wrong: one call, one report.
 *
 *   cc robust.c $(pkg-config --cflags --libs temper) -o robust && ./robust examples/data/digits.bin */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <temper.h>

enum { PIXELS = 64, CLASSES = 10, MOST = 2000 };

static temper_error error;

static void check(int32_t status) {
  if (status) fprintf(stderr, "%s\n", error.message), exit(1);
}

static int32_t show(void *user, double done, const char *what) {
  (void)user;
  fprintf(stderr, "\r\033[K%3.0f%% %s", 100 * done, what);
  return 0; /* 1 would stop */
}

static float pixels[MOST * PIXELS];
static int32_t given[MOST], right[MOST];

int main(int count, char **arguments) {
  FILE *file = count > 1 ? fopen(arguments[1], "rb") : NULL;
  if (!file) return fprintf(stderr, "usage: robust digits.bin\n"), 2;
  unsigned char record[PIXELS + 1];
  int64_t samples = 0;
  uint32_t random = 1;
  for (; samples < MOST && fread(record, sizeof record, 1, file) == 1; ++samples) {
    for (int i = 0; i < PIXELS; ++i) pixels[samples * PIXELS + i] = record[i];
    right[samples] = given[samples] = record[PIXELS];
    random = random * 1664525 + 1013904223;
    if ((random >> 16) % 10 < 4) given[samples] = (int32_t)(right[samples] + 1 + (random >> 8) % (CLASSES - 1)) % CLASSES;
  }
  fclose(file);

  temper_context *context;
  temper_tensor *x, *y;
  const int64_t x_sizes[] = {samples, PIXELS}, y_sizes[] = {samples};
  check(temper_context_create(&context, NULL, &error));
  check(temper_tensor_create(&x, TEMPER_FLOAT32, 2, x_sizes, &error));
  check(temper_tensor_create(&y, TEMPER_INT32, 1, y_sizes, &error));
  memcpy(temper_tensor_data(x), pixels, sizeof *pixels * (size_t)(samples * PIXELS));
  memcpy(temper_tensor_data(y), given, sizeof *given * (size_t)samples);

  temper_model *model; /* standardizes its inputs, and gives calibrated logits */
  temper_robust_report report = {.struct_size = sizeof report};
  temper_tensor_map *details;
  temper_tensor *suspicion;
  const temper_robust_options options = {.struct_size = sizeof options, .progress = show};
  check(temper_robust_fit(&model, &report, &details, context, x, y, CLASSES, &options, &error));
  printf("\n%s\n", report.text);

  check(temper_tensor_map_find(&suspicion, details, "suspicion", &error));
  const double *wrong = temper_tensor_data(suspicion);
  int found = 0, flagged = 0, bad = 0;
  for (int64_t i = 0; i < samples; ++i) {
    bad += given[i] != right[i];
    flagged += wrong[i] > 0.5;
    found += wrong[i] > 0.5 && given[i] != right[i];
  }
  printf("%d labels are wrong; %d are suspected, %d of them rightly\n", bad, flagged, found);
  temper_tensor_free(suspicion), temper_tensor_map_free(details), temper_model_free(model);
  temper_tensor_free(x), temper_tensor_free(y), temper_context_free(context);
  return found < 0.9 * bad || found < 0.9 * flagged;
}
