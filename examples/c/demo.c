/* The main job, from C: train on digits with 40% wrong labels, with several losses and one from a plug-in; quantize the
 * best model, save it, load it, and run it from its packed weights.
 *
 *   demo DIGITS PLUGIN OUTPUT    reads examples/data/digits.bin, loads the plug-in, writes OUTPUT/c.json and the models
 *
 * examples/python/demo.py is the same job and gives the same bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <temper.h>

enum { SAMPLES = 1797, PIXELS = 64, CLASSES = 10, SEEDS = 5, EPOCHS = 200, BATCH = 128, METHODS = 5 };

static const struct {
  const char *key, *loss;
} methods[METHODS] = {{"cross_entropy", "cross_entropy"},
                      {"generalized_cross_entropy", "generalized_cross_entropy"},
                      {"symmetric_cross_entropy", "symmetric_cross_entropy"},
                      {"active_passive_loss", "active_passive_loss"},
                      {"plugin", "example.focal_generalized"}};

static temper_error error;

/* Every call is checked; the library's sentence is all there is to say. */
static void check(int32_t status) {
  if (status == TEMPER_OK) return;
  fprintf(stderr, "\n%s: %s\n", temper_status_name(status), error.message);
  exit(1);
}

static double now(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* SplitMix64 (Steele et al., 2014): the few random choices of this program, the same in both languages. */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

typedef struct {
  float x[SAMPLES][PIXELS];
  int32_t y[SAMPLES];
  int64_t count;
  temper_tensor *x_tensor, *y_tensor;
} digits;

static temper_tensor *borrow(void *data, int32_t dtype, int32_t rank, int64_t rows, int64_t columns) {
  temper_tensor *tensor = NULL;
  const int64_t sizes[] = {rows, columns};
  const temper_buffer buffer = {.struct_size = sizeof buffer, .dtype = dtype, .rank = rank, .data = data,
                                .byte_length = (uint64_t)(rows * columns) * 4, .sizes = sizes};
  check(temper_tensor_borrow(&tensor, &buffer, &error));
  return tensor;
}

/* Every fifth digit is for the test. Of the labels in training 40% become one of the nine others. */
static void load(const char *path, digits *train, digits *test) {
  FILE *file = fopen(path, "rb");
  unsigned char record[PIXELS + 1];
  uint64_t random = 2026;
  if (!file) perror(path), exit(1);
  for (int i = 0; i < SAMPLES; ++i) {
    if (fread(record, sizeof record, 1, file) != 1) fprintf(stderr, "%s is too short\n", path), exit(1);
    digits *part = i % 5 == 0 ? test : train;
    for (int j = 0; j < PIXELS; ++j) part->x[part->count][j] = (float)record[j] / 16;
    int32_t label = record[PIXELS];
    if (part == train && next_random(&random) % 100 < 40) label = (label + 1 + (int32_t)(next_random(&random) % 9)) % 10;
    part->y[part->count++] = label;
  }
  fclose(file);
  for (int k = 0; k < 2; ++k) {
    digits *part = k ? test : train;
    part->x_tensor = borrow(part->x, TEMPER_FLOAT32, 2, part->count, PIXELS);
    part->y_tensor = borrow(part->y, TEMPER_INT32, 1, part->count, 1);
  }
}

static int32_t show(void *user, const temper_progress *progress) {
  if (progress->is_epoch_end && progress->epoch % 10 == 0)
    fprintf(stderr, "\r%-28s epoch %3lld of %lld  loss %8.4f  test accuracy %.3f ", (const char *)user,
            (long long)progress->epoch, (long long)progress->epochs, progress->loss, progress->tests[0].accuracy);
  return 0;
}

static temper_model *train(temper_context *context, int method, uint64_t seed, const digits *data, const digits *test,
                           double *accuracy) {
  static const int64_t input[] = {PIXELS};
  temper_model *model = NULL;
  temper_loss *loss = NULL;
  temper_optimizer *optimizer = NULL;
  temper_trainer *trainer = NULL;
  temper_measurement result;
  char title[64];
  const temper_param rate[] = {temper_real("learning_rate", 0.003)};
  const temper_samples samples = {.x = data->x_tensor, .y = data->y_tensor};
  const temper_samples clean = {.name = "test", .x = test->x_tensor, .y = test->y_tensor};
  const temper_trainer_options options = {.struct_size = sizeof options, .batch_size = BATCH, .seed = seed};
  const temper_fit_options fit = {.struct_size = sizeof fit, .epochs = EPOCHS, .tests = &clean, .test_count = 1,
                                  .progress = show, .progress_user = title};
  snprintf(title, sizeof title, "%s, seed %d", methods[method].key, (int)seed);
  check(temper_model_create(&model, context, "[{\"dense\": 128}, \"relu\", {\"dense\": 10}]", input, 1, 0, seed, &error));
  check(temper_loss_create(&loss, context, methods[method].loss, NULL, 0, &error));
  check(temper_optimizer_create(&optimizer, context, "adam", rate, 1, &error));
  check(temper_trainer_create(&trainer, model, loss, optimizer, NULL, &options, &error));
  check(temper_trainer_fit(trainer, &samples, &fit, &error));
  check(temper_trainer_evaluate(&result, trainer, &clean, &error));
  *accuracy = result.accuracy;
  temper_trainer_free(trainer), temper_optimizer_free(optimizer), temper_loss_free(loss);
  return model;
}

/* Share of the test digits whose largest output is at their class. */
static double accuracy_of(temper_model *model, const digits *test) {
  static float logits[SAMPLES][CLASSES];
  int64_t right = 0;
  temper_tensor *result = borrow(logits, TEMPER_FLOAT32, 2, test->count, CLASSES);
  check(temper_model_predict(result, model, test->x_tensor, NULL, &error));
  for (int64_t i = 0; i < test->count; ++i) {
    int best = 0;
    for (int c = 1; c < CLASSES; ++c) best = logits[i][c] > logits[i][best] ? c : best;
    right += best == test->y[i];
  }
  temper_tensor_free(result);
  return (double)right / (double)test->count;
}

static long long bytes_of(temper_model *model) {
  temper_model_info info = {.struct_size = sizeof info};
  check(temper_model_get_info(&info, model, &error));
  return (long long)info.parameter_bytes;
}

/* Quantizes, saves, loads again; what is measured is the loaded model. */
static temper_model *quantize(temper_context *context, temper_model *model, int bits, const char *folder) {
  temper_quantizer *quantizer = NULL;
  temper_model *packed = NULL, *loaded = NULL;
  char path[1024];
  const temper_param params[] = {temper_integer("bits", bits)};
  snprintf(path, sizeof path, "%s/c-int%d.safetensors", folder, bits);
  check(temper_quantizer_create(&quantizer, context, "round_to_nearest", params, 1, &error));
  check(temper_quantizer_quantize_model(&packed, quantizer, model, NULL, &error));
  check(temper_model_save(packed, path, &error));
  check(temper_model_load(&loaded, context, path, &error));
  temper_model_free(packed), temper_quantizer_free(quantizer);
  return loaded;
}

static digits training, test;

int main(int count, char **arguments) {
  if (count != 4) fprintf(stderr, "usage: demo DIGITS PLUGIN OUTPUT\n"), exit(2);
  const double start = now();
  temper_context *context = NULL;
  temper_plugin *plugin = NULL;
  temper_model *best = NULL;
  double best_accuracy = -1, means[METHODS], accuracy;
  char path[1024];
  check(temper_context_create(&context, NULL, &error));
  check(temper_plugin_load(&plugin, context, arguments[2], NULL, &error));
  load(arguments[1], &training, &test);

  printf("%lld digits to train on, 40%% of their labels wrong; %lld clean ones to test; %d seeds\n\n",
         (long long)training.count, (long long)test.count, SEEDS);
  printf("%-28s %9s %8s %8s %8s\n", "from C", "accuracy", "spread", "seconds", "bytes");
  for (int method = 0; method < METHODS; ++method) {
    const double begin = now();
    double sum = 0, low = 1, high = 0;
    long long bytes = 0;
    for (int seed = 1; seed <= SEEDS; ++seed) {
      temper_model *model = train(context, method, (uint64_t)seed, &training, &test, &accuracy);
      sum += accuracy, low = fmin(low, accuracy), high = fmax(high, accuracy), bytes = bytes_of(model);
      if (accuracy > best_accuracy) {
        temper_model *previous = best;
        best = model, best_accuracy = accuracy, model = previous;
      }
      temper_model_free(model);
    }
    means[method] = sum / SEEDS;
    fprintf(stderr, "\r%79s\r", "");
    printf("%-28s %9.4f %8.4f %8.2f %8lld\n", methods[method].key, means[method], high - low, now() - begin, bytes);
  }

  double packed_accuracy[2];
  long long packed_bytes[2];
  const double begin = now();
  printf("%-28s %9.4f %8s %8s %8lld\n", "best model, float32", accuracy_of(best, &test), "", "", bytes_of(best));
  for (int i = 0; i < 2; ++i) {
    temper_model *packed = quantize(context, best, i ? 4 : 8, arguments[3]);
    packed_accuracy[i] = accuracy_of(packed, &test), packed_bytes[i] = bytes_of(packed);
    printf("%-28s %9.4f %8s %8.2f %8lld\n", i ? "best model, int4" : "best model, int8", packed_accuracy[i], "",
           now() - begin, packed_bytes[i]);
    temper_model_free(packed);
  }

  snprintf(path, sizeof path, "%s/c.json", arguments[3]);
  FILE *file = fopen(path, "w");
  if (!file) perror(path), exit(1);
  fprintf(file, "{\"accuracy\": {");
  for (int method = 0; method < METHODS; ++method) fprintf(file, "\"%s\": %.17g, ", methods[method].key, means[method]);
  fprintf(file, "\"best_float32\": %.17g, \"int8\": %.17g, \"int4\": %.17g},\n", best_accuracy, packed_accuracy[0],
          packed_accuracy[1]);
  fprintf(file, " \"bytes\": {\"float32\": %lld, \"int8\": %lld, \"int4\": %lld}, \"seconds\": %.3f}\n", bytes_of(best),
          packed_bytes[0], packed_bytes[1], now() - start);
  if (fclose(file)) perror(path), exit(1);

  temper_model_free(best), temper_plugin_free(plugin);
  temper_tensor_free(training.x_tensor), temper_tensor_free(training.y_tensor);
  temper_tensor_free(test.x_tensor), temper_tensor_free(test.y_tensor);
  temper_context_free(context);
  return 0;
}
